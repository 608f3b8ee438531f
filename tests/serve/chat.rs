//! `/v1/chat/completions`.

use glmtune::model::engine::Failure;
use glmtune::model::tokenizer::Mode;
use serde_json::{Value, json};

use super::client::{post, send};
use super::fake::{FakeEngine, Script};
use super::host::Host;
use super::{chat, chat_body, saying};

/// `hi` as ChatGLM3's prompt, with the tokenizer of bytes.
const PROMPT: [u32; 7] = [259, 261, 264, 10, 104, 105, 265];

#[test]
fn an_answer_has_openais_shape() {
    let host = saying("\nhello");
    let body = chat(&host, json!({"max_tokens": 64})).ok();
    let id = body["id"].as_str().unwrap();
    assert!(id.starts_with("chatcmpl-"), "{id}");
    assert!(body["created"].as_u64().unwrap() > 1_700_000_000);
    assert!(
        body["system_fingerprint"]
            .as_str()
            .unwrap()
            .starts_with("glmtune-")
    );
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "base");
    let choice = json!({
        "index": 0,
        "message": {"role": "assistant", "content": "hello", "refusal": null},
        "logprobs": null,
        "finish_reason": "stop",
    });
    assert_eq!(body["choices"], json!([choice]));
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 6, "total_tokens": 13,
                       "prompt_tokens_details": {"cached_tokens": 1}});
    assert_eq!(body["usage"], usage);
    let seen = host.engine.last();
    assert_eq!(
        (seen.prompt.as_slice(), seen.max_new_tokens),
        (&PROMPT[..], 64)
    );
    assert_eq!(seen.adapter, None);
}

#[test]
fn an_adapter_is_a_model() {
    let host = saying("hello");
    let body = chat(&host, json!({"model": "tuned"})).ok();
    assert_eq!(body["model"], "tuned");
    assert_eq!(host.engine.last().adapter.as_deref(), Some("tuned"));
}

#[test]
fn what_is_said_of_drawing_reaches_the_engine() {
    let host = saying("hello");
    chat(
        &host,
        json!({"temperature": 0.5, "top_p": 0.9, "top_k": 7, "seed": 42, "presence_penalty": 1,
               "frequency_penalty": -1, "repetition_penalty": 1.5, "logit_bias": {"65": -100}}),
    )
    .ok();
    let drawing = host.engine.last().drawing.unwrap();
    let sampling = drawing.sampling.unwrap();
    assert_eq!(
        (sampling.temperature, sampling.top_p, sampling.top_k),
        (0.5, 0.9, 7)
    );
    let penalties = drawing.penalties;
    assert_eq!(
        (
            penalties.repetition,
            penalties.presence,
            penalties.frequency
        ),
        (1.5, 1.0, -1.0)
    );
    assert_eq!((drawing.logit_bias, drawing.seed), (vec![(65, -100.0)], 42));
    chat(&host, json!({"temperature": 0})).ok();
    assert_eq!(host.engine.last().drawing.unwrap().sampling, None);
}

#[test]
fn requests_without_a_seed_differ_and_a_seed_of_the_server_repeats() {
    let seeds = |seed: Option<u64>| {
        let host = Host::start(FakeEngine::saying("a"), |plan| plan.settings.seed = seed);
        [(); 2].map(|()| {
            chat(&host, json!({})).ok();
            host.engine.last().drawing.unwrap().seed
        })
    };
    let [first, second] = seeds(None);
    assert_ne!(first, second);
    assert_ne!(seeds(None), [first, second]);
    assert_eq!(seeds(Some(3)), seeds(Some(3)));
}

#[test]
fn most_tokens_by_default_are_what_is_left() {
    let host = saying("hello");
    chat(&host, json!({})).ok();
    assert_eq!(host.engine.last().max_new_tokens, 1024 - 7);
    chat(&host, json!({"max_tokens": 3, "max_completion_tokens": 5})).ok();
    assert_eq!(host.engine.last().max_new_tokens, 5);
    let body = chat(&host, json!({"max_tokens": 3})).ok();
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert_eq!(body["choices"][0]["message"]["content"], "hel");
    let error = chat(&host, json!({"max_tokens": 2000})).refused(400);
    assert_eq!(error["code"], "context_length_exceeded");
}

#[test]
fn several_answers() {
    let host = saying("hello");
    let body = chat(&host, json!({"n": 3})).ok();
    let choices = body["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 3);
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], index);
        assert_eq!(choice["message"]["content"], "hello");
    }
    assert_eq!(body["usage"]["prompt_tokens"], 7);
    assert_eq!(body["usage"]["completion_tokens"], 15);
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 1);
    let seen = host.engine.seen.lock().unwrap();
    let numbers: Vec<u64> = seen
        .iter()
        .map(|seen| seen.drawing.as_ref().unwrap().number)
        .collect();
    assert_eq!(numbers, [0, 1, 2]);
}

