//! The records of a zip archive, and the instructions of the pickle in it.

use crate::corpus::torch::{archive, entries};
use crate::random::Random;

/// Offsets and widths of the fields of a record.
type Fields = &'static [(usize, usize)];

const CENTRAL: (&[u8], Fields) = (
    b"PK\x01\x02",
    &[
        (8, 2),
        (10, 2),
        (20, 4),
        (24, 4),
        (28, 2),
        (30, 2),
        (32, 2),
        (42, 4),
    ],
);
const LOCAL: (&[u8], Fields) = (
    b"PK\x03\x04",
    &[(6, 2), (8, 2), (18, 4), (22, 4), (26, 2), (28, 2)],
);
const END: (&[u8], Fields) = (
    b"PK\x05\x06",
    &[(4, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)],
);

/// Another number in a field of a record.
pub fn mutate_zip(contents: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let (magic, fields) = *random.of(&[CENTRAL, CENTRAL, LOCAL, END]);
    let places: Vec<usize> = contents
        .windows(magic.len())
        .enumerate()
        .filter_map(|(at, window)| (window == magic).then_some(at))
        .collect();
    let at = *places.get(random.below(places.len()))?;
    let &(offset, width) = random.of(fields);
    let mut bytes = contents.to_vec();
    let field = bytes.get_mut(at + offset..at + offset + width)?;
    let mut old = [0; 8];
    old[..width].copy_from_slice(field);
    let old = u64::from_le_bytes(old);
    let new = match random.below(4) {
        0 => u64::MAX,
        1 => old.wrapping_add(random.below(64) as u64),
        2 => old.wrapping_sub(random.below(64) as u64),
        _ => random.number(),
    };
    field.copy_from_slice(&new.to_le_bytes()[..width]);
    Some(bytes)
}

/// Instructions that stand alone, and some with their operands.
const POOL: [&[u8]; 30] = [
    b"(",
    b".",
    b"0",
    b"1",
    b"2",
    b"N",
    b")",
    b"t",
    b"]",
    b"l",
    b"}",
    b"d",
    b"a",
    b"e",
    b"s",
    b"u",
    b"R",
    b"b",
    b"Q",
    b"\x85",
    b"\x86",
    b"\x87",
    b"\x94",
    b"h\0",
    b"j\xff\xff\xff\xff",
    b"K\0",
    b"X\x01\0\0\0a",
    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"ccollections\nOrderedDict\n",
    b"cos\nsystem\n",
];

/// Another instruction or operand, the archive being right around it.
pub fn mutate_pickle(contents: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut entries = entries(contents)?;
    let (_, pickle) = entries
        .iter_mut()
        .find(|(name, _)| name.ends_with("data.pkl"))?;
    let mut steps = instructions(pickle)?;
    let at = random.below(steps.len());
    match random.below(7) {
        0 => {
            steps.remove(at);
        }
        1 => {
            let step = steps[at].clone();
            steps.insert(random.below(steps.len()), step);
        }
        2 => {
            let to = random.below(steps.len());
            steps.swap(at, to);
        }
        3 => steps.insert(at, random.of(&POOL).to_vec()),
        4 => {
            let end = (at + random.below(30)).min(steps.len());
            let piece = steps[at..end].to_vec();
            steps.splice(at..at, piece);
        }
        _ => change_operand(&mut steps, random),
    }
    *pickle = steps.concat();
    let entries: Vec<_> = entries
        .iter()
        .map(|(name, data)| (name.as_str(), data.as_slice()))
        .collect();
    Some(archive(&entries))
}

/// Another number, as sizes, strides, offsets, lengths and the memo's places are.
fn change_operand(steps: &mut [Vec<u8>], random: &mut Random) {
    let numbers: Vec<usize> = (0..steps.len())
        .filter(|&index| matches!(steps[index][0], b'K' | b'M' | b'J' | 0x8a | b'q' | b'h'))
        .collect();
    if numbers.is_empty() {
        return;
    }
    let step = &mut steps[*random.of(&numbers)];
    if matches!(step[0], b'q' | b'h') {
        step[1] = random.bits() as u8;
        return;
    }
    let small = random.below(20) as u64;
    let number = if random.one_in(2) {
        small
    } else {
        random.number()
    };
    *step = [&[0x8a, 8][..], &number.to_le_bytes()].concat();
}

/// A pickle cut into its instructions.
fn instructions(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut steps = Vec::new();
    while let Some(&code) = bytes.first() {
        let number = |from: usize, width: usize| {
            let mut wide = [0; 8];
            wide[..width].copy_from_slice(bytes.get(from..from + width)?);
            usize::try_from(u64::from_le_bytes(wide)).ok()
        };
        let len = match code {
            0x80 | b'K' | b'q' | b'h' => 2,
            b'M' => 3,
            b'J' | b'j' | b'r' => 5,
            b'G' | 0x95 => 9,
            0x8a | 0x8c | b'U' | b'C' => 2 + number(1, 1)?,
            b'X' | b'T' | b'B' | 0x8b => 5 + number(1, 4)?,
            0x8d | 0x8e | 0x96 => 9usize.checked_add(number(1, 8)?)?,
            b'c' => {
                let mut lines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
                1 + lines.nth(1)?.0
            }
            _ => 1,
        };
        let (step, rest) = bytes.split_at_checked(len)?;
        steps.push(step.to_vec());
        bytes = rest;
    }
    (!steps.is_empty()).then_some(steps)
}
