//! `glmtune train --quick_start`: a small model that knows something, a task that it does not know, and what tuning
//! made of it, on rows that it has not seen.

mod files;
mod settings;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;
use glmtune_eval::baseline::changes;
use glmtune_eval::task::score_all;
use glmtune_eval::triples::Triples;
use glmtune_eval::{Prediction, predictions, report};
use glmtune_training::run::Outcome;

use crate::cli::{Cli, Command, LayoutArgs, ModelArgs, TrainArgs};
use crate::commands::console::say;
use crate::commands::error::{Error, Result};
use crate::commands::predict;
use crate::settings_file::Setting;
use files::Places;
use settings::{Settings, with_path};

/// Where it happens unless told otherwise.
const FOLDER: &str = "quick-start";
/// Answers that are shown.
const SHOWN: usize = 3;
/// The score that is named first.
const SCORE: &str = "f1";

/// The settings that the flag stands for.
///
/// # Errors
/// None but for a fault in the built-in file.
pub fn settings(output_dir: Option<PathBuf>) -> glmtune_model::Result<Vec<Setting>> {
    let dir = output_dir.unwrap_or_else(|| PathBuf::from(FOLDER));
    let places = Places::of(&dir);
    let path = |flag: &str, path: &Path| (flag.to_string(), with_path(flag, path));
    let mut settings = Settings::read()?.train;
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
    places.fill(Settings::read()?.rows)?;
    say("Before: the base answers rows of a task that it was not taught.");
    answer((&args.model, &args.layout), &places.test, &places.before)
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
    answer((&model, &args.layout), &places.test, &places.after)?;
    let (before, after) = (
        predictions::read(&places.before)?,
        predictions::read(&places.after)?,
    );
    say(examples(&before, &after)?);
    say(scores(&before, &after)?);
    say(next_commands(&model, &args.layout, &places)?);
    Ok(())
}

/// `glmtune predict` with a training's model and the form of its rows.
fn answer((model, layout): (&ModelArgs, &LayoutArgs), rows: &Path, output: &Path) -> Result<()> {
    let mut words: Vec<OsString> = ["glmtune", "predict", "--overwrite"]
        .map(OsString::from)
        .into();
    words.extend([
        with_path("--model-name-or-path", &model.model_name_or_path),
        with_path("--test-path", rows),
        with_path("--output", output),
    ]);
    words.extend(Settings::read()?.predict);
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Command::Predict(mut args)) => {
            args.model = model.clone();
            args.layout = LayoutArgs {
                is_skip: false,
                ..layout.clone()
            };
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
fn next_commands(model: &ModelArgs, layout: &LayoutArgs, places: &Places) -> Result<String> {
    let settings = Settings::read()?;
    let mut ask = format!("--model_name_or_path {}", quoted(&model.model_name_or_path));
    let mode = model.mode.map(|mode| format!(" --mode {}", mode.name()));
    let adapter = model.adapter.first();
    if let Some(adapter) = adapter {
        ask += &format!(" --adapter {}", quoted(adapter));
    }
    let merge = adapter.map(|adapter| {
        let merged = quoted(&adapter.with_file_name("merged"));
        format!("merge {ask} --output_dir {merged}")
    });
    ask += &mode.unwrap_or_default();
    // As flags are written everywhere else.
    let word = |argument: &OsString| {
        let text = argument.to_string_lossy();
        match text.split_once('=') {
            Some((flag, value)) => format!("--{} {value}", flag[2..].replace('-', "_")),
            None => text.into_owned(),
        }
    };
    let predict: Vec<String> = settings.predict.iter().map(word).collect();
    let predict = format!(
        "predict {ask} --max_len {} {} --test_path {} --output {}",
        layout.max_len,
        predict.join(" "),
        quoted(&places.test),
        quoted(&places.again)
    );
    let eval = format!(
        "eval --task triples --predictions {} --baseline {}",
        quoted(&places.after),
        quoted(&places.before)
    );
    let commands = [
        Some(format!("chat --greedy {ask}")),
        merge,
        Some(predict),
        Some(eval),
    ];
    let program = program();
    let commands: Vec<String> = commands
        .into_iter()
        .flatten()
        .map(|command| format!("  {program} {command}"))
        .collect();
    Ok(format!(
        "\nNext: ask it yourself, make one model of it, answer rows, or look at the scores again.\n{}",
        commands.join("\n")
    ))
}

/// The program as it was called, where that was by a path.
fn program() -> String {
    let called = std::env::args_os().next().map(PathBuf::from);
    let by_path = called.filter(|path| path.components().count() > 1);
    by_path.map_or_else(|| "glmtune".to_string(), |path| quoted(&path))
}

/// A path as a word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}
