//! Saying the same again.

use rand::Rng;

use crate::draw::{Draw, Random};
use crate::row::Row;

const ASKS: [&str; 4] = ["复述：", "照抄下面的内容：", "重复一遍：", "copy: "];

pub fn row(draw: &Draw, random: &mut Random) -> Row {
    let text = match random.random_range(0..4) {
        0 => {
            let length = random.random_range(3..=10);
            draw.code(random, length)
        }
        1 => draw.names(random, 3, 4).join("，"),
        _ => {
            let length = random.random_range(3..=14);
            draw.chinese(random, length)
        }
    };
    Row::new(draw.one(random, &ASKS), text.clone(), text)
}
