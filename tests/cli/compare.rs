//! `glmtune compare`: methods side by side on a tiny base, also when it is killed again and again, when a method
//! fails, and when its settings are wrong.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::{command, glmtune, tiny};

const ROWS: &str = r#"{"instruction": "say ", "input": "a", "output": "a_r_b"}
{"instruction": "say ", "input": "b", "output": "b_r_c"}
{"instruction": "say ", "input": "c", "output": "c_r_d"}
"#;
const ABILITIES: &str = r#"{"ability": "copy", "instruction": "copy ", "input": "x", "output": "x"}
{"ability": "copy", "instruction": "copy ", "input": "y", "output": "y"}
{"ability": "sum", "instruction": "1+1=", "input": "", "output": "2"}
"#;
const SETTINGS: &str = r#"
base = "model"
train = "train.jsonl"
test = "train.jsonl"
abilities = "abilities.jsonl"
task = "triples"
seeds = [1]
[defaults]
max_len = 48
max_src_len = 24
per_device_train_batch_size = 1
num_train_epochs = 2
save_model_step = 2
backend = "flex"
dtype = "f32"
no_cache = true
[predict]
max_new_tokens = 4
batch_size = 2
[[method]]
name = "LoRA"
train_type = "lora"
lora_dim = 2
learning_rate = 0.3
val_size = 1
eval_steps = 1
load_best_model_at_end = true
[[method]]
name = "full <b>"
train_type = "all"
learning_rate = 1e-3
"#;

/// A folder with a base, rows and settings.
struct Place {
    _dir: tempfile::TempDir,
    root: PathBuf,
    config: String,
}

impl Place {
    fn new(settings: &str) -> Self {
        let (dir, _) = tiny("glm2");
        let root = dir.path().to_path_buf();
        std::fs::write(root.join("train.jsonl"), ROWS).unwrap();
        std::fs::write(root.join("abilities.jsonl"), ABILITIES).unwrap();
        std::fs::write(root.join("compare.toml"), settings).unwrap();
        Self {
            config: root.join("compare.toml").display().to_string(),
            root,
            _dir: dir,
        }
    }

    fn args<'a>(&'a self, out: &'a str) -> [&'a str; 5] {
        ["compare", "--config", &self.config, "--output_dir", out]
    }

    fn out(&self, name: &str) -> String {
        self.root.join(name).display().to_string()
    }
}

/// What of the results does not depend on clocks and memory.
fn results(out: &str) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(strip),
            Value::Object(map) => {
                map.remove("measured");
                map.values_mut().for_each(strip);
            }
            _ => {}
        }
    }
    let text = std::fs::read_to_string(Path::new(out).join("results.json")).unwrap();
    let mut value = serde_json::from_str(&text).unwrap();
    strip(&mut value);
    value
}

#[test]
fn a_comparison_that_was_killed_ends_with_the_same_results() {
    let place = Place::new(SETTINGS);
    let whole = place.out("whole");
    let said = glmtune(&place.args(&whole)).success();
    assert!(said.contains("LoRA: f1 "), "{said}");

    let killed = place.out("killed");
    let mut random = rand_chacha::ChaCha8Rng::from_os_rng();
    for _ in 0..5 {
        let mut child = command(&place.args(&killed))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(random.random_range(50..2500)));
        let _ = child.kill();
        child.wait().unwrap();
    }
    glmtune(&place.args(&killed)).success();
    let expected = results(&whole);
    assert_eq!(results(&killed), expected);
    assert_eq!(expected["methods"][0]["runs"][0]["state"], "done");
    assert_eq!(expected["methods"][1]["runs"][0]["training"]["steps"], 6);
    assert_eq!(
        expected["base"]["abilities"]["abilities"][0]["name"],
        "copy"
    );
    assert!(expected["base"]["abilities"]["loss"]["after"].is_number());
    let lora = &expected["methods"][0]["runs"][0]["training"];
    assert!(lora["best_step"].is_number(), "{lora}");

    let page = std::fs::read_to_string(Path::new(&whole).join("report.html")).unwrap();
    assert!(page.contains("full &lt;b&gt;") && !page.contains("full <b>"));
    assert!(Path::new(&whole).join("report.md").is_file());

    // Nothing is done twice, and other settings of one method touch that method alone.
    let trained = |method: &str| {
        let log = Path::new(&whole)
            .join("runs")
            .join(method)
            .join("1/train.log");
        std::fs::read_to_string(log)
            .unwrap()
            .matches("$ glmtune train")
            .count()
    };
    let settings = SETTINGS.replace("lora_dim = 2", "lora_dim = 3");
    std::fs::write(place.root.join("compare.toml"), settings).unwrap();
    glmtune(&place.args(&whole)).success();
    assert_eq!((trained("lora"), trained("full--b")), (2, 1));

    // Killed when outputs of other settings were about to make way: nothing goes on from them.
    let settings = SETTINGS.replace("lora_dim = 2", "lora_dim = 4");
    std::fs::write(place.root.join("compare.toml"), settings).unwrap();
    for mark in ["train", "predictions", "losses"] {
        let run = Path::new(&whole).join("runs/lora/1");
        std::fs::remove_file(run.join(format!("{mark}.json"))).unwrap();
    }
    glmtune(&place.args(&whole)).success();
    let fresh = place.out("fresh");
    glmtune(&place.args(&fresh)).success();
    assert_eq!(results(&whole), results(&fresh));
}

