//! Damage and lies: bytes of any file, and the parts of the formats whose lies could cost something.

mod bytes;
mod json;
pub mod protobuf;
pub mod safetensors;
mod torch;

use crate::random::Random;

/// The format of a file, which decides what can be lied about in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Bytes,
    Text,
    Json,
    /// A JSON value per line.
    Lines,
    Protobuf,
    Safetensors,
    /// A zip archive of `torch.save`, by its own records.
    Zip,
    /// The same, by the instructions of its pickle.
    Pickle,
}

/// Changes a file in one to three places; half of the times by its format.
pub fn mutate(contents: &[u8], format: Format, random: &mut Random) -> Vec<u8> {
    let mut contents = contents.to_vec();
    for _ in 0..1 + random.below(3) {
        contents = match random.one_in(3) {
            true => bytes::mutate(&contents, random),
            false => by_format(&contents, format, random),
        };
    }
    contents
}

fn by_format(contents: &[u8], format: Format, random: &mut Random) -> Vec<u8> {
    let changed = match format {
        Format::Bytes => None,
        Format::Text => Some(bytes::mutate_text(contents, random)),
        Format::Json => json::mutate(contents, random),
        Format::Lines => json::mutate_line(contents, random),
        Format::Protobuf => protobuf::mutate(contents, random),
        Format::Safetensors => safetensors::mutate(contents, random),
        Format::Zip => torch::mutate_zip(contents, random),
        Format::Pickle => torch::mutate_pickle(contents, random),
    };
    // What an earlier change has broken has no parts any more.
    changed.unwrap_or_else(|| bytes::mutate(contents, random))
}
