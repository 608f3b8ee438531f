//! The readers: what each starts from, how its files are damaged, and what it must give or refuse.

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use glmtune::model::adapters::{
    AdapterKind, AdapterMeta, LoraAdapter, PrefixAdapter, StoredAdapter,
};
use glmtune::model::checkpoint::{Checkpoint, DType};
use glmtune::model::merge::Merge;
use glmtune::model::parameters::parameters;
use glmtune::model::pretrained::Pretrained;
use glmtune::model::rows::{RowFormat, read_rows};
use glmtune::model::tokenizer::Tokenizer;
use glmtune::model::{BuildOptions, CausalLm, ModelConfig, Padding, TokenBatch};
use glmtune::training::deepspeed::DeepSpeedConfig;
use glmtune::training::report::MetricsFile;

use crate::corpus::{self, Backend};
use crate::mutate::Format::{self, Bytes, Json, Lines, Pickle, Protobuf, Safetensors, Text, Zip};
use crate::mutate::safetensors::split;

/// A digest of what was read, or the message.
pub type Reading = Result<u64, String>;

/// A reader with its files.
pub struct Target {
    pub name: &'static str,
    /// Writes the files; false where what they are made from is not there.
    pub write: fn(&Path) -> bool,
    /// The files that are damaged, with their formats.
    pub files: &'static [(&'static str, Format)],
    pub read: fn(&Path) -> Reading,
    /// How many of a thousand inputs are for this target.
    pub share: usize,
}

fn always(write: fn(&Path), dir: &Path) -> bool {
    write(dir);
    true
}

pub const TARGETS: [Target; 19] = [
    Target {
        name: "safetensors",
        write: |dir| always(corpus::safetensors, dir),
        files: &[("model.safetensors", Safetensors)],
        read: safetensors,
        share: 120,
    },
    Target {
        name: "zip",
        write: |dir| always(corpus::torch, dir),
        files: &[("pytorch_model.bin", Zip)],
        read: checkpoint,
        share: 100,
    },
    Target {
        name: "pickle",
        write: |dir| always(corpus::torch, dir),
        files: &[("pytorch_model.bin", Pickle)],
        read: checkpoint,
        share: 120,
    },
    Target {
        name: "index",
        write: |dir| always(corpus::sharded, dir),
        files: &[
            ("model.safetensors.index.json", Json),
            ("model-a.safetensors", Safetensors),
        ],
        read: checkpoint,
        share: 60,
    },
    Target {
        name: "config",
        write: |dir| always(|dir| corpus::config(dir, corpus::SECOND), dir),
        files: &[("config.json", Json)],
        read: config,
        share: 60,
    },
    Target {
        name: "config of ChatGLM-6B",
        write: |dir| always(|dir| corpus::config(dir, corpus::FIRST), dir),
        files: &[("config.json", Json)],
        read: config,
        share: 40,
    },
    Target {
        name: "model",
        write: |dir| always(corpus::model, dir),
        files: &[("config.json", Json), ("model.safetensors", Safetensors)],
        read: model,
        share: 40,
    },
    Target {
        name: "adapter",
        write: |dir| always(corpus::lora, dir),
        files: &[
            ("adapter_config.json", Json),
            ("adapter_config.json", Json),
            ("adapter_model.safetensors", Safetensors),
            ("glmtune.json", Json),
        ],
        read: lora,
        share: 80,
    },
    Target {
        name: "prefix",
        write: |dir| always(corpus::prefix, dir),
        files: &[("config.json", Json), ("model.safetensors", Safetensors)],
        read: prefix,
        share: 40,
    },
    Target {
        name: "merge",
        write: |dir| always(merged_directories, dir),
        files: &[
            ("base/config.json", Json),
            ("base/model.safetensors", Safetensors),
            ("adapter/adapter_config.json", Json),
            ("adapter/adapter_model.safetensors", Safetensors),
        ],
        read: merge,
        share: 30,
    },
    Target {
        name: "rows",
        write: |dir| always(corpus::rows, dir),
        files: &[
            ("rows.jsonl", Lines),
            ("rows.json", Json),
            ("rows.jsonl", Text),
        ],
        read: rows,
        share: 70,
    },
    Target {
        name: "DeepSpeed file",
        write: |dir| always(corpus::deepspeed, dir),
        files: &[("ds.json", Json)],
        read: |dir| {
            let config =
                DeepSpeedConfig::read(&dir.join("ds.json")).map_err(|error| error.to_string())?;
            Ok(digest(&format!("{config:?}")))
        },
        share: 50,
    },
    Target {
        name: "TOML",
        write: |dir| always(corpus::settings, dir),
        files: &[("run.toml", Text)],
        read: settings,
        share: 50,
    },
    Target {
        name: "metrics",
        write: |dir| always(corpus::metrics, dir),
        files: &[("metrics.jsonl", Lines)],
        read: |dir| {
            MetricsFile::open(dir, 4).map_err(|error| error.to_string())?;
            Ok(digest(&fs::read(dir.join("metrics.jsonl")).unwrap()))
        },
        share: 40,
    },
    Target {
        name: "tokenizer.json",
        write: |dir| always(corpus::tokenizer_json, dir),
        files: &[("tokenizer.json", Json), ("tokenizer_config.json", Json)],
        read: tokenizer,
        share: 40,
    },
    Target {
        name: "ice_text.model",
        write: |dir| published(dir, "chatglm-6b", "ice_text.model"),
        files: &[
            ("ice_text.model", Protobuf),
            ("tokenizer_config.json", Json),
        ],
        read: tokenizer,
        share: 20,
    },
    Target {
        name: "tokenizer.model (SentencePiece)",
        write: |dir| published(dir, "chatglm3-6b", "tokenizer.model"),
        files: &[
            ("tokenizer.model", Protobuf),
            ("tokenizer_config.json", Json),
        ],
        read: tokenizer,
        share: 20,
    },
    Target {
        name: "tokenizer.model (ranks)",
        write: |dir| match corpus::published("glm-4-9b-chat") {
            Some(from) => {
                corpus::ranks(dir, &from);
                true
            }
            None => false,
        },
        files: &[("tokenizer.model", Text), ("tokenizer_config.json", Json)],
        read: tokenizer,
        share: 20,
    },
    Target {
        name: "any bytes as weights",
        write: |dir| always(corpus::safetensors, dir),
        files: &[("model.safetensors", Bytes)],
        read: safetensors,
        share: 0,
    },
];

