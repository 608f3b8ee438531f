//! Whether a text has a word in it.

use rand::Rng;

use crate::draw::{Draw, Random};
use crate::row::Row;

pub fn row(draw: &Draw, random: &mut Random) -> Row {
    let count = random.random_range(2..=5);
    let names = draw.names(random, count + 1, 4);
    let (absent, present) = (&names[count], &names[..count]);
    let text = present.join("、");
    match random.random_bool(0.5) {
        true => {
            let word = &present[random.random_range(0..count)];
            Row::new(format!("有没有{word}？文本："), text, "有")
        }
        false => Row::new(format!("有没有{absent}？文本："), text, "没有"),
    }
}
