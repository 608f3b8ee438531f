//! Checkpoints that were written by hand: every digest is right, the contents are not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::resume::Case;
use crate::glmtune;

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn load(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let parts = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
        (name, parts)
    });
    tensors.collect()
}

fn store(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
        (name.as_str(), view)
    });
    fs::write(path, serialize(views, None).unwrap()).unwrap();
}

/// Changes the state and signs it, with the digests of the files as they are.
fn sign(dir: &Path, change: impl Fn(&mut Value)) {
    let path = dir.join("state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for name in ["weights.safetensors", "optimizer.safetensors"] {
        let bytes = fs::read(dir.join(name)).unwrap();
        state["files"][name] = json!({"bytes": bytes.len(), "sha256": digest(&bytes)});
    }
    change(&mut state);
    let zeros = "0".repeat(64);
    state["sha256"] = zeros.clone().into();
    let text = serde_json::to_string_pretty(&state).unwrap();
    let (before, after) = text.rsplit_once(&zeros).unwrap();
    let signed = [before, &digest(text.as_bytes()), after].concat();
    fs::write(&path, signed).unwrap();
}

/// A run with one checkpoint, and the files of that one.
struct Stopped {
    case: Case,
    output: String,
    files: BTreeMap<String, Vec<u8>>,
}

impl Stopped {
    fn new() -> Self {
        let case = Case::new();
        let output = case.output("out");
        glmtune(&case.args(&output, &["--max_steps", "2"])).success();
        let dir = Path::new(&output).join("checkpoint/step-2");
        let entries = fs::read_dir(dir).unwrap();
        let files = entries.map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            (name, fs::read(path).unwrap())
        });
        let files = files.collect();
        Self {
            case,
            output,
            files,
        }
    }

    /// What `--resume` says after a change of the checkpoint, which is undone then.
    fn refused(&self, change: impl Fn(&Path)) -> String {
        let dir = Path::new(&self.output).join("checkpoint/step-2");
        change(&dir);
        let error = glmtune(&self.case.args(&self.output, &["--resume"])).failure(2);
        for (name, bytes) in &self.files {
            fs::write(dir.join(name), bytes).unwrap();
        }
        error
    }
}

#[test]
fn a_place_that_the_run_cannot_stand_at_is_refused() {
    let stopped = Stopped::new();
    // What is signed anew and not changed is taken: the signature is not what refuses the others.
    let dir = Path::new(&stopped.output).join("checkpoint/step-2");
    sign(&dir, |_| {});
    glmtune(
        &stopped
            .case
            .args(&stopped.output, &["--resume", "--max_steps", "2"]),
    )
    .success();
    for (key, value, part) in [
        ("step", json!(3), "is of step 3"),
        ("micro_batch", json!(1000), "micro-batch 1000"),
        ("micro_batch", json!(3), "micro-batch 3"),
        ("epoch", json!(1), "counts 2 steps"),
        ("epoch", json!(u64::MAX), "micro-batch 4"),
        ("updates", json!(3), "3 updates"),
        ("updates", json!(-1), "invalid value"),
        (
            "loss_scale",
            json!({"scale": 2.0, "good_steps": 0, "tolerated": 1}),
            "has a loss scale",
        ),
    ] {
        let error = stopped.refused(|dir| {
            sign(dir, |state| state["progress"][key] = value.clone());
        });
        assert!(error.contains(part), "{key}: {error}");
    }
    let error = stopped.refused(|dir| {
        sign(dir, |state| {
            let files = state["files"].as_object_mut().unwrap();
            files.remove("optimizer.safetensors");
        });
    });
    assert!(error.contains("does not vouch for optimizer"), "{error}");
    let error = stopped.refused(|dir| {
        let path = dir.join("state.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replacen("\"updates\": 2", "\"updates\": 1", 1)).unwrap();
    });
    assert!(error.contains("its digest differs"), "{error}");
}

#[test]
fn tensors_that_are_missing_or_odd_are_named() {
    let stopped = Stopped::new();
    type Change = fn(&mut Tensors, &str);
    let changes: [(Change, &str); 5] = [
        (|tensors, name| drop(tensors.remove(name)), "is missing"),
        (
            |tensors, name| {
                let odd = tensors.get_mut(name).unwrap();
                odd.1 = vec![odd.1.iter().product()];
            },
            "has shape",
        ),
        (
            |tensors, name| {
                let odd = tensors.get_mut(name).unwrap();
                odd.0 = Dtype::F16;
                odd.2.truncate(odd.2.len() / 2);
            },
            "must be f32",
        ),
        (
            |tensors, name| {
                let odd = tensors.get_mut(name).unwrap();
                odd.2[..4].copy_from_slice(&f32::NAN.to_le_bytes());
            },
            "holds a NaN",
        ),
        (
            |tensors, name| {
                let odd = tensors.remove(name).unwrap();
                tensors.insert(format!("{name}.more"), odd);
            },
            "is missing",
        ),
    ];
    for file in ["weights.safetensors", "optimizer.safetensors"] {
        let path = Path::new(&stopped.output)
            .join("checkpoint/step-2")
            .join(file);
        // The last one: of the optimizer, a mean of squares.
        let name = load(&path).into_keys().next_back().unwrap();
        for (change, part) in &changes {
            let error = stopped.refused(|dir| {
                let path = dir.join(file);
                let mut tensors = load(&path);
                change(&mut tensors, &name);
                store(&path, &tensors);
                sign(dir, |_| {});
            });
            assert!(error.contains(&format!("`{name}`")), "{file}: {error}");
            assert!(error.contains(part), "{file}: {error}");
            assert!(error.contains(file), "{error}");
        }
    }
    let error = stopped.refused(|dir| {
        store(&dir.join("optimizer.safetensors"), &Tensors::new());
        sign(dir, |_| {});
    });
    assert!(error.contains("`exp_avg.transformer."), "{error}");
    let error = stopped.refused(|dir| {
        let path = dir.join("optimizer.safetensors");
        let mut tensors = load(&path);
        let name = tensors.keys().next_back().unwrap().clone();
        let odd = tensors.get_mut(&name).unwrap();
        odd.2[..4].copy_from_slice(&(-1f32).to_le_bytes());
        store(&path, &tensors);
        sign(dir, |_| {});
    });
    assert!(error.contains("exp_avg_sq."), "{error}");
    assert!(error.contains("holds a -1"), "{error}");
}

/// A size that is wrong is seen without reading: nothing that never ends, or is huge, is digested.
#[cfg(unix)]
#[test]
fn sizes_are_looked_at_before_contents() {
    let stopped = Stopped::new();
    for (file, part) in [
        (
            "weights.safetensors",
            "truncated or damaged: 1099511627776 bytes",
        ),
        (
            "optimizer.safetensors",
            "truncated or damaged: 1099511627776 bytes",
        ),
        ("state.json", "state.json"),
    ] {
        let error = stopped.refused(|dir| {
            let sparse = fs::File::create(dir.join(file)).unwrap();
            sparse.set_len(1 << 40).unwrap();
        });
        assert!(error.contains(part), "{error}");
    }
}
