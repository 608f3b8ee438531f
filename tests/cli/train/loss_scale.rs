//! Half precision: the loss scale from the first step on, and what a step that is left out moves.

use std::fs;
use std::path::Path;

use super::{GoldenRun, column, metrics};

/// A DeepSpeed file with settings of the loss scale.
fn ds_file(golden: &GoldenRun, fp16: &str) -> String {
    let path = golden.folder.path().join("scale.json");
    let text = format!(r#"{{"fp16": {{"enabled": true, {fp16}}}}}"#);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_string()
}

/// Whether each step changed the weights.
fn applied(output: &Path) -> Vec<bool> {
    let norms = column(output, "grad_norm").into_iter();
    norms.map(f64::is_finite).collect()
}

#[test]
fn no_step_is_left_out_with_the_usual_scales() {
    let dynamic = r#""loss_scale": 0"#;
    let fixed = r#""loss_scale": 65536"#;
    for family in ["chatglm", "chatglm2", "chatglm3", "glm4"] {
        for scale in [dynamic, fixed] {
            let golden = GoldenRun::new(family, "all");
            let file = ds_file(&golden, scale);
            let flags = ["--backend", "flex", "--dtype", "f16", "--ds_file", &file];
            let output = golden.train("out", &flags);
            assert_eq!(applied(&output), [true; 12], "{family} {scale}");
            let lr = golden.trajectory("all", "lr");
            assert_eq!(column(&output, "lr").len(), lr.len());
            for name in ["loss", "grad_norm"] {
                let expected = golden.trajectory("all", name);
                for (a, b) in column(&output, name).iter().zip(&expected) {
                    let error = (a - b).abs() / b;
                    assert!(error <= 0.02, "{family} {scale}: {name}: {a} {b}");
                }
            }
        }
    }
}

/// As in DeepSpeed, the schedule moves on with the updates; and it goes on there after a resume.
#[test]
fn a_step_that_is_left_out_does_not_move_the_schedule() {
    let golden = GoldenRun::new("chatglm2", "lora_all");
    let file = ds_file(&golden, r#""initial_scale_power": 18, "hysteresis": 1"#);
    let flags = ["--backend", "flex", "--dtype", "f16", "--ds_file", &file];
    let whole = golden.train("whole", &flags);
    let applied = applied(&whole);
    let left_out = applied.iter().filter(|&&applied| !applied).count();
    assert!((3..10).contains(&left_out), "{applied:?}");
    assert_eq!(metrics(&whole).len(), 12, "every step is counted");
    let expected = golden.trajectory("lora_all", "lr");
    let mut updates = 0;
    for (lr, applied) in column(&whole, "lr").iter().zip(&applied) {
        assert!(
            (lr - expected[updates]).abs() <= 1e-9,
            "{lr} after {updates} updates"
        );
        updates += usize::from(*applied);
    }

    let part = golden.train("part", &[&flags[..], &["--max_steps", "4"]].concat());
    golden.train("part", &[&flags[..], &["--resume"]].concat());
    for name in ["loss", "lr", "grad_norm"] {
        let text = |output: &Path| format!("{:?}", column(output, name));
        assert_eq!(text(&part), text(&whole));
    }
}

/// A step whose loss is not a number is not a good one: it lowers the scale as an overflow does.
#[test]
fn a_loss_that_is_not_a_number_counts_as_an_overflow() {
    let golden = GoldenRun::new("chatglm2", "all");
    let file = ds_file(&golden, r#""initial_scale_power": 4, "hysteresis": 1"#);
    let flags = ["--backend", "flex", "--dtype", "f16", "--ds_file", &file];
    let wild = [
        "--learning_rate",
        "1e30",
        "--warmup_ratio",
        "0",
        "--on_nan",
        "skip",
    ];
    let said = golden.run("out", &[&flags[..], &wild].concat()).success();
    let losses = column(&golden.folder.path().join("out"), "loss");
    assert!(losses.iter().any(|loss| !loss.is_finite()), "{losses:?}");
    for scale in ["loss scale now 8", "loss scale now 4"] {
        assert!(said.contains(scale), "{said}");
    }
    assert!(said.contains(": skipped"), "{said}");
}
