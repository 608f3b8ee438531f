//! The adapters that are served beside the base.

use std::path::Path;

use burn::tensor::backend::Backend;

use crate::adapters::{AdapterDir, PrefixKeyValues};
use crate::causal_lm::CausalLm;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::layers::GlmBackend;
use crate::pretrained::{prefix_of, projection_adapters};

/// An adapter under its name. What acts in linear layers is in the model.
#[derive(Debug)]
struct Served<B: Backend> {
    name: String,
    prefix: Option<PrefixKeyValues<B>>,
}

/// The adapters that are served, by their numbers. A number that was freed is given again.
#[derive(Debug)]
pub(super) struct Adapters<B: Backend> {
    places: Vec<Option<Served<B>>>,
    /// The prefix of the base itself.
    base: Option<PrefixKeyValues<B>>,
}

impl<B: GlmBackend> Adapters<B> {
    /// None, beside the base.
    pub fn new(model: &CausalLm<B>) -> Self {
        Self {
            places: Vec::new(),
            base: model.prefix_key_values(),
        }
    }

    /// The number of a name.
    pub fn number(&self, name: &str) -> Option<usize> {
        let is_it = |place: &Option<Served<B>>| place.as_ref().is_some_and(|it| it.name == name);
        self.places.iter().position(is_it)
    }

    /// All names.
    pub fn names(&self) -> Vec<String> {
        self.places
            .iter()
            .flatten()
            .map(|served| served.name.clone())
            .collect()
    }

    /// What stands before the sequences of an adapter, or of the base.
    pub fn prefix(&self, number: Option<usize>) -> Option<&PrefixKeyValues<B>> {
        let served = number.and_then(|number| self.places.get(number)?.as_ref());
        served
            .and_then(|served| served.prefix.as_ref())
            .or(self.base.as_ref())
    }

    /// Loads the adapter of a directory; nothing has changed if it fails.
    pub fn load(
        &mut self,
        model: &mut CausalLm<B>,
        config: &ModelConfig,
        name: &str,
        dir: &Path,
    ) -> Result<()> {
        if self.number(name).is_some() {
            return Err(Error::Request(format!(
                "an adapter `{name}` is loaded already"
            )));
        }
        let adapter = AdapterDir::open(dir)?;
        let (dtype, device) = (model.dtype(), model.device());
        let found = projection_adapters(model, &adapter, dtype, &device)?;
        let prefix = match adapter.as_prefix() {
            Some(prefix) => Some(prefix_of(config, prefix, dir, dtype, &device)?),
            None => None,
        };
        let number = self.free_number();
        let mut projections: std::collections::HashMap<_, _> =
            model.projections_mut().into_iter().collect();
        for (path, adapter) in found {
            if let Some(layer) = projections.get_mut(&path) {
                if layer.served.len() <= number {
                    layer.served.resize_with(number + 1, || None);
                }
                layer.served[number] = Some(adapter);
            }
        }
        self.places[number] = Some(Served {
            name: name.to_string(),
            prefix: prefix.map(|encoder| encoder.forward(dtype, None)),
        });
        Ok(())
    }

    fn free_number(&mut self) -> usize {
        match self.places.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.places.push(None);
                self.places.len() - 1
            }
        }
    }

    /// Unloads an adapter; gives the number that it had.
    pub fn unload(&mut self, model: &mut CausalLm<B>, name: &str) -> Option<usize> {
        let number = self.number(name)?;
        self.places[number] = None;
        for (_, layer) in model.projections_mut() {
            if let Some(place) = layer.served.get_mut(number) {
                *place = None;
            }
        }
        Some(number)
    }
}
