//! Answers to results.

use super::examples::examples;
use super::inputs::{Inputs, MethodInput, Outcome, RunInput};
use super::results::{
    Base, Cost, Method, NamedSpread, Results, Run, SCHEMA, Spread, State, Summary,
};
use super::scored::{ScoredMethod, ScoredRun};
use crate::abilities;
use crate::bootstrap;
use crate::error::{Error, Result};
use crate::predictions::Prediction;
use crate::scores::mean;
use crate::task::{Scored, score_all};

/// The score that stands for the others of a task.
const HEADLINES: [(&str, &str); 4] = [
    ("triples", "f1"),
    ("text", "rouge-l-char"),
    ("questions", "total"),
    ("abilities", "score"),
];

/// The results of a comparison.
///
/// # Errors
/// If an answer cannot be scored, or there is no score of the name that was asked for.
pub fn results(inputs: &Inputs<'_>) -> Result<Results> {
    let base = score_all(inputs.task, &inputs.base)?;
    let score = headline(inputs, &base)?;
    let methods = inputs.methods.iter().map(|method| scored(inputs, method));
    let methods: Vec<ScoredMethod<'_>> = methods.collect::<Result<_>>()?;
    let abilities = inputs.base_abilities.as_deref();
    let abilities = abilities
        .map(|rows| abilities::Report::new(rows, None))
        .transpose()?;
    let summarized = methods.iter().map(|scored| {
        Ok(Method {
            name: scored.input.name.clone(),
            summary: summary(inputs, &score, &base, scored)?,
            runs: runs(abilities.as_ref(), scored)?,
            settings: scored.input.settings.clone(),
        })
    });
    Ok(Results {
        schema: SCHEMA,
        task: inputs.task.name().to_string(),
        rows: inputs.base.len(),
        methods: summarized.collect::<Result<_>>()?,
        examples: examples(inputs, &score, &base, &methods)?,
        settings: inputs.settings.clone(),
        base: Base {
            scores: base.whole,
            abilities,
        },
        score,
    })
}

fn headline(inputs: &Inputs<'_>, base: &Scored) -> Result<String> {
    let task = inputs.task.name();
    let own = HEADLINES.iter().find(|(name, _)| *name == task);
    let score = match (&inputs.score, own) {
        (Some(score), _) => score.as_str(),
        (None, Some((_, score))) => score,
        (None, None) => "",
    };
    let in_rows = base.rows.iter().all(|row| row.get(score).is_some());
    match base.whole.get(score).is_some() && in_rows {
        true => Ok(score.to_string()),
        false => {
            let known = base.rows.first().into_iter().flat_map(|row| row.iter());
            let known: Vec<&str> = known.map(|(name, _)| name).collect();
            Err(Error::Request(format!(
                "the task {task} has no score `{score}` of its rows; expected one of {}",
                known.join(", ")
            )))
        }
    }
}

fn scored<'a>(inputs: &Inputs<'_>, method: &'a MethodInput) -> Result<ScoredMethod<'a>> {
    let mut runs = Vec::new();
    for run in &method.runs {
        if let Outcome::Done(tuned) = &run.outcome {
            runs.push(ScoredRun {
                seed: run.seed,
                tuned,
                scored: score_all(inputs.task, &tuned.answers)?,
            });
        }
    }
    Ok(ScoredMethod {
        input: method,
        runs,
    })
}

fn summary(
    inputs: &Inputs<'_>,
    score: &str,
    base: &Scored,
    method: &ScoredMethod<'_>,
) -> Result<Option<Summary>> {
    let Some(first) = method.runs.first() else {
        return Ok(None);
    };
    let over =
        |of: &dyn Fn(&ScoredRun<'_>) -> f64| -> Vec<f64> { method.runs.iter().map(of).collect() };
    let spread = |name: &str| Spread::of(&over(&|run| run.scored.whole.get(name).unwrap_or(0.0)));
    let before = &base.rows;
    let row = |index: usize| {
        let now = over(&|run| run.scored.rows[index].get(score).unwrap_or(0.0));
        mean(&now) - before[index].get(score).unwrap_or(0.0)
    };
    let differences: Vec<f64> = (0..before.len()).map(row).collect();
    let answers: Option<Vec<&[Prediction]>> = method
        .runs
        .iter()
        .map(|run| run.tuned.abilities.as_deref())
        .collect();
    let abilities = match (answers, inputs.base_abilities.as_deref()) {
        (Some(answers), Some(before)) => Some(abilities::Report::of_runs(&answers, Some(before))?),
        _ => None,
    };
    let kept: Option<Vec<f64>> = method
        .runs
        .iter()
        .map(|run| {
            let before = abilities.as_ref()?.all.score.before?;
            kept(
                &abilities::Report::new(run.tuned.abilities.as_deref()?, None).ok()?,
                before,
            )
        })
        .collect();
    let training = &first.tuned.training;
    let names = first.scored.whole.iter().map(|(name, _)| name);
    Ok(Some(Summary {
        score: spread(score),
        difference: bootstrap::paired(&differences),
        scores: names
            .map(|name| NamedSpread {
                name: name.to_string(),
                spread: spread(name),
            })
            .collect(),
        kept: kept.map(|kept| Spread::of(&kept)),
        abilities,
        trainable_percent: match training.parameters {
            0 => 0.0,
            all => 100.0 * training.trainable as f64 / all as f64,
        },
        measured: Cost::mean(
            &method
                .runs
                .iter()
                .map(|run| run.tuned.cost)
                .collect::<Vec<_>>(),
        ),
    }))
}

/// What is left of a score, in percent; none where there was nothing.
fn kept(after: &abilities::Report, before: f64) -> Option<f64> {
    (before > 0.0).then(|| 100.0 * after.all.score.after / before)
}

fn runs(base: Option<&abilities::Report>, method: &ScoredMethod<'_>) -> Result<Vec<Run>> {
    let run = |input: &RunInput| {
        let done = method.runs.iter().find(|run| run.seed == input.seed);
        let mut run = Run {
            seed: input.seed,
            state: match &input.outcome {
                Outcome::Done(_) => State::Done,
                Outcome::Failed(_) => State::Failed,
                Outcome::Pending => State::Pending,
            },
            error: match &input.outcome {
                Outcome::Failed(lines) => lines.clone(),
                Outcome::Done(_) | Outcome::Pending => Vec::new(),
            },
            scores: None,
            abilities: None,
            kept: None,
            training: None,
            measured: None,
        };
        if let Some(done) = done {
            let abilities = done.tuned.abilities.as_deref().filter(|_| base.is_some());
            run.abilities = abilities
                .map(|rows| abilities::Report::new(rows, None))
                .transpose()?;
            run.kept = run
                .abilities
                .as_ref()
                .zip(base)
                .and_then(|(after, base)| kept(after, base.all.score.after));
            run.scores = Some(done.scored.whole.clone());
            run.training = Some(done.tuned.training.clone());
            run.measured = Some(done.tuned.cost);
        }
        Ok(run)
    };
    method.input.runs.iter().map(run).collect()
}
