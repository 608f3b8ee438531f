//! `glmtune train --quick_start`: a tiny model, a small data set, and what the one learned from the other.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use glmtune_model::checkpoint::AtomicFile;
use glmtune_model::generation::{GenerationOptions, generate};
use glmtune_model::init::InitSettings;
use glmtune_model::presets::Preset;
use glmtune_model::rows::{Row, RowFormat, read_rows};
use glmtune_model::tokenizer::{Message, Mode, Role, Tokenizer};
use glmtune_model::{GlmBackend, ModelInfo};
use glmtune_training::run::Outcome;

use crate::backend::{Selected, select};
use crate::cli::{ModelArgs, TrainArgs};
use crate::commands::console::say;
use crate::commands::error::{Error, Result};
use crate::commands::init;
use crate::commands::session::{self, Session};
use crate::on_backend;
use crate::settings_file::{self, Setting};

/// Settings and rows, built in.
const SETTINGS: &str = include_str!("../../../examples/quick-start.toml");
const ROWS: &str = include_str!("../../../examples/quick-start.jsonl");
/// Where it happens unless told otherwise.
const FOLDER: &str = "quick-start";
/// How often each row is in the file, so that an epoch is not over after a few steps.
const REPEATS: usize = 10;
/// Answers that are shown.
const SHOWN: usize = 8;
/// More than the longest answer.
const MAX_NEW_TOKENS: usize = 24;

/// The settings that the flag stands for.
///
/// # Errors
/// None but for a fault in the built-in file.
pub fn settings(output_dir: Option<PathBuf>) -> glmtune_model::Result<Vec<Setting>> {
    let dir = output_dir.unwrap_or_else(|| PathBuf::from(FOLDER));
    let path = |flag: &str, path: PathBuf| {
        let mut argument = std::ffi::OsString::from(format!("{flag}="));
        argument.push(path);
        (flag.to_string(), argument)
    };
    let mut settings = settings_file::parse(SETTINGS, Path::new("examples/quick-start.toml"))?;
    settings.extend([
        path("--model-name-or-path", dir.join("model")),
        path("--train-path", dir.join("rows.jsonl")),
        path("--output-dir", dir),
    ]);
    Ok(settings)
}

/// Makes the model and the file of rows, unless they are there.
///
/// # Errors
/// If the disk refuses.
pub fn make(args: &TrainArgs) -> Result<()> {
    let failed = |error| Error::Model(glmtune_model::Error::io(&args.output_dir, error));
    fs::create_dir_all(&args.output_dir).map_err(failed)?;
    if !args.train_path.exists() {
        AtomicFile::write(&args.train_path, ROWS.repeat(REPEATS).as_bytes())?;
    }
    if args.model.model_name_or_path.exists() {
        return Ok(());
    }
    init::make(
        &args.model.model_name_or_path,
        &InitSettings {
            mode: Some(Mode::Glm2),
            ..InitSettings::new(Preset::Tiny)
        },
    )
}

/// Asks the trained model every question of the data set and shows what it answers.
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
    let info = session::open(&model)?;
    let selected = select(model.backend, &model.devices)?;
    on_backend!(&selected, |device: B| ask::<B>(
        &model,
        &info,
        &selected,
        &device,
        &args.train_path
    ))?;
    say(next_commands(&model));
    Ok(())
}

/// What to try next, to be copied as it is.
fn next_commands(model: &ModelArgs) -> String {
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', "'\\''"));
    let base = quoted(&model.model_name_or_path);
    let Some(adapter) = model.adapter.first() else {
        return format!(
            "\nNext: ask it yourself.\n  glmtune chat --greedy --model_name_or_path {base}\n  \
             glmtune generate --model_name_or_path {base} --prompt 'Name the capital of Greece'"
        );
    };
    let (merged, adapter) = (quoted(&adapter.with_file_name("merged")), quoted(adapter));
    format!(
        "\nNext: ask it yourself, or make one model of base and adapter.\n  \
         glmtune chat --greedy --model_name_or_path {base} --adapter {adapter}\n  \
         glmtune merge --model_name_or_path {base} --adapter {adapter} --output_dir {merged}"
    )
}

fn ask<B: GlmBackend>(
    args: &ModelArgs,
    info: &ModelInfo,
    selected: &Selected,
    device: &B::Device,
    rows: &Path,
) -> Result<()> {
    let tokenizer = info.tokenizer()?;
    let session = Session::<B>::load(info, args, selected, device)?;
    let (mut right, mut asked) = (0, 0);
    say("\nWhat the model answers now:");
    let mut rows = read_rows(rows, &RowFormat::default())?.rows;
    rows.truncate(rows.len() / REPEATS);
    for row in rows {
        let Row::Text { question, answer } = row.row else {
            continue;
        };
        let found = answer_to(&session, info, tokenizer, &question)?;
        right += usize::from(found == answer);
        asked += 1;
        if asked <= SHOWN {
            say(format!("  {question} → {found}"));
        }
    }
    say(format!("  … {right} of {asked} answers are right"));
    Ok(())
}

fn answer_to<B: GlmBackend>(
    session: &Session<B>,
    info: &ModelInfo,
    tokenizer: &Tokenizer,
    question: &str,
) -> Result<String> {
    let message = Message::new(Role::User, question.to_string());
    let prompt = info.prompting(None).prompt(tokenizer, &[message])?.ids;
    let options = GenerationOptions {
        max_new_tokens: MAX_NEW_TOKENS,
        stop_ids: info.stop_ids(),
        ..GenerationOptions::default()
    };
    let mut ids = Vec::new();
    generate(&session.model, &[prompt], &options, &mut |event| {
        ids.push(event.token);
        ControlFlow::Continue(())
    })?;
    ids.retain(|id| !options.stop_ids.contains(id));
    Ok(tokenizer.decode(&ids).trim().to_string())
}
