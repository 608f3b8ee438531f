//! Answering a question on a passage of several sentences.

use rand::Rng;

use crate::draw::{Draw, Random};
use crate::row::Row;

/// A sentence with two gaps, and the questions for the first and the second.
pub type Frame = (&'static str, &'static str, &'static str);

/// The sentences.
pub const FRAMES: [Frame; 20] = [
    ("{a}住在{b}", "谁住在{b}", "{a}住在哪里"),
    ("{a}买了{b}", "谁买了{b}", "{a}买了什么"),
    ("{a}喜欢{b}", "谁喜欢{b}", "{a}喜欢什么"),
    ("{a}的颜色是{b}", "什么的颜色是{b}", "{a}的颜色是什么"),
    ("{a}在{b}工作", "谁在{b}工作", "{a}在哪里工作"),
    ("{a}由{b}制成", "什么由{b}制成", "{a}由什么制成"),
    ("{a}坏了，是因为{b}", "什么因为{b}坏了", "{a}为什么坏了"),
    ("用{a}可以测量{b}", "用什么测量{b}", "用{a}测量什么"),
    ("{a}位于{b}旁边", "什么位于{b}旁边", "{a}位于什么旁边"),
    ("{a}负责{b}", "谁负责{b}", "{a}负责什么"),
    (
        "经过检查，{a}有{b}的现象",
        "什么有{b}的现象",
        "{a}有什么现象",
    ),
    ("{a}里面装着{b}", "什么里面装着{b}", "{a}里面装着什么"),
    ("师傅说{a}需要{b}", "什么需要{b}", "{a}需要什么"),
    ("{a}控制{b}的动作", "什么控制{b}的动作", "{a}控制什么的动作"),
    ("今天{a}去了{b}", "谁去了{b}", "{a}去了哪里"),
    ("{a}发出{b}的声音", "什么发出{b}的声音", "{a}发出什么声音"),
    ("我们把{a}换成了{b}", "把什么换成了{b}", "把{a}换成了什么"),
    ("{a}与{b}相连", "什么与{b}相连", "{a}与什么相连"),
    ("因为{b}，所以{a}停了", "什么因为{b}停了", "{a}为什么停了"),
    ("在{b}上安装着{a}", "什么安装在{b}上", "{a}安装在哪里"),
];

pub fn row(draw: &Draw, random: &mut Random) -> Row {
    let count = random.random_range(1..=3);
    let frames = draw.some(random, &FRAMES, count);
    let first = draw.names(random, count, 5);
    let second = draw.names(random, count, 5);
    let fill = |text: &str, index: usize| fill(text, &first[index], &second[index]);
    let sentences: Vec<String> = frames
        .iter()
        .enumerate()
        .map(|(index, frame)| fill(frame.0, index))
        .collect();
    let passage = sentences.join("。") + "。";
    let index = random.random_range(0..count);
    match random.random_range(0..3) {
        0 => {
            let both = format!("{}\n{}", first[index], second[index]);
            let ask = format!(
                "{}，{}？文本：",
                mask(frames[index].1),
                mask(frames[index].2)
            );
            Row::new(ask, passage, both)
        }
        1 => Row::new(
            fill(frames[index].1, index) + "？文本：",
            passage,
            first[index].clone(),
        ),
        _ => Row::new(
            "回答问题。",
            passage + &fill(frames[index].2, index) + "？",
            second[index].clone(),
        ),
    }
}

/// A sentence or a question with the names that its gaps stand for.
pub fn fill(text: &str, first: &str, second: &str) -> String {
    text.replace("{a}", first).replace("{b}", second)
}

/// The question with nothing known.
fn mask(question: &str) -> String {
    question.replace("{a}", "它").replace("{b}", "某处")
}
