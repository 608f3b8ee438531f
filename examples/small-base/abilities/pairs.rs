//! Both names of every sentence of a passage, a line each.

use rand::Rng;

use super::passage::{FRAMES, fill};
use crate::draw::{Draw, Random};
use crate::row::Row;

const SIGNS: [&str; 6] = ["/", "→", "：", "=", "，", " "];
const SEPARATORS: [&str; 4] = ["。", "，", "；", "，而且"];

pub fn row(draw: &Draw, random: &mut Random) -> Row {
    let count = random.random_range(1..=3);
    let frames = draw.some(random, &FRAMES, count);
    let first = draw.names(random, count, 6);
    let second = draw.names(random, count, 6);
    let sign = draw.one(random, &SIGNS);
    let turned = random.random_bool(0.3);
    let names = || first.iter().zip(&second);
    let sentences: Vec<String> = frames
        .iter()
        .zip(names())
        .map(|(frame, (first, second))| fill(frame.0, first, second))
        .collect();
    let answers: Vec<String> = names()
        .map(|(first, second)| match turned {
            true => format!("{second}{sign}{first}"),
            false => format!("{first}{sign}{second}"),
        })
        .collect();
    let passage = sentences.join(draw.one(random, &SEPARATORS)) + "。";
    let order = if turned { "倒着" } else { "" };
    let ask = format!("每句的两个名称{order}用“{sign}”连接，每行一对。文本：");
    Row::new(ask, passage, answers.join("\n"))
}
