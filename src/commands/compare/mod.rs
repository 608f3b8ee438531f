//! `glmtune compare`: several methods of tuning from one base, over several seeds, side by side.

mod command_lines;
mod config;
mod folders;
mod mark;
mod progress;
mod stages;
mod tuned;

use std::fs;
use std::path::Path;

use glmtune_eval::comparison::{
    Inputs, MethodInput, Outcome, Results, RunInput, State, markdown, page, results,
};
use glmtune_eval::{Prediction, predictions};
use glmtune_model::checkpoint::{AtomicFile, WriteLock};

use self::config::{Config, MethodConfig};
use self::folders::RunFolder;
use self::progress::Progress;
use self::stages::{ABILITIES, ANSWERS, LOSSES, StageEnd, Stages, TRAIN};
use super::console::{note, on_interrupts, say};
use super::error::{Error, Result};
use super::eval;
use super::leftovers::tidy;
use super::process;
use crate::cli::CompareArgs;

/// Runs the command.
pub fn run(args: &CompareArgs) -> Result<()> {
    let config = Config::read(&args.config)?;
    let failed = |error| glmtune_model::Error::io(&args.output_dir, error);
    let out = std::path::absolute(&args.output_dir).map_err(failed)?;
    command_lines::check(&config, &out)?;
    fs::create_dir_all(&out).map_err(failed)?;
    let _lock = WriteLock::of_directory(&out)?;
    tidy(&out);
    let progress = Progress::new(&planned(&config));
    let say = progress.speaker();
    on_interrupts(
        move || say("stopping; what is done stays, once more to stop at once"),
        process::kill_running,
    )?;
    let comparison = Comparison {
        stages: Stages::new(&config, &out, &progress)?,
        config: &config,
        out: &out,
        progress: &progress,
    };
    let (found, is_interrupted) = comparison.run()?;
    drop(comparison);
    drop(progress);
    write(&out, &found)?;
    match is_interrupted {
        true => Err(Error::Interrupted(format!(
            "the report in {} has what is done; the same command goes on",
            out.display()
        ))),
        false => conclude(&out, &found),
    }
}

/// The stages of each kind.
fn planned(config: &Config) -> Vec<(&'static str, usize)> {
    let runs = config.methods.len() * config.seeds.len();
    let answers = after_training(config)
        .iter()
        .map(|stage| (*stage, runs + 1));
    std::iter::once((TRAIN, runs)).chain(answers).collect()
}

/// What a model is asked once it is there.
fn after_training(config: &Config) -> &'static [&'static str] {
    match config.abilities {
        Some(_) => &[ANSWERS, ABILITIES, LOSSES],
        None => &[ANSWERS],
    }
}

/// A comparison at work.
struct Comparison<'a> {
    stages: Stages<'a>,
    config: &'a Config,
    out: &'a Path,
    progress: &'a Progress,
}

