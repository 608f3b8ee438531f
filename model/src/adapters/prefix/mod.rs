//! The prefix of P-Tuning v2, stored as the official scripts store it.

pub(super) mod dir;
pub(super) mod encoder;
mod memory;
pub(super) mod path;
pub(super) mod settings;

use super::declaration::{Declaration, Place};
use crate::checkpoint::Checkpoint;
use path::PREFIX_ENCODER;

/// The kind.
pub(super) const DECLARATION: Declaration = Declaration {
    name: "ptuning",
    title: "a P-Tuning v2 prefix",
    mark: "`pre_seq_len` in `config.json` (P-Tuning v2)",
    is_in: dir::is_in,
    settings: dir::CONFIG,
    weights: Checkpoint::open,
    label: "P-Tuning v2 prefix",
    place: Place::Prefix,
    refuses_folding: Some(
        "a P-Tuning v2 prefix: it adds keys and values to the attention and no delta to any weight, so it cannot be \
         folded into the base; use it with `--adapter` of `generate` or `chat`",
    ),
    in_model: true,
    owns: |path| path.starts_with(PREFIX_ENCODER),
    published: str::to_string,
};
