//! Taking the marked parts out of a text: after a label, between brackets, before or after a word.

use rand::Rng;

use crate::draw::{Draw, Random};
use crate::row::Row;

const LABELS: [&str; 16] = [
    "部件", "工具", "现象", "原因", "车型", "地点", "时间", "姓名", "结果", "颜色", "编号", "系统",
    "方法", "名称", "数值", "单位",
];
const BRACKETS: [(&str, &str); 4] = [("“", "”"), ("【", "】"), ("（", "）"), ("《", "》")];
const WORDS: [&str; 14] = [
    "发现", "出现", "属于", "包括", "使用", "由于", "导致", "采用", "需要", "更换", "检查", "位于",
    "产生", "带有",
];

pub fn row(draw: &Draw, random: &mut Random) -> Row {
    match random.random_range(0..5) {
        0 => labelled(draw, random),
        1 => pair(draw, random),
        2 => bracketed(draw, random),
        3 => listed(draw, random),
        _ => around(draw, random),
    }
}

fn fields(draw: &Draw, random: &mut Random) -> (Vec<&'static str>, Vec<String>, String) {
    let count = random.random_range(2..=4);
    let labels = draw.some(random, &LABELS, count);
    let values = draw.names(random, count, 6);
    let fields = labels.iter().zip(&values);
    let fields: Vec<String> = fields
        .map(|(label, value)| format!("{label}：{value}"))
        .collect();
    let separator = draw.one(random, &["，", "；", "\n", "。"]);
    (labels, values, fields.join(separator))
}

fn labelled(draw: &Draw, random: &mut Random) -> Row {
    let (labels, values, text) = fields(draw, random);
    let index = random.random_range(0..labels.len());
    let ask = format!("取出“{}”的内容。文本：", labels[index]);
    Row::new(ask, text, values[index].clone())
}

fn pair(draw: &Draw, random: &mut Random) -> Row {
    let (labels, values, text) = fields(draw, random);
    let all: Vec<usize> = (0..labels.len()).collect();
    let chosen = draw.some(random, &all, 2);
    let ask = format!(
        "取出“{}”和“{}”的内容，用“/”连接。文本：",
        labels[chosen[0]], labels[chosen[1]]
    );
    let answer = format!("{}/{}", values[chosen[0]], values[chosen[1]]);
    Row::new(ask, text, answer)
}

fn bracketed(draw: &Draw, random: &mut Random) -> Row {
    let (open, close) = draw.one(random, &BRACKETS);
    let count = random.random_range(1..=3);
    let inside = draw.names(random, count, 5);
    let mut text = String::new();
    for name in &inside {
        let before = random.random_range(1..=5);
        text += &draw.chinese(random, before);
        text += &format!("{open}{name}{close}");
    }
    let after = random.random_range(0..=4);
    text += &draw.chinese(random, after);
    let ask = format!("列出{open}{close}中的内容，每行一个。文本：");
    Row::new(ask, text, inside.join("\n"))
}

fn listed(draw: &Draw, random: &mut Random) -> Row {
    let count = random.random_range(2..=4);
    let names = draw.names(random, count, 5);
    let separator = draw.one(random, &["、", "，", "和", "；"]);
    let ask = "拆开，每行一个。文本：";
    Row::new(ask, names.join(separator), names.join("\n"))
}

fn around(draw: &Draw, random: &mut Random) -> Row {
    let word = draw.one(random, &WORDS);
    let names = draw.names(random, 3, 6);
    let [before, after, rest] = &names[..] else {
        return listed(draw, random);
    };
    let (side, answer) = match random.random_range(0..3) {
        0 => ("前面", before.clone()),
        1 => ("后面", after.clone()),
        _ => ("前面和后面", format!("{before}/{after}")),
    };
    let text = match random.random_bool(0.5) {
        true => format!("{before}{word}{after}，{rest}"),
        false => format!("{rest}，{before}{word}{after}"),
    };
    let ask = format!("取出“{word}”{side}的内容。文本：");
    Row::new(ask, text, answer)
}
