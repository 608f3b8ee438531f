//! Adapters: few parameters beside those of a base model, trained in their place. Each kind is a folder of its
//! own, which says what the adapter computes, what its parameters are called and how large they are, how it is
//! stored, and how it is folded into a base; the enums here join the kinds, and everyone else asks.
//!
//! An adapter is off until it is attached, and changes no base weight.

mod declaration;
mod digest;
mod folding;
mod format;
mod linear_call;
mod lora;
mod meta;
mod prefix;
mod rows;
mod settings;
mod stored;
mod traced;

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::checkpoint::RawTensor;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::layers::GlmBackend;
use crate::random_weights::seed_of;
use crate::tensor_target::TensorTarget;
use declaration::Declaration;

pub use declaration::Place;
pub use folding::{Site, StoredAdapter, WeightDelta};
pub use format::FileFormat;
pub use linear_call::{HeadOperands, LinearCall, ProjectionAdapter};
pub use lora::config::LoraConfig;
pub use lora::dir::{LoraAdapter, LoraPair, write_lora_adapter};
pub use lora::layer::{Lora, LoraFactor};
pub use lora::pattern::{Patterns, TargetModules};
pub use lora::settings::LoraSettings;
pub use meta::AdapterMeta;
pub use prefix::dir::{PrefixAdapter, write_prefix_adapter};
pub use prefix::encoder::{PrefixDropout, PrefixEncoder, PrefixKeyValues, PrefixShape};
pub use prefix::path::PREFIX_ENCODER;
pub use prefix::settings::PrefixSettings;
pub use rows::RowAdapters;
pub use settings::{ModelOutline, Settings, Unmatched};
pub use stored::{Contradiction, Destination, GivenSettings, StoredForm};
pub use traced::TracedCall;

/// The kinds of adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdapterKind {
    /// Low-rank factors on linear layers.
    Lora,
    /// Keys and values before those of every sequence.
    Prefix,
}

impl AdapterKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Lora, Self::Prefix];

    fn declaration(self) -> &'static Declaration {
        match self {
            Self::Lora => &lora::DECLARATION,
            Self::Prefix => &prefix::DECLARATION,
        }
    }

    /// The name of the training that makes one: `lora`, `ptuning`.
    pub fn name(self) -> &'static str {
        self.declaration().name
    }

    /// What one is called in a sentence: `a LoRA adapter`.
    pub fn title(self) -> &'static str {
        self.declaration().title
    }

    /// The kind whose training has a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What a report calls one: `LoRA adapter (PEFT)`.
    pub fn label(self) -> &'static str {
        self.declaration().label
    }

    /// Where in a model one acts.
    pub fn place(self) -> Place {
        self.declaration().place
    }

    /// Why one cannot be folded into a base, if it cannot.
    pub fn refuses_folding(self) -> Option<&'static str> {
        self.declaration().refuses_folding
    }

    /// Whether a model's own directory may hold one as a part of the model.
    pub fn may_be_in_model(self) -> bool {
        self.declaration().in_model
    }

    /// Whether a parameter of a model belongs to an adapter of this kind.
    pub fn owns(self, path: &str) -> bool {
        (self.declaration().owns)(path)
    }

    /// The kind that a parameter belongs to; none for one of the base model.
    pub fn of(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.owns(path))
    }

    /// What tells the adapter of a directory from another one: another training of it, or another scale, gives
    /// another digest.
    ///
    /// # Errors
    /// If the directory holds no adapter of this kind, or it cannot be read.
    pub fn digest(self, dir: &Path) -> Result<String> {
        digest::of(dir, self.declaration())
    }

    /// The name that other programs give the parameter of a path.
    pub fn published_name(path: &str) -> String {
        match Self::of(path) {
            Some(kind) => (kind.declaration().published)(path),
            None => path.to_string(),
        }
    }

    /// Tells what a directory holds, by its settings file.
    ///
    /// # Errors
    ///
    /// [`Error::Directory`] if it holds none, telling what was looked for; [`Error::Json`] if a settings file
    /// cannot be parsed.
    pub fn detect(dir: &Path) -> Result<Self> {
        if !dir.is_dir() {
            return Err(Error::directory(dir, "not a directory; an adapter is one"));
        }
        for kind in Self::ALL {
            if (kind.declaration().is_in)(dir)? {
                return Ok(kind);
            }
        }
        let marks = Self::ALL
            .map(|kind| kind.declaration().mark)
            .join(" and for ");
        let detail = format!("no adapter here: looked for {marks}");
        Err(Error::directory(dir, detail))
    }
}

