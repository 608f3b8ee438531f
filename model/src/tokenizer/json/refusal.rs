//! A text that a normalizer will not go on with. The `tokenizers` crate drops what a normalizer returns, so
//! that the refusal waits here, on the thread that encodes, until encoding is over.

use std::cell::RefCell;

/// Which step refused, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The step's path in the file.
    pub(super) at: String,
    pub(super) found: String,
}

thread_local! {
    static REFUSED: RefCell<Option<Refusal>> = const { RefCell::new(None) };
}

/// Keeps the first refusal.
pub(super) fn note(refusal: Refusal) {
    REFUSED.with_borrow_mut(|refused| {
        refused.get_or_insert(refusal);
    });
}

/// What was refused since the last call.
pub(super) fn take() -> Option<Refusal> {
    REFUSED.take()
}
