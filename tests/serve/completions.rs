//! `/v1/completions`.

use serde_json::{Value, json};

use super::fake::score;
use super::{completion, saying};

#[test]
fn a_continuation_has_openais_shape() {
    let host = saying(" there");
    let body = completion(&host, json!({"max_tokens": 32})).ok();
    assert!(body["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!(body["object"], "text_completion");
    let choice = json!({"index": 0, "text": " there", "logprobs": null, "finish_reason": "stop"});
    assert_eq!(body["choices"], json!([choice]));
    assert_eq!(body["usage"]["total_tokens"], 4 + 6);
    assert_eq!(host.engine.last().prompt, [259, 261, 104, 105]);
    completion(&host, json!({})).ok();
    assert_eq!(host.engine.last().max_new_tokens, 16);
    completion(&host, json!({"add_special_tokens": false})).ok();
    assert_eq!(host.engine.last().prompt, [104, 105]);
}

#[test]
fn prompts_in_every_form() {
    let host = saying("x");
    for (prompt, count) in [
        (json!("a"), 1),
        (json!(["a", "b", "c"]), 3),
        (json!([65, 66]), 1),
        (json!([[65, 66], [67]]), 2),
    ] {
        let body = completion(&host, json!({"prompt": prompt})).ok();
        assert_eq!(body["choices"].as_array().unwrap().len(), count, "{prompt}");
    }
    assert_eq!(host.engine.last().prompt, [67]);
    let body = completion(&host, json!({"prompt": ["a", "b"], "n": 2, "best_of": 2})).ok();
    let indexes: Vec<u64> = body["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|choice| choice["index"].as_u64().unwrap())
        .collect();
    assert_eq!(indexes, [0, 1, 2, 3]);
    for prompt in [
        json!([]),
        json!([""]),
        json!([[]]),
        json!(1),
        json!([1, "a"]),
        json!([[1], "a", {}]),
        json!([-1]),
        json!([1.5]),
        json!([4_294_967_296u64]),
        json!([999]),
    ] {
        let reply = completion(
            &host,
            json!({"prompt": prompt, "add_special_tokens": false}),
        );
        reply.refused(400);
    }
}

/// What lm-eval's `local-completions` asks for to score a continuation.
#[test]
fn a_prompt_is_scored() {
    let host = saying("Z");
    let asked = json!({"prompt": [[65, 66, 67]], "max_tokens": 1, "logprobs": 2, "echo": true,
                       "temperature": 0, "seed": 1234});
    let body = completion(&host, asked).ok();
    let choice = &body["choices"][0];
    assert_eq!(choice["text"], "ABCZ");
    let logprobs = &choice["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["A", "B", "C", "Z"]));
    assert_eq!(logprobs["text_offset"], json!([0, 1, 2, 3]));
    let values = logprobs["token_logprobs"].as_array().unwrap();
    assert_eq!(values[0], Value::Null);
    for (value, token) in values[1..].iter().zip([66, 67, 90]) {
        let expected = f64::from(score(token, 0).log_probability);
        assert!((value.as_f64().unwrap() - expected).abs() < 1e-6);
    }
    let top = logprobs["top_logprobs"].as_array().unwrap();
    assert_eq!(top[0], Value::Null);
    let names: Vec<&String> = top[1].as_object().unwrap().keys().collect();
    assert_eq!(names, ["B", "C"]);
    assert_eq!(body["usage"]["prompt_tokens"], 3);
}

#[test]
fn a_prompt_is_scored_without_a_continuation() {
    let host = saying("Z");
    let body = completion(
        &host,
        json!({"prompt": "AB", "max_tokens": 0, "logprobs": 0, "echo": true}),
    )
    .ok();
    let choice = &body["choices"][0];
    assert_eq!(
        (&choice["text"], &choice["finish_reason"]),
        (&json!("AB"), &json!("length"))
    );
    // Special tokens are no text.
    assert_eq!(
        choice["logprobs"]["tokens"],
        json!(["[gMASK]", "<sop>", "A", "B"])
    );
    assert_eq!(choice["logprobs"]["text_offset"], json!([0, 0, 0, 1]));
    let error = completion(&host, json!({"max_tokens": 0})).refused(400);
    assert_eq!(error["param"], "max_tokens");
}

#[test]
fn the_prompt_is_repeated() {
    let host = saying(" there");
    let body = completion(&host, json!({"echo": true})).ok();
    assert_eq!(body["choices"][0]["text"], "hi there");
    assert_eq!(body["choices"][0]["logprobs"], Value::Null);
    // A stop in the prompt stops nothing.
    let body = completion(&host, json!({"echo": true, "stop": ["i", "re"]})).ok();
    assert_eq!(body["choices"][0]["text"], "hi the");
}

#[test]
fn scored_tokens_without_the_prompt() {
    let host = saying("好!");
    let body = completion(&host, json!({"logprobs": 1})).ok();
    let logprobs = &body["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"].as_array().unwrap().len(), 4);
    assert_eq!(logprobs["tokens"][3], "!");
    assert_eq!(logprobs["text_offset"], json!([0, 0, 0, 1]));
}

#[test]
fn streams() {
    let host = saying(" there");
    let asked = json!({"stream": true, "echo": true, "logprobs": 1, "stream_options": {"include_usage": true}});
    let events = completion(&host, asked).events();
    let text: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(text, "hi there");
    let tokens: usize = events
        .iter()
        .filter_map(|event| event["choices"][0]["logprobs"]["tokens"].as_array())
        .map(Vec::len)
        .sum();
    assert_eq!(tokens, 4 + 6);
    let (usage, chunks) = events.split_last().unwrap();
    assert_eq!(usage["usage"]["prompt_tokens"], 4);
    assert_eq!(
        chunks.last().unwrap()["choices"][0]["finish_reason"],
        "stop"
    );
}
