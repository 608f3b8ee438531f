//! Text that says things again: all but the first time can be foreseen by looking back. It teaches a model to copy
//! sooner than any question does.

use rand::Rng;

use crate::draw::{Draw, Random};

/// Characters of a text that says a short one several times.
const LONGEST: usize = 48;

/// A text, and where in it the repetition begins, in bytes.
pub fn text(draw: &Draw, random: &mut Random) -> (String, usize) {
    match random.random_bool(0.5) {
        true => segment(draw, random),
        false => names(draw, random),
    }
}

/// A text of random characters, again and again. Short ones are frequent: they are what copying begins with.
fn segment(draw: &Draw, random: &mut Random) -> (String, usize) {
    let length = 2 + (random.random::<f64>().powi(2) * 22.0) as usize;
    let once = match random.random_range(0..4) {
        0 => draw.code(random, length),
        1 => draw.words(random, length.div_ceil(2)),
        _ => draw.chinese(random, length),
    };
    let times = (LONGEST / length).clamp(2, 8);
    (once.repeat(times), once.len())
}

/// Some names, and then the same ones in any order.
fn names(draw: &Draw, random: &mut Random) -> (String, usize) {
    let count = random.random_range(2..=6);
    let names = draw.names(random, count, 5);
    let separator = draw.one(random, &["，", "、", "\n", "。", "_", "/", "：", " "]);
    let again = random.random_range(count..=2 * count);
    let again: Vec<&str> = (0..again)
        .map(|_| names[random.random_range(0..count)].as_str())
        .collect();
    let first = names.join(separator) + separator;
    let begin = first.len();
    (first + &again.join(separator), begin)
}
