//! The flags of `glmtune compare`.

use std::path::PathBuf;

use clap::Args;

/// `glmtune compare`.
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    /// What is compared: base, rows, task, seeds, and for each method the flags of `train`. Paths in it start from
    /// its folder.
    #[arg(long, value_name = "FILE.toml")]
    pub config: PathBuf,
    /// Where runs and report go. The same command goes on with what is there; only what other settings touch is
    /// done again.
    #[arg(long, value_name = "DIR")]
    pub output_dir: PathBuf,
}
