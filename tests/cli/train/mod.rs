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

use std::path::PathBuf;

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
