//! What a kind of adapter says of itself before one is at hand.

use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::error::Result;

/// Where in a model an adapter acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On linear layers of the blocks and on the output layer.
    Projections,
    /// Before the keys and values of every sequence.
    Prefix,
}

/// The facts of a kind.
pub(super) struct Declaration {
    /// Name of the training that makes one.
    pub name: &'static str,
    /// What one is called in a sentence.
    pub title: &'static str,
    /// By what a directory of one is recognised, for messages.
    pub mark: &'static str,
    /// Whether a directory holds one.
    pub is_in: fn(&Path) -> Result<bool>,
    /// The file of a directory that says how its weights are used.
    pub settings: &'static str,
    /// The weights of a directory.
    pub weights: fn(&Path) -> Result<Checkpoint>,
    /// What a report calls one.
    pub label: &'static str,
    /// Where one acts.
    pub place: Place,
    /// Why one cannot be folded into a base, if it cannot.
    pub refuses_folding: Option<&'static str>,
    /// Whether a model's own directory may hold one as a part of the model.
    pub in_model: bool,
    /// Whether a parameter belongs to one.
    pub owns: fn(&str) -> bool,
    /// The name that other programs give the parameter of a path.
    pub published: fn(&str) -> String,
}
