//! The header of a `.safetensors` file and its length.

use serde_json::Value;

use super::json;
use crate::random::Random;

pub fn mutate(contents: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let (header, data) = split(contents)?;
    let mut value: Value = serde_json::from_slice(header).ok()?;
    if random.one_in(6) {
        // The right header behind a wrong length.
        let len = match random.one_in(2) {
            true => random.number(),
            false => (header.len() as u64)
                .wrapping_add(random.below(9) as u64)
                .wrapping_sub(4),
        };
        return Some([&len.to_le_bytes()[..], header, data].concat());
    }
    json::change(&mut value, random);
    let header = value.to_string();
    let len = (header.len() as u64).to_le_bytes();
    Some([&len[..], header.as_bytes(), data].concat())
}

/// Header and data.
pub fn split(contents: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = contents.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)
}
