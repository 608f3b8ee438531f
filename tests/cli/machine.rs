//! What the program says of itself and of the machine: `doctor`, `completions`, `man`, the help.

use serde_json::Value;

use crate::glmtune;

#[test]
fn the_doctor_tells_what_would_be_used() {
    let report = glmtune(&["doctor", "--json"]).success();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["glmtune"], env!("CARGO_PKG_VERSION"));
    assert!(report["would be used"]["device"].is_string(), "{report}");
    assert!(report["would be used"]["why"].is_string());
    let cpu = &report["devices"]["flex"]["0"];
    assert!(cpu["types"].as_array().unwrap().contains(&"f32".into()));
    let memory = &report["memory"];
    assert!(memory["available"].as_u64() <= memory["all"].as_u64());
    assert!(memory["all"].as_u64().unwrap() > 1 << 28, "{memory}");
    let lines = glmtune(&["doctor"]).success();
    assert!(lines.contains("would be used:"), "{lines}");
}

#[test]
fn burns_release_is_the_one_that_is_built_on() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    let report = glmtune(&["doctor", "--json"]).success();
    let report: Value = serde_json::from_str(&report).unwrap();
    let burn = report["burn"].as_str().unwrap();
    assert!(lock.contains(&format!("name = \"burn\"\nversion = \"{burn}\"")));
}

#[test]
fn shells_get_completions_and_man_its_pages() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = glmtune(&["completions", shell]).success();
        assert!(script.contains("lora-dim"), "{shell}");
    }
    glmtune(&["completions", "csh"]).failure(2);
    let page = glmtune(&["man"]).success();
    assert!(page.contains(".TH glmtune"), "{page}");
    let page = glmtune(&["man", "train"]).success();
    assert!(page.contains("lora\\-dim"), "{page}");
    assert!(glmtune(&["man", "nothing"]).failure(2).contains("train"));
}

/// The help names what can be done, and nothing else.
#[test]
fn the_help_promises_what_exists() {
    let help = glmtune(&["--help"]).success().to_lowercase();
    for command in [
        "train", "generate", "chat", "predict", "eval", "compare", "merge", "inspect", "bench",
        "doctor", "serve",
    ] {
        assert!(help.contains(command), "{help}");
    }
    assert!(!help.contains("evaluat"), "{help}");
}

#[test]
fn other_tools_names_get_a_tip() {
    let message = glmtune(&["train", "--lora_rank", "8"]).failure(2);
    assert!(message.contains("--lora_dim"), "{message}");
    let message = glmtune(&["train", "--master_port", "520"]).failure(2);
    assert!(message.contains("launcher"), "{message}");
}
