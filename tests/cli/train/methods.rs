//! What each method trains, writes and refuses.

use std::fs;
use std::path::Path;

use super::{GoldenRun, column};
use crate::common::golden;
use crate::{file, glmtune, tiny};

const ROW: &str = r#"{"instruction": "a ", "input": "b", "output": "c d e"}"#;

fn train(dir: &tempfile::TempDir, model: &str, rows: &str, more: &[&str]) -> crate::Run {
    let rows = file(dir, "rows.jsonl", rows);
    let output = dir.path().join("out");
    let mut args = vec![
        "train",
        "--model_name_or_path",
        model,
        "--train_path",
        &rows,
    ];
    args.extend(["--output_dir", output.to_str().unwrap(), "--no_cache"]);
    args.extend(["--backend", "flex", "--max_steps", "2"]);
    args.extend(more);
    glmtune(&args)
}

/// Scores of a rows file by a model, with more arguments.
fn losses(model: &str, rows: &str, more: &[&str]) -> Vec<f64> {
    let mut args = vec!["score", "--backend", "flex", "--model_name_or_path", model];
    args.extend(["--data", rows]);
    args.extend(more);
    let lines = glmtune(&args).json_lines();
    lines
        .iter()
        .map(|line| line["loss"].as_f64().unwrap())
        .collect()
}

#[test]
fn outputs_load_again_and_have_learned() {
    for (family, run) in [
        ("chatglm", "lora_all"),
        ("chatglm2", "prefix_projection"),
        ("chatglm3", "all"),
        ("glm4", "freeze"),
    ] {
        let golden_run = GoldenRun::new(family, run);
        let output = golden_run.train("out", &["--backend", "flex"]);
        let saved = output.join("epoch-1-step-12");
        let saved = saved.to_str().unwrap();
        let (base, rows) = (golden(family), golden_run.folder.path().join("rows.jsonl"));
        let (base, rows) = (base.to_str().unwrap(), rows.to_str().unwrap());
        let before = losses(base, rows, &[]);
        let after = match run {
            "all" | "freeze" => losses(saved, rows, &[]),
            _ => losses(base, rows, &["--adapter", saved]),
        };
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        assert!(
            mean(&after) < mean(&before) - 0.05,
            "{family} {run}: {} → {}",
            mean(&before),
            mean(&after)
        );
    }
}

#[test]
fn a_training_goes_on_from_its_own_adapter() {
    let run = GoldenRun::new("chatglm2", "lora");
    let first = run.train("first", &["--backend", "flex"]);
    let adapter = first.join("epoch-1-step-12");
    // Of a flag that comes twice, the last one would be added: several adapters are refused.
    let mut args = vec!["train", "--no_shuffle", "--no_cache", "--backend", "flex"];
    let (base, rows) = (golden("chatglm2"), run.folder.path().join("rows.jsonl"));
    let output = run.folder.path().join("second");
    args.extend(["--model_name_or_path", base.to_str().unwrap()]);
    args.extend(["--train_path", rows.to_str().unwrap()]);
    args.extend(["--output_dir", output.to_str().unwrap()]);
    args.extend([
        "--adapter",
        adapter.to_str().unwrap(),
        "--lora_dropout",
        "0",
    ]);
    glmtune(&args).success();
    let (first, second) = (column(&first, "loss"), column(&output, "loss"));
    assert!(second[0] < first[0], "{} {}", second[0], first[0]);
}

/// PEFT's own adapter, trained on by PEFT, and ours after the same steps hold the same factors.
#[test]
fn the_trained_adapter_is_that_of_peft() {
    use glmtune::model::adapters::LoraAdapter;
    use glmtune::model::checkpoint::DType;
    for run in ["lora", "lora_all"] {
        let golden_run = GoldenRun::new("chatglm2", run);
        let output = golden_run.train("out", &["--backend", "flex"]);
        let ours = LoraAdapter::open(&output.join("epoch-1-step-12")).unwrap();
        let theirs = golden("chatglm2").join(format!("{run}_trained"));
        let theirs = LoraAdapter::open(&theirs).unwrap();
        assert_eq!(ours.pairs().len(), theirs.pairs().len());
        for pair in theirs.pairs() {
            let same = |other: &&glmtune::model::adapters::LoraPair| other.module == pair.module;
            let found = ours.pairs().iter().find(same).unwrap();
            assert_eq!(found.scaling, pair.scaling);
            let floats = |bytes: &[u8]| -> Vec<f32> {
                let chunks = bytes.chunks_exact(4);
                chunks
                    .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                    .collect()
            };
            let (a, b) = ours.read(found, DType::F32).unwrap();
            let (expected_a, expected_b) = theirs.read(pair, DType::F32).unwrap();
            for (ours, theirs) in [(a, expected_a), (b, expected_b)] {
                crate::common::fixtures::assert_close(
                    &pair.module,
                    &floats(&ours.bytes),
                    &floats(&theirs.bytes),
                    1e-3,
                );
            }
        }
    }
}

#[test]
fn trainable_parameters_are_named_and_counted() {
    let (dir, model) = tiny("glm2");
    let said = train(&dir, &model, ROW, &["--lora_dim", "2", "--max_len", "64"]).success();
    assert!(
        said.contains(
            "transformer.encoder.layers.3.self_attention.query_key_value.lora_A.weight [2, 64]"
        ),
        "{said}"
    );
    // Four blocks, each 2 · (64 + 64 + 2 · 2 · 16).
    assert!(
        said.contains("trainable params: 1,536 || all params: "),
        "{said}"
    );
    assert!(said.contains("rows: 1, skipped: 0, truncated: 0"), "{said}");
}

