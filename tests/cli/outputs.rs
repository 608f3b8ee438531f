//! Where outputs may go: what is refused before the work, what is left alone, and what killed runs leave.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::golden;
use crate::{dead_name, file, glmtune, glmtune_with_input, names, tiny};

/// Kills of a process that writes a model.
const KILLS: usize = 12;

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().unwrap().to_string()
}

fn merge_to(output: &str) -> crate::Run {
    let (base, adapter) = (golden("chatglm2"), golden("chatglm2").join("lora"));
    glmtune(&[
        "merge",
        "--model_name_or_path",
        &text(base),
        "--adapter",
        &text(adapter),
        "--output_dir",
        output,
    ])
}

fn init_to(output: &str) -> crate::Run {
    glmtune(&[
        "init", "--preset", "tiny", "--mode", "glm2", "--output", output,
    ])
}

#[cfg(unix)]
#[test]
fn what_is_not_a_regular_file_is_refused_and_stays() {
    use std::os::unix::fs::FileTypeExt;
    let (dir, model) = tiny("glm2");
    let data = file(
        &dir,
        "rows.jsonl",
        r#"{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}"#,
    );
    let pipe = text(dir.path().join("pipe"));
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let link = text(dir.path().join("link"));
    std::os::unix::fs::symlink(&pipe, &link).unwrap();
    let long = text(dir.path().join("x".repeat(300)));
    let folder = text(dir.path().join("folder"));
    fs::create_dir(&folder).unwrap();
    let before = names(dir.path());
    for (place, part) in [
        (&pipe, "a pipe"),
        (&link, "a link to a pipe"),
        (&long, "longer than"),
        (&folder, "a directory"),
    ] {
        let dump = [
            "score",
            "--model_name_or_path",
            &model,
            "--data",
            &data,
            "--dump",
            place,
        ];
        let error = glmtune(&dump).failure(2);
        assert!(error.contains(part), "{error}");
        let said = glmtune_with_input(
            &["chat", "--model_name_or_path", &model],
            &format!("/save {place}\n"),
            dir.path(),
        );
        assert!(said.stderr.contains(part), "{}", said.stderr);
        said.success();
        if place != &folder {
            merge_to(place).failure(2);
            init_to(place).failure(2);
        }
    }
    fs::remove_dir_all(dir.path().join("glmtune")).unwrap();
    assert_eq!(names(dir.path()), before);
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    for place in ["/dev/null", "/dev/full"] {
        merge_to(place).failure(2);
        init_to(place).failure(2);
        assert!(fs::metadata(place).unwrap().file_type().is_char_device());
    }
}

#[cfg(unix)]
#[test]
fn names_that_are_not_utf8_are_refused() {
    use std::os::unix::ffi::OsStringExt;
    let dir = tempfile::tempdir().unwrap();
    let mut odd = dir.path().as_os_str().to_os_string().into_vec();
    odd.extend(b"/\xff");
    let run = Command::new(env!("CARGO_BIN_EXE_glmtune"))
        .args(["init", "--preset", "tiny", "--mode", "glm2", "--output"])
        .arg(std::ffi::OsString::from_vec(odd))
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(2));
    let error = String::from_utf8_lossy(&run.stderr);
    assert!(error.contains("UTF-8"), "{error}");
    assert_eq!(names(dir.path()), [""; 0]);
}

/// Killed at any moment, `init` leaves its result or nothing, but for what the next one removes.
#[test]
fn a_killed_init_leaves_nothing_for_long() {
    let dir = tempfile::tempdir().unwrap();
    let output = text(dir.path().join("model"));
    let started = Instant::now();
    init_to(&output).success();
    let duration = started.elapsed();
    let whole = names(Path::new(&output));
    let mut random = ChaCha8Rng::seed_from_u64(17);
    for _ in 0..KILLS {
        fs::remove_dir_all(&output).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_glmtune"))
            .args([
                "init", "--preset", "tiny", "--mode", "glm2", "--output", &output,
            ])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let wait: Duration = duration.mul_f64(random.random_range(0.1..1.0));
        std::thread::sleep(wait);
        child.kill().unwrap();
        child.wait().unwrap();
        if Path::new(&output).exists() {
            assert_eq!(names(Path::new(&output)), whole);
            continue;
        }
        init_to(&output).success();
        assert_eq!(names(Path::new(&output)), whole);
        assert_eq!(names(dir.path()), ["model"]);
    }
}

#[test]
fn what_a_killed_merge_left_is_removed_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join(dead_name("merged"));
    fs::create_dir(&left).unwrap();
    fs::write(left.join("model-00001-of-00001.safetensors"), "half").unwrap();
    let run = merge_to(&text(dir.path().join("merged")));
    let said = format!("removed {}", left.display());
    assert!(run.stderr.contains(&said), "{}", run.stderr);
    run.success();
    assert_eq!(names(dir.path()), ["merged"]);
}

/// A base that links out of its folder gets nothing of the user's into the result.
#[cfg(unix)]
#[test]
fn a_merge_copies_nothing_that_links_away() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    fs::create_dir(&base).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(golden("chatglm2").join(name), base.join(name)).unwrap();
    }
    fs::write(dir.path().join("id_rsa"), "secret").unwrap();
    fs::write(base.join("NOTICE"), "text").unwrap();
    std::os::unix::fs::symlink("../id_rsa", base.join("LICENSE")).unwrap();
    let output = dir.path().join("merged");
    let run = glmtune(&[
        "merge",
        "--model_name_or_path",
        &text(&base),
        "--adapter",
        &text(golden("chatglm2").join("lora")),
        "--output_dir",
        &text(&output),
    ]);
    assert!(run.stderr.contains("LICENSE: not copied"), "{}", run.stderr);
    run.success();
    assert!(output.join("NOTICE").is_file());
    assert!(output.join("LICENSE").symlink_metadata().is_err());
}

/// The root of a file system, into which nothing can be renamed from beside.
#[test]
fn an_empty_file_system_is_an_output_directory() {
    let dir = tempfile::tempdir().unwrap();
    let place = text(dir.path().join("volume"));
    fs::create_dir(&place).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "tmpfs", &place]);
    if !mount.output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: nothing can be mounted here");
        return;
    }
    let (run, found) = (init_to(&place), names(Path::new(&place)));
    let beside = names(dir.path());
    assert!(
        Command::new("umount")
            .arg(&place)
            .status()
            .unwrap()
            .success()
    );
    run.success();
    assert!(found.contains(&"config.json".to_string()), "{found:?}");
    assert!(!found.iter().any(|name| name.starts_with('.')), "{found:?}");
    assert_eq!(beside, ["volume"]);
}
