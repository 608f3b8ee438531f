//! `GET /health`: whether requests are taken.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use serde_json::{Value, json};

use crate::serve::error::ApiError;
use crate::serve::state::State;

/// 200 while requests are taken, 503 once the server ends.
pub async fn health(Shared(state): Shared<Arc<State>>) -> Result<Json<Value>, ApiError> {
    match state.is_draining() || state.engine.status().has_ended {
        true => Err(ApiError::stopping()),
        false => Ok(Json(json!({"status": "ok"}))),
    }
}