const HELD_OUT: &str = r#"{"instruction": "say ", "input": "d", "output": "d_r_e"}
{"instruction": "say ", "input": "e", "output": "e_r_f"}
"#;

/// Rows that a method holds out itself come before those of all; the best model is what is compared, and the report
/// has the curve.
#[test]
fn the_best_model_of_a_validation_is_compared() {
    let settings = SETTINGS.replace(
        "abilities = \"abilities.jsonl\"",
        "eval_path = \"held.jsonl\"",
    );
    let settings = settings.replace("num_train_epochs = 2", "num_train_epochs = 3");
    let settings = settings.replace("val_size = 1\n", "");
    let own = "learning_rate = 1e-3\nval_size = 1\neval_steps = 1";
    let settings = settings.replace("learning_rate = 1e-3", own);
    let place = Place::new(&settings);
    std::fs::write(place.root.join("held.jsonl"), HELD_OUT).unwrap();
    let out = place.out("out");
    glmtune(&place.args(&out)).success();
    let found = results(&out);
    let training = |method: usize| found["methods"][method]["runs"][0]["training"].clone();
    let course = |method: usize| -> Vec<(u64, f64)> {
        let points = training(method)["validation"].as_array().unwrap().clone();
        let points = points.iter();
        points
            .map(|point| {
                (
                    point["step"].as_u64().unwrap(),
                    point["loss"].as_f64().unwrap(),
                )
            })
            .collect()
    };
    // One held out a file, the other one of its three rows.
    for (method, last) in [(0, 9), (1, 6)] {
        let steps = course(method).into_iter().map(|point| point.0);
        assert!(steps.eq(1..=last), "{:?}", course(method));
    }
    let log = |of: &str| {
        let log = Path::new(&out).join("runs").join(of);
        std::fs::read_to_string(log).unwrap()
    };
    assert!(log("lora/1/train.log").contains("held out: 2 rows"));
    assert!(log("full--b/1/train.log").contains("held out: 1 rows"));
    let least = course(0)
        .into_iter()
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap()
        .0;
    assert!(least < 9, "no best step before the last: {:?}", course(0));
    assert_eq!(training(0)["best_step"], least);
    assert_eq!(training(1)["best_step"], Value::Null);
    let asked = |of: &str, output: &str| {
        let log = log(&format!("{of}/1/predictions.log"));
        log.lines()
            .next()
            .unwrap()
            .contains(&format!("/1/train/{output}"))
    };
    assert!(asked("lora", "best") && asked("full--b", "epoch-3-step-6"));
    let page = std::fs::read_to_string(Path::new(&out).join("report.html")).unwrap();
    assert!(page.contains("class=\"validation\"") && page.contains("best step, compared"));

    // Other rows held out touch the method that holds them out.
    std::fs::write(
        place.root.join("held.jsonl"),
        HELD_OUT.replace("d_r_e", "d_r_f"),
    )
    .unwrap();
    glmtune(&place.args(&out)).success();
    let trained = |of: &str| {
        log(&format!("{of}/1/train.log"))
            .matches("$ glmtune train")
            .count()
    };
    assert_eq!((trained("lora"), trained("full--b")), (2, 1));
}

#[test]
fn a_method_that_fails_is_shown_and_ends_no_other() {
    let bad = "[[method]]\nname = \"broken\"\ntrain_type = \"freeze\"\nfreeze_module_name = \"nothing\"\n";
    let settings = SETTINGS.replace("num_train_epochs = 2", "max_steps = 1");
    let settings = settings.replace(
        "[[method]]\nname = \"full",
        &format!("{bad}[[method]]\nname = \"full"),
    );
    let settings = settings.replace("abilities = \"abilities.jsonl\"\n", "");
    let place = Place::new(&settings);
    let out = place.out("out");
    let message = glmtune(&place.args(&out)).failure(1);
    assert!(message.contains("1 of 3 runs failed"), "{message}");
    let found = results(&out);
    let state = |method: usize| found["methods"][method]["runs"][0]["state"].clone();
    assert_eq!(
        (state(0), state(1), state(2)),
        ("done".into(), "failed".into(), "done".into())
    );
    let error = found["methods"][1]["runs"][0]["error"].to_string();
    assert!(error.contains("nothing"), "{error}");
}

