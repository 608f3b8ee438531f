//! Answers are regenerated, questions edited, and nothing that was said is lost.

use serde_json::json;

use crate::browser::{Page, browse};
use crate::fake::BASE;

#[test]
fn a_regenerated_answer_stands_beside_the_first() {
    browse(async |page| {
        page.one_model().await;
        page.ask_and_wait("hello").await;
        page.ask_and_wait("more").await;
        page.click(".reply:nth-child(2) [aria-label='Regenerate']")
            .await;
        page.until("document.querySelector('.branches span')?.textContent === '2/2'")
            .await;
        page.until_idle().await;
        // What followed the first answer does not follow the second.
        assert_eq!(page.questions().await, ["hello"]);
        assert_eq!(page.answers().await, [format!("{BASE} answers 2: hello")]);
        let asked = page.server.requests().pop().unwrap();
        assert_eq!(
            asked["messages"],
            json!([{"role": "user", "content": "hello"}])
        );

        page.click("[aria-label='Previous version']").await;
        page.until("document.querySelector('.branches span').textContent === '1/2'")
            .await;
        assert_eq!(page.questions().await, ["hello", "more"]);
        // The keyboard stays on the switch.
        assert_eq!(
            page.value("document.activeElement.ariaLabel").await,
            "Next version"
        );
        page.click("[aria-label='Next version']").await;
        page.ask_and_wait("other").await;
        assert_eq!(page.questions().await, ["hello", "other"]);
        page.reload().await;
        page.until("document.querySelectorAll('.bubble').length === 2")
            .await;
        assert_eq!(page.questions().await, ["hello", "other"]);
        page.picture("branches").await;
    });
}

#[test]
fn an_edited_question_is_a_branch() {
    browse(async |page| {
        page.one_model().await;
        page.ask_and_wait("first").await;
        page.ask_and_wait("second").await;
        edit(&page, "first", "uno").await;
        page.until("document.querySelector('.bubble').textContent === 'uno'")
            .await;
        page.until_asked(3).await;
        page.until_idle().await;
        assert_eq!(page.questions().await, ["uno"]);
        assert_eq!(page.answers().await, [format!("{BASE} answers 1: uno")]);
        assert_eq!(page.text(".question .branches").await.trim(), "2/2");
        page.click("[aria-label='Previous version']").await;
        page.until("document.querySelector('.bubble').textContent === 'first'")
            .await;
        assert_eq!(page.questions().await, ["first", "second"]);

        // Escape leaves everything as it was.
        page.click(".question [aria-label='Edit']").await;
        page.enter(".editor textarea", "changed\u{e00c}").await;
        page.until("!document.querySelector('.editor')").await;
        assert_eq!(page.questions().await, ["first", "second"]);
        assert_eq!(page.server.requests().len(), 3);
    });
}

async fn edit(page: &Page, from: &str, to: &str) {
    page.click(".question [aria-label='Edit']").await;
    page.until(&format!("document.activeElement.value === '{from}'"))
        .await;
    page.replace(".editor textarea", &format!("{to}\u{e007}"))
        .await;
}
