//! LoRA: low-rank adaptation of linear layers (Hu et al. 2021), stored as PEFT stores it.

pub(super) mod config;
mod delta;
pub(super) mod dir;
pub(super) mod layer;
mod memory;
mod path;
pub(super) mod pattern;
pub(super) mod settings;

use super::declaration::{Declaration, Place};

/// The kind.
pub(super) const DECLARATION: Declaration = Declaration {
    name: "lora",
    title: "a LoRA adapter",
    mark: "`adapter_config.json` (LoRA as PEFT writes it)",
    is_in: |dir| Ok(dir.join(config::ADAPTER_CONFIG).symlink_metadata().is_ok()),
    settings: config::ADAPTER_CONFIG,
    weights: dir::weights,
    label: "LoRA adapter (PEFT)",
    place: Place::Projections,
    refuses_folding: None,
    in_model: false,
    owns: path::is_factor,
    published: path::published,
};
