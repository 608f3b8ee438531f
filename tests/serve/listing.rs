//! Models, tokens, health, numbers.

use glmtune::serve::ApiKey;
use serde_json::json;

use super::client::{get, post};
use super::fake::FakeEngine;
use super::host::Host;
use super::{chat, saying};

#[test]
fn models() {
    let host = saying("");
    let list = get(&host, "/v1/models").ok();
    let names: Vec<&str> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(
        (list["object"].as_str(), names),
        (Some("list"), vec!["base", "tuned"])
    );
    let tuned = get(&host, "/v1/models/tuned").ok();
    assert_eq!(
        (&tuned["object"], &tuned["parent"]),
        (&json!("model"), &json!("base"))
    );
    assert_eq!(tuned["max_model_len"], 1024);
    let error = get(&host, "/v1/models/other").refused(404);
    assert_eq!(error["code"], "model_not_found");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("`base`, `tuned`")
    );
    get(&host, "/v1/models/%ff").refused(400);
}

#[test]
fn tokens_there_and_back() {
    let host = saying("");
    let found = post(
        &host,
        "/tokenize",
        &json!({"prompt": "A", "return_token_strs": true}),
    )
    .ok();
    assert_eq!(found["tokens"], json!([259, 261, 65]));
    assert_eq!(found["token_strs"], json!(["[gMASK]", "<sop>", "A"]));
    assert_eq!(
        (&found["count"], &found["max_model_len"]),
        (&json!(3), &json!(1024))
    );
    let found = post(
        &host,
        "/tokenize",
        &json!({"prompt": "A", "add_special_tokens": false}),
    )
    .ok();
    assert_eq!(
        (&found["tokens"], &found["token_strs"]),
        (&json!([65]), &json!(null))
    );
    let conversation = json!({"model": "tuned", "messages": [{"role": "user", "content": "hi"}]});
    let found = post(&host, "/tokenize", &conversation).ok();
    assert_eq!(found["tokens"], json!([259, 261, 264, 10, 104, 105, 265]));
    let found = post(&host, "/detokenize", &json!({"tokens": [259, 65, 66]})).ok();
    assert_eq!(found, json!({"prompt": "AB"}));
    assert_eq!(
        post(&host, "/detokenize", &json!({"tokens": []})).ok()["prompt"],
        ""
    );
    post(&host, "/tokenize", &json!({})).refused(400);
    post(&host, "/tokenize", &json!({"prompt": "a", "messages": []})).refused(400);
    post(&host, "/detokenize", &json!({"tokens": ["a"]})).refused(400);
}

#[test]
fn the_page_is_there_without_a_key() {
    let host = Host::start(FakeEngine::saying(""), |plan| {
        plan.settings.api_key = ApiKey::new("secret");
    });
    let reply = get(&host, "/");
    assert_eq!(reply.status, 200);
    assert!(
        reply
            .header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    assert!(reply.header("content-security-policy").is_some());
    get(&host, "/page/nowhere.js").refused(404);
}

#[test]
fn health_and_numbers() {
    let host = saying("abc");
    assert_eq!(get(&host, "/health").ok(), json!({"status": "ok"}));
    chat(&host, json!({})).ok();
    get(&host, "/nowhere/at/all").refused(404);
    let reply = get(&host, "/metrics");
    assert_eq!(reply.status, 200);
    assert!(
        reply
            .header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    for line in [
        "glmtune_http_requests_total{path=\"/v1/chat/completions\",status=\"200\"} 1",
        "glmtune_http_requests_total{path=\"other\",status=\"404\"} 1",
        "glmtune_time_to_first_token_seconds_count 1",
        "glmtune_inter_token_seconds_count 2",
        "glmtune_cache_capacity_tokens 4096",
    ] {
        assert!(reply.body.contains(line), "{line} in {}", reply.body);
    }
    assert!(reply.body.ends_with("# EOF\n"));
}
