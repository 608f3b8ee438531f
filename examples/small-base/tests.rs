#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use super::*;

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/small-base")
        .join(name)
}

fn triples(rows: &[Row]) -> Vec<[&str; 3]> {
    let lines = rows.iter().flat_map(|row| row.output.lines());
    lines
        .map(|line| line.split('_').collect::<Vec<_>>().try_into().unwrap())
        .collect()
}

#[test]
fn the_files_of_the_repository_are_the_ones_that_are_made() {
    for (name, rows) in small_files() {
        let mut made = Vec::new();
        write_to(&mut made, &rows).unwrap();
        let kept = fs::read(beside("data").join(name)).unwrap();
        assert!(made == kept, "{name} is another than the one that is made");
    }
    for (name, text) in tokenizer::files() {
        assert_eq!(
            fs::read_to_string(beside("model").join(name)).unwrap(),
            text
        );
    }
}

#[test]
fn names_and_patterns_of_the_test_occur_in_no_row_of_the_training() {
    let [_, (_, train), (_, test)] = small_files();
    let texts: Vec<&str> = train.iter().map(|row| row.input.as_str()).collect();
    for [head, _, tail] in triples(&test) {
        for name in [head, tail] {
            let found = texts.iter().find(|text| text.contains(name));
            assert_eq!(found, None, "{name}");
        }
    }
    let patterns: HashSet<&str> = triples::patterns::TRAIN.iter().map(|p| p.0).collect();
    assert!(
        triples::patterns::TEST
            .iter()
            .all(|p| !patterns.contains(p.0))
    );
}

#[test]
fn every_triple_of_a_report_stands_in_it() {
    let [_, (_, train), (_, test)] = small_files();
    for row in train.iter().chain(&test) {
        for [head, _, tail] in triples(std::slice::from_ref(row)) {
            assert!(
                row.input.contains(head) && row.input.contains(tail),
                "{row:?}"
            );
        }
    }
}

#[test]
fn rows_that_measure_abilities_are_none_of_the_training() {
    let draw = Draw::new(CHARACTERS);
    let rows = ability_rows(&draw, &mut random(100));
    assert!(rows.iter().all(Row::is_held_out));
    let mut random = random(1);
    for ability in 0..abilities::ABILITIES.len() {
        for _ in 0..200 {
            let row = abilities::row(ability, false, &draw, &mut random);
            assert!(!row.is_held_out());
        }
    }
}

#[test]
fn the_rows_of_the_base_are_the_same_every_time() {
    let tokenizer = Tokenizer::from_dir(&beside("model"), Some(Mode::Glm2)).unwrap();
    let course = Course {
        rows: 500,
        ..COURSES[2].1
    };
    let rows = || base_rows::rows(&course, &tokenizer, &mut random(1)).unwrap();
    assert_eq!(rows(), rows());
    // All its characters are in the vocabulary: no byte stands for a part of one.
    let longest = rows().iter().map(|row| row.input_ids.len()).max();
    assert!(longest.unwrap() < 120);
}
