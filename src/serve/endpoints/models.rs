//! `GET /v1/models` and `GET /v1/models/{name}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Shared};
use serde_json::{Value, json};

use crate::serve::error::ApiError;
use crate::serve::state::State;

/// All models.
pub async fn list(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    let longest = state.engine.limits().max_sequence;
    let models = state.models.all();
    let data = models
        .iter()
        .map(|model| state.models.describe(model, longest));
    Json(json!({"object": "list", "data": data.collect::<Vec<Value>>()}))
}

/// One model.
pub async fn get(
    Shared(state): Shared<Arc<State>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(name) = name.map_err(|_| ApiError::bad_path())?;
    let model = state.models.find(&name)?;
    let longest = state.engine.limits().max_sequence;
    Ok(Json(state.models.describe(&model, longest)))
}
