//! Base and tuned answer the same question next to each other.

use serde_json::json;

use crate::browser::{browse, browse_with};
use crate::fake::{BASE, Fake, TUNED};

#[test]
fn two_models_answer_at_once() {
    browse(async |page| {
        // With an adapter, a comparison is what the page opens with.
        assert_eq!(page.text(".welcome h1").await, "One question, two answers");
        page.picture("welcome").await;
        // The server answers only once it was asked twice.
        page.ask("together").await;
        page.until_asked(2).await;
        page.until_idle().await;
        assert_eq!(page.answers().await, ["begun, ended", "begun, ended"]);

        page.ask_and_wait("Can I get a refund for a parcel that I have opened?")
            .await;
        let names = page
            .value("[...document.querySelectorAll('.answer h2')].map((name) => name.textContent)")
            .await;
        let base = format!("{BASE} (base)");
        assert_eq!(names, json!([base, TUNED, base, TUNED]));
        // Each goes on from its own answers.
        let requests = page.server.requests();
        for request in &requests[2..] {
            assert_eq!(request["messages"].as_array().unwrap().len(), 3);
        }
        // Next to each other, not one below the other.
        let tops = "[...document.querySelectorAll('.reply:last-child .answer')].map((answer) => answer.getBoundingClientRect().top)";
        let tops = page.value(tops).await;
        assert_eq!(tops[0], tops[1]);
    });
}

#[test]
fn each_column_is_stopped_and_regenerated_alone() {
    browse(async |page| {
        page.ask("for ever").await;
        page.until("[...document.querySelectorAll('.prose')].every((prose) => prose.innerText.includes('word'))").await;
        page.click(&format!("[aria-label='Stop {TUNED}']")).await;
        page.until("document.querySelector('[data-lane=\"1\"][data-state=stopped]')")
            .await;
        assert!(
            page.is("document.querySelector('[data-lane=\"0\"][data-state=writing]')")
                .await
        );
        page.until_left(1).await;
        page.press("\u{e00c}").await;
        page.until_idle().await;
        page.until_left(2).await;

        page.click("#sidebar .new").await;
        page.ask_and_wait("hello").await;
        page.click("[data-lane='1'].answer [aria-label='Regenerate']")
            .await;
        page.until_asked(5).await;
        page.until_idle().await;
        let mixed = [
            format!("{BASE} answers 1: hello"),
            format!("{TUNED} answers 2: hello"),
        ];
        assert_eq!(page.answers().await, mixed);
        page.click("[data-focus^='both']").await;
        page.until_asked(7).await;
        page.until_idle().await;
        assert_eq!(page.text(".reply .branches").await.trim(), "3/3");
        let both = [
            format!("{BASE} answers 2: hello"),
            format!("{TUNED} answers 3: hello"),
        ];
        assert_eq!(page.answers().await, both);
    });
}

#[test]
fn one_of_two_goes_on_alone() {
    browse(async |page| {
        page.ask_and_wait("hello").await;
        page.one_model().await;
        page.choose("#bar select", TUNED).await;
        page.ask_and_wait("more").await;
        let request = page.server.requests().pop().unwrap();
        assert_eq!(request["model"], TUNED);
        assert_eq!(
            request["messages"][1]["content"],
            format!("{TUNED} answers 1: hello")
        );
        assert_eq!(page.answers().await.len(), 3);
        // What was chosen holds for the next conversation, too.
        page.reload().await;
        page.click("#sidebar .new").await;
        page.until("document.querySelector('.welcome')").await;
        assert_eq!(
            page.value("document.querySelector('#bar select').value")
                .await,
            TUNED
        );
        page.click(".welcome button").await;
        page.until("document.querySelectorAll('#bar select').length === 2")
            .await;
    });
}

#[test]
fn a_base_alone_says_how_to_compare() {
    browse_with(Fake::serve(None, vec![BASE]), async |page| {
        page.until("document.querySelector('.welcome')").await;
        assert!(page.text(".welcome").await.contains("--adapter NAME=DIR"));
        assert!(
            page.is("document.querySelector(\"[data-focus='mode:true']\").disabled")
                .await
        );
        page.ask_and_wait("hello").await;
        assert_eq!(page.answers().await, [format!("{BASE} answers 1: hello")]);
    });
}
