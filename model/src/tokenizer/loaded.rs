//! What a file of a tokenizer gives.

use super::mode::Mode;
use super::special::Specials;

/// The contents of a tokenizer's file, run by an engine of the form `E`.
#[derive(Debug)]
pub(super) struct Loaded<E> {
    pub(super) engine: E,
    pub(super) specials: Specials,
    pub(super) mode: Mode,
}

impl<E> Loaded<E> {
    /// The same for any form of engine.
    pub(super) fn of_any<F: From<E>>(self) -> Loaded<F> {
        Loaded {
            engine: self.engine.into(),
            specials: self.specials,
            mode: self.mode,
        }
    }
}
