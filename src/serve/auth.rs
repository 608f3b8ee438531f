//! Who may use the server.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::Response;

use super::error::ApiError;
use super::state::State;

/// Lets requests pass that carry the key, if there is one, as long as the server takes requests.
pub async fn require_key(
    Shared(state): Shared<Arc<State>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if let Some(key) = &state.settings.api_key {
        let given = bearer(request.headers());
        if !given.is_some_and(|given| key.matches(given)) {
            let message = match given {
                None => "this server needs a key: send `Authorization: Bearer KEY`",
                Some(_) => "the key is not the one of this server",
            };
            let error = ApiError::new(StatusCode::UNAUTHORIZED, message);
            return Err(error.with_code("invalid_api_key"));
        }
    }
    match state.is_draining() {
        true => Err(ApiError::stopping()),
        false => Ok(next.run(request).await),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
}

/// Lets requests pass that are sent to a name of this machine itself, where only those are answered.
pub async fn require_local(
    Shared(state): Shared<Arc<State>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    let needs_one = request.version() == Version::HTTP_11 && request.uri().authority().is_none();
    // RFC 9112, 3.2.
    if another.is_some() || (needs_one && host.is_none()) {
        let message = "a request must have one `Host` header";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, message));
    }
    let host = match (host, request.uri().authority()) {
        (_, Some(authority)) => Some(authority.as_str()),
        (Some(host), None) => Some(host.to_str().unwrap_or_default()),
        // Every browser sends one.
        (None, None) => None,
    };
    match state.settings.local_only && !host.is_none_or(is_local) {
        true => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "without a key, this server answers only under the names of its own machine, such as localhost",
        )
        .with_code("host_not_allowed")),
        false => Ok(next.run(request).await),
    }
}

/// Whether a name, with a port or without, is one of the machine itself.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_loopback = name
        .parse::<IpAddr>()
        .is_ok_and(|address| address.is_loopback());
    is_loopback || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_machine() {
        for name in [
            "localhost",
            "LOCALHOST:8000",
            "127.0.0.1:80",
            "127.1.2.3",
            "[::1]:8000",
        ] {
            assert!(is_local(name), "{name}");
        }
        for name in [
            "example.com",
            "localhost.example.com",
            "10.0.0.1",
            "[::2]",
            "",
            "127.0.0.1.nip.io",
        ] {
            assert!(!is_local(name), "{name}");
        }
    }
}