/// The settings of the adapter that a training starts from, by the names of their flags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "train_type")]
pub enum AdapterSettings {
    /// Low-rank factors.
    #[serde(rename = "lora")]
    Lora(LoraSettings),
    /// Keys and values before those of every sequence.
    #[serde(rename = "ptuning")]
    Prefix(PrefixSettings),
}

impl Deref for AdapterSettings {
    type Target = dyn Settings;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Lora(settings) => settings,
            Self::Prefix(settings) => settings,
        }
    }
}

impl AdapterSettings {
    /// The settings of a kind by their names; what is not among them is as it is by default, and what is
    /// another kind's is left aside.
    ///
    /// # Errors
    /// [`Error::Request`] if a value cannot be of its setting.
    pub fn of(kind: AdapterKind, mut values: Map<String, Value>) -> Result<Self> {
        values.insert("train_type".to_string(), kind.name().into());
        serde_json::from_value(Value::Object(values))
            .map_err(|error| Error::Request(error.to_string()))
    }

    /// The kind.
    pub fn kind(&self) -> AdapterKind {
        match self {
            Self::Lora(_) => AdapterKind::Lora,
            Self::Prefix(_) => AdapterKind::Prefix,
        }
    }

    /// The name of the training, with what tells it from others of its kind.
    pub fn title(&self) -> &'static str {
        self.variant().unwrap_or(self.kind().name())
    }

    /// These settings, and those beside them that are worth a look where not all were given.
    #[must_use]
    pub fn variants(&self, is_given: &dyn Fn(&str) -> bool) -> Vec<Self> {
        match self {
            Self::Lora(_) => vec![self.clone()],
            Self::Prefix(settings) => {
                let variants = settings.variants(is_given).into_iter();
                variants.map(Self::Prefix).collect()
            }
        }
    }

    /// The settings by their names.
    pub fn values(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            // A struct of plain values becomes an object.
            _ => Map::new(),
        }
    }

    /// A new adapter for a linear layer, if it gets one.
    pub(crate) fn on_projection<B: Backend>(
        &self,
        (path, dims): (&str, [usize; 2]),
        seed: u64,
        device: &B::Device,
    ) -> Option<Adapter<B>> {
        match self {
            Self::Lora(settings) => settings.targets().matches(path).then(|| {
                let seed = seed_of(path, seed);
                Adapter::Lora(Lora::initialized(dims, settings, seed, device))
            }),
            Self::Prefix(_) => None,
        }
    }

    /// A new prefix, if it is one.
    pub(crate) fn prefix<B: Backend>(
        &self,
        config: &ModelConfig,
        seed: u64,
        device: &B::Device,
    ) -> Option<PrefixEncoder<B>> {
        let Self::Prefix(settings) = self else {
            return None;
        };
        let shape = PrefixShape::of(config, settings.pre_seq_len, settings.projection);
        let seed = seed_of(PREFIX_ENCODER, seed);
        Some(PrefixEncoder::initialized(&shape, seed, device))
    }
}

/// An opened adapter directory.
#[derive(Debug)]
pub enum AdapterDir {
    /// As PEFT writes LoRA.
    Lora(Box<LoraAdapter>),
    /// As the official scripts write a prefix.
    Prefix(Box<PrefixAdapter>),
}

impl Deref for AdapterDir {
    type Target = dyn StoredAdapter;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Lora(adapter) => adapter.as_ref(),
            Self::Prefix(adapter) => adapter.as_ref(),
        }
    }
}

impl AdapterDir {
    /// Opens the adapter of a directory.
    ///
    /// # Errors
    /// As [`AdapterKind::detect`], or if the adapter is damaged.
    pub fn open(dir: &Path) -> Result<Self> {
        Ok(match AdapterKind::detect(dir)? {
            AdapterKind::Lora => Self::Lora(Box::new(LoraAdapter::open(dir)?)),
            AdapterKind::Prefix => Self::Prefix(Box::new(PrefixAdapter::open(dir)?)),
        })
    }

    /// The kind.
    pub fn kind(&self) -> AdapterKind {
        match self {
            Self::Lora(_) => AdapterKind::Lora,
            Self::Prefix(_) => AdapterKind::Prefix,
        }
    }

