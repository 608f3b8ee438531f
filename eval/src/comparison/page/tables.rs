//! The tables of the page.

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::cells::{count, difference, missing, number, optional, scroll, spread};
use crate::abilities::{Course, Measured, Report};
use crate::comparison::format;
use crate::comparison::plot;
use crate::comparison::results::{Cost, Method, Results, Run, State, Training};

/// The methods over their runs: what they reach, and what they take.
pub fn summary(results: &Results) -> Markup {
    html! {
        (scroll("Scores of the methods", reached(results)))
        (scroll("Cost of the methods", taken(results)))
    }
}

fn reached(results: &Results) -> Markup {
    let with_kept = results.base.abilities.is_some();
    html! {
        table {
            caption { "Scores: means over the seeds" }
            thead { tr {
                th scope="col" { "Method" }
                th scope="col" { (results.score) }
                th scope="col" { "against the base" }
                @if with_kept { th scope="col" { "abilities kept" } }
            } }
            tbody {
                tr class="base-row" {
                    th scope="row" { "Base" }
                    td { (optional(results.base.scores.get(&results.score), format::score)) }
                    td { (missing()) }
                    @if with_kept { td { (if results.base.knows_something() { "100 %" } else { "–" }) } }
                }
                @for (style, method) in results.methods.iter().enumerate() {
                    tr {
                        th scope="row" { (plot::swatch(style)) " " (method.name) (state_note(method)) }
                        @match &method.summary {
                            Some(summary) => {
                                td { (spread(&summary.score, format::score)) }
                                td { (difference(&summary.difference)) }
                                @if with_kept { td { @match &summary.kept {
                                    Some(kept) => (spread(kept, format::percent)),
                                    None => (missing()),
                                } } }
                            },
                            None => td colspan=(2 + usize::from(with_kept)) { "no run is done" },
                        }
                    }
                }
            }
        }
    }
}

fn taken(results: &Results) -> Markup {
    html! {
        table {
            caption { "Cost: means over the seeds" }
            thead { tr {
                th scope="col" { "Method" }
                th scope="col" { "trained" }
                (cost_heads())
            } }
            tbody {
                @for (style, method) in results.methods.iter().enumerate() {
                    @if let Some(summary) = &method.summary {
                        tr {
                            th scope="row" { (plot::swatch(style)) " " (method.name) }
                            td { (number(summary.trainable_percent, format::share(summary.trainable_percent))) }
                            (cost_cells(&summary.measured))
                        }
                    }
                }
            }
        }
    }
}

/// Runs that are not done are not passed over.
fn state_note(method: &Method) -> Markup {
    let of = |state: State| method.runs.iter().filter(|run| run.state == state).count();
    let (failed, pending) = (of(State::Failed), of(State::Pending));
    html! {
        @if failed > 0 { " " span class="bad" { (failed) " of " (method.runs.len()) " failed" } }
        @if pending > 0 { " " span class="minor" { (pending) " of " (method.runs.len()) " to come" } }
    }
}

