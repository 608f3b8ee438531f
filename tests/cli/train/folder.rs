//! The output directory of a training: whose things it may touch, who may write in it, and what cannot be one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::metrics;
use super::resume::Case;
use crate::{dead_name, glmtune, names};

/// Two outputs and two checkpoints, of which the limit leaves one output.
const SHORT: [&str; 6] = [
    "--max_steps",
    "2",
    "--save_model_step",
    "1",
    "--save_total_limit",
    "1",
];

/// Everything below a folder: contents of files, targets of links.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap();
        if kind.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            found.insert(path, target.into_os_string().into_encoded_bytes());
        } else if kind.is_dir() {
            found.extend(snapshot(&path));
            found.insert(path, Vec::new());
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// An output as the Python project leaves it: nothing of ours in it.
fn foreign_output(output: &str, name: &str) -> PathBuf {
    let dir = Path::new(output).join(name);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("adapter_model.bin"), name).unwrap();
    dir
}

/// Links under all names that a run writes to, in all mixtures: whatever becomes of them, what they point to
/// is neither changed nor removed.
#[cfg(unix)]
#[test]
fn nothing_outside_is_changed_through_links() {
    const NAMES: [&str; 12] = [
        "checkpoint",
        "checkpoint/step-1",
        "checkpoint/step-2",
        "earlier-1",
        "epoch-1-step-1",
        "epoch-1-step-2",
        "epoch-9-step-9",
        "loss.svg",
        "metrics.jsonl",
        "runs",
        "settings.toml",
        ".glmtune.lock",
    ];
    let case = Case::new();
    let away = case.dir.path().join("away");
    fs::create_dir_all(away.join("step-1")).unwrap();
    fs::create_dir_all(away.join("epoch-1-step-1")).unwrap();
    for name in ["thesis", "step-1/state.json", "epoch-1-step-1/thesis"] {
        fs::write(away.join(name), "years").unwrap();
    }
    let before = snapshot(&away);
    let mut random = ChaCha8Rng::seed_from_u64(11);
    for round in 0..6 {
        let output = case.output(&format!("out-{round}"));
        fs::create_dir(&output).unwrap();
        if round % 2 == 1 {
            glmtune(&case.args(&output, &SHORT)).success();
        }
        let mut names = NAMES;
        names.shuffle(&mut random);
        for name in &names[..random.random_range(3..NAMES.len())] {
            let path = Path::new(&output).join(name);
            if path.parent().is_some_and(Path::is_symlink) {
                continue;
            }
            match path.symlink_metadata() {
                Ok(there) if there.is_dir() => fs::remove_dir_all(&path).unwrap(),
                Ok(_) => fs::remove_file(&path).unwrap(),
                Err(_) => fs::create_dir_all(path.parent().unwrap()).unwrap(),
            }
            let targets = ["", "thesis", "step-1", "epoch-1-step-1", "missing"];
            let target = away.join(targets.choose(&mut random).unwrap());
            std::os::unix::fs::symlink(target, path).unwrap();
        }
        // Refused or done, never a panic, and nothing outside is touched.
        for more in [&["--resume"][..], &[], &["--resume"]] {
            let run = glmtune(&case.args(&output, &[&SHORT[..], more].concat()));
            assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
            assert_eq!(snapshot(&away), before, "round {round}, {more:?}");
        }
        let last = Path::new(&output).join("epoch-1-step-2");
        assert!(!last.is_symlink() && last.join("adapter_config.json").exists());
    }
}

/// The case of the first report: a link under the name of an output.
#[cfg(unix)]
#[test]
fn a_link_in_the_place_of_an_output_is_replaced() {
    let case = Case::new();
    let output = case.output("out");
    let away = case.dir.path().join("v");
    fs::create_dir(&away).unwrap();
    fs::write(away.join("thesis"), "x").unwrap();
    fs::create_dir(&output).unwrap();
    let link = |name: &str| {
        let path = Path::new(&output).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&away, &path).unwrap();
        path
    };
    let first = link("epoch-1-step-2");
    glmtune(&case.args(&output, &["--max_steps", "2"])).success();
    assert!(!first.is_symlink() && first.join("adapter_config.json").exists());
    let (second, checkpoint) = (link("epoch-1-step-4"), link("checkpoint/step-4"));
    glmtune(&case.args(&output, &["--max_steps", "4", "--resume"])).success();
    assert!(!second.is_symlink() && second.join("adapter_config.json").exists());
    assert!(!checkpoint.is_symlink() && checkpoint.join("state.json").exists());
    assert_eq!(names(&away), ["thesis"]);
}

