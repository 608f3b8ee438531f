//! The settings of a new prefix.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::dir::PrefixForm;
use super::encoder::PrefixShape;
use super::memory;
use super::path::PREFIX_ENCODER;
use crate::adapters::settings::{ModelOutline, Settings, counted, positive_size, share};
use crate::adapters::stored::StoredForm;
use crate::config::ModelConfig;
use crate::memory::{Trace, Traced};
use crate::parameters::ParameterInfo;

/// Settings of the prefix that a training starts from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PrefixSettings {
    /// Prefix positions.
    pub pre_seq_len: usize,
    /// Whether an MLP follows the embedding.
    #[serde(rename = "prefix_projection")]
    pub projection: bool,
    /// Share of the prefix's elements that training drops.
    #[serde(rename = "prefix_dropout")]
    pub dropout: f64,
}

impl Default for PrefixSettings {
    /// As the Python ancestor's.
    fn default() -> Self {
        Self {
            pre_seq_len: 16,
            projection: true,
            dropout: 0.1,
        }
    }
}

impl PrefixSettings {
    /// These settings, and unless it was said whether an MLP follows, those without one before them.
    pub fn variants(&self, is_given: &dyn Fn(&str) -> bool) -> Vec<Self> {
        let plain = Self {
            projection: false,
            ..self.clone()
        };
        match is_given("prefix_projection") {
            true => vec![self.clone()],
            false => vec![plain, self.clone()],
        }
    }
}

impl Settings for PrefixSettings {
    fn faults(&self) -> Vec<String> {
        let faults = [
            positive_size("pre_seq_len", self.pre_seq_len),
            share("prefix_dropout", self.dropout),
        ];
        faults.into_iter().flatten().collect()
    }

    fn dropout(&self) -> f64 {
        self.dropout
    }

    fn variant(&self) -> Option<&'static str> {
        self.projection.then_some("ptuning with projection")
    }

    fn parameters(&self, outline: &ModelOutline<'_>) -> Vec<ParameterInfo> {
        let shape = PrefixShape::of(outline.config, counted(self.pre_seq_len), self.projection);
        let parameters = shape.parameters().into_iter();
        parameters
            .map(|(name, shape)| ParameterInfo {
                path: format!("{PREFIX_ENCODER}{name}"),
                shape,
            })
            .collect()
    }

    fn positions(&self) -> usize {
        counted(self.pre_seq_len)
    }

    fn traced_prefix(&self, trace: &Trace, config: &ModelConfig, rows: u64) -> Option<Traced> {
        let shape = PrefixShape::of(config, self.positions(), self.projection);
        Some(memory::forward(&shape, self.dropout > 0.0, trace, rows))
    }

    fn stored(&self, _adapted: &[String]) -> Arc<dyn StoredForm> {
        Arc::new(PrefixForm {
            pre_seq_len: self.pre_seq_len,
            projection: self.projection,
        })
    }
}
