//! `glmtune bench` on the tiny preset: what it tells, that it goes on where it ended, and what it refuses.

use serde_json::Value;

use crate::{Run, glmtune, tiny};

/// A run on the CPU that takes little time.
fn bench(more: &[&str]) -> Run {
    let common = [
        "bench",
        "--backend",
        "flex",
        "--max_len",
        "32",
        "--new_tokens",
        "4",
    ];
    glmtune(&[&common, more].concat())
}

fn json(run: Run) -> Value {
    serde_json::from_str(&run.success()).unwrap()
}

/// The results of a name.
fn result<'a>(found: &'a Value, name: &str) -> &'a Value {
    let results = found["results"].as_array().unwrap();
    let mut named = results
        .iter()
        .filter(|result| result["name"].as_str().unwrap().starts_with(name));
    named.next().unwrap_or_else(|| panic!("{name}: {found}"))
}

/// Everything can be measured, in every family, and each figure has what it needs to be read.
#[test]
fn every_measurement_tells_its_spread_rates_and_memory() {
    let found = json(bench(&[
        "--preset",
        "tiny",
        "--mode",
        "glm",
        "--dropout",
        "0,0.1",
        "--seconds",
        "12",
        "--json",
    ]));
    assert_eq!(found["glmtune"], env!("CARGO_PKG_VERSION"));
    assert_eq!(found["not_measured"], Value::Array(Vec::new()));
    for result in found["results"].as_array().unwrap() {
        assert!(result["device"].as_str().unwrap().starts_with("flex"));
        assert_eq!(result["dtype"], "f32");
        assert!(result["settings"]["what"].is_string(), "{result}");
        assert!(
            result["process_peak_bytes"].as_u64() > Some(1 << 20) || !cfg!(target_os = "linux")
        );
        let measured = result["measured"].as_array().unwrap();
        assert!(!measured.is_empty(), "{result}");
        for one in measured {
            let seconds = &one["seconds"];
            let of = |key: &str| seconds[key].as_f64().unwrap();
            assert!(0.0 < of("min") && of("min") <= of("median") && of("median") <= of("max"));
            assert!(one["first_seconds"].as_f64().unwrap() > 0.0);
            assert!(one["repetitions"].as_u64().unwrap() >= 1);
        }
    }
    let shares = [
        ("train lora, dropout 0,", "product_share"),
        ("train lora, dropout 0.1,", "tokens_per_second"),
        ("train ptuning, dropout 0.1", "tokens_per_second"),
        ("train freeze", "operations_per_second"),
        ("train all", "product_share"),
        ("prefill", "tokens_per_second"),
        ("decode", "memory_share"),
        ("load", "bytes_per_second"),
        ("update", "memory_share"),
        ("collectives", "bytes_per_second"),
        ("kernels", "product_share"),
    ];
    for (name, rate) in shares {
        let value = &result(&found, name)["measured"][0][rate];
        assert!(value.as_f64().unwrap() > 0.0, "{name}: {rate}: {value}");
    }
}

#[test]
fn a_table_for_people_names_the_place_and_the_time() {
    let table = bench(&["prefill", "--preset", "tiny", "--seconds", "30"]).success();
    let mut lines = table.lines();
    let place = lines.next().unwrap();
    assert!(place.starts_with("tiny, flex"), "{table}");
    assert!(place.ends_with("f32"), "{table}");
    assert!(lines.next().unwrap().contains("tokens/s"), "{table}");
    assert!(table.contains("prefill, 32 tokens"), "{table}");
}

#[test]
fn what_a_file_has_is_not_measured_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.json");
    let file = file.to_str().unwrap();
    let (_dir, model) = tiny("glm2");
    let place = ["--model_name_or_path", &model, "--output", file];
    bench(&[&["load", "--seconds", "5"], &place[..]].concat()).success();
    let first: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let again = bench(&[&["load", "prefill", "--seconds", "5", "--json"], &place[..]].concat());
    assert!(again.stderr.contains("1/1 "), "{}", again.stderr);
    let second = json(again);
    assert_eq!(result(&second, "load"), result(&first, "load"));
    assert_eq!(result(&second, "ceilings"), result(&first, "ceilings"));
    assert!(result(&second, "prefill")["measured"][0]["product_share"].is_number());
    // What has no time left is told, and measured by the next run.
    let none = json(bench(
        &[&["update", "--seconds", "1e-9", "--json"], &place[..]].concat(),
    ));
    assert_eq!(none["not_measured"][0], "update", "{none}");
    std::fs::write(file, "{\"results\": []}").unwrap();
    let refused = bench(&[&["load"], &place[..]].concat()).failure(2);
    assert!(refused.contains("--output"), "{refused}");
}

/// A profile on another model has its rows once each, and no figures of the published table.
#[test]
fn a_profile_can_be_tried_on_a_small_model() {
    let found = json(bench(&[
        "--profile",
        "python-readme",
        "--preset",
        "tiny",
        "--seconds",
        "10",
        "--json",
    ]));
    let results = found["results"].as_array().unwrap();
    let named = |part: &str| {
        let names = results
            .iter()
            .map(|result| result["name"].as_str().unwrap());
        names.filter(|name| name.contains(part)).count()
    };
    assert_eq!((results.len(), named("train")), (8, 7), "{found}");
    assert_eq!((named("checkpointed"), named("all offloaded")), (4, 1));
    assert!(
        results
            .iter()
            .all(|result| result["published_gb"].is_null())
    );
}

#[test]
fn wrong_requests_are_refused_before_anything_is_measured() {
    let faults = bench(&["--dropout", "1.5", "--batch_size", "0", "--seconds", "0"]).failure(2);
    for flag in ["--dropout", "--batch_size", "--seconds"] {
        assert!(faults.contains(flag), "{faults}");
    }
    for (flags, told) in [
        (&["--preset", "huge"][..], "100m"),
        (&["everything"], "decode"),
        (
            &["--preset", "tiny", "--model_name_or_path", "x"],
            "--preset",
        ),
        (&["train", "--profile", "python-readme"], "--profile"),
        (&["load", "--model_name_or_path", "/nowhere"], "/nowhere"),
    ] {
        let message = bench(flags).failure(2);
        assert!(message.contains(told), "{flags:?}: {message}");
    }
    let flags = ["train", "--methods", "lora", "--preset", "tiny"];
    let message = bench(&[&flags[..], &["--lora_module_name", "query_key"]].concat()).failure(2);
    assert!(message.contains("query_key_value"), "{message}");
    let short = glmtune(&["bench", "--max_len", "4"]).failure(2);
    assert!(short.contains("--max_len is 4"), "{short}");
}
