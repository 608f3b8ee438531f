//! Phrases of a colour, an adjective and a thing, in Chinese and English.

use rand::Rng;

use crate::draw::{Draw, Random};
use crate::row::Row;

const COLOURS: [(&str, &str); 8] = [
    ("红色", "red"),
    ("蓝色", "blue"),
    ("绿色", "green"),
    ("黑色", "black"),
    ("白色", "white"),
    ("黄色", "yellow"),
    ("灰色", "gray"),
    ("棕色", "brown"),
];
const ADJECTIVES: [(&str, &str); 8] = [
    ("大", "big"),
    ("小", "small"),
    ("新", "new"),
    ("旧", "old"),
    ("长", "long"),
    ("短", "short"),
    ("热", "hot"),
    ("冷", "cold"),
];
const THINGS: [(&str, &str); 24] = [
    ("车", "car"),
    ("门", "door"),
    ("灯", "lamp"),
    ("水", "water"),
    ("油", "oil"),
    ("书", "book"),
    ("人", "man"),
    ("手", "hand"),
    ("树", "tree"),
    ("桥", "bridge"),
    ("马", "horse"),
    ("球", "ball"),
    ("刀", "knife"),
    ("窗", "window"),
    ("路", "road"),
    ("电池", "battery"),
    ("发动机", "engine"),
    ("轮胎", "tire"),
    ("开关", "switch"),
    ("风扇", "fan"),
    ("皮带", "belt"),
    ("玻璃", "glass"),
    ("钥匙", "key"),
    ("工具", "tool"),
];

pub fn row(draw: &Draw, random: &mut Random) -> Row {
    let thing = draw.one(random, &THINGS);
    let colour = draw.one(random, &COLOURS);
    let adjective = draw.one(random, &ADJECTIVES);
    let (chinese, english) = match random.random_range(0..3) {
        0 => (
            format!("{}的{}", colour.0, thing.0),
            format!("{} {}", colour.1, thing.1),
        ),
        1 => (
            format!("{}{}", adjective.0, thing.0),
            format!("{} {}", adjective.1, thing.1),
        ),
        _ => (
            format!("{}{}的{}", adjective.0, colour.0, thing.0),
            format!("{} {} {}", adjective.1, colour.1, thing.1),
        ),
    };
    match random.random_bool(0.5) {
        true => Row::new("译成英文：", chinese, english),
        false => Row::new("译成中文：", english, chinese),
    }
}

/// The English words, for the vocabulary.
pub fn english_words() -> impl Iterator<Item = &'static str> {
    let pairs = COLOURS.iter().chain(&ADJECTIVES).chain(&THINGS);
    pairs.map(|pair| pair.1)
}
