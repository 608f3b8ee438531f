//! The header of a `.safetensors` file.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::path::Path;

use ::safetensors::tensor::{Dtype, Metadata, TensorInfo as Header};
use serde::de::{Deserializer as _, MapAccess, Visitor};

use super::dtype::DType;
use super::tensor::{Contents, Slot, TensorInfo};
use crate::error::{Error, Result};
use crate::files::read_at;

/// Largest header that is read, as in the format's reference implementation.
const MAX_HEADER: u64 = 100_000_000;

/// Reads the header of a file of `len` bytes and checks it against the file.
pub(crate) fn contents(file: &File, len: u64, path: &Path) -> Result<Contents> {
    let malformed = |detail: String| Error::malformed(path, detail);
    let mut prefix = [0; 8];
    if len < prefix.len() as u64 {
        return Err(malformed(format!(
            "{len} bytes; a safetensors file has at least 8"
        )));
    }
    read_at(file, 0, &mut prefix).map_err(|error| Error::io(path, error))?;
    let header_len = u64::from_le_bytes(prefix);
    if header_len > MAX_HEADER.min(len - 8) {
        return Err(malformed(format!(
            "the header claims {header_len} bytes, but the file has {len} and a header at most {MAX_HEADER}; \
             the file may be truncated, or no safetensors file"
        )));
    }
    let mut json = vec![0; header_len as usize];
    read_at(file, 8, &mut json).map_err(|error| Error::io(path, error))?;
    let mut tensors = entries(&json).map_err(|error| malformed(format!("the header: {error}")))?;
    tensors.sort_by_key(|(_, header)| header.data_offsets);
    // Offsets without gaps or overlaps, shapes without overflow, and lengths that are shape × type.
    let metadata = Metadata::new(None, tensors.clone())
        .map_err(|error| malformed(format!("the header: {error}")))?;
    let data_start = 8 + header_len;
    let data_len = len - data_start;
    if metadata.data_len() as u64 != data_len {
        let claimed = metadata.data_len();
        return Err(malformed(format!(
            "the header describes {claimed} bytes of tensors, the file holds {data_len}; it may be truncated"
        )));
    }
    let mut contents = Contents::default();
    for (name, header) in tensors {
        let Some(dtype) = dtype(header.dtype) else {
            return Err(malformed(format!(
                "tensor `{name}`: type {:?} cannot be read",
                header.dtype
            )));
        };
        contents.slots.push(Slot {
            start: data_start + header.data_offsets.0 as u64,
            info: TensorInfo::new(name, dtype, header.shape),
            strides: None,
        });
    }
    Ok(contents)
}

/// The tensors of a header, in its order. (The crate's own reader keeps one of two equal names.)
fn entries(json: &[u8]) -> serde_json::Result<Vec<(String, Header)>> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let tensors = reader.deserialize_map(Entries)?;
    reader.end()?;
    Ok(tensors)
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<(String, Header)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut tensors = Vec::new();
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(serde::de::Error::custom(format!("two entries `{name}`")));
            }
            if name == "__metadata__" {
                map.next_value::<Option<HashMap<String, String>>>()?;
            } else {
                let header = map.next_value::<Header>().map_err(|error| {
                    serde::de::Error::custom(format!("tensor `{name}`: {error}"))
                })?;
                tensors.push((name, header));
            }
        }
        Ok(tensors)
    }
}

fn dtype(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool,
        _ => return None,
    })
}

/// The name of a type in a header.
pub(crate) fn header_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "F64",
        DType::F32 => "F32",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::I64 => "I64",
        DType::I32 => "I32",
        DType::I16 => "I16",
        DType::I8 => "I8",
        DType::U8 => "U8",
        DType::Bool => "BOOL",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::source::WeightFile;
    use super::*;
    use proptest::prelude::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn open(bytes: &[u8]) -> Result<WeightFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, bytes).unwrap();
        WeightFile::open(&path)
    }

    fn message(bytes: &[u8]) -> String {
        open(bytes).expect_err("must be refused").to_string()
    }

    const GOOD: &str = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;

    #[test]
    fn tensors_are_found() {
        let file = open(&file(GOOD, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])).unwrap();
        let slots = &file.contents.slots;
        assert_eq!(slots[0].info, TensorInfo::new("a", DType::F32, [1, 2]));
        assert_eq!(file.read(&slots[1]).unwrap().bytes, [9, 10, 11, 12]);
    }

    #[test]
    fn faults_are_named() {
        let tensor = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        let max = u64::MAX;
        for (bytes, part) in [
            (file(GOOD, &[0; 11]), "may be truncated"),
            (file(GOOD, &[0; 13]), "the file holds 13"),
            (u64::MAX.to_le_bytes().to_vec(), "the header claims"),
            (
                [&90_000_000u64.to_le_bytes()[..], b"{}"].concat(),
                "the header claims",
            ),
            (vec![0; 5], "at least 8"),
            (file("[]", &[]), "object of tensors"),
            (file("{} x", &[]), "trailing"),
            (file(&tensor("F32", "[2]", "[0,4]"), &[0; 4]), "header"),
            (file(&tensor("F32", "[1]", "[4,8]"), &[0; 8]), "`w`"),
            (file(&tensor("F32", "[1]", "[8,4]"), &[0; 8]), "`w`"),
            (
                file(&tensor("F32", &format!("[{max},{max}]"), "[0,4]"), &[0; 4]),
                "header",
            ),
            (file(&tensor("F32", "[-1]", "[0,4]"), &[0; 4]), "`w`"),
            (file(&tensor("F99", "[1]", "[0,4]"), &[0; 4]), "`w`"),
            (
                file(&tensor("C64", "[1]", "[0,8]"), &[0; 8]),
                "type C64 cannot be read",
            ),
            (
                file(
                    r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
                    &[0],
                ),
                "two entries `w`",
            ),
            (
                file(
                    r#"{"v":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"w":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
                    &[0; 3],
                ),
                "`w`",
            ),
        ] {
            let message = message(&bytes);
            assert!(message.contains(part), "{message:?} lacks {part:?}");
            assert!(message.contains("model.safetensors"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn random_files_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = open(&bytes);
        }

        #[test]
        fn random_headers_never_panic(header in r#"[{}\[\]":,0-9adtypeshF]{0,80}"#, data in 0..40usize) {
            let _ = open(&file(&header, &vec![0; data]));
        }

        #[test]
        fn damaged_files_never_panic(at in any::<prop::sample::Index>(), byte: u8, cut in 0..40usize) {
            let mut bytes = file(GOOD, &[0; 12]);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(bytes.len() - cut);
            if let Ok(file) = open(&bytes) {
                for slot in &file.contents.slots {
                    prop_assert!(file.read(slot).unwrap().bytes.len() <= 12);
                }
            }
        }
    }
}
