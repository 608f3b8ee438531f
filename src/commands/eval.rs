//! `glmtune eval`: predictions to scores.

use std::io::Write;
use std::path::Path;

use glmtune_eval::bootstrap::{self, Difference};
use glmtune_eval::perplexity::Perplexity;
use glmtune_eval::questions::Questions;
use glmtune_eval::report::table;
use glmtune_eval::task::{Scored, score_all};
use glmtune_eval::text::Text;
use glmtune_eval::triples::Triples;
use glmtune_eval::{Prediction, Scores, Task, predictions};
use glmtune_model::checkpoint::AtomicFile;
use serde_json::{Map, Value, json};

use super::console::json_line;
use super::error::{Error, Result};
use crate::cli::{EvalArgs, TaskChoice};

/// A score before and after, by its name.
type Change = (String, f64, Difference);

/// Runs the command.
pub fn run(args: &EvalArgs) -> Result<()> {
    let task = task(args.task);
    let rows = predictions::read(&args.predictions)?;
    let scored = score_all(task.as_ref(), &rows)?;
    let changes = args.baseline.as_deref();
    let changes =
        changes.map(|path| compare(task.as_ref(), &args.predictions, &rows, &scored, path));
    let changes = changes.transpose()?;
    if let Some(path) = &args.details {
        write_details(path, &rows, &scored.rows)?;
    }
    let mut out = std::io::stdout().lock();
    match args.json {
        true => json_line(&mut out, &report(task.name(), &scored, changes.as_deref()))?,
        false => {
            writeln!(out, "{}, {} rows", task.name(), rows.len())?;
            write!(out, "{}", table(&scored.whole, changes.as_deref()))?;
            for line in task.legend() {
                writeln!(out, "({line})")?;
            }
        }
    }
    Ok(out.flush()?)
}

fn task(choice: TaskChoice) -> Box<dyn Task> {
    match choice {
        TaskChoice::Triples => Box::new(Triples),
        TaskChoice::Text => Box::new(Text),
        TaskChoice::Questions => Box::new(Questions),
        TaskChoice::Perplexity => Box::new(Perplexity),
    }
}

/// What each score was for the baseline's answers, which must be to the same rows.
fn compare(
    task: &dyn Task,
    path: &Path,
    rows: &[Prediction],
    scored: &Scored,
    baseline: &Path,
) -> Result<Vec<Change>> {
    let before = predictions::read(baseline)?;
    if before.len() != rows.len() {
        return Err(Error::Request(format!(
            "{} has {} rows and {} has {}; a baseline answers the same rows",
            path.display(),
            rows.len(),
            baseline.display(),
            before.len()
        )));
    }
    // What `score` prints has no question to compare.
    let is_paired = |(now, then): (&Prediction, &Prediction)| {
        task.name() == Perplexity.name() || now.asks_the_same(then)
    };
    if let Some(row) = rows.iter().zip(&before).position(|pair| !is_paired(pair)) {
        return Err(before[row]
            .wrong("this row is another than that of the predictions; a baseline answers the same rows")
            .into());
    }
    let before = score_all(task, &before)?;
    Ok(changes(scored, &before))
}

/// The scores that every row has.
fn changes(now: &Scored, before: &Scored) -> Vec<Change> {
    let names = before.whole.iter();
    names
        .filter_map(|(name, value)| {
            let pairs = now.rows.iter().zip(&before.rows);
            let differences: Option<Vec<f64>> = pairs
                .map(|(now, then)| Some(now.get(name)? - then.get(name)?))
                .collect();
            Some((name.to_string(), value, bootstrap::paired(&differences?)))
        })
        .collect()
}

fn report(task: &str, scored: &Scored, changes: Option<&[Change]>) -> Value {
    let mut report = Map::new();
    report.insert("task".to_string(), json!(task));
    report.insert("rows".to_string(), json!(scored.rows.len()));
    for (name, value) in scored.whole.iter() {
        report.insert(name.to_string(), json!(value));
    }
    if let Some(changes) = changes {
        let changes = changes.iter().map(|(name, before, difference)| {
            let change = json!({
                "before": before,
                "difference": difference.mean,
                "low": difference.low,
                "high": difference.high,
            });
            (name.clone(), change)
        });
        report.insert("baseline".to_string(), Value::Object(changes.collect()));
    }
    Value::Object(report)
}

fn write_details(path: &Path, rows: &[Prediction], scores: &[Scores]) -> Result<()> {
    let mut text = Vec::new();
    for (row, scores) in rows.iter().zip(scores) {
        let mut fields = row.fields().clone();
        let scores: Map<String, Value> = scores
            .iter()
            .map(|(name, value)| (name.to_string(), json!(value)))
            .collect();
        fields.insert("scores".to_string(), Value::Object(scores));
        json_line(&mut text, &fields)?;
    }
    Ok(AtomicFile::write(path, &text)?)
}
