//! Whether saved tensors are those of a training: each of them there, in its type and shape, and no other.
//! Digests tell what was damaged since it was written; this tells what was never right.

use std::collections::BTreeMap;

use glmtune_model::checkpoint::{Checkpoint, DType, RawTensor};
use glmtune_model::parameters::ParameterInfo;
use rayon::prelude::*;

use crate::error::{Error, Result};

/// Faults that an error lists.
const LISTED: usize = 8;
/// Elements that one task looks at, at least.
const CHUNK: usize = 1 << 16;

/// Checks a file that has a tensor `<quantity>.<path>` for each parameter and each of some quantities, or one
/// of the parameter's own name if there are none.
///
/// # Errors
/// With the names of what is missing, odd or too much.
pub(super) fn check(
    file: &Checkpoint,
    parameters: &[ParameterInfo],
    quantities: &[&str],
) -> Result<()> {
    let mut expected: BTreeMap<String, &[usize]> = BTreeMap::new();
    for ParameterInfo { path, shape } in parameters {
        if quantities.is_empty() {
            expected.insert(path.clone(), shape);
        }
        for quantity in quantities {
            expected.insert(format!("{quantity}.{path}"), shape);
        }
    }
    let mut faults = Vec::new();
    for info in file.entries() {
        match expected.remove(&info.name) {
            None => faults.push(format!("`{}` is not part of this training", info.name)),
            Some(shape) if info.shape != shape => faults.push(format!(
                "`{}` has shape {:?}, must have {shape:?}",
                info.name, info.shape
            )),
            Some(_) if info.dtype != DType::F32 => {
                faults.push(format!("`{}` is {}, must be f32", info.name, info.dtype));
            }
            Some(_) => {}
        }
    }
    let missing = expected.keys().map(|name| format!("`{name}` is missing"));
    let faults: Vec<String> = missing.chain(faults).collect();
    match faults.is_empty() {
        true => Ok(()),
        false => Err(fault(file, &list(&faults))),
    }
}

/// Reads a float32 tensor whose values must all be numbers, and none below a limit.
///
/// # Errors
/// With the tensor's name, if there is another value, or if it cannot be read.
pub(crate) fn read(file: &Checkpoint, name: &str, least: f32) -> Result<RawTensor> {
    let raw = file.read(name)?;
    let (values, _) = raw.bytes.as_chunks::<4>();
    let odd = values.par_iter().with_min_len(CHUNK).find_any(|bytes| {
        let value = f32::from_le_bytes(**bytes);
        !(value.is_finite() && value >= least)
    });
    match odd {
        None => Ok(raw),
        Some(bytes) => {
            let value = f32::from_le_bytes(*bytes);
            Err(fault(file, &format!("`{name}` holds a {value}")))
        }
    }
}

fn fault(file: &Checkpoint, what: &str) -> Error {
    Error::Request(format!(
        "{}: no state of this training: {what}",
        file.path().display()
    ))
}

fn list(faults: &[String]) -> String {
    let shown = &faults[..faults.len().min(LISTED)];
    let more = match faults.len() - shown.len() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::fs;

    use glmtune_model::checkpoint::{TensorFile, TensorInfo};

    use super::*;

    fn parameters() -> Vec<ParameterInfo> {
        let parameter = |path: &str, shape: &[usize]| ParameterInfo {
            path: path.to_string(),
            shape: shape.to_vec(),
        };
        vec![parameter("a.weight", &[2, 3]), parameter("b.bias", &[4])]
    }

    /// A file of tensors, each filled with a value.
    fn file(tensors: &[(&str, DType, &[usize], f32)]) -> (tempfile::TempDir, Checkpoint) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let infos = tensors
            .iter()
            .map(|(name, dtype, shape, _)| TensorInfo::new(*name, *dtype, *shape));
        let infos: Vec<TensorInfo> = infos.collect();
        let mut file = TensorFile::create(&path, infos.clone()).unwrap();
        for (info, tensor) in infos.iter().zip(tensors) {
            let mut bytes = tensor.3.to_le_bytes().repeat(info.elements());
            bytes.truncate(info.bytes());
            file.write(&info.name, &bytes).unwrap();
        }
        file.commit().unwrap();
        (folder, Checkpoint::open_file(&path).unwrap())
    }

    #[test]
    fn what_is_missing_odd_or_too_much_is_named() {
        let whole = [
            ("a.weight", DType::F32, &[2, 3][..], 0.5),
            ("b.bias", DType::F32, &[4][..], 0.5),
        ];
        let (_folder, found) = file(&whole);
        check(&found, &parameters(), &[]).unwrap();
        let odd: [(&[_], &str); 5] = [
            (&whole[..1], "`b.bias` is missing"),
            (&[], "`a.weight` is missing, `b.bias` is missing"),
            (
                &[whole[0], whole[1], ("c", DType::F32, &[1], 0.0)],
                "`c` is not part",
            ),
            (
                &[whole[0], ("b.bias", DType::F32, &[2, 2], 0.0)],
                "`b.bias` has shape [2, 2], must have [4]",
            ),
            (
                &[whole[0], ("b.bias", DType::F16, &[4], 0.0)],
                "`b.bias` is f16, must be f32",
            ),
        ];
        for (tensors, expected) in odd {
            let (_folder, found) = file(tensors);
            let error = check(&found, &parameters(), &[]).expect_err(expected);
            assert!(error.is_request());
            assert!(error.to_string().contains(expected), "{error}");
        }
        let (_folder, found) = file(&whole);
        let error = check(&found, &parameters(), &["exp_avg"]).expect_err("no moments");
        assert!(error.to_string().contains("`exp_avg.a.weight` is missing"));
    }

    #[test]
    fn values_that_are_not_numbers_are_named() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0] {
            let (_folder, found) = file(&[("b.bias", DType::F32, &[4], value)]);
            let error = read(&found, "b.bias", 0.0).expect_err("refused");
            assert!(error.to_string().contains("`b.bias` holds a"), "{error}");
        }
        let (_folder, found) = file(&[("b.bias", DType::F32, &[4], -1.0)]);
        assert!(read(&found, "b.bias", f32::MIN).is_ok());
    }

    /// A header with one bit changed, whatever digest vouches for it, is refused or says the same.
    #[test]
    fn every_flipped_bit_of_a_header_is_refused_or_harmless() {
        let (folder, _) = file(&[
            ("a.weight", DType::F32, &[2, 3], 0.5),
            ("b.bias", DType::F32, &[4], 0.5),
        ]);
        let path = folder.path().join("x.safetensors");
        let whole = fs::read(&path).unwrap();
        let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        for bit in 0..8 * (8 + header) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bytes).unwrap();
            let Ok(found) = Checkpoint::open_file(&path) else {
                continue;
            };
            if check(&found, &parameters(), &[]).is_err() {
                continue;
            }
            for name in ["a.weight", "b.bias"] {
                let raw = read(&found, name, f32::MIN).expect("the same");
                assert!(
                    raw.bytes
                        .chunks(4)
                        .all(|value| value == 0.5f32.to_le_bytes())
                );
            }
        }
    }
}
