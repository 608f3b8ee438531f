//! Which program answered.

/// As answers tell it: the program and its version.
pub const SYSTEM_FINGERPRINT: &str = concat!("glmtune-", env!("CARGO_PKG_VERSION"));
