//! What is refused, and how it is said.

use serde_json::json;

use super::client::{post_bytes, send};
use super::fake::FakeEngine;
use super::host::Host;
use super::{chat, chat_body, completion, saying};

const PATH: &str = "/v1/chat/completions";

#[test]
fn fields_of_a_chat_act_or_are_refused_by_name() {
    let host = saying("ok");
    for (more, param) in [
        (json!({"model": null}), "model"),
        (json!({"model": 1}), "model"),
        (json!({"messages": null}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"stream": "yes"}), "stream"),
        (json!({"n": 0}), "n"),
        (json!({"n": 1.5}), "n"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (
            json!({"max_completion_tokens": -1}),
            "max_completion_tokens",
        ),
        (json!({"temperature": 3}), "temperature"),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"top_p": 2}), "top_p"),
        (json!({"min_p": 0.1}), "min_p"),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
        (json!({"logit_bias": {"9999": 1}}), "logit_bias"),
        (json!({"top_logprobs": 3}), "top_logprobs"),
        (
            json!({"logprobs": true, "top_logprobs": 21}),
            "top_logprobs",
        ),
        (json!({"logprobs": 3}), "logprobs"),
        (
            json!({"stream_options": {"include_usage": true}}),
            "stream_options",
        ),
        (json!({"modalities": ["text", "audio"]}), "modalities"),
        (json!({"store": true}), "store"),
        (json!({"service_tier": "flex"}), "service_tier"),
        (json!({"functions": [{}]}), "functions"),
        (json!({"prediction": {}}), "prediction"),
        (json!({"reasoning_effort": "high"}), "reasoning_effort"),
        (json!({"web_search_options": {}}), "web_search_options"),
        (json!({"temprature": 1}), "temprature"),
        (json!({"echo": true}), "echo"),
    ] {
        let error = chat(&host, more).refused(400);
        assert_eq!(
            (&error["param"], &error["type"]),
            (&json!(param), &json!("invalid_request_error"))
        );
    }
    let error = chat(&host, json!({"temprature": 1})).refused(400);
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("`temperature`?"),
        "{error}"
    );
    chat(
        &host,
        json!({"user": "me", "metadata": {"a": "b"}, "store": false, "service_tier": "auto",
               "modalities": ["text"], "stop": null, "tools": [], "response_format": {"type": "text"}}),
    )
    .ok();
}

#[test]
fn fields_of_a_completion_act_or_are_refused_by_name() {
    let host = saying("ok");
    for (more, param) in [
        (json!({"prompt": null}), "prompt"),
        (json!({"suffix": "end"}), "suffix"),
        (json!({"best_of": 2}), "best_of"),
        (json!({"logprobs": 6}), "logprobs"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"echo": 1}), "echo"),
        (json!({"messages": []}), "messages"),
    ] {
        assert_eq!(completion(&host, more).refused(400)["param"], param);
    }
    completion(&host, json!({"best_of": 1, "suffix": null})).ok();
}

#[test]
fn an_unknown_model_is_404_with_the_names_that_exist() {
    let host = saying("ok");
    let error = chat(&host, json!({"model": "gpt-4"})).refused(404);
    assert_eq!(
        (&error["code"], &error["param"]),
        (&json!("model_not_found"), &json!("model"))
    );
    assert!(
        error["message"].as_str().unwrap().contains("`tuned`"),
        "{error}"
    );
}

#[test]
fn paths_and_methods() {
    let host = saying("ok");
    for path in [
        "/v1",
        "/v1/chat",
        "/v1/chat/completions/",
        "/v2/models",
        "/..",
        "/%00",
    ] {
        assert_eq!(
            send(&host, "GET", path, &[], b"").refused(404)["code"],
            "not_found"
        );
    }
    for (method, path, allowed) in [
        ("GET", PATH, "POST"),
        ("PUT", "/v1/completions", "POST"),
        ("POST", "/v1/models", "GET"),
        ("DELETE", "/health", "GET"),
        ("GET", "/v1/adapters/x", "DELETE"),
    ] {
        let reply = send(&host, method, path, &[], b"");
        assert_eq!(reply.refused(405)["code"], "method_not_allowed");
        assert!(
            reply.header("allow").unwrap().contains(allowed),
            "{reply:?}"
        );
    }
}

#[test]
fn bodies() {
    let host = Host::start(FakeEngine::saying("ok"), |plan| {
        plan.settings.max_body = 2000
    });
    for body in [
        &b""[..],
        b"{",
        b"[]",
        b"1",
        b"null",
        b"\"a\"",
        b"{\"model\": }",
        b"\xff\xfe",
        b"{}{}",
        b"{\"a\": \"\xff\"}",
    ] {
        post_bytes(&host, PATH, body).refused(400);
    }
    let deep = format!("{{\"messages\": {}1{}}}", "[".repeat(900), "]".repeat(900));
    post_bytes(&host, PATH, deep.as_bytes()).refused(400);
    let long = chat_body(json!({"user": "x".repeat(3000)})).to_string();
    assert_eq!(
        post_bytes(&host, PATH, long.as_bytes()).refused(413)["code"],
        "body_too_large"
    );
    let chunked = format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let headers = [
        ("Content-Type", "application/json"),
        ("Transfer-Encoding", "chunked"),
    ];
    send(&host, "POST", PATH, &headers, chunked.as_bytes()).refused(413);
}

#[test]
fn media_types() {
    let host = saying("ok");
    let body = chat_body(json!({})).to_string();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "",
    ] {
        send(
            &host,
            "POST",
            PATH,
            &[("Content-Type", kind)],
            body.as_bytes(),
        )
        .refused(415);
    }
    send(&host, "POST", PATH, &[], body.as_bytes()).refused(415);
    let headers = [
        ("Content-Type", "application/json"),
        ("Content-Encoding", "gzip"),
    ];
    send(&host, "POST", PATH, &headers, body.as_bytes()).refused(415);
}

#[test]
fn no_text_of_the_prompt_is_repeated() {
    let host = saying("ok");
    let secret = "correct horse battery staple";
    for more in [
        json!({"messages": secret}),
        json!({"messages": [{"role": secret, "content": "a"}]}),
        json!({"messages": [{"role": "user", "content": {"a": secret}}]}),
        json!({"messages": [{"role": "assistant", "content": secret}]}),
        json!({"stop": [secret, 1]}),
        json!({"logit_bias": {secret: 1}}),
        json!({"model": secret}),
        json!({"messages": [{"role": "user", "content": [{"type": secret, "text": secret}]}]}),
    ] {
        let reply = chat(&host, more);
        assert!(
            (400..500).contains(&reply.status) && !reply.body.contains(secret),
            "{reply:?}"
        );
    }
    let broken = format!("{{\"model\": \"base\", \"messages\": [{secret}");
    assert!(
        !post_bytes(&host, PATH, broken.as_bytes())
            .body
            .contains("horse")
    );
}
