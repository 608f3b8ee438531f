//! The body of a request: JSON, of bounded size, in bounded time.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::error::ApiError;
use super::fields::Fields;
use super::state::State;

/// The fields of a JSON body.
#[derive(Debug)]
pub struct JsonBody(pub Fields);

impl FromRequest<Arc<State>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<State>) -> Result<Self, ApiError> {
        require_json(request.headers())?;
        let limit = state.settings.max_body;
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit as u64) {
            return Err(too_large(limit));
        }
        let read = tokio::time::timeout(state.settings.body_timeout, read(request, limit)).await;
        let bytes = read.map_err(|_| {
            let message = "the body did not arrive in time";
            ApiError::new(StatusCode::REQUEST_TIMEOUT, message).with_code("body_timeout")
        })??;
        let body = serde_json::from_slice(&bytes).map_err(|error| not_json(&error))?;
        Ok(Self(Fields::of_body(body)?))
    }
}

async fn read(request: Request<Body>, limit: usize) -> Result<Bytes, ApiError> {
    let collected = Limited::new(request.into_body(), limit).collect().await;
    match collected {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Err(_) => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "the body broke off or is not encoded as its headers say",
        )),
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_json = kind.eq_ignore_ascii_case("application/json");
    let encoding = headers.get(header::CONTENT_ENCODING);
    let is_plain =
        encoding.is_none_or(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let refused = |message| Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    match (is_json, is_plain) {
        (true, true) => Ok(()),
        (false, _) => refused("the body must be JSON: send `Content-Type: application/json`"),
        (true, false) => refused("the body must not be compressed"),
    }
}

fn too_large(limit: usize) -> ApiError {
    let message = format!("the body has more than the {limit} bytes that this server takes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message).with_code("body_too_large")
}

/// Where it is no JSON, and not what stands there.
fn not_json(error: &serde_json::Error) -> ApiError {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        _ => "it is malformed or nested too deep",
    };
    let (line, column) = (error.line(), error.column());
    let message = format!("the body is not valid JSON: {what} (line {line}, column {column})");
    ApiError::new(StatusCode::BAD_REQUEST, message).with_code("invalid_json")
}
