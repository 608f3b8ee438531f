//! `POST /v1/embeddings`: the mean of the last hidden states.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::State as Shared;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use glmtune_model::engine::{Event, Request, Task};
use serde_json::{Value, json};

use crate::serve::body::JsonBody;
use crate::serve::error::ApiError;
use crate::serve::fields::Fields;
use crate::serve::job::{encoding, watch};
use crate::serve::listener::Events;
use crate::serve::models::ServedModel;
use crate::serve::named::model_of;
use crate::serve::prompts;
use crate::serve::record::Record;
use crate::serve::state::State;
use crate::serve::usage::Usage;

/// What is asked for.
struct Embedding {
    model: Arc<ServedModel>,
    prompts: Vec<Vec<u32>>,
    /// Whether numbers come as base64 of their bytes, little-endian.
    is_base64: bool,
}

/// Embeds texts.
pub async fn embed(
    Shared(state): Shared<Arc<State>>,
    Extension(record): Extension<Arc<Record>>,
    JsonBody(fields): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let embedding = encoding(&state, move |state| Embedding::read(fields, state)).await?;
    let usage = Usage {
        prompt: embedding.prompts.iter().map(Vec::len).sum(),
        ..Usage::default()
    };
    record.note(usage);
    let deadline = watch(&state, &record).deadline.into();
    let found = tokio::time::timeout_at(deadline, embedding.compute(&state)).await;
    let found = found.map_err(|_| ApiError::too_slow())??;
    let data = found.iter().enumerate().map(|(index, values)| {
        json!({"object": "embedding", "index": index, "embedding": embedding.write(values)})
    });
    Ok(Json(json!({
        "object": "list",
        "data": data.collect::<Vec<Value>>(),
        "model": embedding.model.name,
        "usage": {"prompt_tokens": usage.prompt, "total_tokens": usage.prompt},
    })))
}

impl Embedding {
    fn read(mut fields: Fields, state: &State) -> Result<Self, ApiError> {
        let model = model_of(&mut fields, state)?;
        let input = fields.require("input")?;
        let is_base64 = match fields.text("encoding_format")?.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => {
                let message = "`encoding_format` must be float or base64";
                return Err(ApiError::field("encoding_format", message));
            }
        };
        fields.refuse_unless("dimensions", |_| false)?;
        fields.ignore(&["user"]);
        fields.finish()?;
        let prompts = prompts::read(state, "input", input, true)?;
        let most = state.engine.limits().max_waiting;
        if prompts.len() > most.max(1) {
            let message = format!(
                "{} texts are more than the {most} that may wait",
                prompts.len()
            );
            return Err(ApiError::field("input", message));
        }
        Ok(Self {
            model,
            prompts,
            is_base64,
        })
    }

    async fn compute(&self, state: &State) -> Result<Vec<Vec<f32>>, ApiError> {
        let (mut events, listeners) = Events::new(self.prompts.len());
        for (prompt, listener) in self.prompts.iter().zip(listeners) {
            state.engine.submit(Request {
                adapter: self.model.adapter.clone(),
                prompt: prompt.clone(),
                task: Task::Embed,
                listener,
            })?;
        }
        let mut found = vec![None; self.prompts.len()];
        while found.iter().any(Option::is_none) {
            match events.next().await {
                Some((number, Event::Embedding(values))) => found[number] = Some(values),
                Some((_, Event::Failed(failure))) => return Err(failure.into()),
                Some(_) => {}
                None => return Err(ApiError::internal()),
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn write(&self, values: &[f32]) -> Value {
        match self.is_base64 {
            true => {
                let bytes: Vec<u8> = values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect();
                Value::from(STANDARD.encode(bytes))
            }
            false => values.iter().map(|&value| Value::from(value)).collect(),
        }
    }
}