/// A column of what a run took: its title, its number, and how that is shown.
type CostColumn = (&'static str, fn(&Cost) -> Option<f64>, fn(f64) -> String);

const COSTS: [CostColumn; 5] = [
    ("peak memory", |cost| cost.peak_bytes, format::bytes),
    ("memory at steps", |cost| cost.step_bytes, format::bytes),
    ("tokens/s", |cost| cost.tokens_per_second, format::count),
    ("training", |cost| cost.training_seconds, format::seconds),
    (
        "prediction",
        |cost| cost.prediction_seconds,
        format::seconds,
    ),
];

fn cost_heads() -> Markup {
    html! { @for (title, ..) in COSTS { th scope="col" { (title) } } }
}

fn cost_cells(cost: &Cost) -> Markup {
    html! { @for (_, of, shown) in COSTS { td { (optional(of(cost), shown)) } } }
}

/// Each ability by each method.
pub fn abilities(results: &Results) -> Markup {
    let Some(base) = &results.base.abilities else {
        return html! {};
    };
    html! {
        section id="abilities" aria-labelledby="abilities-head" {
            h2 id="abilities-head" { "Abilities kept and lost" }
            p { "What each model scores on tasks that it was not tuned for. Every ability counts the same in the whole." }
            (scroll("Scores of abilities", ability_table(results, base, "Scores, and what is left of the base's", |one| Some(score_kept(&one.score)))))
            @if base.all.loss.is_some() {
                (scroll("Losses of abilities", ability_table(results, base, "Losses of the expected answers, and their differences from the base's", |one| one.loss.as_ref().map(changed))))
            }
            details {
                summary { "Differences of the scores" }
                (scroll("Differences of the scores of abilities", ability_table(results, base, "Scores, and their differences from the base's", |one| Some(changed(&one.score)))))
            }
        }
    }
}

fn ability_table(
    results: &Results,
    base: &Report,
    caption: &str,
    cell: fn(&Measured) -> Option<Markup>,
) -> Markup {
    let reports = results
        .methods
        .iter()
        .map(|method| method.summary.as_ref()?.abilities.as_ref());
    let reports: Vec<Option<&Report>> = reports.collect();
    html! {
        table {
            caption { (caption) }
            thead { tr {
                th scope="col" { "Ability" }
                th scope="col" { "rows" }
                th scope="col" { "Base" }
                @for (style, method) in results.methods.iter().enumerate() {
                    th scope="col" { (plot::swatch(style)) " " (method.name) }
                }
            } }
            tbody {
                @for (index, ability) in base.abilities.iter().chain([&base.all]).enumerate() {
                    tr {
                        th scope="row" { @if ability.name.is_empty() { "all" } @else { (ability.name) } }
                        td { (count(ability.rows as u64)) }
                        td { (cell(ability).unwrap_or_else(missing)) }
                        @for report in &reports {
                            td { (report.and_then(|report| cell(report.abilities.get(index).unwrap_or(&report.all))).unwrap_or_else(missing)) }
                        }
                    }
                }
            }
        }
    }
}

fn score_kept(course: &Course) -> Markup {
    html! {
        (number(course.after, format::score(course.after)))
        @if let Some(kept) = &course.kept {
            br;
            span class="minor" {
                (number(kept.percent, format::percent(kept.percent))) " ("
                (number(kept.low, format!("{:.0}", kept.low))) " to "
                (number(kept.high, format!("{:.0}", kept.high))) ")"
            }
        }
    }
}

fn changed(course: &Course) -> Markup {
    html! {
        (number(course.after, format::score(course.after)))
        @if let Some(found) = &course.difference {
            br;
            span class="minor" { (difference(found)) }
        }
    }
}

/// Runs in columns: what is said of each in a row.
fn columns(results: &Results) -> Vec<(usize, &Method, &Run)> {
    let methods = results.methods.iter().enumerate();
    methods
        .flat_map(|(style, method)| method.runs.iter().map(move |run| (style, method, run)))
        .collect()
}

fn run_heads(runs: &[(usize, &Method, &Run)]) -> Markup {
    html! {
        @for (style, method, run) in runs {
            th scope="col" { (plot::swatch(*style)) " " (method.name) br; span class="minor" { "seed " (seed(run)) } }
        }
    }
}

fn seed(run: &Run) -> Markup {
    number(run.seed as f64, run.seed.to_string())
}

/// Every run, failed ones with what they said, and every score.
pub fn runs(results: &Results) -> Markup {
    html! {
        section id="runs" aria-labelledby="runs-head" {
            h2 id="runs-head" { "Runs" }
            (scroll("Runs", run_table(results)))
            (failures(results))
            details {
                summary { "All scores" }
                (scroll("All scores of the methods", score_table(results)))
                (scroll("All scores of the runs", run_scores(results)))
                @if let Some(base) = &results.base.abilities {
                    (scroll("Abilities of the runs", run_abilities(results, base)))
                }
            }
        }
    }
}

fn run_table(results: &Results) -> Markup {
    let with_kept = results.base.abilities.is_some();
    let of = |run: &Run, count: fn(&Training) -> u64| {
        run.training.as_ref().map(|training| count(training) as f64)
    };
    let best = |run: &Run| run.training.as_ref()?.best_step;
    let runs = columns(results);
    let with_best = runs.iter().any(|(_, _, run)| best(run).is_some());
    html! {
        table {
            caption { "Each run" }
            thead { tr {
                th scope="col" { "Method" }
                th scope="col" { "seed" }
                th scope="col" { "state" }
                th scope="col" { (results.score) }
                @if with_kept { th scope="col" { "abilities kept" } }
                th scope="col" { "steps" }
                @if with_best { th scope="col" { "best step, compared" } }
                th scope="col" { "tokens" }
                th scope="col" { "trained parameters" }
                th scope="col" { "all parameters" }
                (cost_heads())
            } }
            tbody {
                @for (style, method, run) in runs {
                    tr {
                        th scope="row" { (plot::swatch(style)) " " (method.name) }
                        td { (seed(run)) }
                        td { @match run.state {
                            State::Done => "done",
                            State::Failed => span class="bad" { "failed" },
                            State::Pending => "to come",
                        } }
                        td { (optional(run.scores.as_ref().and_then(|scores| scores.get(&results.score)), format::score)) }
                        @if with_kept { td { (optional(run.kept, format::percent)) } }
                        td { (optional(of(run, |training| training.steps), format::count)) }
                        @if with_best { td { (optional(best(run).map(|step| step as f64), format::count)) } }
                        td { (optional(of(run, |training| training.tokens), format::count)) }
                        td { (optional(of(run, |training| training.trainable), format::count)) }
                        td { (optional(of(run, |training| training.parameters), format::count)) }
                        (cost_cells(&run.measured.unwrap_or_default()))
                    }
                }
            }
        }
    }
}

fn failures(results: &Results) -> Markup {
    let runs = columns(results);
    let failed: Vec<_> = runs
        .iter()
        .filter(|(_, _, run)| run.state == State::Failed)
        .collect();
    html! {
        @for (_, method, run) in failed {
            h3 class="bad" { (method.name) ", seed " (run.seed) " failed" }
            (scroll(&format!("What {} said", method.name), html! { pre { (run.error.join("\n")) } }))
        }
    }
}

fn score_table(results: &Results) -> Markup {
    let summaries = || results.methods.iter().map(|method| method.summary.as_ref());
    html! {
        table {
            caption { "All scores: means over seeds" }
            thead { tr {
                th scope="col" { "Score" }
                th scope="col" { "Base" }
                @for (style, method) in results.methods.iter().enumerate() {
                    th scope="col" { (plot::swatch(style)) " " (method.name) }
                }
            } }
            tbody {
                @for (name, value) in results.base.scores.iter() {
                    tr {
                        th scope="row" { (name) }
                        td { (number(value, format::score(value))) }
                        @for summary in summaries() {
                            td { @match summary.and_then(|summary| summary.scores.iter().find(|score| score.name == name)) {
                                Some(score) => (spread(&score.spread, format::score)),
                                None => (missing()),
                            } }
                        }
                    }
                }
            }
        }
    }
}

fn run_scores(results: &Results) -> Markup {
    let runs = columns(results);
    html! {
        table {
            caption { "All scores: each run" }
            thead { tr { th scope="col" { "Score" } (run_heads(&runs)) } }
            tbody {
                @for (name, _) in results.base.scores.iter() {
                    tr {
                        th scope="row" { (name) }
                        @for (_, _, run) in &runs {
                            td { (optional(run.scores.as_ref().and_then(|scores| scores.get(name)), format::score)) }
                        }
                    }
                }
            }
        }
    }
}

fn run_abilities(results: &Results, base: &Report) -> Markup {
    let runs = columns(results);
    let of = |run: &Run, index: usize| {
        let report = run.abilities.clone()?;
        Some(report.abilities.get(index).cloned().unwrap_or(report.all))
    };
    html! {
        table {
            caption { "Abilities: score and loss of each run" }
            thead { tr { th scope="col" { "Ability" } (run_heads(&runs)) } }
            tbody {
                @for (index, ability) in base.abilities.iter().chain([&base.all]).enumerate() {
                    tr {
                        th scope="row" { @if ability.name.is_empty() { "all" } @else { (ability.name) } }
                        @for (_, _, run) in &runs {
                            td { @match of(run, index) {
                                Some(one) => {
                                    (number(one.score.after, format::score(one.score.after)))
                                    @if let Some(loss) = &one.loss {
                                        br; span class="minor" { "loss " (number(loss.after, format::score(loss.after))) }
                                    }
                                },
                                None => (missing()),
                            } }
                        }
                    }
                }
            }
        }
    }
}

/// The points of all curves.
pub fn curves(results: &Results) -> Markup {
    html! {
        table {
            caption { "Loss at steps; a training loss is the mean of the steps since the one before" }
            thead { tr {
                th scope="col" { "Method" }
                th scope="col" { "seed" }
                th scope="col" { "curve" }
                th scope="col" { "step: loss" }
            } }
            tbody {
                @for (_, method, run) in columns(results) {
                    @if let Some(training) = &run.training {
                        @for (name, points) in [("training", &training.losses), ("validation", &training.validation)] {
                            @if !points.is_empty() {
                                tr {
                                    th scope="row" { (method.name) }
                                    td { (seed(run)) }
                                    td { (name) }
                                    td class="points" { @for point in points {
                                        span { (count(point.step)) ": " (number(point.loss, format::score(point.loss))) } " "
                                    } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What was asked for.
pub fn settings(results: &Results) -> Markup {
    html! {
        section id="settings" aria-labelledby="settings-head" {
            h2 id="settings-head" { "Settings" }
            (scroll("Settings of all runs", setting_table("All runs", &results.settings)))
            @for method in &results.methods {
                (scroll(&format!("Settings of {}", method.name), setting_table(&method.name, &method.settings)))
            }
        }
    }
}

fn setting_table(caption: &str, settings: &Map<String, Value>) -> Markup {
    html! {
        table class="settings" {
            caption { (caption) }
            tbody {
                @for (name, value) in settings {
                    tr { th scope="row" { (name) } td { (setting(value)) } }
                }
                @if settings.is_empty() { tr { td { "as all runs" } } }
            }
        }
    }
}

fn setting(value: &Value) -> Markup {
    html! {
        @match value {
            Value::Number(found) => (number(found.as_f64().unwrap_or(f64::NAN), found.to_string())),
            Value::String(text) => (text),
            Value::Array(values) => @for (index, value) in values.iter().enumerate() {
                @if index > 0 { ", " }
                (setting(value))
            },
            Value::Object(found) => @for (index, (name, value)) in found.iter().enumerate() {
                @if index > 0 { ", " }
                (name) " = " (setting(value))
            },
            other => (other.to_string()),
        }
    }
}
