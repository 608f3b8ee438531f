//! A measurement as a process: this program with the same place and one piece of work.

use std::ffi::OsString;
use std::path::Path;

use glmtune_model::FloatType;

use super::budget::Budget;
use super::case::{Case, Work};
use super::folder::Folder;
use super::measured::Measured;
use super::models::Models;
use crate::cli::{BenchArgs, Precision};
use crate::commands::child::{self, News, Task};
use crate::commands::console::interrupted;
use crate::commands::error::{Error, Result};
use crate::commands::process;
use crate::kernel_table::Measurements;

/// The exit status of a request that was wrong.
const WRONG_REQUEST: i32 = 2;

/// Runs measurements.
pub struct Runner<'a> {
    /// The flags.
    pub args: &'a BenchArgs,
    /// Their models.
    pub models: Models<'a>,
    /// For files.
    pub folder: &'a Folder,
}

/// How a measurement ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// What it has found, if it ended well.
    pub measured: Option<Measured>,
    /// Most memory of its process.
    pub peak_bytes: Option<u64>,
    /// What it had to say if it failed.
    pub failed: Vec<String>,
    /// Whether it was ended since the time of the run was up.
    pub is_cut_off: bool,
}

impl Runner<'_> {
    /// Runs a measurement, one of so many that are still to come; once more where a kernel that was tried has ended the
    /// process, which then goes on without it.
    ///
    /// # Errors
    /// If its model cannot be made, the process not be started, or the request is wrong.
    pub fn run(&self, case: &Case, budget: &Budget, waiting: usize) -> Result<Ended> {
        let mut ended = self.once(case, budget, waiting)?;
        let tries = matches!(case.work, Work::Kernels(_));
        while tries && ended.measured.is_none() && !budget.is_spent() && !interrupted() {
            if !Measurements::read()?.was_cut_off() {
                break;
            }
            ended = self.once(case, budget, waiting)?;
        }
        Ok(ended)
    }

    fn once(&self, case: &Case, budget: &Budget, waiting: usize) -> Result<Ended> {
        let model = self.models.directory(&case.model)?;
        let files = Folder::temporary(self.folder.path())?;
        let work = serde_json::to_string(&case.work).map_err(std::io::Error::from)?;
        let args = self.child_args(&model, &files, work, budget.share(waiting));
        let task = Task {
            args: &args,
            folder: Path::new("."),
            log: &files.path().join("log"),
        };
        let limit = budget.limit();
        let (mut measured, mut is_over) = (None::<Measured>, false);
        let ended = child::run(&task, &mut |news| {
            if let News::Line(line) = news {
                measured = serde_json::from_str(line).ok().or(measured.take());
            }
            if limit.left() <= 0.0 && !is_over {
                is_over = true;
                process::kill_running();
            }
        })?;
        let mut failed = reason(ended.error);
        if ended.status == Some(WRONG_REQUEST) {
            return Err(Error::Request(failed.join("\n")));
        }
        if is_over {
            failed = vec!["took longer than the time of the run (--seconds)".to_string()];
        } else if ended.succeeded && measured.is_none() {
            failed.push("the process has found nothing".to_string());
        } else if ended.succeeded {
            failed.clear();
        } else if failed.is_empty() {
            failed.push("the process failed".to_string());
        }
        let measured: Option<Measured> = measured.filter(|_| failed.is_empty());
        // One that ends soon is not seen at its peak from outside, and one that fails does not tell it.
        let told = measured.as_ref().and_then(|measured| measured.peak_bytes);
        Ok(Ended {
            measured,
            peak_bytes: told.max(ended.peak_bytes),
            failed,
            is_cut_off: is_over,
        })
    }

    fn child_args(
        &self,
        model: &Path,
        files: &Folder,
        work: String,
        seconds: f64,
    ) -> Vec<OsString> {
        let args = self.args;
        let mut words: Vec<OsString> = vec!["bench".into(), "--measure".into(), work.into()];
        let mut add = |flag: &str, value: OsString| words.extend([flag.into(), value]);
        add("--model-name-or-path", model.into());
        add("--work-dir", files.path().into());
        add("--seconds", seconds.to_string().into());
        add("--backend", args.compute.backend.to_string().into());
        if !args.compute.devices.is_empty() {
            let devices: Vec<String> = args.compute.devices.iter().map(usize::to_string).collect();
            add("--devices", devices.join(",").into());
        }
        if let Some(mode) = args.mode {
            add("--mode", mode.to_string().into());
        }
        if let Some(dtype) = args.compute.dtype {
            add("--dtype", type_flag(dtype).into());
        }
        if args.compute.no_fused {
            words.push("--no-fused".into());
        }
        words
    }
}

/// What a process had to say of its failure, without what it said before.
fn reason(mut lines: Vec<String>) -> Vec<String> {
    const MARK: &str = "error: ";
    if let Some(from) = lines.iter().position(|line| line.starts_with(MARK)) {
        lines.drain(..from);
        lines[0].drain(..MARK.len());
    }
    lines
}

/// A type as its flag has it.
pub fn type_flag(dtype: Precision) -> String {
    FloatType::from(dtype).to_string()
}
