//! Which model a request means.

use std::sync::Arc;

use serde_json::Value;

use super::error::ApiError;
use super::fields::{Fields, expected};
use super::models::ServedModel;
use super::state::State;

/// The model that a request must name.
///
/// # Errors
/// 400 if it names none, 404 if there is none of the name.
pub fn model_of(fields: &mut Fields, state: &State) -> Result<Arc<ServedModel>, ApiError> {
    match fields.require("model")? {
        Value::String(name) => state.models.find(&name),
        other => Err(expected("model", "a string", &other)),
    }
}

/// The model that a request may name; else the base.
///
/// # Errors
/// 404 if there is none of the name.
pub fn model_or_base(fields: &mut Fields, state: &State) -> Result<Arc<ServedModel>, ApiError> {
    match fields.text("model")? {
        Some(name) => state.models.find(&name),
        None => Ok(state.models.base().clone()),
    }
}
