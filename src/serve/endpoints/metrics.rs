//! `GET /metrics`, for Prometheus.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::serve::error::ApiError;
use crate::serve::state::State;

/// Prometheus' name of the form.
const FORM: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All numbers.
pub async fn metrics(Shared(state): Shared<Arc<State>>) -> Result<Response, ApiError> {
    let text = state.metrics.text(&state.engine.status());
    let text = text.map_err(|_| ApiError::internal())?;
    Ok(([(header::CONTENT_TYPE, FORM)], text).into_response())
}
