//! The output directory as a training finds it, and what is said of that.

use glmtune_training::parallel::processes::ranks::ProcessGroup;
use glmtune_training::saving::OutputDir;

use crate::cli::TrainArgs;
use crate::commands::console::note;
use crate::commands::error::Result;
use crate::commands::leftovers::say_removed;

/// Opens the output directory; none for a dry run, which writes nothing, not even a lock. The first of several
/// processes alone writes there.
///
/// # Errors
/// If it cannot be an output directory, or another process writes in it.
pub fn open(args: &TrainArgs, group: &ProcessGroup) -> Result<Option<OutputDir>> {
    if args.dry_run {
        return Ok(None);
    }
    if !group.is_first() {
        return Ok(Some(OutputDir::of_first_process(&args.output_dir)));
    }
    let dir = OutputDir::open(&args.output_dir)?;
    if let Some(owner) = dir.left_by() {
        note(format!(
            "{}: {owner} ended without finishing; going on in its place",
            dir.path().display()
        ));
    }
    dir.removed().iter().for_each(|path| say_removed(path));
    Ok(Some(dir))
}
