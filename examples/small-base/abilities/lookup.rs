//! The value that a table has for a key.

use rand::Rng;

use crate::draw::{Draw, Random};
use crate::row::Row;

pub fn row(draw: &Draw, random: &mut Random) -> Row {
    let count = random.random_range(2..=5);
    let keys = draw.names(random, count, 3);
    let values = draw.names(random, count, 4);
    let sign = draw.one(random, &["=", "→", "是", "："]);
    let entries = keys.iter().zip(&values);
    let entries: Vec<String> = entries
        .map(|(key, value)| format!("{key}{sign}{value}"))
        .collect();
    let index = random.random_range(0..count);
    let table = entries.join("，");
    match random.random_bool(0.5) {
        true => Row::new(
            "查表：",
            format!("{table}。{}？", keys[index]),
            values[index].clone(),
        ),
        false => Row::new(
            format!("查{}的值：", keys[index]),
            table,
            values[index].clone(),
        ),
    }
}
