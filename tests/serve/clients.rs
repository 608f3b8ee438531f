//! Clients that leave, stall, or come in numbers, and the end of the server.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use super::client::{begin, connect, get, read, request_bytes};
use super::fake::{FakeEngine, Script};
use super::host::Host;
use super::{chat, chat_body};

const PATH: &str = "/v1/chat/completions";

fn endless() -> FakeEngine {
    let mut engine = FakeEngine::new(Script::Endless);
    engine.limits.max_sequence = 1 << 20;
    engine
}

#[test]
fn a_client_that_leaves_frees_its_place() {
    let host = Host::start(endless(), |_| {});
    for more in [
        json!({"max_tokens": 100_000}),
        json!({"max_tokens": 100_000, "stream": true}),
        json!({"max_tokens": 100_000, "stream": true, "n": 3}),
    ] {
        let count = more["n"].as_u64().unwrap_or(1) as usize;
        let stream = begin(&host, PATH, &chat_body(more));
        host.engine.wait_for(count);
        drop(stream);
        host.engine.wait_for(0);
    }
}

#[test]
fn a_client_that_leaves_while_nothing_comes_frees_its_place() {
    let host = Host::start(FakeEngine::new(Script::Silence), |_| {});
    for stream in [false, true] {
        let connection = begin(&host, PATH, &chat_body(json!({"stream": stream})));
        host.engine.wait_for(1);
        drop(connection);
        host.engine.wait_for(0);
    }
}

#[test]
fn a_client_that_does_not_read_loses_its_place() {
    let host = Host::start(endless(), |plan| {
        plan.settings.stall_timeout = Duration::from_millis(200);
        plan.connections.write_timeout = Duration::from_millis(200);
    });
    let body = chat_body(
        json!({"max_tokens": 1_000_000, "stream": true, "n": 8, "logprobs": true, "top_logprobs": 20}),
    );
    let connection = begin(&host, PATH, &body);
    host.engine.wait_for(8);
    // The system holds some megabytes for it before the server notices.
    for _ in 0..6000 {
        if host.engine.active() == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(host.engine.active(), 0);
    drop(connection);
}

#[test]
fn a_full_queue_says_when_to_come_again() {
    let mut engine = endless();
    engine.limits.max_waiting = 2;
    let host = Host::start(engine, |_| {});
    let body = chat_body(json!({"max_tokens": 100_000, "stream": true}));
    let held = [begin(&host, PATH, &body), begin(&host, PATH, &body)];
    host.engine.wait_for(2);
    for stream in [false, true] {
        let reply = chat(&host, json!({"stream": stream}));
        let error = reply.refused(429);
        assert_eq!(
            (&error["code"], &error["type"]),
            (&json!("rate_limit_exceeded"), &json!("rate_limit_error"))
        );
        assert_eq!(reply.header("retry-after"), Some("3"));
        assert_eq!(reply.header("retry-after-ms"), Some("2500"));
    }
    drop(held);
    host.engine.wait_for(0);
    // What could never wait together is refused for good.
    chat(&host, json!({"n": 3})).refused(400);
    chat(&host, json!({"n": 2, "max_tokens": 2})).ok();
}

#[test]
fn what_does_not_fit_the_queue_leaves_nothing_in_it() {
    let mut engine = endless();
    engine.limits.max_waiting = 3;
    let host = Host::start(engine, |_| {});
    let body = chat_body(json!({"max_tokens": 100_000, "stream": true}));
    let held = [begin(&host, PATH, &body), begin(&host, PATH, &body)];
    host.engine.wait_for(2);
    chat(&host, json!({"n": 2})).refused(429);
    host.engine.wait_for(2);
    drop(held);
}

#[test]
fn slow_heads_and_bodies_end() {
    let host = Host::start(FakeEngine::saying("ok"), |plan| {
        plan.connections.head_timeout = Duration::from_millis(200);
        plan.settings.body_timeout = Duration::from_millis(200);
    });
    // A head that never ends, one that never begins, and a connection that nobody uses again.
    for begun in [&b"POST /v1/chat/completions HTTP/1.1\r\nHost: loc"[..], b""] {
        let mut stream = connect(&host);
        stream.write_all(begun).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    }
    let mut stream = connect(&host);
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert!(all.starts_with("HTTP/1.1 200"), "{all}");

    let mut stream = connect(&host);
    let headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", "100"),
    ];
    stream
        .write_all(&request_bytes("POST", PATH, &headers, b"{\"model\""))
        .unwrap();
    assert_eq!(read(stream).unwrap().refused(408)["code"], "body_timeout");
    get(&host, "/health").ok();
}

#[test]
fn more_connections_than_there_may_be_wait_for_each_other() {
    let host = Host::start(FakeEngine::saying("ok"), |plan| {
        plan.connections.most = 2;
        plan.connections.head_timeout = Duration::from_millis(300);
    });
    let idle: Vec<_> = (0..6).map(|_| connect(&host)).collect();
    // Idle ones are closed one after the other.
    get(&host, "/health").ok();
    drop(idle);
}

#[test]
fn at_the_end_answers_under_way_come_to_theirs() {
    let mut engine = FakeEngine::saying(&"word ".repeat(40));
    engine.pace = Duration::from_millis(3);
    let mut host = Host::start(engine, |_| {});
    let stream = begin(&host, PATH, &chat_body(json!({"stream": true})));
    let whole = begin(&host, PATH, &chat_body(json!({})));
    host.engine.wait_for(2);
    host.stop();
    let events = read(stream).unwrap().events();
    let text: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "word ".repeat(40));
    read(whole).unwrap().ok();
    assert_eq!(host.wait(Duration::from_secs(10)), 0);
    assert!(std::net::TcpStream::connect(host.address).is_err());
}

#[test]
fn at_the_end_new_requests_on_open_connections_are_refused() {
    let mut host = Host::start(endless(), |_| {});
    let held = begin(
        &host,
        PATH,
        &chat_body(json!({"max_tokens": 100_000, "stream": true})),
    );
    host.engine.wait_for(1);
    host.state.drain();
    chat(&host, json!({})).refused(503);
    get(&host, "/health").refused(503);
    drop(held);
    host.stop();
    assert_eq!(host.wait(Duration::from_secs(10)), 0);
}

#[test]
fn the_end_comes_in_time_whoever_is_there() {
    let mut host = Host::start(endless(), |plan| {
        plan.connections.drain_timeout = Duration::from_millis(300);
        plan.connections.end_timeout = Duration::from_millis(700);
    });
    let body = chat_body(json!({"max_tokens": 1_000_000, "stream": true}));
    let reads = begin(&host, PATH, &body);
    host.engine.wait_for(1);
    let idle = connect(&host);
    let mut stalls = connect(&host);
    let headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", "100"),
    ];
    stalls
        .write_all(&request_bytes("POST", PATH, &headers, b"{"))
        .unwrap();
    let reader = std::thread::spawn(move || read(reads));
    let began = Instant::now();
    host.stop();
    host.wait(Duration::from_secs(5));
    assert!(began.elapsed() < Duration::from_secs(4));
    // Who was being answered is told why no more comes.
    let reply = reader.join().unwrap().unwrap();
    assert!(
        reply.data().last().unwrap().contains("shutting_down"),
        "{:?}",
        reply.data().last()
    );
    drop((idle, stalls));
}