#[test]
fn names_that_match_nothing_list_near_ones() {
    let (dir, model) = tiny("glm2");
    let error = train(&dir, &model, ROW, &["--lora_module_name", "query_key_valu"]).failure(2);
    assert!(error.contains("near names: query_key_value"), "{error}");
    let freeze = [
        "--train_type",
        "freeze",
        "--freeze_module_name",
        "layers.3.,layers.27.",
    ];
    let error = train(&dir, &model, ROW, &freeze).failure(2);
    assert!(
        error.contains("`layers.27.` matches no parameter"),
        "{error}"
    );
    assert!(error.contains("layers.2."), "{error}");
}

#[test]
fn all_wrong_settings_are_named_together() {
    let (dir, model) = tiny("glm2");
    let wrong = [
        "--lora_dropout",
        "1.5",
        "--learning_rate=-1",
        "--warmup_ratio",
        "2",
        "--lora_dim",
        "0",
    ];
    let error = train(&dir, &model, ROW, &wrong).failure(2);
    for name in [
        "lora_dropout is 1.5",
        "learning_rate is -1",
        "warmup_ratio is 2",
        "lora_dim is 0",
    ] {
        assert!(error.contains(name), "{name}: {error}");
    }
}

#[test]
fn a_row_without_targets_is_refused_by_line() {
    let (dir, model) = tiny("glm2");
    let rows = format!("{ROW}\n{{\"input_ids\": [5, 6], \"labels\": [-100, -100]}}\n");
    let error = train(&dir, &model, &rows, &[]).failure(2);
    assert!(
        error.contains("rows.jsonl:2: no token to predict"),
        "{error}"
    );
    assert!(
        !dir.path().join("out").exists(),
        "nothing is written for a bad request"
    );
}

#[test]
fn an_infinite_loss_stops_or_skips_and_names_the_rows() {
    let (dir, model) = tiny("glm2");
    let rows = format!("{ROW}\n").repeat(4);
    let wild = [
        "--train_type",
        "all",
        "--learning_rate",
        "1e30",
        "--max_grad_norm",
        "0",
        "--max_steps",
        "4",
        "--per_device_train_batch_size",
        "1",
        "--warmup_ratio",
        "0",
    ];
    let error = train(&dir, &model, &rows, &wild).failure(1);
    assert!(error.contains("not finite: step "), "{error}");
    assert!(error.contains("rows of line "), "{error}");
    let mut skip = wild.to_vec();
    skip.extend(["--on_nan", "skip"]);
    let said = train(&dir, &model, &rows, &skip).success();
    assert!(said.contains(": skipped"), "{said}");
    assert_eq!(column(&dir.path().join("out"), "loss").len(), 4);
}

#[test]
fn old_outputs_go_when_a_limit_is_set() {
    let (dir, model) = tiny("glm3");
    let rows = format!("{ROW}\n").repeat(8);
    let more = [
        "--per_device_train_batch_size",
        "1",
        "--max_steps",
        "6",
        "--save_model_step",
        "2",
        "--save_total_limit",
        "2",
    ];
    train(&dir, &model, &rows, &more).success();
    let exists = |name: &str| dir.path().join("out").join(name).exists();
    assert!(!exists("epoch-1-step-2"));
    assert!(exists("epoch-1-step-4") && exists("epoch-1-step-6"));
}

#[test]
fn another_prompt_mode_is_refused() {
    let (dir, model) = tiny("glm3");
    train(&dir, &model, ROW, &[]).success();
    let adapter = dir.path().join("out/epoch-1-step-1");
    let adapter = adapter.to_str().unwrap();
    let args = [
        "generate",
        "--model_name_or_path",
        &model,
        "--adapter",
        adapter,
    ];
    let args = [&args[..], &["--prompt", "a", "--mode", "glm2"]].concat();
    let error = glmtune(&args).failure(2);
    assert!(error.contains("trained with --mode glm3"), "{error}");
    let meta = fs::read_to_string(Path::new(adapter).join("glmtune.json")).unwrap();
    let meta: serde_json::Value = serde_json::from_str(&meta).unwrap();
    assert_eq!(meta["training"]["train_type"], "lora");
    assert_eq!(meta["training"]["learning_rate"], 1e-3);
}

#[test]
fn a_settings_file_gives_the_same_run_as_its_flags() {
    let (dir, model) = tiny("glm2");
    let rows = format!("{ROW}\n").repeat(6);
    let flags = [
        "--lora_dim",
        "4",
        "--learning_rate",
        "2e-3",
        "--per_device_train_batch_size",
        "2",
    ];
    train(&dir, &model, &rows, &flags).success();
    let settings = dir.path().join("out/settings.toml");
    let again = dir.path().join("again");
    let args = [
        "train",
        "--config",
        settings.to_str().unwrap(),
        "--output_dir",
    ];
    glmtune(&[&args[..], &[again.to_str().unwrap()]].concat()).success();
    let (first, second) = (dir.path().join("out"), again);
    assert_eq!(column(&first, "loss"), column(&second, "loss"));
    let text = |dir: &Path| fs::read_to_string(dir.join("settings.toml")).unwrap();
    let kept = |text: String| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with("output_dir"));
        lines.map(str::to_string).collect()
    };
    assert_eq!(kept(text(&first)), kept(text(&second)));
}
