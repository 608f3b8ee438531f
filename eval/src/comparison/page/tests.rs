use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::comparison::inputs::{Inputs, MethodInput, Outcome, RunInput, Tuned};
use crate::comparison::results::{Cost, Point, Training};
use crate::comparison::{markdown, numbers};
use crate::predictions::Prediction;
use crate::triples::Triples;

/// A text that would be markup if it were not escaped.
const HOSTILE: &str = "</td><script>alert(1)</script> & \"q\" 'a' ]]> <img src=x>";

fn rows(answers: &[&str], ability: bool) -> Vec<Prediction> {
    let rows = answers.iter().enumerate().map(|(index, answer)| {
        let mut row = json!({"instruction": HOSTILE, "input": index.to_string(), "output": "a_r_b", "generated": answer});
        if ability {
            row["ability"] = json!(["copy", "sum"][index % 2]);
            row["loss"] = json!(0.25 + index as f64);
        }
        Prediction::parse(Path::new("p"), index + 1, &row.to_string()).unwrap()
    });
    rows.collect()
}

fn done(answers: &[&str], seed: u64) -> RunInput {
    let tuned = Tuned {
        training: Training {
            trainable: 1234,
            parameters: 567_890,
            steps: 30,
            tokens: 4321,
            losses: Point::thinned(&[(1, 3.25), (2, 2.5), (30, 0.125 * seed as f64)]),
            validation: vec![Point {
                step: 30,
                loss: 0.75,
            }],
            best_step: (seed == 1).then_some(17),
        },
        answers: rows(answers, false),
        abilities: Some(rows(answers, true)),
        cost: Cost {
            training_seconds: Some(12.5),
            tokens_per_second: Some(345.6),
            peak_bytes: Some(1e9),
            step_bytes: None,
            prediction_seconds: Some(1.5),
        },
    };
    RunInput {
        seed,
        outcome: Outcome::Done(Box::new(tuned)),
    }
}

fn results(with_abilities: bool) -> Results {
    let method = |name: &str, runs: Vec<RunInput>| MethodInput {
        name: name.to_string(),
        settings: json!({"lora_dim": 8, "learning_rate": 1e-3})
            .as_object()
            .cloned()
            .unwrap(),
        runs,
    };
    let base = ["a_r_b", "a_r_b", HOSTILE, ""];
    let failed = Outcome::Failed(vec![HOSTILE.to_string(), "error: no memory".to_string()]);
    let inputs = Inputs {
        task: &Triples,
        score: None,
        settings: json!({"base": "tiny", "seeds": [1, 2]})
            .as_object()
            .cloned()
            .unwrap(),
        base: rows(&base, false),
        base_abilities: with_abilities.then(|| rows(&base, true)),
        methods: vec![
            method(
                "LoRA",
                vec![
                    done(&["a_r_b", "x_r_y", "a_r_b", "a_r_b"], 1),
                    done(&base, 2),
                ],
            ),
            method(
                HOSTILE,
                vec![
                    RunInput {
                        seed: 1,
                        outcome: failed,
                    },
                    RunInput {
                        seed: 2,
                        outcome: Outcome::Pending,
                    },
                ],
            ),
        ],
        examples: 2,
    };
    numbers::results(&inputs).unwrap()
}

/// Every number of a value.
fn numbers_of(value: &Value, found: &mut Vec<f64>) {
    match value {
        Value::Number(number) => found.push(number.as_f64().unwrap()),
        Value::Array(values) => values.iter().for_each(|value| numbers_of(value, found)),
        Value::Object(values) => values.values().for_each(|value| numbers_of(value, found)),
        _ => {}
    }
}