/// Rule 2 and 3: what others left under such names is moved, never replaced and never counted.
#[test]
fn what_others_wrote_is_kept() {
    let case = Case::new();
    let output = case.output("out");
    foreign_output(&output, "epoch-1-step-1");
    foreign_output(&output, "epoch-7-step-700");
    let said = glmtune(&case.args(&output, &SHORT)).success();
    assert!(said.contains("earlier-1"), "{said}");
    let path = |name: &str| Path::new(&output).join(name);
    for name in ["epoch-1-step-1", "epoch-7-step-700"] {
        let kept = path("earlier-1").join(name).join("adapter_model.bin");
        assert_eq!(fs::read_to_string(kept).unwrap(), name);
    }
    assert!(path("epoch-1-step-2/adapter_config.json").exists());
    assert!(!path("epoch-1-step-1").exists(), "beyond the limit");

    // Put there while the run was away: neither pruned nor replaced when it goes on.
    foreign_output(&output, "epoch-1-step-3");
    foreign_output(&output, "epoch-0-step-0");
    let more = [&SHORT[2..], &["--max_steps", "4", "--resume"]].concat();
    let run = glmtune(&case.args(&output, &more));
    assert!(run.stderr.contains("earlier-2"), "{}", run.stderr);
    run.success();
    let kept = path("earlier-2/epoch-1-step-3/adapter_model.bin");
    assert_eq!(fs::read_to_string(kept).unwrap(), "epoch-1-step-3");
    assert!(path("epoch-0-step-0/adapter_model.bin").exists());
    assert!(path("epoch-1-step-4/adapter_config.json").exists());
    assert!(!path("epoch-1-step-3").exists() && !path("epoch-1-step-2").exists());
}

/// A new run keeps what is there, whichever file of the earlier one is missing.
#[test]
fn without_metrics_nothing_is_lost() {
    let case = Case::new();
    let output = case.output("out");
    let all = ["--max_steps", "2", "--save_model_step", "1"];
    glmtune(&case.args(&output, &all)).success();
    let path = |name: &str| Path::new(&output).join(name);
    fs::remove_file(path("metrics.jsonl")).unwrap();
    let before: Vec<_> = snapshot(Path::new(&output)).into_values().collect();
    let said = glmtune(&case.args(&output, &SHORT)).success();
    assert!(said.contains("earlier-1"), "{said}");
    let kept: Vec<_> = snapshot(&path("earlier-1")).into_values().collect();
    assert_eq!(kept, before);
    assert!(path("epoch-1-step-2").exists());
    assert!(path("checkpoint/step-2/state.json").exists());
}

