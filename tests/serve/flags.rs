//! The command: what it refuses before a model is read.

use std::process::Command;

/// Standard error of a run that must be refused.
fn refused(args: &[&str], key: Option<&str>) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glmtune"));
    command
        .arg("serve")
        .args(args)
        .env_remove("GLMTUNE_API_KEY");
    if let Some(key) = key {
        command.env("GLMTUNE_API_KEY", key);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    text
}

#[test]
fn the_network_needs_a_key() {
    let missing = ["--model_name_or_path", "no-such-model"];
    for host in ["0.0.0.0", "::", "192.168.0.7"] {
        let text = refused(&[&missing[..], &["--host", host]].concat(), None);
        assert!(
            text.contains("--api_key_file") && text.contains("GLMTUNE_API_KEY"),
            "{text}"
        );
    }
    // With one, the next thing that is wrong is the model.
    let text = refused(
        &[&missing[..], &["--host", "0.0.0.0"]].concat(),
        Some("secret"),
    );
    assert!(text.contains("no-such-model"), "{text}");
    for host in ["127.0.0.1", "::1"] {
        let text = refused(&[&missing[..], &["--host", host]].concat(), None);
        assert!(text.contains("no-such-model"), "{text}");
    }
}

#[test]
fn keys_are_words() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, "two words\n").unwrap();
    let file = file.to_str().unwrap();
    let args = ["--model_name_or_path", "m", "--api_key_file", file];
    let text = refused(&args, None);
    assert!(
        text.contains("one word") && !text.contains("two words"),
        "{text}"
    );
    let text = refused(&args[..2], Some(""));
    assert!(text.contains("GLMTUNE_API_KEY"), "{text}");
    let args = [
        "--model_name_or_path",
        "m",
        "--api_key_file",
        "no-such-file",
    ];
    assert!(refused(&args, None).contains("no-such-file"));
}

#[test]
fn flags_are_checked_together() {
    let args = [
        "--model_name_or_path",
        "m",
        "--host",
        "0.0.0.0",
        "--cors_origin",
        "example.com",
        "--max_waiting",
        "0",
        "--allow_adapter_loading",
        "no-such-dir",
    ];
    let text = refused(&args, None);
    for part in [
        "--host",
        "--cors_origin example.com",
        "--max_waiting",
        "no-such-dir",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    for (flag, value) in [
        ("--kv_cache", "much"),
        ("--max_body", "1"),
        ("--adapter", "just-a-dir"),
        ("--adapter", "a b=c"),
        ("--host", "localhost:80"),
        ("--port", "65536"),
    ] {
        refused(&["--model_name_or_path", "m", flag, value], None);
    }
}