#[test]
fn every_number_of_the_results_is_on_the_page() {
    for with_abilities in [true, false] {
        let results = results(with_abilities);
        let page = page(&results);
        let shown: Vec<f64> = page
            .split("<data value=\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
            .collect();
        let mut expected = Vec::new();
        numbers_of(&serde_json::to_value(&results).unwrap(), &mut expected);
        assert!(expected.len() > 50);
        for number in expected {
            assert!(shown.contains(&number), "{number} is not shown");
        }
    }
}

#[test]
fn nothing_is_fetched_and_texts_are_not_markup() {
    let page = page(&results(true));
    for absent in [
        "<script", "<img", "src=", "url(", "@import", "http:", "https:", "NaN", "inf\"",
    ] {
        let outside = page.replace("&lt;script", "").replace("&lt;img src=x", "");
        assert!(!outside.contains(absent), "{absent}");
    }
    assert!(page.contains("&lt;script&gt;"));
}

/// The elements in their order, opened and closed, as the rules of the language ask for.
#[test]
fn elements_are_closed_where_they_must_be() {
    const VOID: [&str; 3] = ["meta", "br", "link"];
    for with_abilities in [true, false] {
        let page = page(&results(with_abilities));
        let mut open: Vec<&str> = Vec::new();
        let mut ids: Vec<&str> = Vec::new();
        for tag in page
            .split('<')
            .skip(2)
            .map(|rest| rest.split('>').next().unwrap())
        {
            let name = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap();
            match tag.starts_with('/') {
                true => assert_eq!(open.pop(), Some(name), "</{name}>"),
                false if VOID.contains(&name) => {}
                false => open.push(name),
            }
            ids.extend(
                tag.split(" id=\"")
                    .skip(1)
                    .map(|rest| rest.split('"').next().unwrap()),
            );
        }
        assert!(open.is_empty(), "{open:?}");
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "an id stands twice");
        for name in page.split("aria-labelledby=\"").skip(1) {
            for id in name.split('"').next().unwrap().split(' ') {
                assert!(ids.contains(&id), "{id}");
            }
        }
        for target in page
            .split("href=\"#")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
        {
            assert!(ids.contains(&target), "#{target}");
        }
        assert_eq!(page.matches("<h1>").count(), 1);
        assert_eq!(
            page.matches("<table").count(),
            page.matches("<caption>").count()
        );
        assert_eq!(
            page.matches("role=\"img\"").count(),
            page.matches("<desc ").count()
        );
    }
}

/// WCAG's contrast of two colours.
fn contrast(a: &str, b: &str) -> f64 {
    let luminance = |color: &str| -> f64 {
        let part = |at: usize| {
            let value = f64::from(u8::from_str_radix(&color[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn colours_can_be_read_light_and_dark() {
    for theme in STYLE.split(":root").skip(1).take(2) {
        let color = |name: &str| {
            let at = theme.find(&format!("{name}: #")).unwrap() + name.len() + 2;
            &theme[at..at + 7]
        };
        for back in ["--paper", "--card"] {
            for front in [
                "--ink", "--minor", "--link", "--bad", "--m0", "--m1", "--m2", "--m3", "--m4",
                "--m5", "--m6",
            ] {
                let found = contrast(color(front), color(back));
                assert!(found >= 4.5, "{front} on {back}: {found:.2}");
            }
        }
        assert!(contrast(color("--added"), color("--added-back")) >= 4.5);
        assert!(contrast(color("--gone"), color("--gone-back")) >= 4.5);
    }
}

#[test]
fn markdown_has_the_methods_and_their_failures() {
    let text = markdown(&results(true));
    assert!(
        text.contains("| LoRA |") && text.contains("failed"),
        "{text}"
    );
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let bars = line.replace("\\|", "").matches('|').count();
        assert!(bars == 9 || bars == 6, "{line}");
    }
}

#[test]
fn what_is_measured_stands_apart() {
    let mut value = serde_json::to_value(results(true)).unwrap();
    fn strip(value: &mut Value) {
        if let Value::Object(map) = value {
            map.remove("measured");
        }
        match value {
            Value::Array(values) => values.iter_mut().for_each(strip),
            Value::Object(map) => map.values_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    let text = value.to_string();
    assert!(
        !text.contains("seconds") && !text.contains("bytes"),
        "{text}"
    );
}