/// A run that had a checkpoint does not start over because it is gone; one that never had does.
#[test]
fn without_a_checkpoint_a_run_that_had_one_is_not_started_over() {
    let case = Case::new();
    let output = case.output("out");
    let resume = ["--max_steps", "4", "--resume"];
    glmtune(&case.args(&output, &["--max_steps", "4"])).success();
    let checkpoint = Path::new(&output).join("checkpoint");
    fs::rename(&checkpoint, case.output("taken")).unwrap();
    let before = snapshot(Path::new(&output));
    let error = glmtune(&case.args(&output, &resume)).failure(2);
    for part in [
        "steps up to 4",
        "epoch-1-step-2, epoch-1-step-4",
        "earlier-N",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(snapshot(Path::new(&output)), before);
    fs::rename(case.output("taken"), &checkpoint).unwrap();
    glmtune(&case.args(&output, &resume)).success();

    // Killed between the first output and its checkpoint, or before both.
    for first in [Some("epoch-1-step-1"), None] {
        let output = case.output(&format!("killed-{}", first.is_some()));
        fs::create_dir(&output).unwrap();
        fs::write(
            Path::new(&output).join("metrics.jsonl"),
            "{\"step\": 1}\n{\"st",
        )
        .unwrap();
        first.map(|name| foreign_output(&output, name));
        let said = glmtune(&case.args(&output, &resume)).success();
        assert!(said.contains("earlier-1"), "{said}");
        assert!(said.contains("starting from the beginning"), "{said}");
        assert_eq!(metrics(Path::new(&output)).len(), 4);
        let kept = Path::new(&output).join("earlier-1/metrics.jsonl");
        assert!(fs::read_to_string(kept).unwrap().contains("\"step\": 1"));
    }
}

/// Starts a run that goes on for long, and waits for its first step.
fn start_long(case: &Case, output: &str) -> Child {
    let long = ["--num_train_epochs", "1000", "--save_model_step", "1"];
    let child = Command::new(env!("CARGO_BIN_EXE_glmtune"))
        .args(case.args(output, &long))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !Path::new(output).join("checkpoint/step-2").exists() {
        assert!(Instant::now() < deadline, "no second checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[cfg(unix)]
#[test]
fn one_run_at_a_time_writes_there() {
    let case = Case::new();
    let output = case.output("out");
    let mut first = start_long(&case, &output);
    for more in [&[][..], &["--resume"]] {
        let error = glmtune(&case.args(&output, more)).failure(2);
        let owner = format!("process {} on host", first.id());
        assert!(error.contains(&owner), "{error}");
    }
    assert!(first.try_wait().unwrap().is_none(), "still at work");
    assert!(!Path::new(&output).join("earlier-1").exists());
    first.kill().unwrap();
    first.wait().unwrap();
    // The lock of a run that was killed is taken over, and said.
    let long = [
        "--num_train_epochs",
        "1000",
        "--save_model_step",
        "1",
        "--resume",
    ];
    let end = metrics(Path::new(&output)).len() + 2;
    let end = end.to_string();
    let run = glmtune(&case.args(&output, &[&long[..], &["--max_steps", &end]].concat()));
    assert!(
        run.stderr.contains("ended without finishing"),
        "{}",
        run.stderr
    );
    run.success();
    assert!(!Path::new(&output).join(".glmtune.lock").exists());
}

#[test]
fn what_killed_runs_left_half_written_goes() {
    let case = Case::new();
    let output = case.output("out");
    let checkpoint = Path::new(&output).join("checkpoint");
    glmtune(&case.args(&output, &["--max_steps", "2"])).success();
    let left = [
        Path::new(&output).join(dead_name("epoch-1-step-4")),
        Path::new(&output).join(dead_name("settings.toml")),
        checkpoint.join(dead_name("step-4")),
    ];
    fs::create_dir(&left[0]).unwrap();
    fs::write(left[0].join("adapter_model.safetensors"), "half").unwrap();
    fs::write(&left[1], "half").unwrap();
    fs::create_dir(&left[2]).unwrap();
    let run = glmtune(&case.args(&output, &["--max_steps", "4", "--resume"]));
    for path in &left {
        assert!(!path.exists());
        let said = format!("removed {}", path.display());
        assert!(run.stderr.contains(&said), "{}", run.stderr);
    }
    run.success();
}

/// What cannot be an output directory is refused before the work, and leaves nothing.
#[cfg(unix)]
#[test]
fn what_cannot_be_an_output_directory_is_refused_first() {
    use std::os::unix::ffi::OsStringExt;
    let case = Case::new();
    let file = crate::file(&case.dir, "file", "");
    let long = case.output(&"x".repeat(300));
    let deep = case.output(&"deep/".repeat(900));
    let before = snapshot(case.dir.path());
    for (output, part) in [
        (file.as_str(), "is not a directory"),
        ("/dev/null", "is not a directory"),
        (&long, "longer than"),
        (&deep, "too long"),
    ] {
        let error = glmtune(&case.args(output, &[])).failure(2);
        assert!(error.contains(part), "{error}");
    }
    let mut odd = case.dir.path().as_os_str().to_os_string().into_vec();
    odd.extend(b"/\xff");
    let odd = std::ffi::OsString::from_vec(odd);
    let args = case.args("PLACE", &[]);
    let args = args.iter().map(|&arg| match arg {
        "PLACE" => odd.clone(),
        arg => arg.into(),
    });
    let run = Command::new(env!("CARGO_BIN_EXE_glmtune"))
        .args(args)
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(2));
    let error = String::from_utf8_lossy(&run.stderr);
    assert!(error.contains("UTF-8"), "{error}");
    // A request that is refused for another reason leaves no directory either.
    let refused = case.output("refused");
    glmtune(&case.args(&refused, &["--lora_module_name", "nothing"])).failure(2);
    assert_eq!(snapshot(case.dir.path()), before);
}
