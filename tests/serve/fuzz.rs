//! Requests that no client would send: each is refused with a status and in the form of the API, and the server still
//! answers. `GLMTUNE_FUZZ=10000` sends as many.

use std::io::Write;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use super::client::{Reply, connect, get, read, request_bytes};
use super::fake::FakeEngine;
use super::host::Host;
use super::{chat, saying};

const PATHS: [&str; 8] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/adapters",
    "/tokenize",
    "/detokenize",
    "/v1/models",
    "/nowhere",
];

/// Names of fields, known and not.
const FIELDS: [&str; 26] = [
    "model",
    "messages",
    "prompt",
    "input",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "echo",
    "tools",
    "tool_choice",
    "response_format",
    "tokens",
    "name",
    "path",
    "user",
    "other",
];

fn count() -> usize {
    let asked = std::env::var("GLMTUNE_FUZZ").ok();
    asked.and_then(|count| count.parse().ok()).unwrap_or(300)
}

/// The same requests each time, unless GLMTUNE_FUZZ_SEED says otherwise.
fn runner() -> TestRunner {
    let seed = std::env::var("GLMTUNE_FUZZ_SEED").ok();
    let seed: u64 = seed.and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(
        Config::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &bytes),
    )
}

/// JSON of any kind, with the names that matter.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0i64..300).prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        ".{0,12}".prop_map(Value::from),
        prop_oneof![
            Just("base"),
            Just("tuned"),
            Just("user"),
            Just("system"),
            Just("text"),
            Just("auto")
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let key = prop_oneof![
            Just("role".to_string()),
            Just("content".to_string()),
            Just("type".to_string()),
            Just("text".to_string()),
            Just("function".to_string()),
            Just("include_usage".to_string()),
            "[a-z0-9]{1,4}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..5)
                .prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// An object with some of the fields, often enough with a valid beginning.
fn body() -> impl Strategy<Value = Value> {
    let fields = prop::collection::vec((prop::sample::select(&FIELDS[..]), value()), 0..6);
    (any::<bool>(), fields).prop_map(|(is_valid, fields)| {
        let mut body = match is_valid {
            true => json!({"model": "base", "messages": [{"role": "user", "content": "hi"}]}),
            false => json!({}),
        };
        for (name, value) in fields {
            body[name] = value;
        }
        body
    })
}

/// Bytes of a request, with what may be wrong with it.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let content = prop_oneof![
        6 => body().prop_map(|body| body.to_string().into_bytes()),
        2 => value().prop_map(|value| value.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ];
    let method =
        prop_oneof![8 => Just("POST"), 1 => Just("GET"), 1 => Just("DELETE"), 1 => Just("BREW")];
    let kind = prop_oneof![8 => Just("application/json"), 1 => Just("text/plain"), 1 => Just("")];
    let header = prop_oneof![
        Just(("X-Other", "1")),
        Just(("Authorization", "Bearer x")),
        Just(("Accept-Encoding", "gzip")),
        Just(("Host", "localhost:1")),
        Just(("Content-Length", "18446744073709551615")),
        Just(("Content-Length", "-1")),
        Just(("Content-Length", "1")),
        Just(("Transfer-Encoding", "gzip")),
        Just(("Transfer-Encoding", "chunked")),
        Just(("Expect", "100-continue")),
        Just(("Upgrade", "websocket")),
    ];
    let headers = prop::collection::vec(header, 0..2);
    // Bytes that are changed, wherever they are, and a place at which the request is cut.
    let damage = prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()));
    let cut = prop::option::weighted(0.1, any::<prop::sample::Index>());
    let path = prop::sample::select(&PATHS[..]);
    (path, method, kind, headers, content, damage, cut).prop_map(
        |(path, method, kind, mut headers, content, damage, cut)| {
            headers.push(("Content-Type", kind));
            let mut bytes = request_bytes(method, path, &headers, &content);
            if let Some((at, byte)) = damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(at) = cut {
                bytes.truncate(at.index(bytes.len()));
            }
            bytes
        },
    )
}

/// Sends what may be no request at all; `None` if there is no answer, as to half a request.
fn throw(host: &Host, bytes: &[u8]) -> Option<Reply> {
    let mut stream = connect(host);
    let _ = stream.write_all(bytes);
    read(stream)
}

/// What is wrong with an answer.
fn fault(reply: &Reply) -> Option<String> {
    let what = match reply.status {
        200 | 201 => return None,
        400..=499 => match reply.body.is_empty() {
            // What is no HTTP is refused before there is a request.
            true if matches!(reply.status, 400 | 414 | 431) => return None,
            _ => "form",
        },
        _ => "status",
    };
    let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    let is_openais = body["error"]["message"].is_string() && body["error"]["type"].is_string();
    (what == "status" || !is_openais).then(|| format!("{what}: {reply:?}"))
}

#[test]
fn whatever_comes_is_answered() {
    let host = Host::start(FakeEngine::saying("ok"), |plan| {
        // What is cut short waits for its end no longer than that.
        plan.settings.body_timeout = Duration::from_millis(100);
        plan.connections.head_timeout = Duration::from_millis(100);
    });
    let mut runner = runner();
    let strategy = request();
    let mut statuses = std::collections::BTreeMap::new();
    for number in 0..count() {
        let bytes = strategy.new_tree(&mut runner).unwrap().current();
        let reply = throw(&host, &bytes);
        let status = reply.as_ref().map_or(0, |reply| reply.status);
        *statuses.entry(status).or_insert(0) += 1;
        if let Some(fault) = reply.as_ref().and_then(fault) {
            panic!(
                "request {number}: {fault}\n{:?}",
                String::from_utf8_lossy(&bytes)
            );
        }
        if number % 50 == 0 {
            chat(&host, json!({})).ok();
        }
    }
    // A generator that never comes past the first check would find nothing.
    assert!(statuses.len() >= 5, "{statuses:?}");
    host.engine.wait_for(0);
    chat(&host, json!({})).ok();
    get(&host, "/health").ok();
}

#[test]
fn heads_of_every_size() {
    let host = saying("ok");
    for size in [1_000, 60_000, 70_000, 200_000] {
        let long = "x".repeat(size);
        let bytes = request_bytes("GET", "/v1/models", &[("X-Long", &long)], b"");
        let reply = throw(&host, &bytes);
        let status = reply.map_or(431, |reply| reply.status);
        assert!(matches!(status, 200 | 431), "{size}: {status}");
        let bytes = request_bytes("GET", &format!("/{long}"), &[], b"");
        let status = throw(&host, &bytes).map_or(414, |reply| reply.status);
        assert!(matches!(status, 404 | 414 | 431), "{size}: {status}");
    }
    let headers: Vec<(&str, &str)> = (0..200).map(|_| ("X-Many", "1")).collect();
    let bytes = request_bytes("GET", "/v1/models", &headers, b"");
    let status = throw(&host, &bytes).map_or(431, |reply| reply.status);
    assert!(matches!(status, 200 | 400 | 431), "{status}");
    get(&host, "/health").ok();
}
