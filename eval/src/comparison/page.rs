//! A comparison as one page: nothing is fetched, no script is needed, and every number of the results is there, in
//! full as the value of its `data` element.

mod cells;
mod examples;
mod tables;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::plot;
use super::results::{Results, State};
use cells::{count, scroll};

/// The page's looks.
const STYLE: &str = include_str!("page/style.css");

/// The page.
pub fn page(results: &Results) -> String {
    let title = title(results);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a class="skip" href="#summary" { "Skip to the results" }
                header {
                    h1 { (title) }
                    p class="lead" { (lead(results)) }
                    (contents(results))
                }
                main {
                    (summary(results))
                    (tables::abilities(results))
                    (curves(results))
                    (examples::section(results))
                    (tables::runs(results))
                    (tables::settings(results))
                }
                footer { p {
                    "Made by " code { "glmtune compare" } ". Form of results.json: version "
                    (count(results.schema.into())) ". Scores are means over the test rows; ± is the standard deviation \
                     over seeds; intervals are 95 % (paired bootstrap over rows)."
                } }
            }
        }
    };
    page.into_string()
}

fn title(results: &Results) -> String {
    let count = results.methods.len();
    let noun = if count == 1 { "method" } else { "methods" };
    format!("{count} {noun} of tuning: {}", results.task)
}

fn lead(results: &Results) -> Markup {
    let runs = results.methods.iter().flat_map(|method| &method.runs);
    let of = |state: State| runs.clone().filter(|run| run.state == state).count() as u64;
    let (failed, pending) = (of(State::Failed), of(State::Pending));
    html! {
        "From one base, " (runs.clone().count()) " runs, scored on " (count(results.rows as u64)) " rows."
        @if failed > 0 { " " strong class="bad" { (failed) " failed." } }
        @if pending > 0 { " " strong { (pending) " are still to come." } }
    }
}

fn contents(results: &Results) -> Markup {
    html! {
        nav aria-label="Contents" { ul {
            li { a href="#summary" { "Results" } }
            @if results.base.abilities.is_some() { li { a href="#abilities" { "Abilities" } } }
            li { a href="#curves" { "Loss" } }
            @if !results.examples.is_empty() { li { a href="#examples" { "Examples" } } }
            li { a href="#runs" { "Runs" } }
            li { a href="#settings" { "Settings" } }
        } }
    }
}

fn summary(results: &Results) -> Markup {
    let picture = plot::score_and_kept(results);
    html! {
        section id="summary" aria-labelledby="summary-head" {
            h2 id="summary-head" { "Results" }
            @if let Some(line) = verdict(results) { p { (line) } }
            figure {
                @match picture {
                    Some(ref picture) => (picture),
                    None => (plot::scores(results)),
                }
                figcaption {
                    ul class="legend" aria-label="Marks" {
                        @for (style, method) in results.methods.iter().enumerate() {
                            li { (plot::swatch(style)) " " (method.name) }
                        }
                    }
                    @if picture.is_some() {
                        "Right: more of the base's abilities kept. Up: a better score. Small marks are runs, large ones \
                         their means, lines one standard deviation."
                    } @else {
                        "Small marks are runs, large ones their means."
                    }
                }
            }
            (tables::summary(results))
        }
    }
}

/// What the numbers say, in a sentence.
fn verdict(results: &Results) -> Option<String> {
    let done = || {
        let methods = results.methods.iter();
        methods.filter_map(|method| Some((method, method.summary.as_ref()?)))
    };
    let (best, summary) = done().max_by(|a, b| a.1.score.mean.total_cmp(&b.1.score.mean))?;
    let mut text = format!("{} has the highest {}", best.name, results.score);
    if !summary.difference.is_significant() {
        text.push_str(", but its difference from the base could be noise");
    }
    let kept = done().filter_map(|(method, summary)| Some((method, summary.kept?.mean)));
    let most = kept.max_by(|a, b| a.1.total_cmp(&b.1));
    match most {
        Some((method, _)) if method.name == best.name => {
            text.push_str("; it also keeps most of the base's abilities");
        }
        Some((method, _)) => text.push_str(&format!(
            "; {} keeps most of the base's abilities",
            method.name
        )),
        None => {}
    }
    Some(text + ".")
}

fn curves(results: &Results) -> Markup {
    html! {
        section id="curves" aria-labelledby="curves-head" {
            h2 id="curves-head" { "Loss" }
            p { "A line for each seed, all on the same axes. Dashed lines with marks: loss of the validation rows, where \
                 there are some." }
            div class="grid-of-figures" {
                @for (index, method) in results.methods.iter().enumerate() {
                    @if let Some(picture) = plot::curves(results, index) {
                        figure {
                            figcaption { (plot::swatch(index)) " " strong { (method.name) } }
                            (picture)
                        }
                    }
                }
            }
            details {
                summary { "The curves' numbers" }
                (scroll("Numbers of the curves", tables::curves(results)))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
