//! Writing weights as `torch.save` does: a zip archive of a pickle and raw numbers.

use std::io::{self, BufWriter};
use std::path::Path;

use super::atomic::AtomicFile;
use super::dtype::DType;
use super::tensor::TensorInfo;
use super::zip_writer::ZipWriter;
use crate::error::{Error, Result};

/// Folder of the archive, as PyTorch names it where it knows no file name.
const FOLDER: &str = "archive";

/// Writes a state dict that `torch.load` reads, also with `weights_only`, all or nothing. The order of the
/// tensors is kept.
///
/// # Errors
///
/// [`Error::Request`] if a tensor has a type that PyTorch lacks or its bytes do not match its shape;
/// [`Error::Io`] if the disk refuses.
pub fn write_torch(path: &Path, tensors: &[(TensorInfo, &[u8])]) -> Result<()> {
    let pickle = pickle(tensors)?;
    let file = BufWriter::new(AtomicFile::create(path)?);
    let file = fill(ZipWriter::new(file), &pickle, tensors)
        .and_then(|file| file.into_inner().map_err(io::IntoInnerError::into_error));
    file.map_err(|error| Error::io(path, error))?.commit()
}

fn fill<W: io::Write>(
    mut zip: ZipWriter<W>,
    pickle: &[u8],
    tensors: &[(TensorInfo, &[u8])],
) -> io::Result<W> {
    let mut entry = |name: &str, bytes: &[u8]| zip.entry(&format!("{FOLDER}/{name}"), bytes);
    entry("data.pkl", pickle)?;
    entry("byteorder", b"little")?;
    for (index, (_, bytes)) in tensors.iter().enumerate() {
        entry(&format!("data/{index}"), bytes)?;
    }
    entry("version", b"3\n")?;
    zip.finish()
}

/// Opcodes of pickle's second protocol.
mod opcode {
    pub const PROTOCOL: [u8; 2] = [0x80, 2];
    pub const STOP: u8 = b'.';
    pub const MARK: u8 = b'(';
    pub const TUPLE: u8 = b't';
    pub const EMPTY_TUPLE: u8 = b')';
    pub const REDUCE: u8 = b'R';
    pub const SET_ITEMS: u8 = b'u';
    pub const PERSISTENT_ID: u8 = b'Q';
    pub const FALSE: u8 = 0x89;
    pub const GLOBAL: u8 = b'c';
    pub const TEXT: u8 = b'X';
    pub const INT: u8 = b'J';
    pub const LONG: u8 = 0x8a;
}

/// The pickle of an ordered dict of tensors, each of which names its entry.
fn pickle(tensors: &[(TensorInfo, &[u8])]) -> Result<Vec<u8>> {
    let mut out = opcode::PROTOCOL.to_vec();
    ordered_dict(&mut out);
    out.push(opcode::MARK);
    for (index, (info, bytes)) in tensors.iter().enumerate() {
        if info.dtype.bytes_of(&info.shape) != Some(bytes.len()) {
            return Err(Error::Request(format!(
                "tensor `{}` of shape {:?}: {} bytes do not match",
                info.name,
                info.shape,
                bytes.len()
            )));
        }
        text(&mut out, &info.name);
        tensor(&mut out, info, index)?;
    }
    out.extend([opcode::SET_ITEMS, opcode::STOP]);
    Ok(out)
}

fn tensor(out: &mut Vec<u8>, info: &TensorInfo, index: usize) -> Result<()> {
    global(out, "torch._utils", "_rebuild_tensor_v2");
    out.push(opcode::MARK);
    // The storage: type, entry, place, number of elements.
    out.push(opcode::MARK);
    text(out, "storage");
    global(out, "torch", storage(info)?);
    text(out, &index.to_string());
    text(out, "cpu");
    int(out, info.elements() as i64);
    out.extend([opcode::TUPLE, opcode::PERSISTENT_ID]);
    // Offset, shape, strides, requires_grad, hooks.
    int(out, 0);
    ints(out, &info.shape);
    ints(out, &strides(&info.shape));
    out.push(opcode::FALSE);
    ordered_dict(out);
    out.extend([opcode::TUPLE, opcode::REDUCE]);
    Ok(())
}

