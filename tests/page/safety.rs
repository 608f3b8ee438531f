//! What a model writes is shown, and nothing of it runs.

use serde_json::json;

use crate::browser::browse;
use crate::fake::ATTACK;
use crate::wire;

#[test]
fn hostile_text_is_text() {
    browse(async |page| {
        page.one_model().await;
        page.ask_and_wait("attack").await;
        assert!(page.is("window.attacked === undefined").await);
        let elements = "[...new Set([...document.querySelectorAll('.prose *')].map((element) => element.localName))].sort()";
        let expected = json!([
            "a", "button", "code", "div", "p", "path", "pre", "span", "strong", "svg", "table",
            "tbody", "td", "th", "thead", "tr",
        ]);
        assert_eq!(page.value(elements).await, expected);
        let handlers = "[...document.querySelectorAll('.prose *')].flatMap((element) => element.getAttributeNames()).filter((name) => name.startsWith('on'))";
        assert_eq!(page.value(handlers).await, json!([]));
        let links =
            "[...document.querySelectorAll('.prose a')].map((link) => [link.href, link.rel])";
        let expected = json!([["https://example.com/?q=", "noopener noreferrer nofollow"]]);
        assert_eq!(page.value(links).await, expected);
        let text = page.answers().await.remove(0);
        assert!(
            text.contains("<script>window.attacked=2</script>"),
            "{text}"
        );

        // The same as a question, as a title, and out of storage.
        page.ask_and_wait(&format!("say: {}", ATTACK.replace('\n', " ")))
            .await;
        page.reload().await;
        page.until("document.querySelectorAll('.bubble').length === 2")
            .await;
        assert!(page.is("window.attacked === undefined").await);
    });
}

#[test]
fn the_policy_holds_where_the_code_would_not() {
    browse(async |page| {
        let script = "const done = arguments[0]; \
            addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective)); \
            const script = document.createElement('script'); \
            script.textContent = 'window.attacked = 1'; document.body.append(script);";
        let directive = page.client.execute_async(script, Vec::new()).await.unwrap();
        assert_eq!(directive, "script-src-elem");
        assert!(page.is("window.attacked === undefined").await);
        // This complaint was asked for.
        page.forget_complaints().await;
    });
}

#[test]
fn files_come_with_their_headers() {
    browse(async |page| {
        let port = page.server.port;
        let get = |path: &str, headers: &[&str]| {
            wire::ask(port, &format!("GET {path}"), headers, "").unwrap()
        };
        for (path, content_type) in [
            ("/", "text/html; charset=utf-8"),
            ("/page/app.js", "text/javascript; charset=utf-8"),
            ("/page/view/thread.js", "text/javascript; charset=utf-8"),
            ("/page/theme.css", "text/css; charset=utf-8"),
            ("/page/icon.svg", "image/svg+xml"),
        ] {
            let answer = get(path, &[]);
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(answer.header("content-type"), Some(content_type), "{path}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
            assert_eq!(answer.header("cache-control"), Some("no-cache"));
            let policy = answer.header("content-security-policy").unwrap();
            assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
            assert!(!policy.contains("unsafe"), "{policy}");
            let tag = answer.header("etag").unwrap();
            let again = get(path, &[&format!("If-None-Match: {tag}")]);
            assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
        }
        assert_eq!(get("/page/none.js", &[]).status, 404);
        assert_eq!(get("/page/../Cargo.toml", &[]).status, 404);
    });
}