    /// The prefix, if it is one.
    pub fn as_prefix(&self) -> Option<&PrefixAdapter> {
        match self {
            Self::Prefix(adapter) => Some(adapter),
            Self::Lora(_) => None,
        }
    }

    /// What goes to one of its [`sites`](StoredAdapter::sites).
    pub(crate) fn on_projection<B: Backend>(
        &self,
        site: usize,
        target: &TensorTarget<'_, B>,
    ) -> Result<Option<Adapter<B>>> {
        match self {
            Self::Lora(adapter) => Ok(Some(Adapter::Lora(adapter.adapter(site, target)?))),
            Self::Prefix(_) => Ok(None),
        }
    }
}

/// What the outputs of a training hold: an adapter of a kind in a form.
#[derive(Debug, Clone)]
pub struct AdapterOutput {
    /// The kind.
    pub kind: AdapterKind,
    /// Its settings.
    pub form: Arc<dyn StoredForm>,
}

impl AdapterOutput {
    /// In a few words: `lora, rank 8`.
    pub fn describe(&self) -> String {
        format!("{}, {}", self.kind.name(), self.form.sizes())
    }

    /// Writes the adapter's parameters, each with its path.
    ///
    /// # Errors
    /// As [`StoredForm::write`].
    pub fn write(
        &self,
        destination: Destination<'_>,
        parameters: &[(String, RawTensor)],
    ) -> Result<()> {
        self.form.write(destination, parameters)
    }
}

/// An adapter of a linear layer.
#[derive(Module, Debug)]
pub enum Adapter<B: Backend> {
    /// Low-rank factors.
    Lora(Lora<B>),
}

impl<B: GlmBackend> Adapter<B> {
    /// The output of the layer with the adapter.
    ///
    /// # Shapes
    /// - result: `[rows, out]`
    pub fn forward(&self, call: LinearCall<B>) -> Tensor<B, 2> {
        match self {
            Self::Lora(lora) => lora.forward(call),
        }
    }

    /// The output of the layer with the adapter, by what the layer gives without it: for some rows of a pass whose
    /// others have other adapters, so that the base is computed once for all.
    ///
    /// # Shapes
    /// - `input`: `[rows, in]`; `output` and result: `[rows, out]`
    pub fn add_to(&self, input: Tensor<B, 2>, output: Tensor<B, 2>) -> Tensor<B, 2> {
        match self {
            Self::Lora(lora) => lora.add_to(input, output),
        }
    }

    /// The output layer with the adapter, for a loss that never has all logits at once.
    pub fn head_operands(&self, call: LinearCall<B>) -> HeadOperands<B> {
        match self {
            Self::Lora(lora) => lora.head_operands(call),
        }
    }
}

impl<B: Backend> Adapter<B> {
    /// Two adapters of one layer as one that adds what both add.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Lora(one), Self::Lora(other)) => Self::Lora(one.plus(other)),
        }
    }

    /// Sets the share of the input's elements that training drops.
    pub fn set_dropout(&mut self, rate: f64) {
        match self {
            Self::Lora(lora) => lora.dropout = rate,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let put = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
        let message = AdapterKind::detect(dir).expect_err("empty").to_string();
        assert!(message.contains("adapter_config.json") && message.contains("pre_seq_len"));
        put("config.json", r#"{"pre_seq_len": null}"#);
        assert!(AdapterKind::detect(dir).is_err());
        put("config.json", r#"{"pre_seq_len": 128}"#);
        assert_eq!(AdapterKind::detect(dir).unwrap(), AdapterKind::Prefix);
        put("adapter_config.json", "{}");
        assert_eq!(AdapterKind::detect(dir).unwrap(), AdapterKind::Lora);
        assert!(AdapterKind::detect(&dir.join("config.json")).is_err());
    }

    #[test]
    fn parameters_belong_to_a_kind() {
        for (path, kind) in [
            (
                "transformer.layers.0.attention.dense.lora.lora_A.weight",
                Some(AdapterKind::Lora),
            ),
            (
                "transformer.prefix_encoder.trans.0.bias",
                Some(AdapterKind::Prefix),
            ),
            ("transformer.layers.0.attention.dense.weight", None),
        ] {
            assert_eq!(AdapterKind::of(path), kind, "{path}");
        }
    }
}
