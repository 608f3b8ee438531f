//! `glmtune tokenize`: texts to ids, or rows to training rows.

use std::io::{BufRead, BufWriter, Write};
use std::path::Path;

use glmtune_model::rows::{LayoutLimits, lay_out_all, read_rows};
use glmtune_model::tokenizer::Tokenizer;
use serde::{Deserialize, Serialize};

use super::console::{json_line, note, open_input};
use super::error::{Error, Result};
use crate::cli::TokenizeArgs;

#[derive(Deserialize)]
struct TextRow {
    text: String,
}

#[derive(Serialize)]
struct IdsRow<'a> {
    ids: &'a [u32],
    decoded: String,
}

/// Runs the command.
pub fn run(args: &TokenizeArgs) -> Result<()> {
    let tokenizer = Tokenizer::find(&args.model_name_or_path, args.mode)?;
    match (&args.train_path, &args.input) {
        (Some(path), _) => training_rows(args, path, tokenizer.as_ref()),
        (None, Some(path)) => {
            let tokenizer = match tokenizer {
                Some(tokenizer) => tokenizer,
                // For the error that tells what was looked for.
                None => Tokenizer::from_dir(&args.model_name_or_path, args.mode)?,
            };
            texts(path, &tokenizer)
        }
        (None, None) => Err(Error::Request("give --input or --train_path".to_string())),
    }
}

fn texts(path: &Path, tokenizer: &Tokenizer) -> Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for (index, line) in open_input(path)?.lines().enumerate() {
        let line = line.map_err(|error| glmtune_model::Error::io(path, error))?;
        let line = line.trim_start_matches('\u{feff}');
        if line.trim().is_empty() {
            continue;
        }
        let row: TextRow = serde_json::from_str(line).map_err(|error| {
            Error::Request(format!(
                "{}:{}: {error}; expected {{\"text\": …}}",
                path.display(),
                index + 1
            ))
        })?;
        let ids = tokenizer.encode(&row.text)?;
        let decoded = tokenizer.decode(&ids);
        json_line(&mut out, &IdsRow { ids: &ids, decoded })?;
    }
    out.flush()?;
    Ok(())
}

fn training_rows(args: &TokenizeArgs, path: &Path, tokenizer: Option<&Tokenizer>) -> Result<()> {
    let mode = args
        .mode
        .or(tokenizer.map(Tokenizer::mode))
        .ok_or_else(|| {
            Error::Request("the model directory has no tokenizer; give --mode".to_string())
        })?;
    if let Some(tokenizer) = tokenizer {
        tokenizer.check_mode(&args.model_name_or_path, mode)?;
    }
    let limits = LayoutLimits::new(mode, args.layout.max_len, args.layout.max_src_len);
    limits.validate(mode)?;
    let rows = read_rows(path, &args.layout.format())?.rows;
    let rows = rows.iter().map(|numbered| &numbered.row);
    let (rows, skipped) = lay_out_all(rows, tokenizer, mode, limits, args.layout.is_skip)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for row in &rows {
        json_line(&mut out, row)?;
    }
    out.flush()?;
    if args.layout.is_skip {
        note(format!("the number of skipping data is {skipped}"));
    }
    Ok(())
}
