//! Writes what the small base is made from: its tokenizer, the rows that it is trained on, rows that measure its
//! abilities, and the rows of a task to tune it on.
//!
//! `cargo run --example small_base -- OUT`; the same rows every time.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use glmtune::model::tokenizer::{Mode, Tokenizer};
use rand::SeedableRng;
use serde::Serialize;

mod abilities;
mod base_rows;
mod draw;
mod repetition;
mod row;
#[cfg(test)]
mod tests;
mod tokenizer;
mod triples;

use base_rows::Course;
use draw::{Draw, Random};
use row::Row;

const SEED: u64 = 10;
/// Rows of a step of the base's training.
const BATCH: usize = 64;
/// Characters that rows are made of in the end, and their skew.
const CHARACTERS: (usize, i32) = (2000, 2);
/// Held-out rows of each ability.
const ABILITY_ROWS: usize = 30;
const TRAIN_ROWS: usize = 4000;
const TEST_ROWS: usize = 100;

/// Copying of few characters first, of more beside questions next, then everything.
const COURSES: [(&str, Course); 4] = [
    (
        "base-1.jsonl",
        Course {
            rows: 96_000,
            repetition: 100,
            characters: (64, 1),
            batch: BATCH,
        },
    ),
    (
        "base-2.jsonl",
        Course {
            rows: 96_000,
            repetition: 50,
            characters: (500, 1),
            batch: BATCH,
        },
    ),
    (
        "base-3.jsonl",
        Course {
            rows: 128_000,
            repetition: 10,
            characters: CHARACTERS,
            batch: BATCH,
        },
    ),
    (
        "base-4.jsonl",
        Course {
            rows: 256_000,
            repetition: 5,
            characters: CHARACTERS,
            batch: BATCH,
        },
    ),
];

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::args_os().nth(1).map(PathBuf::from);
    let out = out.ok_or("which folder shall the files go to?")?;
    fs::create_dir_all(out.join("tokenizer"))?;
    for (name, text) in tokenizer::files() {
        fs::write(out.join("tokenizer").join(name), text)?;
    }
    let tokenizer = Tokenizer::from_dir(&out.join("tokenizer"), Some(Mode::Glm2))?;
    for ((name, course), stream) in COURSES.iter().zip(0..) {
        let rows = base_rows::rows(course, &tokenizer, &mut random(stream))?;
        write(&out.join(name), &rows)?;
    }
    for (name, rows) in small_files() {
        write(&out.join(name), &rows)?;
    }
    Ok(())
}

/// What is kept in the repository.
fn small_files() -> [(&'static str, Vec<Row>); 3] {
    let draw = &Draw::new(CHARACTERS);
    let train = triples::train(TRAIN_ROWS, draw, &mut random(101));
    let test = triples::test(TEST_ROWS, &train, draw, &mut random(102));
    [
        ("abilities.jsonl", ability_rows(draw, &mut random(100))),
        ("train.jsonl", train),
        ("test.jsonl", test),
    ]
}

/// Rows of every ability that nothing was trained on, no two the same.
fn ability_rows(draw: &Draw, random: &mut Random) -> Vec<Row> {
    let mut rows = Vec::new();
    for ability in 0..abilities::ABILITIES.len() {
        let begin = rows.len();
        while rows.len() < begin + ABILITY_ROWS {
            let row = abilities::row(ability, true, draw, random);
            if !rows[begin..].contains(&row) {
                rows.push(row);
            }
        }
    }
    rows
}

/// The random numbers of one file.
fn random(stream: u64) -> Random {
    let mut random = Random::seed_from_u64(SEED);
    random.set_stream(stream);
    random
}

fn write(path: &Path, rows: &[impl Serialize]) -> Result<(), Box<dyn Error>> {
    let mut file = std::io::BufWriter::new(fs::File::create(path)?);
    write_to(&mut file, rows)?;
    Ok(file.flush()?)
}

/// One object per line.
fn write_to(out: &mut impl Write, rows: &[impl Serialize]) -> Result<(), Box<dyn Error>> {
    for row in rows {
        serde_json::to_writer(&mut *out, row)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}
