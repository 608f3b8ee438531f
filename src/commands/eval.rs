//! `glmtune eval`: predictions to scores.

use std::io::Write;
use std::path::Path;

use glmtune_eval::abilities::{self, Abilities};
use glmtune_eval::baseline::{Change, changes, check_lengths, check_pairs};
use glmtune_eval::perplexity::Perplexity;
use glmtune_eval::questions::Questions;
use glmtune_eval::questions::sheet::{self, Agreement};
use glmtune_eval::report;
use glmtune_eval::task::{Scored, score_all};
use glmtune_eval::text::Text;
use glmtune_eval::triples::Triples;
use glmtune_eval::{Prediction, Scores, Task, predictions};
use glmtune_model::checkpoint::AtomicFile;
use glmtune_model::files::{self, Limit};
use serde_json::{Map, Value, json};

use super::console::{json_line, note};
use super::error::{Error, Result};
use crate::cli::{EvalArgs, TaskChoice};

/// Runs the command.
pub fn run(args: &EvalArgs) -> Result<()> {
    check_request(args)?;
    let task = task(args.task);
    let rows = predictions::read(&args.predictions)?;
    let scored = score_all(task.as_ref(), &rows)?;
    if let Some(path) = &args.sheet {
        write_sheet(path, &rows)?;
    }
    let before = args.baseline.as_deref();
    let before = before.map(|path| baseline(args, &rows, path)).transpose()?;
    if let Some(path) = &args.details {
        write_details(path, &rows, &scored.rows)?;
    }
    let found = Found {
        changes: before
            .as_deref()
            .map(|before| Ok::<_, Error>(changes(&scored, &score_all(task.as_ref(), before)?)))
            .transpose()?,
        abilities: (args.task == TaskChoice::Abilities)
            .then(|| abilities::Report::new(&rows, before.as_deref()))
            .transpose()?,
        people: args
            .scored
            .as_deref()
            .map(|path| read_sheet(path, &rows))
            .transpose()?,
        scored,
    };
    let mut out = std::io::stdout().lock();
    match args.json {
        true => json_line(&mut out, &found.json(task.as_ref())?)?,
        false => found.print(&mut out, task.as_ref())?,
    }
    Ok(out.flush()?)
}

fn check_request(args: &EvalArgs) -> Result<()> {
    let sheet = args.sheet.as_ref().map(|_| "--sheet");
    match sheet.or(args.scored.as_ref().map(|_| "--scored")) {
        Some(flag) if args.task != TaskChoice::Questions => Err(Error::Request(format!(
            "{flag} is for --task questions, whose criteria people score"
        ))),
        _ => Ok(()),
    }
}

/// The way to score of a name on the command line.
pub(super) fn task(choice: TaskChoice) -> Box<dyn Task> {
    match choice {
        TaskChoice::Triples => Box::new(Triples),
        TaskChoice::Text => Box::new(Text),
        TaskChoice::Questions => Box::new(Questions),
        TaskChoice::Abilities => Box::new(Abilities),
        TaskChoice::Perplexity => Box::new(Perplexity),
    }
}

/// The baseline's answers, which must be to the same rows.
fn baseline(args: &EvalArgs, rows: &[Prediction], path: &Path) -> Result<Vec<Prediction>> {
    let before = predictions::read(path)?;
    let (now, then) = ((args.predictions.as_path(), rows), (path, &before[..]));
    match args.task {
        // What `score` prints has no question to compare.
        TaskChoice::Perplexity => check_lengths(now, then)?,
        _ => check_pairs(now, then)?,
    }
    Ok(before)
}

/// What was asked for.
struct Found {
    scored: Scored,
    changes: Option<Vec<Change>>,
    abilities: Option<abilities::Report>,
    people: Option<Agreement>,
}

impl Found {
    fn print(&self, out: &mut impl Write, task: &dyn Task) -> Result<()> {
        writeln!(out, "{}, {} rows", task.name(), self.scored.rows.len())?;
        match &self.abilities {
            Some(found) => write!(out, "{}", report::abilities(found))?,
            None => write!(
                out,
                "{}",
                report::table(&self.scored.whole, self.changes.as_deref())
            )?,
        }
        if let Some(people) = &self.people {
            write!(out, "{}", report::agreement(people))?;
        }
        for line in task.legend() {
            writeln!(out, "({line})")?;
        }
        Ok(())
    }

    fn json(&self, task: &dyn Task) -> Result<Value> {
        let mut report = Map::new();
        report.insert("task".to_string(), json!(task.name()));
        report.insert("rows".to_string(), json!(self.scored.rows.len()));
        if let Some(found) = &self.abilities {
            let found = serde_json::to_value(found).map_err(std::io::Error::from)?;
            report.extend(found.as_object().cloned().unwrap_or_default());
            return Ok(Value::Object(report));
        }
        for (name, value) in self.scored.whole.iter() {
            report.insert(name.to_string(), json!(value));
        }
        if let Some(changes) = &self.changes {
            let changes = changes.iter().map(|change| {
                let shown = json!({
                    "before": change.before,
                    "difference": change.difference.mean,
                    "low": change.difference.low,
                    "high": change.difference.high,
                });
                (change.name.clone(), shown)
            });
            report.insert("baseline".to_string(), Value::Object(changes.collect()));
        }
        if let Some(people) = &self.people {
            report.insert("people".to_string(), json!(people));
        }
        Ok(Value::Object(report))
    }
}

/// The hours of those who score are in such a file: none is replaced.
fn write_sheet(path: &Path, rows: &[Prediction]) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(Error::Request(format!(
            "--sheet {}: exists, and may hold people's scores; give another name, or --scored to read it",
            path.display()
        )));
    }
    AtomicFile::write(path, sheet::write(rows)?.as_bytes())?;
    note(format!(
        "{}: fill in a number from 0 to 1 for each criterion, save it as CSV, and give it to --scored",
        path.display()
    ));
    Ok(())
}

/// The most bytes of a filled sheet.
const SHEET: Limit = Limit {
    what: "a sheet of scores",
    bytes: 1 << 30,
};

fn read_sheet(path: &Path, rows: &[Prediction]) -> Result<Agreement> {
    let text = files::read_text(path, SHEET)?;
    Ok(sheet::compare(path, &text, rows)?)
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
