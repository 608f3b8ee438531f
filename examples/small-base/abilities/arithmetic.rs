//! Sums and differences of numbers below a hundred.

use rand::Rng;

use crate::draw::{Draw, Random};
use crate::row::Row;

pub fn row(_: &Draw, random: &mut Random) -> Row {
    let most = if random.random_bool(0.5) { 9 } else { 49 };
    let (a, b) = (random.random_range(0..=most), random.random_range(0..=most));
    match random.random_bool(0.5) {
        true => Row::new("计算：", format!("{a}+{b}="), (a + b).to_string()),
        false => {
            let (larger, smaller) = (a.max(b), a.min(b));
            Row::new(
                "计算：",
                format!("{larger}-{smaller}="),
                (larger - smaller).to_string(),
            )
        }
    }
}