#[test]
fn settings_that_are_wrong_are_refused_before_anything_runs() {
    let cases = [
        (
            "seeds =",
            "sed =",
            "line 7: `sed` is not a setting of a comparison; the nearest is `seeds`",
        ),
        (
            "lora_dim =",
            "lora_dm =",
            "line 23: `lora_dm` is not a setting; near names: lora_dim",
        ),
        (
            "\"lora\"",
            "\"lore\"",
            "method \"LoRA\": invalid value 'lore'",
        ),
        (
            "batch_size = 2",
            "batch_size = \"x\"",
            "[predict]: invalid value 'x'",
        ),
        ("\"model\"", "\"modl\"", "line 2: `base`: "),
        (
            "val_size = 1\n",
            "",
            "method \"LoRA\": --eval_steps, --load_best_model_at_end: there are no rows",
        ),
        (
            "val_size = 1",
            "eval_path = \"gone.jsonl\"",
            "line 25: `eval_path`: ",
        ),
    ];
    let place = Place::new(SETTINGS);
    let out = place.out("out");
    for (from, to, expected) in cases {
        std::fs::write(&place.config, SETTINGS.replacen(from, to, 1)).unwrap();
        let message = glmtune(&place.args(&out)).failure(2);
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(!Path::new(&out).exists());
    }
}

/// A score that the task has not is told before anything is trained.
#[test]
fn an_unknown_score_is_refused_before_the_trainings() {
    let place = Place::new(&SETTINGS.replace("seeds = [1]", "seeds = [1]\nscore = \"bleu\""));
    let out = place.out("out");
    let message = glmtune(&place.args(&out)).failure(2);
    assert!(
        message.contains("no score `bleu`") && message.contains("f1"),
        "{message}"
    );
    assert!(!Path::new(&out).join("runs").exists());
}

/// Two lines at the foot of the terminal, also of a narrow one; and Ctrl-C is answered above them.
#[test]
fn progress_is_two_lines_that_fit_a_narrow_terminal() {
    let name = "name = \"A method with a name that is longer than a terminal 前缀 is wide\"";
    let settings = SETTINGS.replace("name = \"LoRA\"", name);
    let place = Place::new(&settings.replace("num_train_epochs = 2", "num_train_epochs = 100"));
    let out = place.out("out");
    let mut session = crate::pty::Session::start(&place.args(&out), (60, 24), place.root.as_path());
    session.resize(60, 24);
    session.wait_for_text("/11 stages, about 0:");
    let rows = session.rows();
    let [.., above, whole, stage] = &rows[..] else {
        panic!("{rows:?}");
    };
    assert!(above.contains(" done in "), "{rows:?}");
    let known = whole.contains("/11 stages, about 0:");
    assert!(known && whole.ends_with(" left"), "{rows:?}");
    assert!(stage.contains("% A method with a name"), "{rows:?}");
    session.keys("\u{3}");
    session.wait_for_text("stopping; what is done stays");
    let (status, screen) = session.end();
    assert_eq!(status, 1, "{screen}");
    assert!(screen.contains("the same command goes on"), "{screen}");
}

/// Without a terminal there are plain lines, a time that is left in those of what is done.
#[test]
fn progress_in_a_pipe_is_plain_lines() {
    let place = Place::new(SETTINGS);
    let run = glmtune(&place.args(&place.out("out")));
    let plain = |c: char| c == '\n' || !c.is_control();
    assert!(run.stderr.chars().all(plain), "{:?}", run.stderr);
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert!(lines.contains(&"LoRA, seed 1: train"), "{lines:?}");
    let done = |line: &&&str| line.starts_with("LoRA, seed 1: train done in ");
    let done = lines.iter().find(done).unwrap();
    assert!(
        done.contains("; about 0:0") && done.ends_with(" left"),
        "{done}"
    );
    assert!(run.success().contains("LoRA: f1 "));
}

/// Ctrl-C ends it in good order, with a report of what is done.
#[test]
fn a_comparison_can_be_stopped() {
    let place = Place::new(&SETTINGS.replace("num_train_epochs = 2", "num_train_epochs = 2000"));
    let out = place.out("out");
    let mut child = command(&place.args(&out))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let metrics = Path::new(&out).join("runs/lora/1/train/metrics.jsonl");
    let steps = || std::fs::read_to_string(&metrics).is_ok_and(|text| text.lines().count() > 3);
    while !steps() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(50));
    }
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGINT) };
    let ended = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{message}");
    assert!(message.contains("the same command goes on"), "{message}");
    assert_eq!(results(&out)["methods"][0]["runs"][0]["state"], "pending");
    // The training has saved before it ended.
    assert!(
        Path::new(&out)
            .join("runs/lora/1/train/checkpoint")
            .is_dir()
    );
}