fn storage(info: &TensorInfo) -> Result<&'static str> {
    match info.dtype {
        DType::F32 => Ok("FloatStorage"),
        DType::F16 => Ok("HalfStorage"),
        DType::BF16 => Ok("BFloat16Storage"),
        DType::F64 => Ok("DoubleStorage"),
        other => Err(Error::Request(format!(
            "tensor `{}`: weights of type {other} are not written in PyTorch's format",
            info.name
        ))),
    }
}

/// Elements from one index to the next along each dimension, in row-major order.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for index in (1..shape.len()).rev() {
        strides[index - 1] = strides[index] * shape[index].max(1);
    }
    strides
}

fn ordered_dict(out: &mut Vec<u8>) {
    global(out, "collections", "OrderedDict");
    out.extend([opcode::EMPTY_TUPLE, opcode::REDUCE]);
}

fn global(out: &mut Vec<u8>, module: &str, name: &str) {
    out.push(opcode::GLOBAL);
    out.extend(format!("{module}\n{name}\n").as_bytes());
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(opcode::TEXT);
    // Names of tensors are short.
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn ints(out: &mut Vec<u8>, numbers: &[usize]) {
    out.push(opcode::MARK);
    for &number in numbers {
        int(out, number as i64);
    }
    out.push(opcode::TUPLE);
}

fn int(out: &mut Vec<u8>, number: i64) {
    match i32::try_from(number) {
        Ok(number) => {
            out.push(opcode::INT);
            out.extend(number.to_le_bytes());
        }
        Err(_) => {
            out.extend([opcode::LONG, 8]);
            out.extend(number.to_le_bytes());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::reader::Checkpoint;
    use super::*;

    fn dtype() -> impl Strategy<Value = DType> {
        prop_oneof![
            Just(DType::F32),
            Just(DType::F16),
            Just(DType::BF16),
            Just(DType::F64)
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            tensors in proptest::collection::vec(
                (dtype(), proptest::collection::vec(0..5usize, 0..4), any::<u8>()),
                1..5,
            ),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("pytorch_model.bin");
            let tensors: Vec<(TensorInfo, Vec<u8>)> = tensors
                .into_iter()
                .enumerate()
                .map(|(index, (dtype, shape, seed))| {
                    let info = TensorInfo::new(format!("a.{index}"), dtype, shape);
                    let bytes = (0..info.bytes()).map(|at| (at as u8).wrapping_add(seed)).collect();
                    (info, bytes)
                })
                .collect();
            let borrowed: Vec<_> =
                tensors.iter().map(|(info, bytes)| (info.clone(), bytes.as_slice())).collect();
            write_torch(&path, &borrowed).unwrap();
            let checkpoint = Checkpoint::open_file(&path).unwrap();
            prop_assert_eq!(checkpoint.entries().len(), tensors.len());
            for (info, bytes) in &tensors {
                let raw = checkpoint.read(&info.name).unwrap();
                prop_assert_eq!(&raw.shape, &info.shape);
                prop_assert_eq!(raw.dtype, info.dtype);
                prop_assert_eq!(&raw.bytes, bytes);
            }
        }
    }

    #[test]
    fn numbers_beyond_four_bytes() {
        let mut out = Vec::new();
        int(&mut out, 1 << 33);
        assert_eq!(out, [opcode::LONG, 8, 0, 0, 0, 0, 2, 0, 0, 0]);
    }

    #[test]
    fn bytes_must_match_the_shape() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.bin");
        let info = TensorInfo::new("w", DType::F32, [2]);
        assert!(write_torch(&path, &[(info, &[0; 4])]).is_err());
        assert!(!path.exists());
    }
}