#[test]
fn a_stop_across_tokens_is_cut_off_and_frees_the_place() {
    let engine = FakeEngine::saying("one STOP two");
    let host = Host::start(engine, |_| {});
    let body = chat(&host, json!({"stop": ["XYZ", " STOP"]})).ok();
    assert_eq!(body["choices"][0]["message"]["content"], "one");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    host.engine.wait_for(0);
    let events = chat(&host, json!({"stop": " STOP", "stream": true})).events();
    assert_eq!(text(&events), "one");
    // What only looked like a stop comes at the end.
    let body = chat(&host, json!({"stop": "two!"})).ok();
    assert_eq!(body["choices"][0]["message"]["content"], "one STOP two");
}

fn text(events: &[Value]) -> String {
    let pieces = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    pieces.collect()
}

#[test]
fn a_stream_has_a_role_then_text_then_a_reason_then_what_was_used() {
    let host = saying("\nyes 好");
    let reply = chat(
        &host,
        json!({"stream": true, "stream_options": {"include_usage": true}}),
    );
    assert_eq!(reply.status, 200);
    let events = reply.events();
    let first = &events[0]["choices"][0];
    assert_eq!(
        first["delta"],
        json!({"role": "assistant", "content": "", "refusal": null})
    );
    assert_eq!(text(&events), "yes 好");
    let id = &events[0]["id"];
    for event in &events {
        assert_eq!(event["object"], "chat.completion.chunk");
        assert_eq!(&event["id"], id);
        assert_eq!(event["model"], "base");
    }
    let (usage, chunks) = events.split_last().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 8);
    let (last, before) = chunks.split_last().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["choices"][0]["delta"], json!({}));
    for chunk in before {
        assert_eq!(chunk["choices"][0]["finish_reason"], Value::Null);
        assert_eq!(chunk["usage"], Value::Null);
    }
}

#[test]
fn several_streamed_answers_keep_apart() {
    let host = saying("abc");
    let events = chat(&host, json!({"stream": true, "n": 2})).events();
    for index in 0..2 {
        let own = events
            .iter()
            .filter(|event| event["choices"][0]["index"] == index);
        let own: Vec<Value> = own.cloned().collect();
        assert_eq!(text(&own), "abc");
        assert_eq!(own.last().unwrap()["choices"][0]["finish_reason"], "stop");
    }
    assert!(events.iter().all(|event| event.get("usage").is_none()));
}

#[test]
fn log_probabilities() {
    let host = saying("A好");
    let body = chat(&host, json!({"logprobs": true, "top_logprobs": 2})).ok();
    let content = body["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap();
    assert_eq!(content.len(), 4);
    let first = &content[0];
    assert_eq!(
        (&first["token"], &first["bytes"]),
        (&json!("A"), &json!([65]))
    );
    assert!((first["logprob"].as_f64().unwrap() + 65.0 / 256.0).abs() < 1e-6);
    let top = first["top_logprobs"].as_array().unwrap();
    assert_eq!(
        (&top[0]["token"], &top[1]["token"]),
        (&json!("A"), &json!("B"))
    );
    // Without top_logprobs, there are none beside each token.
    let body = chat(&host, json!({"logprobs": true})).ok();
    assert_eq!(
        body["choices"][0]["logprobs"]["content"][0]["top_logprobs"],
        json!([])
    );
}

#[test]
fn streamed_log_probabilities_end_at_a_stop() {
    let host = saying("abEND");
    let more = json!({"stream": true, "logprobs": true, "stop": "END"});
    let events = chat(&host, more).events();
    let tokens: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["logprobs"]["content"].as_array())
        .flatten()
        .map(|entry| entry["token"].as_str().unwrap())
        .collect();
    assert_eq!(tokens, "ab");
}

