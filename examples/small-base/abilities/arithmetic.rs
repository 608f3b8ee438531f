//! Sums and differences of numbers up to twenty.

use rand::Rng;

use crate::draw::{Draw, Random};
use crate::row::Row;

pub fn row(_: &Draw, random: &mut Random) -> Row {
    let most = if random.random_bool(0.5) { 9 } else { 20 };
    let (a, b): (u32, u32) = (random.random_range(0..=most), random.random_range(0..=most));
    let (question, answer) = match random.random_bool(0.5) {
        true => (format!("{a}加{b}等于？"), a + b),
        false => (format!("{}减{}等于？", a.max(b), a.min(b)), a.abs_diff(b)),
    };
    Row::new("计算：", question, answer.to_string())
}
