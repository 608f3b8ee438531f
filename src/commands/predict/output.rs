//! The file of answers: rows of the file so far, which grow by one at a time.

use std::path::{Path, PathBuf};

use glmtune_model::checkpoint::AppendFile;

use super::kept::{self, Kept};
use super::questions::Questions;
use super::settings::{self, Settings};
use crate::cli::PredictArgs;
use crate::commands::console::note;
use crate::commands::error::{Error, Result};
use crate::commands::leftovers::tidy_beside;

/// The output, locked as long as this value lives.
pub struct Output {
    path: PathBuf,
    file: AppendFile,
    kept: Kept,
    rows: usize,
}

impl Output {
    /// Locks the output and checks the rows that it has.
    pub fn open(args: &PredictArgs, questions: &Questions) -> Result<Self> {
        check_other(&args.test_path, &args.output)?;
        tidy_beside(&args.output);
        let file = AppendFile::lock(&args.output)?;
        let kept = match file.read()? {
            Some(found) if !args.overwrite => {
                kept::read(found, &args.output, questions, args.num_return_sequences)?
            }
            Some(_) => {
                note(format!(
                    "{}: what was there makes way (--overwrite)",
                    args.output.display()
                ));
                Kept::default()
            }
            None => Kept::default(),
        };
        Ok(Self {
            path: args.output.clone(),
            file,
            rows: kept.rows,
            kept,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Rows that are there.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Checks that the rows so far were made with these settings, and gives the size of their batches.
    ///
    /// # Errors
    /// Names the settings that differ.
    pub fn check(&self, wanted: &Settings) -> Result<Option<usize>> {
        if self.kept.rows == 0 {
            return Ok(None);
        }
        let path = settings::path(&self.path);
        let Some(found) = Settings::read(&path)? else {
            note(format!(
                "warning: {}: not there, so that nobody can tell how the {} rows of {} were made; they are kept",
                path.display(),
                self.kept.rows,
                self.path.display()
            ));
            return Ok(None);
        };
        let differing = wanted.differing(&found)?;
        match differing.is_empty() {
            true => Ok(Some(found.batch_size).filter(|&size| size > 0)),
            false => Err(Error::Request(format!(
                "{}: its {} rows were made with other settings: {}; give the same ones, name another --output, or \
                 start anew with --overwrite",
                self.path.display(),
                self.kept.rows,
                differing.join("; ")
            ))),
        }
    }

    /// Notes the settings and makes the file ready for more rows.
    pub fn start(&mut self, settings: &Settings) -> Result<()> {
        settings.write(&settings::path(&self.path))?;
        if self.kept.drops_last {
            note(format!(
                "{}: its last line was half written and goes",
                self.path.display()
            ));
        }
        self.open_end()?;
        if self.kept.rows > 0 {
            note(format!(
                "{}: {} rows are there already",
                self.path.display(),
                self.kept.rows
            ));
        }
        Ok(())
    }

    /// Makes the last line of an output whole that needs no more.
    pub fn complete(&mut self) -> Result<()> {
        match self.kept.is_open {
            true => self.open_end(),
            false => Ok(()),
        }
    }

    fn open_end(&mut self) -> Result<()> {
        self.file.start(self.kept.bytes)?;
        if self.kept.is_open {
            self.file.append(b"\n")?;
        }
        Ok(())
    }

    /// Adds the line of the next row.
    pub fn append(&mut self, line: &[u8]) -> Result<()> {
        self.file.append(line)?;
        self.rows += 1;
        Ok(())
    }

    /// Forces the rows to disk.
    pub fn sync(&mut self) -> Result<()> {
        Ok(self.file.sync()?)
    }
}

/// The answers to a file cannot be written into it while it is needed to go on.
fn check_other(rows: &Path, output: &Path) -> Result<()> {
    let same = match (rows.canonicalize(), output.canonicalize()) {
        (Ok(rows), Ok(output)) => rows == output,
        _ => false,
    };
    match same {
        true => Err(Error::Request(format!(
            "{}: these are the rows to answer; give --output another name",
            output.display()
        ))),
        false => Ok(()),
    }
}
