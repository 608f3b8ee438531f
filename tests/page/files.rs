//! Conversations go into files and come back.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::browser::{Page, browse};
use crate::fake::BASE;

#[test]
fn an_exported_conversation_is_imported_with_its_branches() {
    browse(async |page| {
        page.one_model().await;
        page.ask_and_wait("hello").await;
        page.click(".reply [aria-label='Regenerate']").await;
        page.until_asked(2).await;
        page.until_idle().await;
        page.ask_and_wait("more").await;
        page.click("[aria-controls=panel]").await;

        let exported = export(&page, "#panel .stack button:nth-child(1)").await;
        page.click("#sidebar li .square").await;
        page.until("document.querySelectorAll('#sidebar .title').length === 0")
            .await;
        import(&page, &exported).await;
        page.until("document.querySelectorAll('.bubble').length === 2")
            .await;
        assert_eq!(page.questions().await, ["hello", "more"]);
        assert_eq!(page.text(".reply .branches").await.trim(), "2/2");
        assert_eq!(page.answers().await[0], format!("{BASE} answers 2: hello"));

        // The messages alone, as `glmtune chat --load` reads them.
        let messages = export(&page, "#panel .stack button:nth-child(2)").await;
        let messages: Value = serde_json::from_slice(&std::fs::read(messages).unwrap()).unwrap();
        let expected = json!([
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": format!("{BASE} answers 2: hello")},
            {"role": "user", "content": "more"},
            {"role": "assistant", "content": format!("{BASE} answers 1: more")},
        ]);
        assert_eq!(messages, expected);
    });
}

#[test]
fn messages_from_a_file_go_on() {
    browse(async |page| {
        page.one_model().await;
        let file = page.downloads.join("saved.json");
        let saved = json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "hi"},
        ]);
        std::fs::write(&file, saved.to_string()).unwrap();
        import(&page, &file).await;
        page.until("document.querySelector('.bubble')?.textContent === 'hello'")
            .await;
        page.one_model().await;
        page.ask_and_wait("more").await;
        let asked = page.server.requests().pop().unwrap();
        let mut expected = saved.as_array().unwrap().clone();
        expected.push(json!({"role": "user", "content": "more"}));
        assert_eq!(asked["messages"], json!(expected));

        let wrong = page.downloads.join("wrong.json");
        std::fs::write(&wrong, r#"[{"role": "tool", "content": "x"}]"#).unwrap();
        import(&page, &wrong).await;
        let notice = page.text(".notice p").await;
        assert!(
            notice.contains("wrong.json") && notice.contains("message 1 has the role “tool”"),
            "{notice}"
        );
        assert_eq!(page.questions().await, ["hello", "more"]);
    });
}

#[test]
fn a_full_browser_says_so() {
    browse(async |page| {
        page.one_model().await;
        page.client
            .execute(
                "let size = 1 << 22; let count = 0; while (size > 0) { \
                 try { localStorage.setItem(`filler${count++}`, 'x'.repeat(size)); } catch { size >>= 1; } }",
                Vec::new(),
            )
            .await
            .unwrap();
        page.ask_and_wait("hello").await;
        let notice = page.text(".notice p").await;
        assert!(
            notice.starts_with("The browser has no room left"),
            "{notice}"
        );
        // The conversation itself goes on.
        page.ask_and_wait("more").await;
        assert_eq!(page.answers().await.len(), 2);
    });
}

async fn import(page: &Page, file: &Path) {
    page.enter("#import-file", file.to_str().unwrap()).await;
}

/// Presses a button that downloads, and waits for the file.
async fn export(page: &Page, button: &str) -> PathBuf {
    let before = downloads(page);
    page.click(button).await;
    let start = Instant::now();
    loop {
        let new = downloads(page)
            .into_iter()
            .find(|file| !before.contains(file));
        if let Some(file) = new {
            return file;
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "nothing was downloaded"
        );
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// The downloads that are complete.
fn downloads(page: &Page) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(&page.downloads).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    files
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect()
}
