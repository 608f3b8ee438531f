//! A conversation is had, stopped, and kept.

use serde_json::{Value, json};

use crate::browser::browse;
use crate::fake::BASE;

#[test]
fn a_conversation_goes_on_from_what_was_said() {
    browse(async |page| {
        page.one_model().await;
        page.ask_and_wait("hello").await;
        page.ask_and_wait("and then?").await;
        let first = format!("{BASE} answers 1: hello");
        assert_eq!(page.questions().await, ["hello", "and then?"]);
        assert_eq!(
            page.answers().await,
            [first.clone(), format!("{BASE} answers 1: and then?")]
        );
        let request = page.server.requests().pop().unwrap();
        let expected = json!([
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": first},
            {"role": "user", "content": "and then?"},
        ]);
        assert_eq!(request["messages"], expected);
        assert_eq!(request["stream"], true);
        assert_eq!(request["stream_options"]["include_usage"], true);
        // Nothing that was not chosen is sent.
        assert_eq!(request["temperature"], Value::Null);
        let facts = page.text(".answer:last-of-type .facts").await;
        assert!(facts.contains("prompt 11 · 42 tokens"), "{facts}");
        assert!(facts.contains("tokens/s"), "{facts}");
        // Said once, as a whole.
        let said = page
            .value("document.getElementById('announcer').innerText")
            .await;
        let said = said.as_str().unwrap();
        assert!(
            said.contains(&format!("{BASE} answered: {BASE} answers 1: and then?")),
            "{said}"
        );
    });
}

#[test]
fn an_answer_is_stopped_and_its_text_kept() {
    browse(async |page| {
        page.one_model().await;
        page.ask("for ever").await;
        page.until("document.querySelector('.prose').innerText.includes('word word')")
            .await;
        // While it is written, Enter sends nothing.
        page.enter("#message", "next\u{e007}").await;
        assert_eq!(page.server.requests().len(), 1);
        page.press("\u{e00c}").await;
        page.until_idle().await;
        assert!(page.answers().await[0].starts_with("word word"));
        assert_eq!(page.text(".answer .status").await, "Stopped.");
        assert!(page.text(".answer .facts").await.starts_with("about "));
        assert_eq!(
            page.value("document.getElementById('message').value").await,
            "next"
        );
        // The server notices.
        page.until_left(1).await;

        page.replace("#message", "for ever\u{e007}").await;
        page.until("document.querySelectorAll('.answer')[1]?.innerText.includes('word')")
            .await;
        page.click("#composer button").await;
        page.until_idle().await;
        page.until_left(2).await;
        let messages = page.server.requests().pop().unwrap()["messages"].take();
        assert!(
            messages[1]["content"]
                .as_str()
                .unwrap()
                .starts_with("word word"),
            "{messages}"
        );
    });
}

#[test]
fn a_closed_page_has_lost_nothing() {
    browse(async |page| {
        page.one_model().await;
        page.ask_and_wait("hello").await;
        page.ask("for ever").await;
        page.until("document.querySelectorAll('.answer')[1]?.innerText.includes('word')")
            .await;
        page.reload().await;
        page.until("document.querySelectorAll('.answer').length === 2")
            .await;
        let answers = page.answers().await;
        assert_eq!(answers[0], format!("{BASE} answers 1: hello"));
        assert!(answers[1].starts_with("word"), "{answers:?}");
        assert_eq!(page.text(".reply:last-child .status").await, "Stopped.");

        // Several are kept, the latest first, and the open one is marked.
        page.click("#sidebar .new").await;
        page.until("document.querySelectorAll('.bubble').length === 0")
            .await;
        page.ask_and_wait("another").await;
        let titles =
            "[...document.querySelectorAll('#sidebar .title')].map((title) => title.textContent)";
        assert_eq!(page.value(titles).await, json!(["another", "hello"]));
        page.click("#sidebar li:nth-child(2) .title").await;
        page.until("document.querySelector('.bubble')?.textContent === 'hello'")
            .await;
        assert_eq!(page.text("#sidebar [aria-current]").await, "hello");

        // A removal can be taken back.
        page.click("#sidebar li:nth-child(2) .title").await;
        page.click("#sidebar li:nth-child(2) .square").await;
        page.until("document.querySelectorAll('#sidebar .title').length === 1")
            .await;
        page.until("document.querySelectorAll('.bubble').length === 0")
            .await;
        page.click(".notice .plain").await;
        page.until("document.querySelectorAll('#sidebar .title').length === 2")
            .await;
        page.until("document.querySelector('.bubble')?.textContent === 'hello'")
            .await;
    });
}

