//! `score` against the golden values, through the command line alone.

use glmtune::model::checkpoint::{Checkpoint, DType};
use serde_json::{Value, json};

use crate::common::rope_ratio::LongContext;
use crate::common::{FAMILIES, golden};
use crate::{file, glmtune};

/// The rows of a golden batch as a data file.
pub fn rows(fixtures: &Checkpoint) -> String {
    let read = |name: &str| -> Vec<Vec<i64>> {
        let raw = fixtures.read(name).unwrap();
        let values = raw.bytes.chunks_exact(8);
        let values: Vec<i64> = values
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
            .collect();
        values.chunks(raw.shape[1]).map(<[i64]>::to_vec).collect()
    };
    let rows = read("input_ids").into_iter().zip(read("labels"));
    let lines = rows.map(|(ids, labels)| json!({"input_ids": ids, "labels": labels}).to_string());
    lines.collect::<Vec<_>>().join("\n")
}

/// A tensor in float32.
pub fn floats(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let raw = checkpoint.read_as(name, DType::F32).unwrap();
    let values = raw.bytes.chunks_exact(4);
    values
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

/// The largest difference over the largest value.
pub fn error(found: &[f32], expected: &[f32]) -> f32 {
    let largest = expected.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let pairs = found.iter().zip(expected);
    pairs.fold(0.0f32, |max, (a, b)| max.max((a - b).abs())) / largest
}

#[test]
fn logits_and_losses_of_every_family_and_adapter() {
    for family in FAMILIES {
        for run in ["base", "lora", "lora_all"] {
            check(family, run);
        }
    }
}

/// `rope_ratio` divides the positions of ChatGLM2 and multiplies the base of ChatGLM3: where no tokenizer
/// tells which of them a model is, the flag does, and else what is assumed is said.
#[test]
fn rope_ratio_is_what_the_mode_says() {
    for (family, mode) in [
        ("chatglm2", Some("glm2")),
        ("chatglm3", Some("glm3")),
        ("chatglm3", Some("glm4")),
        ("chatglm3", None),
    ] {
        let case = LongContext::of(family);
        let dir = tempfile::tempdir().unwrap();
        let row = json!({"input_ids": case.input_ids, "labels": case.input_ids});
        let data = file(&dir, "rows.jsonl", &row.to_string());
        let dump = dir.path().join("logits.safetensors");
        let model = case.model.path().to_str().unwrap();
        let mut args = vec!["score", "--backend", "flex", "--dtype", "f32"];
        args.extend(["--model_name_or_path", model, "--data", &data]);
        args.extend(["--dump", dump.to_str().unwrap()]);
        args.extend(mode.iter().flat_map(|mode| ["--mode", mode]));
        let run = glmtune(&args);
        let assumed = run
            .stderr
            .contains("taken for ChatGLM3, whose rope_ratio multiplies");
        assert_eq!(assumed, mode.is_none(), "{}", run.stderr);
        run.success();
        let dumped = Checkpoint::open_file(&dump).unwrap();
        let error = error(&floats(&dumped, "logits.0"), &case.logits);
        assert!(error < 1e-5, "{family} {mode:?}: {error:e}");
    }
}

fn check(family: &str, run: &str) {
    let dir = tempfile::tempdir().unwrap();
    let model = golden(family).to_str().unwrap().to_string();
    let adapter = golden(family).join(run).to_str().unwrap().to_string();
    let fixtures = Checkpoint::open_file(&golden(family).join("fixtures.safetensors")).unwrap();
    let data = file(&dir, "rows.jsonl", &rows(&fixtures));
    let dump = dir
        .path()
        .join("logits.safetensors")
        .to_str()
        .unwrap()
        .to_string();
    let mut args = vec!["score", "--backend", "flex", "--model_name_or_path", &model];
    args.extend(["--data", &data, "--dump", &dump]);
    if run != "base" {
        args.extend(["--adapter", &adapter]);
    }
    let scores = glmtune(&args).json_lines();

    let expected = floats(&fixtures, &format!("{run}.logits"));
    let dumped = Checkpoint::open_file(dump.as_ref()).unwrap();
    let per_row = expected.len() / scores.len();
    for index in 0..scores.len() {
        let name = format!("logits.{index}");
        let expected = &expected[index * per_row..(index + 1) * per_row];
        assert_eq!(dumped.get(&name).unwrap().shape.len(), 2);
        let error = error(&floats(&dumped, &name), expected);
        assert!(
            error < 1e-5,
            "{family}, {run}: row {index} differs by {error:e}"
        );
    }
    // The golden loss is the mean over the targets of both rows.
    let number = |score: &Value, key: &str| score[key].as_f64().unwrap();
    let targets: f64 = scores.iter().map(|score| number(score, "tokens")).sum();
    let sum: f64 = scores
        .iter()
        .map(|s| number(s, "loss") * number(s, "tokens"))
        .sum();
    let expected = f64::from(floats(&fixtures, &format!("{run}.loss"))[0]);
    assert!(
        (sum / targets / expected - 1.0).abs() < 1e-5,
        "{family}, {run}: {}",
        sum / targets
    );
    assert!((number(&scores[0], "perplexity").ln() - number(&scores[0], "loss")).abs() < 1e-9);
}
