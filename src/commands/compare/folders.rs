//! Where a comparison keeps what.

use std::path::{Path, PathBuf};

/// The folder of a model's answers and of its training.
#[derive(Debug, Clone)]
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// That of the base.
    pub fn base(out: &Path) -> Self {
        Self(out.join("base"))
    }

    /// That of a run, by the folder of its method.
    pub fn run(out: &Path, method: &str, seed: u64) -> Self {
        Self(out.join("runs").join(method).join(seed.to_string()))
    }

    /// Itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The output directory of the training.
    pub fn training(&self) -> PathBuf {
        self.0.join("train")
    }

    /// The answers of a stage.
    pub fn answers(&self, stage: &str) -> PathBuf {
        self.0.join(format!("{stage}.jsonl"))
    }

    /// What a stage said.
    pub fn log(&self, stage: &str) -> PathBuf {
        self.0.join(format!("{stage}.log"))
    }

    /// What is known of a stage.
    pub fn mark(&self, stage: &str) -> PathBuf {
        self.0.join(format!("{stage}.json"))
    }
}

/// A name of a method as that of a folder: everywhere the same, and never one that leads elsewhere.
pub fn folder_name(name: &str) -> String {
    let plain = name.chars().map(|c| match c.is_alphanumeric() {
        true => c,
        false => '-',
    });
    let plain: String = plain.collect::<String>().to_lowercase();
    let short: String = plain.chars().take(40).collect();
    match short.trim_matches('-') {
        "" => "method".to_string(),
        trimmed => trimmed.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_a_folder_of_its_own() {
        assert_eq!(folder_name("P-Tuning v2 (MLP)"), "p-tuning-v2--mlp");
        assert_eq!(folder_name("../../etc"), "etc");
        assert_eq!(folder_name("…"), "method");
        assert_eq!(folder_name("全参数"), "全参数");
    }
}
