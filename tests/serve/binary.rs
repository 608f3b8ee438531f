//! The program itself, with a small model of random weights.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::client::{get_from, post_to};

/// A running server, which ends with the test.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn glmtune() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glmtune"));
    command.env_remove("GLMTUNE_API_KEY");
    command
}

fn init(dir: &Path) {
    let mut command = glmtune();
    command
        .args(["init", "--preset", "tiny", "--mode", "glm3", "--output"])
        .arg(dir);
    assert!(command.output().unwrap().status.success());
}

impl Program {
    fn start(model: &Path) -> Self {
        let mut command = glmtune();
        command.args([
            "serve",
            "--backend",
            "flex",
            "--port",
            "0",
            "--kv_cache",
            "16MB",
        ]);
        command
            .args(["--shutdown_timeout", "5", "--model_name_or_path"])
            .arg(model);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it ended: {said}");
            if let Some(address) = line.strip_prefix("listening on http://") {
                break address.trim().parse().unwrap();
            }
            said.push_str(&line);
        };
        // What it says later must not fill the pipe.
        std::thread::spawn(move || {
            let mut rest = String::new();
            let _ = lines.read_to_string(&mut rest);
        });
        Self { child, address }
    }

    /// Waits for the end; gives the exit status.
    fn wait(&mut self, limit: Duration) -> Option<i32> {
        let began = Instant::now();
        while began.elapsed() < limit {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not end in {limit:?}");
    }
}

#[test]
fn a_model_is_served_and_ends_when_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("small-model");
    init(&model);
    let mut program = Program::start(&model);
    let models = get_from(program.address, "/v1/models").ok();
    assert_eq!(models["data"][0]["id"], "small-model");
    let ask = |more: serde_json::Value| {
        let mut body = json!({"model": "small-model", "max_tokens": 8, "temperature": 0,
                              "messages": [{"role": "user", "content": "hello"}]});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        post_to(program.address, "/v1/chat/completions", &body)
    };
    let first = ask(json!({})).ok();
    assert!(first["usage"]["completion_tokens"].as_u64().unwrap() <= 8);
    let second = ask(json!({})).ok();
    assert_eq!(first["choices"], second["choices"]);
    ask(json!({"stream": true})).events();
    // Random weights say anything, in a form.
    let format = json!({"type": "json_schema", "json_schema": {"schema": {"enum": ["yes"]}}});
    let body = ask(json!({"response_format": format, "max_tokens": 64})).ok();
    assert_eq!(body["choices"][0]["message"]["content"], "\"yes\"");
    #[cfg(unix)]
    {
        let process = program.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &process]).status();
        assert!(told.unwrap().success());
        assert_eq!(program.wait(Duration::from_secs(20)), Some(0));
    }
}
