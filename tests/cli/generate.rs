//! `generate`.

use serde_json::Value;

use crate::common::{FAMILIES, golden};
use crate::{glmtune, tiny};

fn numbers(value: &Value) -> Vec<u64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap())
        .collect()
}

#[test]
fn golden_continuations() {
    for family in FAMILIES {
        let dir = golden(family);
        let meta = std::fs::read_to_string(dir.join("meta.json")).unwrap();
        let meta: Value = serde_json::from_str(&meta).unwrap();
        let prompt: Vec<String> = numbers(&meta["greedy"]["prompt"])
            .iter()
            .map(u64::to_string)
            .collect();
        let expected = numbers(&meta["greedy"]["tokens"]);
        for cache in [&[][..], &["--no_cache"]] {
            let mut args = vec![
                "generate",
                "--backend",
                "flex",
                "--json",
                "--max_new_tokens",
                "24",
            ];
            let (model, prompt) = (dir.to_str().unwrap(), prompt.join(","));
            args.extend(["--model_name_or_path", model, "--input_ids", &prompt]);
            args.extend(cache);
            let lines = glmtune(&args).json_lines();
            assert_eq!(numbers(&lines[0]["ids"]), expected, "{family}");
        }
    }
}

#[test]
fn text_is_streamed_and_seeds_repeat() {
    for mode in ["glm", "glm2", "glm3", "glm4"] {
        let (_dir, model) = tiny(mode);
        let args = |extra: &[&str]| {
            let mut args = vec!["generate", "--backend=flex", "--model-name-or-path", &model];
            args.extend([
                "--prompt",
                "你好",
                "--max-new-tokens=12",
                "--temperature=1.5",
            ]);
            args.extend(extra.iter().copied());
            glmtune(&args)
        };
        let first = args(&["--seed=1"]).success();
        assert_eq!(first, args(&["--seed=1"]).success(), "{mode}");
        assert_ne!(first, args(&["--seed=2"]).success(), "{mode}");
        let lines = args(&["--json", "--num_return_sequences=3"]).json_lines();
        assert_eq!(lines.len(), 3, "{mode}");
    }
}
