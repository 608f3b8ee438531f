//! `glmtune score`: loss, perplexity and token count of each row.

use std::io::Write;
use std::path::Path;

use burn::tensor::DType;
use glmtune_model::checkpoint::{self, TensorFile, TensorInfo};
use glmtune_model::device_health::settle;
use glmtune_model::rows::{LayoutLimits, NumberedRow, TrainingRow, lay_out, read_rows};
use glmtune_model::{GlmBackend, ModelConfig, ModelInfo};
use glmtune_training::forward::{self, LossSum};
use glmtune_training::micro_batch::MicroBatch;
use serde::Serialize;

use super::console::{catch_interrupts, interrupted, json_line, note};
use super::error::{Error, Result};
use super::leftovers::tidy_beside;
use super::session::{self, Session, type_name};
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
    tokens: u64,
    /// Tokens of the row.
    length: usize,
}

/// Runs the command.
pub fn run(args: &ScoreArgs) -> Result<()> {
    let info = session::open(&args.model)?;
    let rows = training_rows(args, &info)?;
    let selected = select(args.model.compute.backend, &args.model.compute.devices)?;
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
    // Before the work: nobody wants to have done it for a file that cannot be written.
    let mut dump = args
        .dump
        .as_deref()
        .map(|path| open_dump(path, rows, vocabulary))
        .transpose()?;
    let session = Session::<B>::load(info, &args.model, selected, device)?;
    note(format!("{selected}, {}", type_name(session.dtype)));
    catch_interrupts()?;
    let mut out = std::io::stdout().lock();
    let mut total = LossSum::default();
    for (index, row) in rows.iter().enumerate() {
        if interrupted() {
            return Err(Error::Interrupted(format!(
                "{index} of {} rows scored",
                rows.len()
            )));
        }
        let batch = MicroBatch::new(vec![row.input_ids.clone()], vec![row.labels.clone()], 0);
        let hidden = forward::hidden(&session.model, &batch.tokens)?;
        let loss = forward::head_loss(&session.model, hidden.clone(), &batch)?;
        let score = Score::of(index, row, loss);
        settle::<B>(std::slice::from_ref(device))?;
        total = total + loss;
        if let Some(file) = &mut dump {
            let logits = session.model.head(hidden).cast(DType::F32);
            file.write(&format!("logits.{index}"), &logits.into_data().bytes)?;
        }
        json_line(&mut out, &score)?;
    }
    out.flush()?;
    if let Some(file) = dump {
        file.commit()?;
    }
    note(summary(rows.len(), total));
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

impl Score {
    fn of(index: usize, row: &TrainingRow, loss: LossSum) -> Self {
        Self {
            row: index,
            loss: loss.mean(),
            perplexity: loss.mean().map(f64::exp),
            tokens: loss.targets,
            length: row.input_ids.len(),
        }
    }
}

fn summary(rows: usize, total: LossSum) -> String {
    match total.mean() {
        None => format!("{rows} rows without a target"),
        Some(loss) => format!(
            "{rows} rows, {} targets: loss {loss:.6}, perplexity {:.4}",
            total.targets,
            loss.exp()
        ),
    }
}
