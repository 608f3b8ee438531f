//! `POST /v1/adapters` and `DELETE /v1/adapters/{name}`: adapters come and go while others are served.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use glmtune_model::ModelInfo;
use glmtune_model::model_info::ModelSource;
use serde_json::{Value, json};

use crate::serve::body::JsonBody;
use crate::serve::confined::confined;
use crate::serve::error::ApiError;
use crate::serve::fields::Fields;
use crate::serve::job::aside;
use crate::serve::models::{ServedModel, is_name};
use crate::serve::state::State;

/// Loads an adapter of the folder that was named for it.
pub async fn load(
    Shared(state): Shared<Arc<State>>,
    JsonBody(fields): JsonBody,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let folder = folder(&state)?;
    let name = aside(move || load_from(fields, &folder, &state)).await?;
    Ok((StatusCode::CREATED, Json(name)))
}

/// Unloads an adapter; answers of it that are under way end.
pub async fn unload(
    Shared(state): Shared<Arc<State>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    folder(&state)?;
    let Path(name) = name.map_err(|_| ApiError::bad_path())?;
    let model = state.models.find(&name)?;
    let Some(adapter) = model.adapter.clone() else {
        let message = "the base cannot be unloaded";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, message));
    };
    state.models.remove(&name);
    aside(move || match state.engine.unload(&adapter) {
        Ok(_) => Ok(()),
        Err(_) => Err(ApiError::stopping()),
    })
    .await?;
    Ok(Json(
        json!({"id": name, "object": "model", "deleted": true}),
    ))
}

/// The folder that adapters may be loaded from.
fn folder(state: &State) -> Result<PathBuf, ApiError> {
    state.settings.adapter_dir.clone().ok_or_else(|| {
        let message =
            "this server loads no adapters: it was started without --allow_adapter_loading";
        ApiError::new(StatusCode::FORBIDDEN, message).with_code("adapter_loading_off")
    })
}

fn load_from(mut fields: Fields, folder: &FilePath, state: &State) -> Result<Value, ApiError> {
    let name = fields.text("name")?.ok_or_else(|| fields.missing("name"))?;
    let path = fields.text("path")?.ok_or_else(|| fields.missing("path"))?;
    fields.finish()?;
    if !is_name(&name) {
        let message = "`name` must have 1 to 128 letters, digits, or any of . _ - :";
        return Err(ApiError::field("name", message));
    }
    let dir = confined(folder, &path).ok_or_else(|| {
        let message = "`path` must lead to a directory below the one for adapters, relative to it";
        ApiError::field("path", message)
    })?;
    let model = described(&name, &dir, state)?;
    if state.models.find(&name).is_ok() {
        return Err(taken());
    }
    state
        .engine
        .load(&name, dir)
        .map_err(|error| unfit(&error))?;
    let longest = state.engine.limits().max_sequence;
    let description = state.models.describe(&model, longest);
    match state.models.add(model) {
        true => Ok(description),
        false => Err(taken()),
    }
}

/// What an adapter's directory says of it; its base must be the one that is served.
fn described(name: &str, dir: &FilePath, state: &State) -> Result<ServedModel, ApiError> {
    let source = ModelSource {
        adapters: vec![dir.to_path_buf()],
        ..state.served.source.clone()
    };
    let note = &mut |line: &str| tracing::warn!("{line}");
    let info = ModelInfo::read(source, note).map_err(|error| unfit(&error))?;
    let prompting = info.prompting(state.served.prompt_format);
    Ok(ServedModel::adapter(name, prompting))
}

/// What is wrong names files of this machine: that is for the log.
fn unfit(error: &glmtune_model::Error) -> ApiError {
    tracing::warn!("an adapter cannot be loaded: {error}");
    let message = "the directory holds no adapter that fits the model; the server's log says more";
    ApiError::field("path", message).with_code("adapter_unfit")
}

fn taken() -> ApiError {
    ApiError::field("name", "a model has this name already").with_code("model_exists")
}
