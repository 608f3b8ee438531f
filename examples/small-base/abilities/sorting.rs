//! Digits or letters in their order.

use rand::Rng;

use crate::draw::{Draw, Random};
use crate::row::Row;

const DIGITS: [char; 10] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];

pub fn row(draw: &Draw, random: &mut Random) -> Row {
    let count = random.random_range(3..=5);
    let mut signs = match random.random_bool(0.5) {
        true => draw.some(random, &DIGITS, count),
        false => {
            let letters: Vec<char> = ('a'..='z').collect();
            draw.some(random, &letters, count)
        }
    };
    let text: String = signs.iter().collect();
    let ask = match random.random_bool(0.5) {
        true => {
            signs.sort_unstable();
            "从小到大排列："
        }
        false => {
            signs.sort_unstable_by(|a, b| b.cmp(a));
            "从大到小排列："
        }
    };
    Row::new(ask, text, signs.into_iter().collect::<String>())
}
