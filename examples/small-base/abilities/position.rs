//! The first, the last, the next one; and the order turned round.

use rand::Rng;

use crate::draw::{Draw, Random};
use crate::row::Row;

pub fn row(draw: &Draw, random: &mut Random) -> Row {
    let count = random.random_range(3..=5);
    let names = draw.names(random, count, 3);
    let text = names.join("，");
    match random.random_range(0..5) {
        0 => Row::new("第一个是什么？", text, names[0].clone()),
        1 => Row::new("最后一个是什么？", text, names[count - 1].clone()),
        2 => {
            let index = random.random_range(1..count);
            Row::new(
                format!("{}后面是什么？", names[index - 1]),
                text,
                names[index].clone(),
            )
        }
        3 => {
            let index = random.random_range(1..count);
            Row::new(
                format!("{}前面是什么？", names[index]),
                text,
                names[index - 1].clone(),
            )
        }
        _ => {
            let reversed: Vec<&str> = names.iter().rev().map(String::as_str).collect();
            Row::new("倒过来：", text, reversed.join("，"))
        }
    }
}
