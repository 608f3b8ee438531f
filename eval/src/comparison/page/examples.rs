//! Rows and what each model answers, with the differences from what was expected.

use maud::{Markup, html};

use super::cells::{count, number};
use crate::comparison::examples::{Mark, marked};
use crate::comparison::format;
use crate::comparison::plot;
use crate::comparison::results::{Example, ExampleAnswer, Results};

pub fn section(results: &Results) -> Markup {
    if results.examples.is_empty() {
        return html! {};
    }
    html! {
        section id="examples" aria-labelledby="examples-head" {
            h2 id="examples-head" { "Examples" }
            p {
                "The rows on which the models differ most, with the first seed of each method. "
                ins { "Underlined" } " is not expected, " del { "struck out" } " is missing."
            }
            @for example in &results.examples { (row(results, example)) }
        }
    }
}

fn row(results: &Results, example: &Example) -> Markup {
    html! {
        article aria-label={ "Row " (example.row) } {
            h3 { "Row " (count(example.row as u64)) }
            dl class="asked" {
                dt { "Asked" }
                dd class="text" { (example.question) }
                @if let Some(expected) = &example.expected {
                    dt { "Expected" }
                    dd class="text" { (expected) }
                }
            }
            div class="answers" {
                @for answer in &example.answers {
                    (model(results, example, answer))
                }
            }
        }
    }
}

fn model(results: &Results, example: &Example, answer: &ExampleAnswer) -> Markup {
    let style = results
        .methods
        .iter()
        .position(|method| Some(&method.name) == answer.method.as_ref());
    html! {
        div class="answer" {
            h4 {
                @match (&answer.method, style) {
                    (Some(name), Some(style)) => { (plot::swatch(style)) " " (name) },
                    _ => "Base",
                }
                @if let Some(seed) = answer.seed {
                    span class="minor" { ", seed " (number(seed as f64, seed.to_string())) }
                }
            }
            p class="minor" { (results.score) " " (number(answer.score, format::score(answer.score))) }
            p class="text" {
                @match &example.expected {
                    _ if answer.text.is_empty() => span class="minor" { "(an empty answer)" },
                    Some(expected) => @for (mark, text) in marked(&results.task, expected, &answer.text) {
                        @match mark {
                            Mark::Same => (text),
                            Mark::Added => ins { (text) },
                            Mark::Missing => del { (text) },
                        }
                    },
                    None => (answer.text),
                }
            }
        }
    }
}
