//! The program as a user runs it: the real binary in temporary folders.

#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod bases;
mod bench;
mod chat;
#[cfg(unix)]
mod compare;
mod device_failure;
mod errors;
mod eval;
mod generate;
mod init;
mod machine;
mod merge;
mod messages;
mod migration;
mod outputs;
mod plan;
mod predict;
#[cfg(target_os = "linux")]
mod printing;
mod prompts;
#[cfg(unix)]
mod pty;
mod rows;
mod score;
mod small_base;
mod tokenize;
mod train;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use glmtune::model::process::ProcessName;

/// The outcome of a run.
pub struct Run {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    fn of(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Standard output of a run that must have succeeded.
    pub fn success(self) -> String {
        assert_eq!(self.status, 0, "{}", self.stderr);
        self.stdout
    }

    /// Standard error of a run that must have failed with this status; never a panic.
    pub fn failure(self, status: i32) -> String {
        assert_eq!(self.status, status, "{}{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self.stderr
    }

    /// Lines of JSON on standard output.
    pub fn json_lines(self) -> Vec<serde_json::Value> {
        let text = self.success();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glmtune"));
    command.args(args).env_remove("GLMTUNE_LOG");
    command
}

/// Runs `glmtune` on a CUDA device in software.
#[cfg(feature = "cuda")]
pub fn glmtune_on_software_cuda(
    libraries: &Path,
    capability: &str,
    devices: &str,
    args: &[&str],
) -> Run {
    let mut command = on_software_cuda(libraries, capability, devices, args);
    Run::of(command.stdin(Stdio::null()).output().unwrap())
}

/// The same, with the device's counts in a file.
#[cfg(all(feature = "cuda", unix))]
pub fn glmtune_on_traced_cuda(libraries: &Path, devices: &str, trace: &Path, args: &[&str]) -> Run {
    let without_tf32 = common::software_cuda::capability::WITHOUT_TF32;
    let mut command = on_software_cuda(libraries, without_tf32, devices, args);
    command.env("SOFTWARE_CUDA_TRACE", trace);
    Run::of(command.stdin(Stdio::null()).output().unwrap())
}

#[cfg(feature = "cuda")]
fn on_software_cuda(libraries: &Path, capability: &str, devices: &str, args: &[&str]) -> Command {
    let mut command = command(args);
    common::software_cuda::put_on(&mut command, libraries, capability);
    command.env("SOFTWARE_CUDA_DEVICES", devices);
    command
}

/// Runs `glmtune` on the CPU where a backend matters.
pub fn glmtune(args: &[&str]) -> Run {
    Run::of(command(args).stdin(Stdio::null()).output().unwrap())
}

/// Runs `glmtune` with text on standard input.
pub fn glmtune_with_input(args: &[&str], input: &str, home: &Path) -> Run {
    let mut child = command(args)
        .env("XDG_STATE_HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    Run::of(child.wait_with_output().unwrap())
}

/// The temporary name of an output that a process of this machine had, which has ended.
pub fn dead_name(target: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_glmtune"))
        .arg("--version")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let ProcessName { host, boot, .. } = ProcessName::this();
    format!(".{target}.partial-glmtune-{host}-{boot}-{pid}-0")
}

/// A tiny model of a mode in a temporary folder.
pub fn tiny(mode: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model").to_str().unwrap().to_string();
    glmtune(&[
        "init", "--preset", "tiny", "--mode", mode, "--output", &model,
    ])
    .success();
    (dir, model)
}

/// What a directory holds, by name.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Writes a file into a folder and gives its path.
pub fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_string()
}
