//! The stages of a run: training, answers to the test rows, answers to the rows of the abilities and their losses. Each is done once:
//! its mark tells by a digest of everything that decides its outputs whether they are there already.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use glmtune_model::checkpoint::{AtomicFile, Fingerprint};
use glmtune_model::digest::{Digest, file_digest};
use glmtune_model::tokenizer::tokenizer_files;

use glmtune_training::saving::folder::{best_output, named_outputs, set_aside};

use super::command_lines::{flag, parse_train, shared, train_args};
use super::config::{Config, MethodConfig, arguments};
use super::folders::RunFolder;
use super::mark::{self, Mark};
use super::progress::Progress;
use crate::cli::TrainArgs;
use crate::commands::child::{self, News};
use crate::commands::console::interrupted;
use crate::commands::error::{Error, Result};
use crate::commands::predict;

/// Names of the stages.
pub const TRAIN: &str = "train";
/// Answers to the test rows.
pub const ANSWERS: &str = "predictions";
/// Answers to the rows of the abilities.
pub const ABILITIES: &str = "abilities";
/// Losses of the expected answers to these.
pub const LOSSES: &str = "losses";

/// How a stage ended.
#[derive(Debug)]
pub enum StageEnd {
    /// Its outputs are there.
    Done,
    /// It failed: the last lines of what it said.
    Failed(Vec<String>),
}

/// What runs the stages of a comparison.
pub struct Stages<'a> {
    config: &'a Config,
    out: &'a Path,
    progress: &'a Progress,
    /// Digests of what all runs start from.
    base: String,
    train: String,
    test: String,
    abilities: String,
    /// Those of the other files that a method's training reads, by the method's folder.
    read_by: BTreeMap<String, String>,
}

/// A stage to be done.
struct Stage<'a> {
    name: &'static str,
    of: &'a str,
    folder: &'a RunFolder,
    digest: String,
    args: Vec<OsString>,
    /// What is asked of the program in addition where the same stage was begun before.
    again: &'static [&'static str],
    /// Rows that the output will have.
    rows: Option<usize>,
}

impl Stage<'_> {
    /// Moves outputs of other settings away, so that nothing goes on from them. The mark goes first: whenever this
    /// is killed, no mark tells of outputs that are not there, and what is left of them is found again.
    fn make_way(&self, mark: &Path) -> Result<()> {
        match fs::remove_file(mark) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(glmtune_model::Error::io(mark, error).into());
            }
            _ => {}
        }
        let outputs = match self.name {
            TRAIN => vec![self.folder.training()],
            _ => {
                let answers = self.folder.answers(self.name);
                vec![predict::settings_path(&answers), answers]
            }
        };
        set_aside(self.folder.path(), &outputs)?;
        Ok(())
    }
}

impl<'a> Stages<'a> {
    /// The stages of a comparison.
    ///
    /// # Errors
    /// If the base or a file of rows cannot be read.
    pub fn new(config: &'a Config, out: &'a Path, progress: &'a Progress) -> Result<Self> {
        let abilities = config.abilities.as_deref().map(file_digest).transpose()?;
        let read_by = config.methods.iter().map(|method| {
            let digest = files_digest(config, method, out)?;
            Ok((method.folder.clone(), digest))
        });
        Ok(Self {
            base: base_digest(&config.base)?,
            train: file_digest(&config.train)?,
            test: file_digest(&config.test)?,
            abilities: abilities.unwrap_or_default(),
            read_by: read_by.collect::<Result<_>>()?,
            config,
            out,
            progress,
        })
    }

    /// The training of a run.
    ///
    /// # Errors
    /// If it was interrupted, or could not be run at all.
    pub fn train(&self, method: &MethodConfig, seed: u64) -> Result<StageEnd> {
        let folder = RunFolder::run(self.out, &method.folder, seed);
        let args = train_args(self.config, method, seed, &folder);
        self.run(Stage {
            name: TRAIN,
            of: &label(method, seed),
            digest: self.train_digest(method, seed),
            args,
            folder: &folder,
            again: &["--resume"],
            rows: None,
        })
    }

    fn train_digest(&self, method: &MethodConfig, seed: u64) -> String {
        let settings: Vec<OsString> = arguments(&method.settings).collect();
        digest(&[
            env!("CARGO_PKG_VERSION"),
            &self.base,
            &self.train,
            self.read_by.get(&method.folder).map_or("", String::as_str),
            &seed.to_string(),
            &format!("{settings:?}"),
        ])
    }

