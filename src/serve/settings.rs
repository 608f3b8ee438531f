//! What bounds the server and who may use it.

use std::path::PathBuf;
use std::time::Duration;

/// What bounds the server and who may use it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The key that every request must carry, if there is one.
    pub api_key: Option<ApiKey>,
    /// Whether only requests to a name of this machine itself are answered: a page on the web can make a browser
    /// send requests here, under a name of its own (DNS rebinding).
    pub local_only: bool,
    /// Origins whose pages may use the server from a browser; `*` for all.
    pub cors_origins: Vec<String>,
    /// Most bytes of a request's body.
    pub max_body: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long an answer may take, waiting included.
    pub request_timeout: Duration,
    /// How long a client may leave a streamed answer unread.
    pub stall_timeout: Duration,
    /// Time between two signs of life in a stream in which nothing happens.
    pub keep_alive: Duration,
    /// Where adapters may be loaded from while the server runs; nowhere if it is `None`.
    pub adapter_dir: Option<PathBuf>,
    /// Whether prompts are logged.
    pub logs_prompts: bool,
    /// Seed of the seeds of requests that bring none; by default they are drawn.
    pub seed: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            api_key: None,
            local_only: true,
            cors_origins: Vec::new(),
            max_body: 8 << 20,
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(600),
            stall_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
            adapter_dir: None,
            logs_prompts: false,
            seed: None,
        }
    }
}

/// A key, which is never shown.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// A key; `None` for one that no header could carry: empty, or with characters other than visible ASCII ones.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.to_string()))
    }

    /// Whether a request's key is this one, in a time that does not tell where they differ.
    pub fn matches(&self, given: &str) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_bytes(), given.as_bytes()).into()
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let key = ApiKey::new(" secret\n").unwrap();
        assert!(key.matches("secret"));
        for other in ["", "secre", "secret ", "secrets", "Secret"] {
            assert!(!key.matches(other), "{other}");
        }
        assert!(ApiKey::new(" \n").is_none() && ApiKey::new("a b").is_none());
        assert!(ApiKey::new("schlüssel").is_none());
        assert!(!format!("{key:?}").contains("secret"));
    }
}
