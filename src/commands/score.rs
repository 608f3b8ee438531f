//! `glmtune score`: loss, perplexity and token count of each row.

use std::io::Write;
use std::path::Path;

use burn::tensor::{DType, Tensor};
use glmtune_model::checkpoint::{self, TensorFile, TensorInfo};
use glmtune_model::device_health::settle;
use glmtune_model::rows::{IGNORED, LayoutLimits, NumberedRow, TrainingRow, lay_out, read_rows};
use glmtune_model::{GlmBackend, ModelConfig, Padding, TokenBatch};
use glmtune_training::loss::{Targets, negative_log_likelihood};
use serde::Serialize;

use super::console::{catch_interrupts, interrupted, json_line, note};
use super::error::{Error, Result};
use super::leftovers::tidy_beside;
use super::session::{ModelInfo, Session, type_name};
use crate::backend::{Selected, select};
use crate::cli::ScoreArgs;
use crate::on_backend;

/// One line of output. Loss and perplexity are absent where a row has no target.
#[derive(Debug, Serialize)]
struct Score {
    row: usize,
    /// Mean cross entropy of the targets.
    loss: Option<f64>,
    perplexity: Option<f64>,
    /// Targets.
    tokens: usize,
    /// Tokens of the row.
    length: usize,
}

/// Runs the command.
pub fn run(args: &ScoreArgs) -> Result<()> {
    let info = ModelInfo::new(&args.model)?;
    let rows = training_rows(args, &info)?;
    let selected = select(args.model.backend, &args.model.devices)?;
    on_backend!(&selected, |device: B| score::<B>(
        args, &info, &selected, &device, &rows
    ))
}

/// The rows laid out, none skipped: a score belongs to every row of the file.
fn training_rows(args: &ScoreArgs, info: &ModelInfo) -> Result<Vec<TrainingRow>> {
    let limits = LayoutLimits::new(info.mode, args.layout.max_len, args.layout.max_src_len);
    limits.validate(info.mode)?;
    let rows = read_rows(&args.data, &args.layout.format())?.rows;
    if rows.is_empty() {
        return Err(Error::Request(format!("{}: no rows", args.data.display())));
    }
    let mut laid_out = Vec::with_capacity(rows.len());
    for NumberedRow { line, row } in &rows {
        let row = lay_out(row, info.tokenizer.as_ref(), info.mode, limits)?;
        if args.layout.is_skip && row.truncated {
            continue;
        }
        check_ids(&args.data, *line, &row.row, &info.config)?;
        laid_out.push(row.row);
    }
    Ok(laid_out)
}

fn check_ids(path: &Path, line: usize, row: &TrainingRow, config: &ModelConfig) -> Result<()> {
    let vocabulary = config.common().vocab_size;
    let outside = |id: &i64| *id >= vocabulary as i64;
    let ids = row.input_ids.iter().map(|&id| i64::from(id));
    let found = ids.chain(row.labels.iter().copied()).find(outside);
    let detail = match found {
        Some(id) => format!("token {id} is outside the model's vocabulary of {vocabulary}"),
        None if row.input_ids.is_empty() => "the row has no tokens".to_string(),
        None => match config.row_fault(&row.input_ids) {
            Some(detail) => detail,
            None => return Ok(()),
        },
    };
    Err(Error::Request(format!(
        "{}:{line}: {detail}",
        path.display()
    )))
}

fn score<B: GlmBackend>(
    args: &ScoreArgs,
    info: &ModelInfo,
    selected: &Selected,
    device: &B::Device,
    rows: &[TrainingRow],
) -> Result<()> {
    let vocabulary = info.config.common().vocab_size;
    // Before the work: a file that cannot be written is no reason to have done it.
    let mut dump = args
        .dump
        .as_deref()
        .map(|path| open_dump(path, rows, vocabulary))
        .transpose()?;
    let session = Session::<B>::load(info, &args.model, selected, device)?;
    note(format!("{selected}, {}", type_name(session.dtype)));
    catch_interrupts()?;
    let mut out = std::io::stdout().lock();
    let (mut total, mut targets) = (0.0, 0);
    for (index, row) in rows.iter().enumerate() {
        if interrupted() {
            return Err(Error::Interrupted(format!(
                "{index} of {} rows scored",
                rows.len()
            )));
        }
        let batch = TokenBatch::new(vec![row.input_ids.clone()], Padding::Right, 0);
        let logits = session.model.forward(&batch)?.cast(DType::F32);
        let score = row_score(index, row, logits.clone(), device)?;
        settle::<B>(std::slice::from_ref(device))?;
        total += score.loss.unwrap_or(0.0) * score.tokens as f64;
        targets += score.tokens;
        if let Some(file) = &mut dump {
            file.write(&format!("logits.{index}"), &logits.into_data().bytes)?;
        }
        json_line(&mut out, &score)?;
    }
    out.flush()?;
    if let Some(file) = dump {
        file.commit()?;
    }
    note(summary(rows.len(), targets, total));
    Ok(())
}

fn open_dump(path: &Path, rows: &[TrainingRow], vocabulary: usize) -> Result<TensorFile> {
    tidy_beside(path);
    let infos = rows.iter().enumerate().map(|(index, row)| {
        let shape = [row.input_ids.len(), vocabulary];
        TensorInfo::new(format!("logits.{index}"), checkpoint::DType::F32, shape)
    });
    Ok(TensorFile::create(path, infos.collect())?)
}

fn row_score<B: GlmBackend>(
    index: usize,
    row: &TrainingRow,
    logits: Tensor<B, 3>,
    device: &B::Device,
) -> Result<Score> {
    let length = row.input_ids.len();
    let losses = match Targets::<B>::new(std::slice::from_ref(&row.labels), length, device) {
        Some(targets) => read(negative_log_likelihood(logits, &targets))?,
        None => Vec::new(),
    };
    // A first token has nothing to be predicted from.
    debug_assert_eq!(
        losses.len(),
        row.labels
            .iter()
            .skip(1)
            .filter(|&&label| label != IGNORED)
            .count()
    );
    let sum: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
    let loss = (!losses.is_empty()).then(|| sum / losses.len() as f64);
    Ok(Score {
        row: index,
        loss,
        perplexity: loss.map(f64::exp),
        tokens: losses.len(),
        length,
    })
}

fn read<B: GlmBackend>(values: Tensor<B, 1>) -> Result<Vec<f32>> {
    values.into_data().to_vec().map_err(|error| {
        glmtune_model::Error::Compute(format!("losses could not be read: {error:?}")).into()
    })
}

fn summary(rows: usize, targets: usize, total: f64) -> String {
    match targets {
        0 => format!("{rows} rows without a target"),
        _ => {
            let loss = total / targets as f64;
            format!(
                "{rows} rows, {targets} targets: loss {loss:.6}, perplexity {:.4}",
                loss.exp()
            )
        }
    }
}
