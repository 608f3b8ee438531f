//! The models that requests name: the base, and each adapter on it.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use glmtune_model::rows::Prompting;
use serde_json::{Value, json};

use super::error::ApiError;

/// A model as requests name it.
#[derive(Debug, Clone)]
pub struct ServedModel {
    /// Its name.
    pub name: String,
    /// The name of its adapter in the engine; none for the base.
    pub adapter: Option<String>,
    /// How its questions become prompts.
    pub prompting: Prompting,
    /// Since when it is served, in seconds since 1970.
    pub created: u64,
}

impl ServedModel {
    /// The base.
    pub fn base(name: impl Into<String>, prompting: Prompting) -> Self {
        Self {
            name: name.into(),
            adapter: None,
            prompting,
            created: now(),
        }
    }

    /// An adapter, whose name in the engine is that of the model.
    pub fn adapter(name: impl Into<String>, prompting: Prompting) -> Self {
        let name = name.into();
        Self {
            adapter: Some(name.clone()),
            ..Self::base(name, prompting)
        }
    }
}

/// Whether a model that is loaded later may have a name.
pub fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
    (1..=128).contains(&name.len()) && name.chars().all(fits)
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs())
}

/// The models that are served.
#[derive(Debug)]
pub struct Models {
    base: Arc<ServedModel>,
    adapters: RwLock<Vec<Arc<ServedModel>>>,
}

impl Models {
    /// A base and its adapters.
    pub fn new(base: ServedModel, adapters: impl IntoIterator<Item = ServedModel>) -> Self {
        Self {
            base: Arc::new(base),
            adapters: RwLock::new(adapters.into_iter().map(Arc::new).collect()),
        }
    }

    /// The base.
    pub fn base(&self) -> &Arc<ServedModel> {
        &self.base
    }

    /// All, the base first.
    pub fn all(&self) -> Vec<Arc<ServedModel>> {
        let adapters = self.adapters.read().unwrap_or_else(PoisonError::into_inner);
        let base = std::iter::once(&self.base);
        base.chain(adapters.iter()).cloned().collect()
    }

    /// The model of a name.
    ///
    /// # Errors
    /// 404 with the names that exist.
    pub fn find(&self, name: &str) -> Result<Arc<ServedModel>, ApiError> {
        let all = self.all();
        let found = all.iter().find(|model| model.name == name);
        found.cloned().ok_or_else(|| {
            let names: Vec<String> = all
                .iter()
                .map(|model| format!("`{}`", model.name))
                .collect();
            let message = format!("no model has this name; there are {}", names.join(", "));
            ApiError::new(StatusCode::NOT_FOUND, message)
                .with_param("model")
                .with_code("model_not_found")
        })
    }

    /// Serves one more; `false` if its name is taken.
    pub fn add(&self, model: ServedModel) -> bool {
        let mut adapters = self
            .adapters
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let is_new =
            self.base.name != model.name && adapters.iter().all(|other| other.name != model.name);
        if is_new {
            adapters.push(Arc::new(model));
        }
        is_new
    }

    /// Serves an adapter no longer.
    pub fn remove(&self, name: &str) {
        let mut adapters = self
            .adapters
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        adapters.retain(|model| model.name != name);
    }

    /// A model as `/v1/models` lists it.
    pub fn describe(&self, model: &ServedModel, max_sequence: usize) -> Value {
        let parent = model.adapter.as_ref().map(|_| self.base.name.as_str());
        json!({
            "id": model.name,
            "object": "model",
            "created": model.created,
            "owned_by": "glmtune",
            "root": self.base.name,
            "parent": parent,
            "max_model_len": max_sequence,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use glmtune_model::tokenizer::Mode;

    use super::*;

    #[test]
    fn names() {
        let prompting = || Prompting::published(Mode::Glm3);
        let models = Models::new(ServedModel::base("base", prompting()), []);
        assert!(models.add(ServedModel::adapter("tuned", prompting())));
        assert!(!models.add(ServedModel::adapter("tuned", prompting())));
        assert!(!models.add(ServedModel::adapter("base", prompting())));
        assert_eq!(
            models.find("tuned").unwrap().adapter.as_deref(),
            Some("tuned")
        );
        let error = models.find("other").unwrap_err();
        assert!(error.to_string().contains("`base`, `tuned`"), "{error}");
        models.remove("tuned");
        assert!(models.find("tuned").is_err());
    }
}
