//! What reading a file gave besides its settings.

use crate::error::KeyFault;

/// What is wrong with a file, and what is to be said of it.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) faults: Vec<KeyFault>,
    pub(super) notes: Vec<String>,
}