impl Comparison<'_> {
    /// Everything that is not done yet. Gives the results, and whether it was interrupted.
    fn run(&self) -> Result<(Results, bool)> {
        for stage in after_training(self.config) {
            self.base_stage(stage)?;
        }
        let folder = RunFolder::base(self.out);
        let base = predictions::read(&folder.answers(ANSWERS))?;
        let base_abilities = self.config.abilities.as_ref();
        let base_abilities = base_abilities
            .map(|_| tuned::abilities(&folder))
            .transpose()?;
        // Rows that cannot be scored, or a score that the task has not, are told before the trainings.
        self.results(base.clone(), base_abilities.clone(), Vec::new())?;
        let mut methods: Vec<MethodInput> = self.config.methods.iter().map(input).collect();
        let mut is_interrupted = false;
        // All methods with one seed before the next seed: what there is to see early is about all of them.
        'seeds: for &seed in &self.config.seeds {
            for (method, input) in self.config.methods.iter().zip(&mut methods) {
                match self.outcome(method, seed) {
                    Ok(outcome) => input.runs.push(RunInput { seed, outcome }),
                    Err(Error::Interrupted(_)) => {
                        is_interrupted = true;
                        break 'seeds;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        for method in &mut methods {
            for &seed in &self.config.seeds[method.runs.len()..] {
                let outcome = Outcome::Pending;
                method.runs.push(RunInput { seed, outcome });
            }
        }
        let found = self.results(base, base_abilities, methods)?;
        Ok((found, is_interrupted))
    }

    fn results(
        &self,
        base: Vec<Prediction>,
        base_abilities: Option<Vec<Prediction>>,
        methods: Vec<MethodInput>,
    ) -> Result<Results> {
        let task = eval::task(self.config.task);
        Ok(results(&Inputs {
            task: task.as_ref(),
            score: self.config.score.clone(),
            settings: self.config.shown.clone(),
            base,
            base_abilities,
            methods,
            examples: self.config.examples,
        })?)
    }

    fn base_stage(&self, stage: &'static str) -> Result<()> {
        match self.stages.base_answers(stage)? {
            StageEnd::Done => Ok(()),
            StageEnd::Failed(lines) => Err(Error::Failed(format!(
                "the base could not answer, and without its answers there is nothing to compare with:\n  {}",
                lines.join("\n  ")
            ))),
        }
    }

    /// What becomes of a run: a stage that fails ends it, and it alone.
    fn outcome(&self, method: &MethodConfig, seed: u64) -> Result<Outcome> {
        let after = after_training(self.config);
        if let StageEnd::Failed(lines) = self.stages.train(method, seed)? {
            self.pass_over(after);
            return Ok(Outcome::Failed(lines));
        }
        for (index, stage) in after.iter().enumerate() {
            if let StageEnd::Failed(lines) = self.stages.tuned_answers(stage, method, seed)? {
                self.pass_over(&after[index + 1..]);
                return Ok(Outcome::Failed(lines));
            }
        }
        let folder = RunFolder::run(self.out, &method.folder, seed);
        let tuned = tuned::read(&folder, self.config.abilities.is_some())?;
        Ok(Outcome::Done(Box::new(tuned)))
    }

    fn pass_over(&self, stages: &[&'static str]) {
        for stage in stages {
            self.progress.end(stage, None);
        }
    }
}

fn input(method: &MethodConfig) -> MethodInput {
    MethodInput {
        name: method.name.clone(),
        settings: method.shown.clone(),
        runs: Vec::new(),
    }
}

fn write(out: &Path, found: &Results) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(found).map_err(std::io::Error::from)?;
    json.push(b'\n');
    AtomicFile::write(&out.join("results.json"), &json)?;
    AtomicFile::write(&out.join("report.md"), markdown(found).as_bytes())?;
    AtomicFile::write(&out.join("report.html"), page(found).as_bytes())?;
    Ok(())
}

/// The numbers in short, and whether every run was done.
fn conclude(out: &Path, found: &Results) -> Result<()> {
    let before = found.base.scores.get(&found.score).unwrap_or(0.0);
    say(format!("base: {} {before:.4}", found.score));
    for method in &found.methods {
        let line = method
            .summary
            .as_ref()
            .map_or("no run is done".to_string(), |summary| {
                let spread = summary
                    .score
                    .sd
                    .map_or(String::new(), |sd| format!(" ± {sd:.4}"));
                let kept = summary.kept.map_or(String::new(), |kept| {
                    format!(", abilities kept {:.1} %", kept.mean)
                });
                format!("{} {:.4}{spread}{kept}", found.score, summary.score.mean)
            });
        say(format!("{}: {line}", method.name));
    }
    note(format!("report: {}", out.join("report.html").display()));
    let runs = || found.methods.iter().flat_map(|method| &method.runs);
    let failed = runs().filter(|run| run.state == State::Failed).count();
    match failed {
        0 => Ok(()),
        failed => Err(Error::Failed(format!(
            "{failed} of {} runs failed; the report says how, and the same command tries them again",
            runs().count()
        ))),
    }
}
