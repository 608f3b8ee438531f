//! The settings of a new LoRA adapter.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::config::LoraConfig;
use super::memory;
use super::path::{FACTORS, factor_path};
use super::pattern::TargetModules;
use crate::adapters::settings::{ModelOutline, Settings, Unmatched, counted, positive_size, share};
use crate::adapters::stored::StoredForm;
use crate::adapters::traced::TracedCall;
use crate::layers::memory::HeadTerm;
use crate::memory::{Trace, Traced};
use crate::parameters::ParameterInfo;

/// What PEFT calls every linear layer.
const ALL_LINEAR: &str = "all-linear";
/// The setting that names layers.
const MODULES: &str = "lora_module_name";

/// Settings of the LoRA adapters that a training starts from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoraSettings {
    /// Rank of the factors.
    #[serde(rename = "lora_dim")]
    pub rank: usize,
    /// The output is scaled by `alpha / rank`.
    #[serde(rename = "lora_alpha")]
    pub alpha: f64,
    /// Share of the input's elements that training drops.
    #[serde(rename = "lora_dropout")]
    pub dropout: f64,
    /// Names of the linear layers, as in PEFT's `target_modules`.
    #[serde(rename = "lora_module_name")]
    pub modules: Vec<String>,
}

impl Default for LoraSettings {
    /// As the Python ancestor's.
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 30.0,
            dropout: 0.1,
            modules: vec!["query_key_value".to_string()],
        }
    }
}

impl LoraSettings {
    /// The layers that are meant.
    pub fn targets(&self) -> TargetModules {
        match self.modules.as_slice() {
            [name] if name == ALL_LINEAR => TargetModules::AllLinear,
            names => TargetModules::names(names.iter().cloned()),
        }
    }
}

impl LoraSettings {
    fn form(&self) -> memory::Form {
        memory::Form {
            rank: counted(self.rank),
            drops: self.dropout > 0.0,
        }
    }
}

impl Settings for LoraSettings {
    fn faults(&self) -> Vec<String> {
        let alpha = self.alpha > 0.0 && self.alpha.is_finite();
        let faults = [
            positive_size("lora_dim", self.rank),
            (!alpha).then(|| format!("lora_alpha is {}, must be a positive number", self.alpha)),
            share("lora_dropout", self.dropout),
            (self.modules.is_empty()).then(|| format!("{MODULES} names nothing")),
        ];
        faults.into_iter().flatten().collect()
    }

    fn dropout(&self) -> f64 {
        self.dropout
    }

    fn parameters(&self, outline: &ModelOutline<'_>) -> Vec<ParameterInfo> {
        let (targets, rank) = (self.targets(), counted(self.rank));
        let adapted = outline.projections.iter();
        adapted
            .filter(|(path, _)| targets.matches(path))
            .flat_map(|(path, [input, output])| {
                let shapes = [vec![rank, *input], vec![*output, rank]];
                FACTORS
                    .into_iter()
                    .zip(shapes)
                    .map(|(factor, shape)| ParameterInfo {
                        path: factor_path(path, factor),
                        shape,
                    })
            })
            .collect()
    }

    fn traced(&self, trace: &Trace, call: TracedCall<'_>) -> Traced {
        match self.targets().matches(call.path) {
            true => memory::forward(self.form(), trace, call),
            false => call.output(trace),
        }
    }

    fn traced_head(&self, trace: &Trace, call: TracedCall<'_>) -> (HeadTerm, Option<HeadTerm>) {
        match self.targets().matches(call.path) {
            true => memory::head_operands(self.form(), trace, call),
            false => call.head(),
        }
    }

    fn unmatched(&self, projections: &[String]) -> Option<Unmatched> {
        let TargetModules::Names(names) = self.targets() else {
            return None;
        };
        let is_matched = |name: &&String| {
            let target = TargetModules::names([name.as_str()]);
            projections.iter().any(|path| target.matches(path))
        };
        let name = names.iter().find(|name| !is_matched(name))?;
        Some(Unmatched {
            setting: MODULES,
            name: name.clone(),
            known: last_parts(projections),
        })
    }

    fn stored(&self, adapted: &[String]) -> Arc<dyn StoredForm> {
        // As PEFT saves `all-linear`: its older releases know only names.
        let targets = match self.targets() {
            TargetModules::AllLinear => TargetModules::names(last_parts(adapted)),
            targets => targets,
        };
        Arc::new(LoraConfig {
            dropout: self.dropout,
            ..LoraConfig::new(self.rank, self.alpha, targets)
        })
    }
}

/// The names of layers, without the paths that lead to them.
pub(super) fn last_parts<'a>(paths: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    let names = paths.into_iter().filter_map(|path| path.rsplit('.').next());
    names.map(str::to_string).collect()
}

/// Whether names are those of an adapter's layers: every layer has one, and every name a layer.
pub(super) fn name_exactly(names: &[String], modules: &[String]) -> bool {
    if names == [ALL_LINEAR] {
        let found = last_parts(modules);
        return LINEAR.iter().all(|name| found.contains(*name));
    }
    let targets = TargetModules::names(names.iter().cloned());
    let has_module = |name: &String| {
        let target = TargetModules::names([name.as_str()]);
        modules.iter().any(|module| target.matches(module))
    };
    modules.iter().all(|module| targets.matches(module)) && names.iter().all(has_module)
}

/// The linear layers of a block, all of which `all-linear` means.
const LINEAR: [&str; 4] = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"];
