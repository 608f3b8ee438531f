//! The task to tune on: relation triples of car-fault reports. The reports of the test have names and patterns that
//! those of the training have not.

use crate::draw::{Draw, Random};
use crate::row::Row;

mod names;
pub mod patterns;

use names::Names;
use patterns::{Pattern, TEST, TRAIN};

/// What every row asks.
const INSTRUCTION: &str = "抽取关系三元组。文本：";

/// Rows to tune on.
pub fn train(count: usize, draw: &Draw, random: &mut Random) -> Vec<Row> {
    rows(&TRAIN, &names::TRAIN, draw, random)
        .take(count)
        .collect()
}

/// Rows to score on: none of their names stands in one of the rows that were tuned on.
pub fn test(count: usize, train: &[Row], draw: &Draw, random: &mut Random) -> Vec<Row> {
    let is_new =
        |row: &Row| !names_of(row).any(|name| train.iter().any(|row| row.input.contains(name)));
    rows(&TEST, &names::TEST, draw, random)
        .filter(is_new)
        .take(count)
        .collect()
}

/// Heads and tails of a row's triples.
fn names_of(row: &Row) -> impl Iterator<Item = &str> {
    let lines = row.output.lines();
    lines.flat_map(|line| line.split('_').step_by(2))
}

/// Rows unlike each other.
fn rows<'a>(
    patterns: &'a [Pattern],
    names: &'a Names,
    draw: &'a Draw,
    random: &'a mut Random,
) -> impl Iterator<Item = Row> + 'a {
    let mut seen = std::collections::HashSet::new();
    std::iter::repeat_with(move || row(draw.one(random, patterns), names, draw, random))
        .filter(move |row| seen.insert(row.input.clone()))
}

/// A report in the form of a pattern.
fn row(pattern: Pattern, names: &Names, draw: &Draw, random: &mut Random) -> Row {
    let filling = names.draw(draw, random);
    let fill = |text: &str| {
        filling.iter().fold(text.to_string(), |text, (slot, name)| {
            text.replace(slot, name)
        })
    };
    let triples: Vec<String> = pattern.1.iter().map(|triple| fill(triple)).collect();
    Row::new(INSTRUCTION, fill(pattern.0), triples.join("\n"))
}
