//! Changes that need to know nothing of a format.

use crate::random::Random;

pub fn mutate(contents: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = contents.to_vec();
    let at = random.below(bytes.len());
    match random.below(9) {
        0 => bytes.truncate(at),
        1 => bytes.extend(
            (0..random.below(64))
                .map(|_| random.bits() as u8)
                .collect::<Vec<_>>(),
        ),
        2 => bytes.clear(),
        3 => {
            let end = (at + 1 + random.below(40)).min(bytes.len());
            let piece = bytes[at.min(end)..end].to_vec();
            let to = random.below(bytes.len());
            bytes.splice(to..to, piece.repeat(1 + random.below(4)));
        }
        4 => {
            let end = (at + random.below(40)).min(bytes.len());
            bytes.drain(at.min(end)..end);
        }
        5 => {
            let number = random.number().to_le_bytes();
            let width = *random.of(&[1, 2, 4, 8]);
            for (byte, new) in bytes.iter_mut().skip(at).zip(&number[..width]) {
                *byte = *new;
            }
        }
        6 => {
            let new = [random.bits() as u8];
            bytes.splice(at..at, new);
        }
        _ => {
            for _ in 0..1 + random.below(4) {
                let at = random.below(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    bytes
}

/// Pieces that parsers of text trip over.
const PIECES: [&str; 18] = [
    "\u{feff}",
    "\0",
    "\x1b[2J",
    "\r\n",
    "\u{202e}",
    "\u{9b}",
    "{",
    "[",
    "\"",
    "'''",
    "= ",
    "1e999",
    "-",
    "99999999999999999999",
    "nan",
    "inf",
    "🦀",
    "\\u0000",
];

pub fn mutate_text(contents: &[u8], random: &mut Random) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = contents
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let at = random.below(lines.len());
    match random.below(5) {
        0 => {
            lines.remove(at);
        }
        1 => {
            let line = lines[at].clone();
            let to = random.below(lines.len());
            lines.insert(to, line);
        }
        2 => {
            let piece = random.of(&PIECES).repeat(1 << random.below(12));
            let line = &mut lines[at];
            let to = random.below(line.len());
            line.splice(to..to, piece.into_bytes());
        }
        3 => {
            // A number becomes another.
            let line = &mut lines[at];
            if let Some(start) = line.iter().position(u8::is_ascii_digit) {
                let len = line[start..]
                    .iter()
                    .take_while(|byte| byte.is_ascii_digit())
                    .count();
                let number = random.number().to_string();
                line.splice(start..start + len, number.into_bytes());
            }
        }
        _ => {
            let to = random.below(lines.len());
            lines.swap(at, to);
        }
    }
    lines.join(&b'\n')
}
