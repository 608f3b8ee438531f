//! What a request can be refused with, in the form of OpenAI's API.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use glmtune_model::engine::{Failure, Refusal};
use serde_json::{Value, json};

/// A refusal: `{"error": {"message", "type", "param", "code"}}` with its status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    retry_after: Option<Duration>,
}

impl ApiError {
    /// A refusal with a status; the type follows from it.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let kind = match status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        Self {
            status,
            kind,
            message: message.into(),
            param: None,
            code: None,
            retry_after: None,
        }
    }

    /// A field of the request cannot be used.
    pub fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        let param = Some(param.into());
        Self {
            param,
            ..Self::new(StatusCode::BAD_REQUEST, message)
        }
    }

    /// The server has failed; what happened is for its log.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server failed while it worked on this request",
        )
        .with_code("internal_error")
    }

    /// The server ends.
    pub fn stopping() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server is shutting down",
        )
        .with_code("shutting_down")
    }

    /// The answer took too long.
    pub fn too_slow() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the answer took longer than this server allows",
        )
        .with_code("timeout")
    }

    /// A name in the path is no text.
    pub fn bad_path() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "the path is not UTF-8")
    }

    /// The same with a code.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// The same about a field.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// `{"error": {"message", "type", "param", "code"}}`.
    pub fn body(&self) -> Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(wait.as_secs_f64().ceil().max(1.0) as u64),
            );
            headers.insert(
                "retry-after-ms",
                HeaderValue::from(wait.as_millis().max(1) as u64),
            );
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::UnknownAdapter(_) => {
                Self::new(StatusCode::NOT_FOUND, "the model was unloaded")
                    .with_code("model_not_found")
            }
            Refusal::TooLong { .. } => {
                Self::new(StatusCode::BAD_REQUEST, message).with_code("context_length_exceeded")
            }
            Refusal::Request(_) => Self::new(StatusCode::BAD_REQUEST, message),
            Refusal::Full { retry_after, .. } => Self {
                retry_after: Some(retry_after),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, message).with_code("rate_limit_exceeded")
            },
            Refusal::Stopping => Self::stopping(),
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Request(message) => Self::new(StatusCode::BAD_REQUEST, message),
            Failure::Computation(detail) => {
                tracing::error!("a request failed: {detail}");
                Self::internal()
            }
            Failure::Stopping => Self::stopping(),
            Failure::Unloaded => Self::new(StatusCode::NOT_FOUND, "the model was unloaded")
                .with_code("model_not_found"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_to_try_again_is_said_twice() {
        let full = Refusal::Full {
            waiting: 3,
            retry_after: Duration::from_millis(1500),
        };
        let response = ApiError::from(full).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["retry-after-ms"], "1500");
    }

    #[test]
    fn what_failed_inside_stays_inside() {
        let error = ApiError::from(Failure::Computation("/home/secret: broken".to_string()));
        assert_eq!(error.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!error.body().to_string().contains("secret"));
    }
}