fn published(dir: &Path, directory: &str, name: &str) -> bool {
    let Some(from) = corpus::published(directory) else {
        return false;
    };
    corpus::sentencepiece(dir, &from, name);
    true
}

fn digest(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Everything of a checkpoint; shapes, types and bytes must fit each other.
fn checkpoint(dir: &Path) -> Reading {
    read_all(&Checkpoint::open(dir).map_err(|error| error.to_string())?)
}

fn read_all(checkpoint: &Checkpoint) -> Reading {
    let mut hasher = DefaultHasher::new();
    for info in checkpoint.entries() {
        let raw = checkpoint
            .read(&info.name)
            .map_err(|error| error.to_string())?;
        assert_eq!((&raw.shape, raw.dtype), (&info.shape, info.dtype));
        assert_eq!(
            raw.bytes.len(),
            info.elements() * info.dtype.size(),
            "{info:?}"
        );
        if info.dtype.is_float() {
            let wide = checkpoint
                .read_as(&info.name, DType::F32)
                .map_err(|error| error.to_string())?;
            assert_eq!(wide.bytes.len(), 4 * info.elements());
        }
        (&info.name, &raw.shape, raw.dtype, &raw.bytes).hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// The same, held against a reading of the header as plain JSON.
fn safetensors(dir: &Path) -> Reading {
    let path = dir.join("model.safetensors");
    let checkpoint = Checkpoint::open_file(&path).map_err(|error| error.to_string())?;
    let bytes = fs::read(&path).unwrap();
    let (header, data) = split(&bytes).expect("accepted, though the header does not fit");
    let header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(header).expect("accepted, though the header is not JSON");
    let mut count = 0;
    for (name, entry) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        let offset = |index: usize| entry["data_offsets"][index].as_u64().unwrap() as usize;
        let raw = checkpoint.read(name).map_err(|error| error.to_string())?;
        assert_eq!(raw.bytes, data[offset(0)..offset(1)], "tensor {name:?}");
        count += 1;
    }
    assert_eq!(count, checkpoint.entries().len());
    read_all(&checkpoint)
}

fn config(dir: &Path) -> Reading {
    let config = ModelConfig::from_dir(dir).map_err(|error| error.to_string())?;
    let model =
        CausalLm::<Backend>::uninitialized(&config, &BuildOptions::float32(), &Default::default());
    let elements: u64 = parameters(&model)
        .iter()
        .map(|info| info.elements() as u64)
        .sum();
    Ok(digest(&format!("{config:?} {elements}")))
}

fn model(dir: &Path) -> Reading {
    let device = Default::default();
    let dtype = burn::tensor::DType::F32;
    let read = Pretrained::<Backend>::load(dir, None, dtype, &device, &mut |_, _, _| ());
    let pretrained = read.map_err(|error| error.to_string())?;
    let batch = TokenBatch::new(vec![vec![1, 2, 3]], Padding::Right, 0);
    if pretrained.config.common().vocab_size <= 3 {
        return Ok(0);
    }
    let logits = pretrained
        .model
        .forward(&batch)
        .map_err(|error| error.to_string())?;
    let logits = logits.into_data().to_vec::<f32>().unwrap();
    let bits: Vec<u32> = logits.iter().map(|value| value.to_bits()).collect();
    Ok(digest(&bits))
}

fn lora(dir: &Path) -> Reading {
    let failed = |error: glmtune::model::Error| error.to_string();
    AdapterKind::detect(dir).map_err(failed)?;
    let adapter = LoraAdapter::open(dir).map_err(failed)?;
    let meta = AdapterMeta::read(dir).map_err(failed)?;
    for pair in adapter.pairs() {
        assert!(pair.rank > 0 && pair.in_features > 0 && pair.out_features > 0);
        let (a, b) = adapter.read(pair, DType::F32).map_err(failed)?;
        assert_eq!(a.shape, [pair.rank, pair.in_features]);
        assert_eq!(b.shape, [pair.out_features, pair.rank]);
    }
    let zero = adapter.is_without_effect().map_err(failed)?;
    Ok(digest(&format!(
        "{:?} {:?} {zero} {meta:?}",
        adapter.pairs(),
        adapter.config()
    )))
}

fn prefix(dir: &Path) -> Reading {
    let adapter = PrefixAdapter::open(dir).map_err(|error| error.to_string())?;
    for info in adapter.tensors() {
        adapter
            .read(&info.name, DType::F32)
            .map_err(|error| error.to_string())?;
    }
    Ok(digest(&format!("{:?}", adapter.tensors())))
}

fn merged_directories(dir: &Path) {
    for name in ["base", "adapter"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    corpus::model(&dir.join("base"));
    corpus::lora(&dir.join("adapter"));
}

fn merge(dir: &Path) -> Reading {
    let failed = |error: glmtune::model::Error| error.to_string();
    let merge = Merge::open(&dir.join("base"), &[dir.join("adapter")], None).map_err(failed)?;
    let plan = merge.plan(1 << 30).map_err(failed)?;
    let out = tempfile::tempdir().unwrap();
    let mut go_on = |_: &str, _, _| std::ops::ControlFlow::Continue(());
    let done = merge.write(out.path(), plan, &mut go_on).map_err(failed)?;
    assert!(done.is_continue());
    read_all(&Checkpoint::open(out.path()).map_err(failed)?)
}

fn rows(dir: &Path) -> Reading {
    let mut found = String::new();
    for name in ["rows.jsonl", "rows.json"] {
        let rows =
            read_rows(&dir.join(name), &RowFormat::default()).map_err(|error| error.to_string())?;
        found += &format!("{rows:?}");
    }
    Ok(digest(&found))
}

fn settings(dir: &Path) -> Reading {
    let path = dir.join("run.toml");
    let args = ["glmtune", "train", "--config"]
        .map(OsString::from)
        .into_iter();
    let args = args.chain([path.into_os_string()]).collect();
    let expanded = glmtune::settings_file::expand(args, |_| Ok(Vec::new()));
    Ok(digest(&expanded.map_err(|error| error.to_string())?))
}

fn tokenizer(dir: &Path) -> Reading {
    let found = Tokenizer::find(dir, None).map_err(|error| error.to_string())?;
    let Some(tokenizer) = found else { return Ok(0) };
    let mut hasher = DefaultHasher::new();
    for text in ["a  b\n\t你好<|user|> 12345 👍", "", "[gMASK] sop </s> é"] {
        let ids = tokenizer.encode(text).unwrap_or_default();
        tokenizer.decode(&ids).hash(&mut hasher);
        ids.hash(&mut hasher);
    }
    let mut stream = tokenizer.decode_stream();
    for id in [0, 1, 5, 200, 65_000, 151_000, u32::MAX] {
        stream.push(id);
    }
    stream.finish();
    Ok(hasher.finish())
}