    /// Answers of the base.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn base_answers(&self, stage: &'static str) -> Result<StageEnd> {
        let folder = RunFolder::base(self.out);
        // What the methods share of the rows' form is that of the first.
        let shared = self.config.methods.first().map(shared).unwrap_or_default();
        let model = [flag("--model-name-or-path", &self.config.base)];
        self.answers(stage, "base", &folder, &model, shared, &self.base)
    }

    /// Answers of the model that a run has trained.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn tuned_answers(
        &self,
        stage: &'static str,
        method: &MethodConfig,
        seed: u64,
    ) -> Result<StageEnd> {
        let folder = RunFolder::run(self.out, &method.folder, seed);
        let asked = match parse_train(train_args(self.config, method, seed, &folder)) {
            Ok(asked) => asked,
            Err(fault) => return Ok(StageEnd::Failed(vec![fault])),
        };
        let Some(output) = output(&folder.training(), &asked) else {
            let training = folder.training();
            let detail = format!("the training has left no model in {}", training.display());
            return Ok(StageEnd::Failed(vec![detail]));
        };
        let model = match asked.method.train_type.is_adapter() {
            true => vec![
                flag("--model-name-or-path", &self.config.base),
                flag("--adapter", &output),
            ],
            false => vec![flag("--model-name-or-path", &output)],
        };
        let trained = self.train_digest(method, seed);
        self.answers(
            stage,
            &label(method, seed),
            &folder,
            &model,
            shared(method),
            &trained,
        )
    }

    fn answers(
        &self,
        stage: &'static str,
        of: &str,
        folder: &RunFolder,
        model: &[OsString],
        shared: Vec<OsString>,
        model_digest: &str,
    ) -> Result<StageEnd> {
        let (rows, rows_digest) = match stage {
            ANSWERS => (Some(&self.config.test), &self.test),
            _ => (self.config.abilities.as_ref(), &self.abilities),
        };
        let Some(rows) = rows else {
            return Ok(StageEnd::Failed(vec![
                "there are no rows of abilities".to_string(),
            ]));
        };
        let output = folder.answers(stage);
        let (command, files, own): (_, _, Vec<OsString>) = match stage {
            LOSSES => ("score", vec![flag("--data", rows)], Vec::new()),
            _ => (
                "predict",
                vec![flag("--test-path", rows), flag("--output", &output)],
                arguments(&self.config.predict).collect(),
            ),
        };
        let settings = format!("{shared:?} {own:?}");
        let mut args: Vec<OsString> = vec![command.into()];
        args.extend_from_slice(model);
        args.extend(files.into_iter().chain(shared).chain(own));
        self.run(Stage {
            name: stage,
            of,
            digest: digest(&[
                env!("CARGO_PKG_VERSION"),
                model_digest,
                rows_digest,
                &settings,
            ]),
            args,
            folder,
            again: &[],
            rows: Some(count_lines(rows)),
        })
    }

    /// Does a stage unless it is done.
    fn run(&self, stage: Stage<'_>) -> Result<StageEnd> {
        let path = stage.folder.mark(stage.name);
        let found = Mark::read(&path);
        let is_same = found
            .as_ref()
            .is_some_and(|mark| mark.digest == stage.digest);
        if let Some(mark) = found
            .clone()
            .filter(|mark| is_same && mark.state == mark::State::Done)
        {
            self.progress.end(stage.name, Some(mark.seconds));
            return Ok(StageEnd::Done);
        }
        if interrupted() {
            return Err(stopped());
        }
        fs::create_dir_all(stage.folder.path())
            .map_err(|error| glmtune_model::Error::io(stage.folder.path(), error))?;
        if !is_same {
            stage.make_way(&path)?;
        }
        let begun = Mark::begun(&stage.digest);
        begun.write(&path)?;
        self.progress.begin(stage.name, stage.of);
        let mut args = stage.args.clone();
        if is_same {
            args.extend(stage.again.iter().map(OsString::from));
        }
        let output = stage.folder.answers(stage.name);
        let task = child::Task {
            args: &args,
            folder: &self.config.folder,
            log: &stage.folder.log(stage.name),
        };
        let (mut said, mut count) = (String::new(), 0);
        let ended = child::run(&task, &mut |news| match (news, stage.rows) {
            (News::Line(line), Some(rows)) if stage.name == LOSSES => {
                said.push_str(line);
                said.push('\n');
                count += 1;
                self.progress.advance(count as f64 / rows.max(1) as f64);
            }
            (News::Line(line), None) => {
                if let Some(done) = share_of_steps(line) {
                    self.progress.advance(done);
                }
            }
            (News::Quiet, Some(rows)) if stage.name != LOSSES && self.progress.is_shown() => {
                self.progress
                    .advance(count_lines(&output) as f64 / rows.max(1) as f64);
            }
            (News::Quiet, _) => self.progress.refresh(),
            _ => {}
        })?;
        if !ended.succeeded && interrupted() {
            return Err(stopped());
        }
        if ended.succeeded && stage.name == LOSSES {
            AtomicFile::write(&output, said.as_bytes())?;
        }
        let mark = Mark {
            state: match ended.succeeded {
                true => mark::State::Done,
                false => mark::State::Failed,
            },
            seconds: ended.seconds,
            peak_bytes: ended.peak_bytes,
            error: if ended.succeeded {
                Vec::new()
            } else {
                ended.error
            },
            ..begun
        };
        mark.write(&path)?;
        self.progress
            .end(stage.name, ended.succeeded.then_some(ended.seconds));
        match ended.succeeded {
            true => {
                self.progress.say_done(stage.name, stage.of, ended.seconds);
                Ok(StageEnd::Done)
            }
            false => {
                let last = mark.error.last().map_or("", String::as_str);
                self.progress
                    .say(&format!("{}: {} failed: {last}", stage.of, stage.name));
                Ok(StageEnd::Failed(mark.error))
            }
        }
    }
}

