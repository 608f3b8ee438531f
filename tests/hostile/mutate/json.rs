//! Values, keys and shapes of JSON.

use serde_json::{Map, Value, json};

use crate::random::Random;

/// A file of one value.
pub fn mutate(contents: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(contents).ok()?;
    change(&mut value, random);
    let mut text = value.to_string();
    match random.below(20) {
        0 => text = text.replacen('{', "{\"a\": 1, \"a\": 2, ", 1),
        1 => text = format!("{}{text}", "[".repeat(200)),
        2 => text = format!("\u{feff}{text}"),
        3 => text = text.replacen(": ", ": NaN, \"x\": ", 1),
        _ => {}
    }
    Some(text.into_bytes())
}

/// A file of a value per line.
pub fn mutate_line(contents: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = contents
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let at = random.below(lines.len());
    lines[at] = mutate(&lines[at], random)?;
    Some(lines.join(&b'\n'))
}

/// Changes one node somewhere below a value.
pub fn change(value: &mut Value, random: &mut Random) {
    let descend = !random.one_in(6);
    match value {
        Value::Object(map) if descend && !map.is_empty() => change_object(map, random),
        Value::Array(list) if descend && !list.is_empty() => {
            let at = random.below(list.len());
            match random.below(8) {
                0 => {
                    list.remove(at);
                }
                1 => list.push(list[at].clone()),
                2 => {
                    let to = random.below(list.len());
                    list.swap(at, to);
                }
                3 if list.len() < 1000 => {
                    list.resize(list.len() * (1 + random.below(50)), list[at].clone())
                }
                _ => change(&mut list[at], random),
            }
        }
        other => *other = another(other, random),
    }
}

fn change_object(map: &mut Map<String, Value>, random: &mut Random) {
    let keys: Vec<String> = map.keys().cloned().collect();
    let key = random.of(&keys).clone();
    match random.below(8) {
        0 => {
            map.shift_remove(&key);
        }
        1 => {
            let value = map.shift_remove(&key).unwrap_or_default();
            map.insert(text(random), value);
        }
        2 => {
            let other = random.of(&keys).clone();
            let value = map[&other].clone();
            map.insert(key, value);
        }
        3 => {
            map.insert(text(random), another(&Value::Null, random));
        }
        _ => {
            if let Some(value) = map.get_mut(&key) {
                change(value, random);
            }
        }
    }
}

fn text(random: &mut Random) -> String {
    const TEXTS: [&str; 16] = [
        "",
        "a",
        "\u{1b}[31m",
        "a\nb",
        "\u{202e}",
        "../x",
        "/etc/passwd",
        "\0",
        "(a+)+$",
        "(?=x)",
        "((a{100}){100}){100}",
        "<|user|>",
        "[gMASK]",
        ".",
        "你好",
        "lora_A",
    ];
    let text = *random.of(&TEXTS);
    match random.one_in(8) {
        true => text.repeat(1 << random.below(12)),
        false => text.to_string(),
    }
}

fn another(value: &Value, random: &mut Random) -> Value {
    // Often of the same kind: another kind is refused early.
    if random.one_in(2) {
        match value {
            Value::Bool(flag) => return json!(!flag),
            Value::Number(number) => {
                let old = number.as_u64().unwrap_or(1);
                return match random.below(8) {
                    0 => json!(old.saturating_add(1)),
                    1 => json!(old.saturating_sub(1)),
                    2 => json!(old.saturating_mul(2)),
                    3 => json!(-1),
                    4 => json!(old as f64 + 0.5),
                    _ => json!(random.number()),
                };
            }
            Value::String(_) => return json!(text(random)),
            _ => {}
        }
    }
    match random.below(12) {
        0 => Value::Null,
        1 => json!(random.one_in(2)),
        2 => json!(random.number()),
        3 => json!(-(random.number() as i64 >> 1)),
        4 => json!(*random.of(&[1e308, -1e308, 5e-324, 0.0, -0.0, 1e-40, 3.5e38])),
        5 => json!([]),
        6 => json!({}),
        7 => json!([random.number(), random.number()]),
        8 => (0..random.below(110)).fold(json!(1), |inner, _| json!([inner])),
        9 => json!({ text(random): random.number() }),
        _ => json!(text(random)),
    }
}
