//! Pipes, directories, devices, sockets, links and huge empty files in the places of files, met by the
//! program itself under a limit of 4 GiB: an error that names the place, at once.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::corpus;

/// What can stand where a file should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    Pipe,
    Directory,
    EndlessDevice,
    Socket,
    LinkToNothing,
    LinkToItself,
    /// One TiB that takes no space on the disk.
    Hole,
}

const THINGS: [Thing; 7] = [
    Thing::Pipe,
    Thing::Directory,
    Thing::EndlessDevice,
    Thing::Socket,
    Thing::LinkToNothing,
    Thing::LinkToItself,
    Thing::Hole,
];

impl Thing {
    fn put(self, path: &Path) {
        let _ = fs::remove_file(path);
        let _ = fs::remove_dir(path);
        match self {
            Self::Pipe => mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap(),
            Self::Directory => fs::create_dir(path).unwrap(),
            Self::EndlessDevice => symlink("/dev/zero", path).unwrap(),
            Self::Socket => drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
            Self::LinkToNothing => symlink("nowhere", path).unwrap(),
            Self::LinkToItself => symlink(path.file_name().unwrap(), path).unwrap(),
            Self::Hole => fs::File::create(path).unwrap().set_len(1 << 40).unwrap(),
        }
    }
}

struct Ended {
    status: Option<i32>,
    message: String,
}

/// Runs `glmtune` with little memory; ends it after 20 seconds.
fn glmtune(args: &[&str]) -> Ended {
    let limited = "ulimit -v 4194304; exec \"$0\" \"$@\"";
    let mut child = Command::new("sh")
        .args(["-c", limited, env!("CARGO_BIN_EXE_glmtune")])
        .args(args)
        .env_remove("GLMTUNE_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status.code(),
            None if started.elapsed() > Duration::from_secs(20) => {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{args:?}: no end within 20 seconds");
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let mut message = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut message)
        .unwrap();
    Ended { status, message }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Puts each thing into the place of a file and runs a command that reads it.
fn refused_everywhere(place: &Path, args: &[&str], may_be_missing: bool) {
    let original = fs::read(place).ok();
    for thing in THINGS {
        thing.put(place);
        let Ended { status, message } = glmtune(args);
        let told = format!(
            "{thing:?} as {}: status {status:?}, {message}",
            place.display()
        );
        if !(may_be_missing && thing == Thing::LinkToNothing) {
            assert!(matches!(status, Some(1 | 2)), "{told}");
            assert!(
                message.contains(text(Path::new(place.file_name().unwrap()))),
                "{told}"
            );
        }
        assert!(!message.contains("panicked"), "{told}");
    }
    let _ = fs::remove_file(place);
    if let Some(original) = original {
        fs::write(place, original).unwrap();
    }
}

fn model() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    fs::create_dir(&dir).unwrap();
    corpus::model(&dir);
    (folder, dir)
}

#[test]
fn in_a_model() {
    let (_folder, dir) = model();
    for (name, may_be_missing) in [
        ("config.json", false),
        ("model.safetensors", false),
        ("tokenizer.json", false),
        ("tokenizer_config.json", true),
        ("glmtune.json", true),
    ] {
        refused_everywhere(&dir.join(name), &["inspect", text(&dir)], may_be_missing);
    }
}

#[test]
fn in_a_checkpoint_of_several_files() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    corpus::model(dir);
    fs::remove_file(dir.join("model.safetensors")).unwrap();
    corpus::sharded(dir);
    for name in ["model.safetensors.index.json", "model-a.safetensors"] {
        refused_everywhere(&dir.join(name), &["inspect", text(dir)], false);
    }
}

#[test]
fn in_an_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    corpus::lora(dir);
    for (name, may_be_missing) in [
        ("adapter_config.json", false),
        ("adapter_model.safetensors", false),
        ("glmtune.json", true),
    ] {
        refused_everywhere(&dir.join(name), &["inspect", text(dir)], may_be_missing);
    }
}

#[test]
fn as_settings_and_prompts() {
    let (folder, dir) = model();
    let place = |name: &str| folder.path().join(name);
    let rows = place("rows.jsonl");
    corpus::rows(folder.path());
    let (toml, ds, out) = (place("run.toml"), place("ds.json"), place("out"));
    refused_everywhere(&toml, &["train", "--config", text(&toml)], false);
    let train = [
        "train",
        "--backend=flex",
        "--model_name_or_path",
        text(&dir),
        "--train_path",
        text(&rows),
        "--output_dir",
        text(&out),
    ];
    refused_everywhere(
        &ds,
        &[&train[..], &["--ds_file", text(&ds)]].concat(),
        false,
    );
}

/// Rows and prompts may come from a pipe, which waits for its writer; nothing else is different.
#[test]
fn as_rows_and_prompts() {
    let (folder, dir) = model();
    let place = folder.path().join("input");
    let model = ["--backend=flex", "--model_name_or_path", text(&dir)];
    for thing in THINGS.into_iter().filter(|&thing| thing != Thing::Pipe) {
        thing.put(&place);
        for args in [
            [&["score"], &model[..], &["--data", text(&place)]].concat(),
            [&["generate"], &model[..], &["--prompt_file", text(&place)]].concat(),
        ] {
            let Ended { status, message } = glmtune(&args);
            let told = format!("{thing:?}, {args:?}: status {status:?}, {message}");
            assert!(
                matches!(status, Some(1 | 2)) && message.contains("input"),
                "{told}"
            );
            assert!(!message.contains("panicked"), "{told}");
        }
    }
}

/// A file's name can hold what a terminal obeys.
#[test]
fn names_are_printed_without_their_control_characters() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("a\x1b]0;owned\x07\u{9b}31m");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("config.json"), "{").unwrap();
    let Ended { status, message } = glmtune(&["inspect", text(&dir)]);
    assert_eq!(status, Some(2), "{message}");
    assert!(message.contains("\\u{1b}"), "{message}");
    let is_harmless = |character: char| character == '\n' || !character.is_control();
    assert!(message.chars().all(is_harmless), "{message:?}");
}
