//! Keys, names of hosts, other origins, and what may be loaded.

use std::fs;
use std::path::Path;

use glmtune::serve::ApiKey;
use serde_json::json;

use super::client::{Reply, get, post, send};
use super::fake::FakeEngine;
use super::host::{Host, golden};
use super::{chat, saying};

fn with_key() -> Host {
    Host::start(FakeEngine::saying("ok"), |plan| {
        plan.settings.api_key = ApiKey::new("secret-key");
        plan.settings.local_only = false;
    })
}

#[test]
fn a_key_is_needed_where_there_is_one() {
    let host = with_key();
    let models = |header: &str| {
        send(
            &host,
            "GET",
            "/v1/models",
            &[("Authorization", header)],
            b"",
        )
    };
    for header in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer secret",
        "Bearer secret-keys",
        "Basic secret-key",
        "secret-key",
    ] {
        let reply = models(header);
        let error = reply.refused(401);
        assert_eq!(
            (&error["code"], &error["type"]),
            (&json!("invalid_api_key"), &json!("authentication_error"))
        );
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
    models("Bearer secret-key").ok();
    models("bearer secret-key").ok();
    for path in ["/metrics", "/v1/models/base"] {
        get(&host, path).refused(401);
    }
    for path in [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/adapters",
        "/tokenize",
        "/detokenize",
    ] {
        post(&host, path, &json!({})).refused(401);
    }
    send(&host, "DELETE", "/v1/adapters/tuned", &[], b"").refused(401);
    // Whoever watches the server needs no key.
    get(&host, "/health").ok();
}

#[test]
fn without_a_key_only_names_of_the_machine_are_answered() {
    let host = saying("ok");
    let models = |name: &str| send(&host, "GET", "/v1/models", &[("Host", name)], b"");
    for name in ["localhost", "localhost:8000", "127.0.0.1:80", "[::1]"] {
        models(name).ok();
    }
    for name in [
        "example.com",
        "attacker.localhost.example.com:8000",
        "192.168.0.7",
    ] {
        assert_eq!(models(name).refused(403)["code"], "host_not_allowed");
    }
    let host = with_key();
    let headers = [
        ("Host", "example.com"),
        ("Authorization", "Bearer secret-key"),
    ];
    send(&host, "GET", "/v1/models", &headers, b"").ok();
}

#[test]
fn pages_of_other_origins_are_not_let_in_unless_they_are_named() {
    let preflight = |host: &Host, origin: &str| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            (
                "Access-Control-Request-Headers",
                "authorization,content-type,x-stainless-os",
            ),
        ];
        send(host, "OPTIONS", "/v1/chat/completions", &headers, b"")
    };
    let allowed = |reply: &Reply| {
        reply
            .header("access-control-allow-origin")
            .map(str::to_string)
    };
    let host = saying("ok");
    assert_eq!(allowed(&preflight(&host, "https://example.com")), None);
    let host = Host::start(FakeEngine::saying("ok"), |plan| {
        plan.settings.cors_origins = vec!["https://example.com".to_string()];
        plan.settings.api_key = ApiKey::new("secret-key");
    });
    let reply = preflight(&host, "https://example.com");
    assert_eq!(
        (reply.status, allowed(&reply).as_deref()),
        (200, Some("https://example.com"))
    );
    assert!(
        reply
            .header("access-control-allow-headers")
            .unwrap()
            .contains("x-stainless-os")
    );
    assert_eq!(allowed(&preflight(&host, "https://evil.com")), None);
    // A refusal can be read by the page that it is for.
    let reply = send(
        &host,
        "GET",
        "/v1/models",
        &[("Origin", "https://example.com")],
        b"",
    );
    assert_eq!((reply.status, allowed(&reply).is_some()), (401, true));
}

#[test]
fn adapters_are_loaded_only_where_that_is_allowed() {
    let host = saying("ok");
    let body = json!({"name": "new", "path": "lora"});
    assert_eq!(
        post(&host, "/v1/adapters", &body).refused(403)["code"],
        "adapter_loading_off"
    );
    send(&host, "DELETE", "/v1/adapters/tuned", &[], b"").refused(403);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn an_adapter_comes_and_goes() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("adapters");
    copy(&golden("chatglm3").join("lora"), &folder.join("lora"));
    copy(
        &golden("chatglm3").join("lora"),
        &root.path().join("outside"),
    );
    let host = Host::start(FakeEngine::saying("ok"), |plan| {
        plan.settings.adapter_dir = Some(folder.clone());
        plan.source = golden("chatglm3");
    });
    let load =
        |name: &str, path: &str| post(&host, "/v1/adapters", &json!({"name": name, "path": path}));
    for path in [
        "../outside",
        "/etc",
        "lora/..",
        ".",
        "",
        "missing",
        &root.path().join("outside").to_string_lossy(),
    ] {
        let reply = load("new", path);
        assert_eq!(reply.refused(400)["param"], "path", "{path}");
        assert!(
            !reply.body.contains(&*root.path().to_string_lossy()),
            "{reply:?}"
        );
    }
    for name in ["", "a b", "a/b", "../x", &"x".repeat(200)] {
        assert_eq!(load(name, "lora").refused(400)["param"], "name");
    }
    for name in ["base", "tuned"] {
        assert_eq!(load(name, "lora").refused(400)["code"], "model_exists");
    }
    let reply = load("new", "lora");
    assert_eq!(
        (reply.status, &reply.json()["id"]),
        (201, &json!("new")),
        "{reply:?}"
    );
    let expected = folder.canonicalize().unwrap().join("lora");
    assert_eq!(
        *host.engine.adapters.lock().unwrap(),
        [("new".to_string(), expected)]
    );
    chat(&host, json!({"model": "new"})).ok();
    assert_eq!(load("new", "lora").refused(400)["code"], "model_exists");

    let unload = |name: &str| send(&host, "DELETE", &format!("/v1/adapters/{name}"), &[], b"");
    assert_eq!(unload("new").ok()["deleted"], true);
    assert!(host.engine.adapters.lock().unwrap().is_empty());
    chat(&host, json!({"model": "new"})).refused(404);
    unload("new").refused(404);
    unload("base").refused(400);
}

#[cfg(unix)]
#[test]
fn links_out_of_the_folder_are_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("adapters");
    fs::create_dir(&folder).unwrap();
    copy(
        &golden("chatglm3").join("lora"),
        &root.path().join("outside"),
    );
    std::os::unix::fs::symlink(root.path().join("outside"), folder.join("link")).unwrap();
    let host = Host::start(FakeEngine::saying("ok"), |plan| {
        plan.settings.adapter_dir = Some(folder.clone());
        plan.source = golden("chatglm3");
    });
    let body = json!({"name": "new", "path": "link"});
    post(&host, "/v1/adapters", &body).refused(400);
    assert!(host.engine.adapters.lock().unwrap().is_empty());
}

#[test]
fn a_directory_without_a_fitting_adapter_is_said_without_paths() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("empty")).unwrap();
    let host = Host::start(FakeEngine::saying("ok"), |plan| {
        plan.settings.adapter_dir = Some(root.path().to_path_buf());
        plan.source = golden("no-such-model");
    });
    let reply = post(
        &host,
        "/v1/adapters",
        &json!({"name": "new", "path": "empty"}),
    );
    assert_eq!(reply.refused(400)["code"], "adapter_unfit");
    assert!(!reply.body.contains("golden"), "{reply:?}");
}

#[test]
fn answers_are_taken_for_what_they_are() {
    let host = saying("ok");
    for reply in [get(&host, "/health"), get(&host, "/nowhere")] {
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    }
}
