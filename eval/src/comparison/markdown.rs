//! A comparison in Markdown: the tables that a README or a message wants.

use std::fmt::Write;

use super::format;
use super::results::{Cost, Method, Results, State};

/// The comparison in Markdown.
pub fn markdown(results: &Results) -> String {
    let mut text = format!(
        "# {} methods of tuning: {}\n\nScores on {} rows; ± is the standard deviation over seeds, intervals are 95 % \
         (paired bootstrap over rows). Everything else is in report.html and results.json.\n\n",
        results.methods.len(),
        results.task,
        results.rows
    );
    text += &summary(results);
    if results.base.abilities.is_some() {
        text += &abilities(results);
    }
    text += &failures(results);
    text
}

fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    let body: String = rows.iter().map(|row| line(row)).collect();
    format!("{}{rule}{body}\n", line(head))
}

/// What would end a cell, or be taken for markup.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

fn summary(results: &Results) -> String {
    let head = [
        "method",
        &results.score,
        "against the base",
        "abilities kept",
        "trained",
        "peak memory",
        "tokens/s",
        "training",
    ];
    let base = results.base.scores.get(&results.score);
    let none = || "–".to_string();
    let mut rows = vec![vec![
        "base".to_string(),
        base.map_or_else(none, format::score),
        none(),
        match results.base.knows_something() {
            true => "100 %".to_string(),
            false => none(),
        },
        none(),
        none(),
        none(),
        none(),
    ]];
    for method in &results.methods {
        let mut row = vec![format!("{}{}", method.name, state(method))];
        match &method.summary {
            Some(found) => {
                let kept = found.kept.as_ref();
                row.extend([
                    format::spread(&found.score, format::score),
                    format::difference(&found.difference),
                    kept.map_or_else(none, |kept| format::spread(kept, format::percent)),
                    format::share(found.trainable_percent),
                ]);
                row.extend(costs(&found.measured));
            }
            None => row.extend((1..head.len()).map(|_| none())),
        }
        rows.push(row);
    }
    table(&head.map(str::to_string), &rows)
}

fn costs(cost: &Cost) -> [String; 3] {
    let shown =
        |value: Option<f64>, format: fn(f64) -> String| value.map_or("–".to_string(), format);
    [
        shown(cost.peak_bytes, format::bytes),
        shown(cost.tokens_per_second, format::count),
        shown(cost.training_seconds, format::seconds),
    ]
}

fn state(method: &Method) -> String {
    let of = |state: State| method.runs.iter().filter(|run| run.state == state).count();
    match (of(State::Failed), of(State::Pending)) {
        (0, 0) => String::new(),
        (0, pending) => format!(" ({pending} of {} to come)", method.runs.len()),
        (failed, _) => format!(" ({failed} of {} failed)", method.runs.len()),
    }
}

fn abilities(results: &Results) -> String {
    let Some(base) = &results.base.abilities else {
        return String::new();
    };
    let names = results.methods.iter().map(|method| method.name.clone());
    let head = ["ability", "rows", "base"]
        .map(str::to_string)
        .into_iter()
        .chain(names);
    let rows = base
        .abilities
        .iter()
        .chain([&base.all])
        .enumerate()
        .map(|(index, ability)| {
            let name = if ability.name.is_empty() {
                "all"
            } else {
                &ability.name
            };
            let methods = results.methods.iter().map(|method| {
                let report = method
                    .summary
                    .as_ref()
                    .and_then(|summary| summary.abilities.as_ref());
                let Some(report) = report else {
                    return "–".to_string();
                };
                let course = &report.abilities.get(index).unwrap_or(&report.all).score;
                let kept = course.kept.map_or(String::new(), |kept| {
                    format!(" ({})", format::percent(kept.percent))
                });
                format!("{}{kept}", format::score(course.after))
            });
            let before = [
                name.to_string(),
                ability.rows.to_string(),
                format::score(ability.score.after),
            ];
            before.into_iter().chain(methods).collect()
        });
    let table = table(&head.collect::<Vec<_>>(), &rows.collect::<Vec<_>>());
    format!("## Abilities\n\nScore after tuning, and what is left of the base's.\n\n{table}")
}

fn failures(results: &Results) -> String {
    let mut text = String::new();
    for method in &results.methods {
        for run in method.runs.iter().filter(|run| run.state == State::Failed) {
            let _ = write!(
                text,
                "## {}, seed {}: failed\n\n",
                escaped(&method.name),
                run.seed
            );
            // Indented: what it said may hold any fence.
            for line in &run.error {
                let _ = writeln!(text, "    {line}");
            }
            text.push('\n');
        }
    }
    text
}