/// The name of a run.
pub fn label(method: &MethodConfig, seed: u64) -> String {
    format!("{}, seed {seed}", method.name)
}

/// The output of a training that is compared: the best where the method asks for it and a validation has given a
/// number, else the last.
fn output(training: &Path, asked: &TrainArgs) -> Option<PathBuf> {
    let wants_best = asked.validation.load_best_model_at_end;
    let best = wants_best.then(|| best_output(training)).flatten();
    best.or_else(|| Some(named_outputs(training).pop()?.path))
}

fn stopped() -> Error {
    Error::Interrupted("the same command goes on where it stopped".to_string())
}

/// A digest of several parts.
fn digest(parts: &[&str]) -> String {
    let digest = parts.iter().fold(Digest::default(), |digest, part| {
        digest.with(part.len().to_le_bytes()).with(part)
    });
    digest.hex()
}

/// Of the files that a training reads beside its base and its rows.
fn files_digest(config: &Config, method: &MethodConfig, out: &Path) -> Result<String> {
    let folder = RunFolder::run(out, &method.folder, 0);
    let Ok(asked) = parse_train(train_args(config, method, 0, &folder)) else {
        return Ok(String::new());
    };
    let files = [
        asked.validation.eval_path.as_deref(),
        asked.deepspeed_file(),
    ];
    let digests = files.into_iter().flatten();
    let digests = digests.map(|path| file_digest(&config.folder.join(path)));
    let digests: Vec<String> = digests.collect::<std::result::Result<_, _>>()?;
    Ok(digest(
        &digests.iter().map(String::as_str).collect::<Vec<_>>(),
    ))
}

/// What makes a base another one: its architecture, weights and tokenizer.
fn base_digest(base: &Path) -> Result<String> {
    let fingerprint = Fingerprint::of(base)?;
    let fingerprint = serde_json::to_string(&fingerprint).map_err(std::io::Error::from)?;
    let mut parts = vec![fingerprint];
    for path in tokenizer_files(base) {
        parts.push(file_digest(&path)?);
    }
    Ok(digest(
        &parts.iter().map(String::as_str).collect::<Vec<_>>(),
    ))
}

/// How much of a training a line of its progress tells to be done: `step 3/10  epoch 1  …`.
fn share_of_steps(line: &str) -> Option<f64> {
    let (step, total) = line
        .strip_prefix("step ")?
        .split("  ")
        .next()?
        .split_once('/')?;
    let (step, total) = (step.parse::<f64>().ok()?, total.parse::<f64>().ok()?);
    (total > 0.0).then(|| step / total)
}

/// Lines of a file that are not empty; none of one that is not there.
fn count_lines(path: &Path) -> usize {
    let Ok(file) = fs::File::open(path) else {
        return 0;
    };
    let mut reader = BufReader::new(file);
    let (mut count, mut line) = (0, Vec::new());
    while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
        count += usize::from(!line.trim_ascii().is_empty());
        line.clear();
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_progress_tells_the_share() {
        assert_eq!(share_of_steps("step 3/12  epoch 1  loss 2.0"), Some(0.25));
        assert_eq!(share_of_steps("saved out/epoch-1-step-3"), None);
        assert_eq!(share_of_steps("step 3/0"), None);
    }

    #[test]
    fn parts_of_a_digest_do_not_run_together() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }
}
