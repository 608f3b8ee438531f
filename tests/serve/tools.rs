//! Tools: what the model is told of them, and calls.

use glmtune::model::tokenizer::Mode;
use serde_json::{Value, json};

use super::fake::FakeEngine;
use super::host::Host;
use super::{chat, saying};

fn tools() -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let function =
        json!({"name": "weather", "description": "Tells the weather", "parameters": parameters});
    json!([{"type": "function", "function": function}])
}

/// A server of a family that says something.
fn family(mode: Mode, text: &str) -> Host {
    Host::start(FakeEngine::saying(text), |plan| plan.mode = mode)
}

/// The text of the prompt that the engine got.
fn prompt(host: &Host) -> String {
    let prompt = host.engine.last().prompt;
    let bytes = prompt.iter().filter_map(|&token| u8::try_from(token).ok());
    String::from_utf8(bytes.collect()).unwrap()
}

/// Calls as each family writes them.
const CALLS: [(Mode, &str); 2] = [
    (
        Mode::Glm3,
        "weather\n```python\ntool_call(city='Rome')\n```",
    ),
    (Mode::Glm4, "weather\n{\"city\": \"Rome\"}"),
];

#[test]
fn a_call() {
    for (mode, text) in CALLS {
        let host = family(mode, text);
        let body = chat(
            &host,
            json!({"tools": tools(), "parallel_tool_calls": false}),
        )
        .ok();
        let choice = &body["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls");
        let message = &choice["message"];
        assert_eq!(
            (&message["role"], &message["content"]),
            (&json!("assistant"), &Value::Null)
        );
        let call = &message["tool_calls"][0];
        assert!(call["id"].as_str().unwrap().starts_with("call_"));
        assert_eq!(
            (&call["type"], &call["function"]["name"]),
            (&json!("function"), &json!("weather"))
        );
        let arguments: Value =
            serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        assert_eq!(arguments, json!({"city": "Rome"}));
        let told = prompt(&host);
        assert!(
            told.contains("\"name\": \"weather\"") && told.contains("Tells the weather"),
            "{told}"
        );
    }
}

#[test]
fn a_streamed_call() {
    for (mode, text) in CALLS {
        let host = family(mode, text);
        let events = chat(&host, json!({"tools": tools(), "stream": true})).events();
        let deltas: Vec<&Value> = events
            .iter()
            .map(|event| &event["choices"][0]["delta"])
            .collect();
        let calls: Vec<&Value> = deltas
            .iter()
            .filter_map(|delta| delta.get("tool_calls"))
            .collect();
        assert_eq!(
            calls[0][0]["function"],
            json!({"name": "weather", "arguments": ""})
        );
        assert_eq!(calls[0][0]["index"], 0);
        let arguments: String = calls
            .iter()
            .map(|call| call[0]["function"]["arguments"].as_str().unwrap())
            .collect();
        let arguments: Value = serde_json::from_str(&arguments).unwrap();
        assert_eq!(arguments, json!({"city": "Rome"}));
        let said: String = deltas
            .iter()
            .filter_map(|delta| delta["content"].as_str())
            .collect();
        assert_eq!(said, "");
        let last = events.last().unwrap();
        assert_eq!(last["choices"][0]["finish_reason"], "tool_calls");
    }
}

#[test]
fn text_where_a_call_could_be() {
    for mode in [Mode::Glm3, Mode::Glm4] {
        let host = family(mode, "\nIt is sunny.\n");
        for stop in [Value::Null, json!("\n")] {
            let body = chat(&host, json!({"tools": tools(), "stop": stop})).ok();
            let choice = &body["choices"][0];
            assert_eq!(choice["finish_reason"], "stop");
            let text = choice["message"]["content"].as_str().unwrap();
            assert_eq!(text.trim_end(), "It is sunny.");
            assert_eq!(choice["message"].get("tool_calls"), None);
        }
    }
}

#[test]
fn what_was_called_and_what_came_of_it() {
    for (mode, call) in CALLS {
        let host = family(mode, "\nSunny.");
        let function = json!({"name": "weather", "arguments": "{\"city\": \"Rome\"}"});
        let calls = json!([{"id": "call_1", "type": "function", "function": function}]);
        let messages = json!([
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "How is Rome?"},
            {"role": "assistant", "content": null, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "call_1", "content": "sun"},
        ]);
        chat(&host, json!({"messages": messages, "tools": tools()})).ok();
        let told = prompt(&host);
        assert!(told.contains("Be short.\n\n"), "{told}");
        assert!(
            told.ends_with(&format!("\nHow is Rome?{call}\nsun")),
            "{told}"
        );
    }
}

#[test]
fn families_without_tools() {
    for mode in [Mode::Glm, Mode::Glm2] {
        let host = family(mode, "ok");
        assert_eq!(
            chat(&host, json!({"tools": tools()})).refused(400)["param"],
            "tools"
        );
        chat(&host, json!({"tools": tools(), "tool_choice": "none"})).ok();
    }
}

#[test]
fn tools_that_must_not_be_called_are_not_told_of() {
    let host = saying("weather\nis nice");
    let body = chat(&host, json!({"tools": tools(), "tool_choice": "none"})).ok();
    assert_eq!(body["choices"][0]["message"]["content"], "weather\nis nice");
    assert!(!prompt(&host).contains("weather"));
}

#[test]
fn what_cannot_be_used_is_named() {
    let host = saying("ok");
    for (more, param) in [
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (
            json!({"tools": tools(), "tool_choice": {"type": "function", "function": {"name": "time"}}}),
            "tool_choice",
        ),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"tools": [tools()[0], tools()[0]]}), "tools"),
        (
            json!({"response_format": {"type": "grammar"}}),
            "response_format.type",
        ),
    ] {
        assert_eq!(chat(&host, more).refused(400)["param"], param);
    }
}
