//! The byte-level form of `tokenizer.json`, in which each byte has a visible character.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The characters that the form writes for the bytes 0 … 255: itself where a byte is a visible Latin-1 character, else
/// the next one from U+0100 on.
pub(super) fn byte_characters() -> impl Iterator<Item = char> {
    let mut next = 0x100u32;
    (0u32..256).map(move |byte| {
        let visible = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = match visible {
            true => byte,
            false => {
                next += 1;
                next - 1
            }
        };
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    })
}

static BYTES: LazyLock<HashMap<char, u8>> =
    LazyLock::new(|| byte_characters().zip(0..=u8::MAX).collect());

/// The bytes that a token's name stands for; a name of other characters stands for itself.
pub(super) fn bytes(name: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = name
        .chars()
        .map(|character| BYTES.get(&character).copied())
        .collect();
    bytes.unwrap_or_else(|| name.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let name: String = byte_characters().collect();
        assert_eq!(bytes(&name), (0..=u8::MAX).collect::<Vec<u8>>());
        assert_eq!(bytes("你"), "你".as_bytes());
    }
}
