//! `/v1/embeddings`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::client::post;
use super::saying;

#[test]
fn numbers_and_base64() {
    let host = saying("");
    let body = json!({"model": "tuned", "input": ["ab", "c"], "user": "me"});
    let found = post(&host, "/v1/embeddings", &body).ok();
    assert_eq!(
        (&found["object"], &found["model"]),
        (&json!("list"), &json!("tuned"))
    );
    assert_eq!(
        found["usage"],
        json!({"prompt_tokens": 7, "total_tokens": 7})
    );
    // The fake's first number is the length of the prompt, with the two tokens that open it.
    assert_eq!(
        found["data"][0],
        json!({"object": "embedding", "index": 0, "embedding": [4.0, -0.5, 0.0]})
    );
    assert_eq!(found["data"][1]["embedding"], json!([3.0, -0.5, 0.0]));
    assert_eq!(host.engine.last().adapter.as_deref(), Some("tuned"));

    let body = json!({"model": "base", "input": [65, 66], "encoding_format": "base64"});
    let found = post(&host, "/v1/embeddings", &body).ok();
    let text = found["data"][0]["embedding"].as_str().unwrap();
    let bytes = STANDARD.decode(text).unwrap();
    let values: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    assert_eq!(values, [2.0, -0.5, 0.0]);
}

#[test]
fn what_cannot_be_done() {
    let host = saying("");
    for (more, param) in [
        (json!({}), "input"),
        (json!({"input": "a", "dimensions": 2}), "dimensions"),
        (
            json!({"input": "a", "encoding_format": "int8"}),
            "encoding_format",
        ),
        (json!({"input": "a", "inputs": "b"}), "inputs"),
    ] {
        let mut body = json!({"model": "base"});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        assert_eq!(
            post(&host, "/v1/embeddings", &body).refused(400)["param"],
            param
        );
    }
    let body = json!({"model": "none", "input": "a"});
    post(&host, "/v1/embeddings", &body).refused(404);
}
