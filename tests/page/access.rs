//! Keys, refusals and broken connections: said where they happen, with a way on.

use crate::browser::{browse, browse_with};
use crate::fake::{BASE, Fake, TUNED};

#[test]
fn a_key_is_asked_for_and_kept_for_the_tab() {
    let server = Fake::serve(Some("sesame"), vec![BASE, TUNED]);
    browse_with(server, async |page| {
        page.until("document.querySelector('#banner input[type=password]')")
            .await;
        assert!(
            page.text("#banner")
                .await
                .contains("This server asks for its API key.")
        );
        assert!(
            page.is("document.querySelector('#composer button').disabled")
                .await
        );
        page.picture("key").await;
        page.enter("#banner input", "wrong\u{e007}").await;
        page.until("document.querySelector('#banner').innerText.includes('does not accept')")
            .await;
        page.enter("#banner input", "sesame\u{e007}").await;
        page.until("!document.querySelector('#banner *')").await;
        page.one_model().await;
        page.ask_and_wait("hello").await;
        assert_eq!(page.answers().await, [format!("{BASE} answers 1: hello")]);
        page.reload().await;
        page.until("document.querySelectorAll('#bar select').length === 1")
            .await;
        // Not with the conversations.
        assert!(
            page.is("!JSON.stringify(localStorage).includes('sesame')")
                .await
        );

        // A key that no longer holds is asked for where the question was.
        page.client
            .execute(
                "sessionStorage.setItem('glmtune.api_key', 'old')",
                Vec::new(),
            )
            .await
            .unwrap();
        page.ask("more").await;
        page.enter(".answer input[type=password]", "sesame\u{e007}")
            .await;
        page.until_idle().await;
        page.until(
            "document.querySelectorAll('.answer .prose')[1]?.innerText.includes('answers 1: more')",
        )
        .await;
    });
}

#[test]
fn a_busy_server_is_asked_again() {
    browse(async |page| {
        page.one_model().await;
        page.ask_and_wait("busy").await;
        let failure = page.text(".answer .failure").await;
        assert!(
            failure.contains("try again in 2 s") && failure.contains("The queue is full."),
            "{failure}"
        );
        page.picture("failure").await;
        page.click(".failure button").await;
        page.until_asked(2).await;
        page.until_idle().await;
        // In the same place, not as a branch.
        assert_eq!(page.answers().await, [format!("{BASE} answers 2: busy")]);
        assert!(!page.is("document.querySelector('.branches')").await);
    });
}

#[test]
fn what_came_before_a_failure_is_kept() {
    browse(async |page| {
        page.one_model().await;
        page.ask("break").await;
        page.until("document.querySelector('.prose')?.innerText.trim() === 'half of'")
            .await;
        page.server.cut();
        page.until_idle().await;
        assert_eq!(page.answers().await, ["half of"]);
        assert!(page.text(".failure").await.contains("The connection broke"));
        page.click(".failure button").await;
        page.until_asked(2).await;
        page.until_idle().await;
        assert_eq!(page.answers().await, [format!("{BASE} answers 2: break")]);

        page.ask_and_wait("error").await;
        assert_eq!(page.answers().await[1], "so far");
        assert!(page.text(".failure").await.contains("The device failed."));
        // A part of an answer is what the model goes on from.
        page.ask_and_wait("go on").await;
        let asked = page.server.requests().pop().unwrap();
        assert_eq!(asked["messages"][3]["content"], "so far ");
    });
}

#[test]
fn a_model_that_is_gone_is_said_to_be() {
    browse(async |page| {
        page.one_model().await;
        page.ask_and_wait("hello").await;
        let rename = "for (const key of Object.keys(localStorage)) { localStorage.setItem(key, \
            localStorage.getItem(key).replaceAll('chatglm3-6b', 'yesterday')); }";
        // On another page of the server, for this one would save its own.
        page.visit("page/icon.svg").await;
        page.client.execute(rename, Vec::new()).await.unwrap();
        page.visit("").await;
        page.until("document.querySelector('#bar select')?.selectedOptions[0].label === 'yesterday (no longer served)'").await;
        page.ask_and_wait("more").await;
        assert!(
            page.text(".failure")
                .await
                .contains("The model does not exist.")
        );
    });
}
