//! `glmtune train` as a user runs it.

#[cfg(all(feature = "cuda", unix))]
mod cards;
#[cfg(unix)]
mod dashboard;
mod folder;
mod interchange;
mod loss_scale;
mod masters;
mod methods;
mod output_layer;
mod packing;
mod reference;
mod resume;
mod shards;
mod state;
mod trajectories;
mod validation;

use std::path::{Path, PathBuf};

pub use crate::common::golden_run::{GoldenRun, column, metrics};

impl GoldenRun {
    /// Trains with more arguments; gives the output directory.
    pub fn train(&self, name: &str, more: &[&str]) -> PathBuf {
        self.run(name, more).success();
        self.folder.path().join(name)
    }

    /// Trains with more arguments into a folder of a name. Of a flag that comes twice, the last counts.
    pub fn run(&self, name: &str, more: &[&str]) -> crate::Run {
        self.run_by(name, more, crate::glmtune)
    }

    /// The same by a runner of `glmtune`, which gets the arguments.
    pub fn run_by(
        &self,
        name: &str,
        more: &[&str],
        glmtune: impl FnOnce(&[&str]) -> crate::Run,
    ) -> crate::Run {
        let args = self.arguments(&self.folder.path().join(name), more);
        glmtune(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// Two runs have found the same losses in so many validations.
fn assert_same_validations(found: &Path, expected: &Path, count: usize, tolerance: f64) {
    let losses = |output: &Path| -> Vec<f64> {
        let lines = metrics(output).into_iter();
        let lines = lines.filter(|line| line["split"] == "eval");
        lines.map(|line| line["loss"].as_f64().unwrap()).collect()
    };
    let (found, expected) = (losses(found), losses(expected));
    assert_eq!((found.len(), expected.len()), (count, count));
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() <= tolerance * b, "{found:?} {expected:?}");
    }
}
