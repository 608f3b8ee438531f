//! What several integration tests share: where the golden values are.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod fixtures;
pub mod golden_run;
pub mod rope_ratio;
#[cfg(feature = "cuda")]
pub mod software_cuda;

use std::path::{Path, PathBuf};

/// The families with golden values.
pub const FAMILIES: [&str; 4] = ["chatglm", "chatglm2", "chatglm3", "glm4"];

/// A file or folder of `tests/data`.
pub fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(path)
}

/// The golden model directory of a family.
pub fn golden(family: &str) -> PathBuf {
    data("golden").join(family)
}

/// The name by which a test is chosen, from its module's path and its own name.
pub fn test_name(module: &str, name: &str) -> String {
    let within = module.split_once("::").map_or("", |(_, rest)| rest);
    match within {
        "" => name.to_string(),
        within => format!("{within}::{name}"),
    }
}
