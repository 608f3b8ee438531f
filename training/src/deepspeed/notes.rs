//! What is said of keys that are accepted and do not act.

/// Nothing that is computed depends on it.
pub(super) const NO_EFFECT: &str = "has no effect here";
/// Flags decide, as they do in the Python ancestor.
pub(super) const COMMAND_LINE: &str = "set by the command line";
