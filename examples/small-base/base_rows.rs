//! The rows that the base is trained on, as ids: what a text repeats and what an answer says are the targets.

use glmtune::model::rows::{IGNORED, LayoutLimits, Row as TrainingText, TrainingRow, lay_out};
use glmtune::model::tokenizer::{Mode, SpecialToken, Tokenizer};
use rand::Rng;
use rand::seq::SliceRandom;

use crate::abilities;
use crate::draw::{Draw, Random};
use crate::repetition;

/// Most tokens of a row: far more than any has.
const LONGEST: usize = 256;
/// Rows that are looked at together when rows of one length are put side by side.
const WINDOW: usize = 8192;

/// How many rows there are, and of what.
#[derive(Clone, Copy)]
pub struct Course {
    /// Rows.
    pub rows: usize,
    /// How many in a hundred are plain repetition; the others are questions.
    pub repetition: u32,
    /// Characters that they are made of, and their skew.
    pub characters: (usize, i32),
    /// Rows of a step, which get about one length.
    pub batch: usize,
}

/// The rows of a course, in the order in which they are to be seen.
pub fn rows(
    course: &Course,
    tokenizer: &Tokenizer,
    random: &mut Random,
) -> glmtune::model::Result<Vec<TrainingRow>> {
    let draw = &Draw::new(course.characters);
    let abilities = abilities::weighted();
    let mut rows = Vec::with_capacity(course.rows);
    for _ in 0..course.rows {
        let row = match random.random_ratio(course.repetition, 100) {
            true => repeated(tokenizer, draw, random)?,
            false => question(draw.one(random, &abilities), tokenizer, draw, random)?,
        };
        rows.push(row);
    }
    Ok(side_by_side(rows, course.batch, random))
}

fn repeated(
    tokenizer: &Tokenizer,
    draw: &Draw,
    random: &mut Random,
) -> glmtune::model::Result<TrainingRow> {
    let (text, begin) = repetition::text(draw, random);
    let first = tokenizer.raw_prompt(Mode::Glm2, &text[..begin])?;
    let again = tokenizer.encode(&text[begin..])?;
    let end = tokenizer.require(SpecialToken::Eos)?;
    let ignored = first.iter().map(|_| IGNORED);
    let targets: Vec<u32> = again.into_iter().chain([end]).collect();
    Ok(TrainingRow {
        labels: ignored
            .chain(targets.iter().map(|&id| i64::from(id)))
            .collect(),
        input_ids: [first, targets].concat(),
    })
}

fn question(
    ability: usize,
    tokenizer: &Tokenizer,
    draw: &Draw,
    random: &mut Random,
) -> glmtune::model::Result<TrainingRow> {
    let row = abilities::row(ability, false, draw, random);
    let text = TrainingText::Text {
        question: row.instruction + &row.input,
        answer: row.output,
    };
    let limits = LayoutLimits::new(Mode::Glm2, LONGEST, None);
    Ok(lay_out(&text, Some(tokenizer), Mode::Glm2, limits)?.row)
}

/// Rows of about one length side by side, so that little of a batch is padding; batches in any order.
fn side_by_side(mut rows: Vec<TrainingRow>, batch: usize, random: &mut Random) -> Vec<TrainingRow> {
    for window in rows.chunks_mut(WINDOW) {
        window.sort_by_key(|row| row.input_ids.len());
        let mut batches: Vec<Vec<TrainingRow>> =
            window.chunks(batch).map(<[TrainingRow]>::to_vec).collect();
        // A batch that is not full would shift all others.
        let full = batches.len() - usize::from(!window.len().is_multiple_of(batch));
        batches[..full].shuffle(random);
        for (place, row) in window.iter_mut().zip(batches.into_iter().flatten()) {
            *place = row;
        }
    }
    rows
}
