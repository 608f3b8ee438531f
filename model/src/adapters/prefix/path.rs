//! Where the parameters of a prefix stand.

/// Under what path the parameters of a prefix stand in every family.
pub const PREFIX_ENCODER: &str = "transformer.prefix_encoder.";