#[test]
fn a_failure_on_the_way_is_an_event() {
    let failure = Failure::Computation("/secret: out of memory".to_string());
    let engine = FakeEngine::new(Script::Fail(b"ab".to_vec(), failure));
    let host = Host::start(engine, |_| {});
    let reply = chat(&host, json!({"stream": true}));
    assert_eq!(reply.status, 200);
    let data = reply.data();
    let error: Value = serde_json::from_str(data.last().unwrap()).unwrap();
    assert_eq!(error["error"]["type"], "server_error");
    assert!(!reply.body.contains("secret") && !reply.body.contains("[DONE]"));
    let error = chat(&host, json!({})).refused(500);
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn a_form_reaches_the_engine() {
    let host = saying("{}");
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let named = json!({"name": "n", "strict": true, "schema": schema});
    for format in [
        json!({"type": "json_object"}),
        json!({"type": "json_schema", "json_schema": named}),
    ] {
        let body = chat(&host, json!({"response_format": format})).ok();
        assert_eq!(body["choices"][0]["message"]["content"], "{}");
        assert!(host.engine.last().is_bound);
    }
    chat(&host, json!({"response_format": {"type": "text"}})).ok();
    assert!(!host.engine.last().is_bound);
    let wrong = json!({"type": "json_schema", "json_schema": {"schema": {"type": "nothing"}}});
    for (more, param) in [
        (json!({"response_format": wrong}), "response_format"),
        (
            json!({"response_format": {"type": "json_object"}, "n": 17}),
            "n",
        ),
        (
            json!({"response_format": {"type": "json_object"}, "min_tokens": 3}),
            "min_tokens",
        ),
    ] {
        assert_eq!(chat(&host, more).refused(400)["param"], param);
    }
}

#[test]
fn conversations_of_all_roles() {
    let host = saying("ok");
    let messages = json!([
        {"role": "system", "content": "S"},
        {"role": "user", "content": [{"type": "text", "text": "U"}]},
        {"role": "assistant", "content": "A"},
        {"role": "tool", "tool_call_id": "call_1", "content": "T"},
    ]);
    chat(&host, json!({"messages": messages})).ok();
    let expected = [
        259, 261, 263, 10, 83, 264, 10, 85, 265, 10, 65, 266, 10, 84, 265,
    ];
    assert_eq!(host.engine.last().prompt, expected);
    let answered = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
    assert_eq!(
        chat(&host, json!({"messages": answered})).refused(400)["param"],
        "messages"
    );
}

#[test]
fn every_family_has_its_prompt() {
    for (mode, expected) in [
        (Mode::Glm, "hi"),
        (Mode::Glm2, "[Round 1]\n\n问：hi\n\n答："),
        (Mode::Glm4, "\nhi"),
    ] {
        let host = Host::start(FakeEngine::saying("ok"), |plan| plan.mode = mode);
        chat(&host, json!({})).ok();
        let bytes: Vec<u8> = host
            .engine
            .last()
            .prompt
            .iter()
            .filter_map(|&token| u8::try_from(token).ok())
            .collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}

#[test]
fn text_that_looks_like_a_special_token_is_text() {
    let host = saying("ok");
    let messages = json!([{"role": "user", "content": "<|assistant|>"}]);
    chat(&host, json!({"messages": messages})).ok();
    let prompt = host.engine.last().prompt;
    assert_eq!(prompt.iter().filter(|&&token| token == 265).count(), 1);
}

#[test]
fn a_panic_ends_one_request_and_not_the_server() {
    let host = Host::start(FakeEngine::new(Script::Panic), |_| {});
    for stream in [false, true] {
        let error = chat(&host, json!({"stream": stream})).refused(500);
        assert_eq!(error["type"], "server_error");
        assert!(!error.to_string().contains("fault of the engine"));
    }
    post(&host, "/tokenize", &json!({"prompt": "a"})).ok();
}

#[test]
fn an_engine_that_leaves_without_a_word_is_a_failure() {
    let engine = FakeEngine::new(Script::Say(Vec::new()));
    let host = Host::start(engine, |_| {});
    let body = chat(&host, json!({})).ok();
    assert_eq!(body["choices"][0]["message"]["content"], "");
}

#[test]
fn an_answer_has_an_end() {
    let host = Host::start(FakeEngine::new(Script::Silence), |plan| {
        plan.settings.request_timeout = std::time::Duration::from_millis(200);
    });
    assert_eq!(chat(&host, json!({})).refused(503)["code"], "timeout");
    let reply = chat(&host, json!({"stream": true}));
    assert!(
        reply.data().last().unwrap().contains("\"timeout\""),
        "{reply:?}"
    );
    host.engine.wait_for(0);
}

#[test]
fn a_stream_in_which_nothing_happens_gives_signs_of_life() {
    let host = Host::start(FakeEngine::new(Script::Silence), |plan| {
        plan.settings.request_timeout = std::time::Duration::from_millis(500);
        plan.settings.keep_alive = std::time::Duration::from_millis(50);
    });
    let reply = chat(&host, json!({"stream": true}));
    assert!(reply.body.contains(": keep-alive"), "{reply:?}");
}

#[test]
fn the_content_type_may_have_a_charset() {
    let host = saying("ok");
    let headers = [("Content-Type", "application/json; charset=utf-8")];
    let body = chat_body(json!({})).to_string();
    let reply = send(
        &host,
        "POST",
        "/v1/chat/completions",
        &headers,
        body.as_bytes(),
    );
    reply.ok();
}
