//! `glmtune train --quick_start`: a small model that knows something, a task that it does not know, and what tuning
//! made of it, on rows that it has not seen.

mod files;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;
use glmtune_eval::baseline::changes;
use glmtune_eval::task::score_all;
use glmtune_eval::triples::Triples;
use glmtune_eval::{Prediction, predictions, report};
use glmtune_training::run::Outcome;

use crate::cli::{Cli, Command, ModelArgs, TrainArgs};
use crate::commands::console::say;
use crate::commands::error::{Error, Result};
use crate::commands::predict;
use crate::settings_file::{self, Setting};
use files::Places;

/// Where it happens unless told otherwise.
const FOLDER: &str = "quick-start";
/// Answers that are shown.
const SHOWN: usize = 3;
/// More than the longest answer has.
const MAX_NEW_TOKENS: &str = "80";
/// The score that is named first.
const SCORE: &str = "f1";

/// The settings that the flag stands for.
///
/// # Errors
/// None but for a fault in the built-in file.
pub fn settings(output_dir: Option<PathBuf>) -> glmtune_model::Result<Vec<Setting>> {
    let dir = output_dir.unwrap_or_else(|| PathBuf::from(FOLDER));
    let places = Places::of(&dir);
    let path = |flag: &str, path: &Path| {
        let mut argument = OsString::from(format!("{flag}="));
        argument.push(path);
        (flag.to_string(), argument)
    };
    let mut settings = settings_file::parse(files::SETTINGS, Path::new(files::SETTINGS_PATH))?;
    settings.extend([
        path("--model-name-or-path", &places.base),
        path("--train-path", &places.train),
        path("--output-dir", &dir),
    ]);
    Ok(settings)
}

/// Makes the model and the files of rows, unless they are there, and lets the model answer the rows that are held
/// out.
///
/// # Errors
/// If the disk refuses, or the model cannot be run.
pub fn start(args: &TrainArgs) -> Result<()> {
    let places = Places::of(&args.output_dir);
    places.fill()?;
    say("Before: the base answers rows of a task that it was not taught.");
    answer(&args.model, &places.test, &places.before)
}

/// Lets the tuned model answer the same rows, and shows what became of the score.
///
/// # Errors
/// If the model that was just written cannot be read back.
pub fn show(args: &TrainArgs, outcome: &Outcome) -> Result<()> {
    let Some(output) = &outcome.output else {
        return Ok(());
    };
    let mut model = args.model.clone();
    if args.method.train_type.is_adapter() {
        model.adapter = vec![output.clone()];
    } else {
        model.model_name_or_path.clone_from(output);
    }
    let places = Places::of(&args.output_dir);
    say("\nAfter: the tuned model answers the same rows.");
    answer(&model, &places.test, &places.after)?;
    let (before, after) = (
        predictions::read(&places.before)?,
        predictions::read(&places.after)?,
    );
    say(examples(&before, &after)?);
    say(scores(&before, &after)?);
    say(next_commands(&model, &places));
    Ok(())
}

/// `glmtune predict` with the flags of a training's model.
fn answer(model: &ModelArgs, rows: &Path, output: &Path) -> Result<()> {
    let words = [
        "glmtune",
        "predict",
        "--overwrite",
        "--max-new-tokens",
        MAX_NEW_TOKENS,
    ];
    let mut words: Vec<OsString> = words.map(OsString::from).into();
    for (flag, path) in [
        ("--model-name-or-path", model.model_name_or_path.as_path()),
        ("--test-path", rows),
        ("--output", output),
    ] {
        words.extend([flag.into(), path.into()]);
    }
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Command::Predict(mut args)) => {
            args.model = model.clone();
            predict::run(&args)
        }
        Ok(_) => Ok(()),
        Err(error) => Err(Error::Request(error.to_string())),
    }
}

/// A few rows, what was expected, and what the model said before and says now.
fn examples(before: &[Prediction], after: &[Prediction]) -> Result<String> {
    let mut text = String::new();
    for (before, after) in before.iter().zip(after).take(SHOWN) {
        let lines = [
            ("row", after.optional_text("input")?.unwrap_or_default()),
            ("expected", after.reference()?),
            ("before", one(before)?),
            ("after", one(after)?),
        ];
        for (name, value) in lines {
            text += &format!("  {name:<9} {}\n", value.trim().replace('\n', "  "));
        }
        text.push('\n');
    }
    Ok(text.trim_end().to_string())
}

fn one(row: &Prediction) -> Result<&str> {
    Ok(row.generated()?.first().copied().unwrap_or_default())
}

/// The score before and after, and whether the difference could be chance.
fn scores(before: &[Prediction], after: &[Prediction]) -> Result<String> {
    let (before, after) = (score_all(&Triples, before)?, score_all(&Triples, after)?);
    let changes = changes(&after, &before);
    let main = changes.iter().find(|change| change.name == SCORE);
    let first = main.map(|change| {
        format!(
            "Score (F1 of the triples, {} rows with names and sentences that are not in the training rows): {:.2} before, \
             {:.2} after tuning.\n",
            after.rows.len(),
            change.before,
            change.before + change.difference.mean
        )
    });
    let table = report::table(&after.whole, Some(&changes));
    Ok(format!(
        "\n{}{}",
        first.unwrap_or_default(),
        indented(&table)
    ))
}

fn indented(table: &str) -> String {
    let lines: Vec<String> = table.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

/// What to try next, to be copied as it is.
fn next_commands(model: &ModelArgs, places: &Places) -> String {
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', "'\\''"));
    let base = quoted(&model.model_name_or_path);
    let (before, after) = (quoted(&places.before), quoted(&places.after));
    let eval = format!("  glmtune eval --task triples --predictions {after} --baseline {before}");
    let Some(adapter) = model.adapter.first() else {
        return format!(
            "\nNext: ask it yourself, or look at the scores again.\n  \
             glmtune chat --greedy --model_name_or_path {base}\n{eval}"
        );
    };
    let (merged, adapter) = (quoted(&adapter.with_file_name("merged")), quoted(adapter));
    format!(
        "\nNext: ask it yourself, make one model of base and adapter, or look at the scores again.\n  \
         glmtune chat --greedy --model_name_or_path {base} --adapter {adapter}\n  \
         glmtune merge --model_name_or_path {base} --adapter {adapter} --output_dir {merged}\n{eval}"
    )
}
