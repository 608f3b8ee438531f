//! The chat page: files embedded in the binary, served at `/` and below `/page/`.
//!
//! The page is plain HTML, CSS and ECMAScript modules without a build step. It asks the API of the server that
//! it came from and nobody else; its content security policy holds it to that, so that what a model writes can
//! neither run nor load anything.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// `data:` is for the marks that the style sheet draws.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

struct Asset {
    path: &'static str,
    content_type: &'static str,
    body: &'static str,
}

macro_rules! asset {
    ($content_type:expr, $name:literal) => {
        asset!($content_type, $name, concat!("/page/", $name))
    };
    ($content_type:expr, $name:literal, $path:expr) => {
        Asset {
            path: $path,
            content_type: $content_type,
            body: include_str!(concat!("assets/", $name)),
        }
    };
}

const ASSETS: &[Asset] = &[
    asset!(HTML, "index.html", "/"),
    asset!(PICTURE, "icon.svg"),
    asset!(STYLE, "theme.css"),
    asset!(STYLE, "layout.css"),
    asset!(STYLE, "thread.css"),
    asset!(SCRIPT, "early.js"),
    asset!(SCRIPT, "app.js"),
    asset!(SCRIPT, "api.js"),
    asset!(SCRIPT, "chat.js"),
    asset!(SCRIPT, "i18n.js"),
    asset!(SCRIPT, "markdown.js"),
    asset!(SCRIPT, "sampling.js"),
    asset!(SCRIPT, "sse.js"),
    asset!(SCRIPT, "store.js"),
    asset!(SCRIPT, "transfer.js"),
    asset!(SCRIPT, "tree.js"),
    asset!(SCRIPT, "view/answer.js"),
    asset!(SCRIPT, "view/composer.js"),
    asset!(SCRIPT, "view/dom.js"),
    asset!(SCRIPT, "view/drawers.js"),
    asset!(SCRIPT, "view/notices.js"),
    asset!(SCRIPT, "view/panel.js"),
    asset!(SCRIPT, "view/pickers.js"),
    asset!(SCRIPT, "view/problems.js"),
    asset!(SCRIPT, "view/prose.js"),
    asset!(SCRIPT, "view/question.js"),
    asset!(SCRIPT, "view/sidebar.js"),
    asset!(SCRIPT, "view/thread.js"),
];

/// The routes of the page: `GET` and `HEAD` of `/` and of its files below `/page/`. They need no key: nothing in
/// them is secret, and the page is where a person enters the key.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        let tag = entity_tag(asset.body);
        let answer = move |headers: HeaderMap| {
            let tag = tag.clone();
            async move { asset.answer(&tag, &headers) }
        };
        router.route(asset.path, get(answer))
    })
}

impl Asset {
    fn answer(&self, tag: &str, request: &HeaderMap) -> Response {
        // Asked for each time, sent only where it changed: another release of the server is another page at once.
        let shared: [(HeaderName, &str); 3] = [
            (ETAG, tag),
            (CACHE_CONTROL, "no-cache"),
            (CONTENT_SECURITY_POLICY, POLICY),
        ];
        if is_known(tag, request) {
            return (StatusCode::NOT_MODIFIED, shared).into_response();
        }
        let own: [(HeaderName, &str); 3] = [
            (CONTENT_TYPE, self.content_type),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
        ];
        (shared, own, self.body).into_response()
    }
}

fn entity_tag(body: &str) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

fn is_known(tag: &str, request: &HeaderMap) -> bool {
    let lists = request.get_all(IF_NONE_MATCH).iter();
    let mut tags = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(|known| known.trim().trim_start_matches("W/"));
    tags.any(|known| known == tag || known == "*")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    fn files_below(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .flat_map(|path| match path.is_dir() {
                true => files_below(&path),
                false => vec![path],
            })
            .collect()
    }

    #[test]
    fn every_file_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/page/assets");
        let path_of = |file: &PathBuf| {
            let name = file.strip_prefix(&folder).unwrap();
            match name.to_str().unwrap() {
                "index.html" => "/".to_string(),
                name => format!("/page/{name}"),
            }
        };
        let files: BTreeSet<String> = files_below(&folder).iter().map(path_of).collect();
        let served: BTreeSet<String> = ASSETS.iter().map(|asset| asset.path.to_string()).collect();
        assert_eq!(files, served);
    }

    #[test]
    fn a_known_tag_is_found_among_others() {
        let request = |value: &str| {
            let value = value.parse().unwrap();
            HeaderMap::from_iter([(IF_NONE_MATCH, value)])
        };
        assert!(is_known("\"a\"", &request("\"b\", W/\"a\"")));
        assert!(is_known("\"a\"", &request("*")));
        assert!(!is_known("\"a\"", &request("\"b\"")));
        assert!(!is_known("\"a\"", &HeaderMap::new()));
    }
}