#[test]
fn keys_do_what_they_do_elsewhere() {
    browse(async |page| {
        page.one_model().await;
        page.click("#message").await;
        // Shift+Enter is a new line.
        page.press("one\u{e008}\u{e007}\u{e000}two").await;
        assert_eq!(page.value("document.activeElement.value").await, "one\ntwo");
        assert!(page.server.requests().is_empty());
        // Enter takes a candidate of an input method.
        let composing = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', \
            {key: 'Enter', isComposing: true, bubbles: true, cancelable: true}))";
        assert_eq!(page.value(composing).await, true);
        let confirming = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', \
            {key: 'Enter', keyCode: 229, bubbles: true, cancelable: true}))";
        assert_eq!(page.value(confirming).await, true);
        assert!(page.server.requests().is_empty());
        page.press("\u{e007}").await;
        page.until_idle().await;
        page.until("document.querySelector('.answer')").await;
        assert_eq!(page.questions().await, ["one\ntwo"]);
        // The focus has stayed where one goes on writing, and the first stop of the page leads there.
        assert!(page.is("document.activeElement.id === 'message'").await);
        // Blank messages are none.
        page.press("  \u{e007}").await;
        assert_eq!(page.server.requests().len(), 1);
        assert_eq!(
            page.value("document.querySelector('a, button').getAttribute('href')")
                .await,
            "#message"
        );
        // Everything that can be reached has a name.
        let nameless = page
            .value(
                "[...document.querySelectorAll('button, input, textarea, select')].filter((control) => \
                 !control.closest('[aria-hidden]') && !control.ariaLabel && !control.innerText.trim() && \
                 !control.labels?.length).map((control) => control.outerHTML)",
            )
            .await;
        assert_eq!(nameless, json!([]));
    });
}

#[test]
fn settings_are_sent_and_wrong_ones_held_back() {
    browse(async |page| {
        page.one_model().await;
        page.click("[aria-controls=panel]").await;
        page.enter("#setting-system", "Be brief.").await;
        page.enter("#setting-temperature", "0").await;
        page.enter("#setting-top_p", "1.5").await;
        page.until("document.querySelector('#setting-top_p[aria-invalid=true]')")
            .await;
        assert_eq!(
            page.text("#setting-top_p-rule").await,
            "A number above 0, up to 1."
        );
        page.enter("#setting-seed", "7").await;
        page.enter("#setting-max_tokens", "64").await;
        page.picture("settings").await;
        page.ask("hello").await;
        page.until("document.activeElement.id === 'setting-top_p'")
            .await;
        assert!(page.server.requests().is_empty());
        page.replace("#setting-top_p", "0.5").await;
        page.enter("#message", "\u{e007}").await;
        page.until_asked(1).await;
        page.until_idle().await;
        let request = page.server.requests().pop().unwrap();
        assert_eq!(
            request["messages"][0],
            json!({"role": "system", "content": "Be brief."})
        );
        let sent = ["temperature", "top_p", "top_k", "seed", "max_tokens"]
            .map(|name| request[name].clone());
        assert_eq!(
            sent,
            [json!(0), json!(0.5), Value::Null, json!(7), json!(64)]
        );
        // The next conversation samples alike, but is another one.
        page.click("#sidebar .new").await;
        page.ask_and_wait("hello").await;
        let request = page.server.requests().pop().unwrap();
        assert_eq!(request["seed"], 7);
        assert_eq!(request["messages"][0]["role"], "user");
    });
}
