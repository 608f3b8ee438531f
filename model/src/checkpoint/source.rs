//! One file of weights, of either format: opening it and reading one of its tensors.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::dtype::{Converter, DType};
use super::tensor::{CHUNK, Contents, RawTensor, Slot, TensorInfo, reserve};
use super::{safetensors, torch};
use crate::error::{Error, Result, WeightFault};
use crate::files::{open_regular, read_at};

/// An open file of weights.
#[derive(Debug)]
pub(crate) struct WeightFile {
    pub(crate) path: PathBuf,
    pub(crate) contents: Contents,
    file: File,
}

impl WeightFile {
    /// Opens a file and reads what it holds, not the tensors themselves.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let (file, len) = open_regular(path)?;
        let mut start = [0; 512];
        let start_len = len.min(start.len() as u64) as usize;
        let start = &mut start[..start_len];
        read_at(&file, 0, start).map_err(|error| Error::io(path, error))?;
        let contents = match Kind::of(path, start) {
            Ok(Kind::Safetensors) => safetensors::contents(&file, len, path)?,
            Ok(Kind::Torch) => torch::contents(&file, len, path)?,
            Err(detail) => return Err(Error::malformed(path, detail)),
        };
        Ok(Self {
            path: path.to_path_buf(),
            contents,
            file,
        })
    }

    /// Reads a tensor as it is stored.
    pub(crate) fn read(&self, slot: &Slot) -> Result<RawTensor> {
        let info = &slot.info;
        let bytes = match &slot.strides {
            None => {
                let mut bytes = self.allocate(info, info.dtype)?;
                // By chunks: zeroing then stays in the cache instead of being a pass of its own.
                while bytes.len() < info.bytes() {
                    let done = bytes.len();
                    bytes.resize(info.bytes().min(done + CHUNK), 0);
                    self.fill(info, slot.start + done as u64, &mut bytes[done..])?;
                }
                bytes
            }
            Some(strides) => self.gather(slot, strides)?,
        };
        Ok(RawTensor {
            dtype: info.dtype,
            shape: info.shape.clone(),
            bytes,
        })
    }

    /// Reads a tensor in another floating type.
    pub(crate) fn read_as(&self, slot: &Slot, target: DType) -> Result<RawTensor> {
        let info = &slot.info;
        if target == info.dtype {
            return self.read(slot);
        }
        let mut converter = self.converter(info, target)?;
        let mut bytes = self.allocate(info, target)?;
        if let Some(strides) = &slot.strides {
            for chunk in self.gather(slot, strides)?.chunks(CHUNK) {
                converter.append(chunk, &mut bytes);
            }
        } else {
            let mut buffer = vec![0; CHUNK.min(info.bytes())];
            let mut done = 0;
            while done < info.bytes() {
                let chunk_len = CHUNK.min(info.bytes() - done);
                let chunk = &mut buffer[..chunk_len];
                self.fill(info, slot.start + done as u64, chunk)?;
                converter.append(chunk, &mut bytes);
                done += chunk_len;
            }
        }
        Ok(RawTensor {
            dtype: target,
            shape: info.shape.clone(),
            bytes,
        })
    }

    /// Reads some elements of a tensor of floats as float32, in row-major order from `first` on; whoever asks
    /// has checked that the tensor has them.
    pub(crate) fn floats(&self, slot: &Slot, first: usize, count: usize) -> Result<Vec<f32>> {
        let info = &slot.info;
        let size = info.dtype.size();
        let mut converter = self.converter(info, DType::F32)?;
        let mut bytes = vec![0; count * size];
        match &slot.strides {
            None => self.fill(info, slot.start + (first * size) as u64, &mut bytes)?,
            Some(strides) => {
                for (index, element) in (first..first + count).zip(bytes.chunks_exact_mut(size)) {
                    let place = place(index, &info.shape, strides);
                    self.fill(info, slot.start + (place * size) as u64, element)?;
                }
            }
        }
        let mut converted = Vec::with_capacity(count * DType::F32.size());
        converter.append(&bytes, &mut converted);
        Ok(bytemuck::pod_collect_to_vec(&converted))
    }

    fn converter(&self, info: &TensorInfo, target: DType) -> Result<Converter> {
        Converter::new(info.dtype, target).ok_or_else(|| Error::Weights {
            path: self.path.clone(),
            faults: vec![WeightFault::Type {
                key: info.name.clone(),
                found: info.dtype.to_string(),
            }],
        })
    }

    /// Reads a tensor that is not row-major: the stretch of the file that it spans, then element by
    /// element. Rare (a transposed parameter that was saved as it was), so memory is not spared.
    fn gather(&self, slot: &Slot, strides: &[usize]) -> Result<Vec<u8>> {
        let info = &slot.info;
        let mut bytes = self.allocate(info, info.dtype)?;
        if info.elements() == 0 {
            return Ok(bytes);
        }
        let size = info.dtype.size();
        let last: usize = info
            .shape
            .iter()
            .zip(strides)
            .map(|(dim, stride)| (dim - 1) * stride)
            .sum();
        let mut span = reserve((last + 1) * size).ok_or_else(|| self.too_large(info))?;
        span.resize((last + 1) * size, 0);
        self.fill(info, slot.start, &mut span)?;
        let mut position = vec![0; info.shape.len()];
        let mut at = 0;
        for _ in 0..info.elements() {
            bytes.extend_from_slice(&span[at * size..(at + 1) * size]);
            // Count up like an odometer, keeping `at` in step.
            for axis in (0..position.len()).rev() {
                position[axis] += 1;
                at += strides[axis];
                if position[axis] < info.shape[axis] {
                    break;
                }
                at -= position[axis] * strides[axis];
                position[axis] = 0;
            }
        }
        Ok(bytes)
    }

    fn allocate(&self, info: &TensorInfo, dtype: DType) -> Result<Vec<u8>> {
        dtype
            .bytes_of(&info.shape)
            .and_then(reserve)
            .ok_or_else(|| self.too_large(info))
    }

    fn too_large(&self, info: &TensorInfo) -> Error {
        let detail = format!(
            "tensor `{}` of shape {:?} does not fit into memory",
            info.name, info.shape
        );
        Error::malformed(&self.path, detail)
    }

    fn fill(&self, info: &TensorInfo, start: u64, buffer: &mut [u8]) -> Result<()> {
        read_at(&self.file, start, buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                let detail = format!("tensor `{}` is cut off: the file became shorter", info.name);
                Error::malformed(&self.path, detail)
            }
            _ => Error::io(&self.path, error),
        })
    }
}

/// Where an element, by its row-major number, stands among the elements of a tensor with strides.
fn place(index: usize, shape: &[usize], strides: &[usize]) -> usize {
    let mut rest = index;
    let mut at = 0;
    for (dim, stride) in shape.iter().zip(strides).rev() {
        at += (rest % dim) * stride;
        rest /= dim;
    }
    at
}

enum Kind {
    Safetensors,
    Torch,
}

impl Kind {
    /// Tells the format by how the file starts; the reason, if it cannot be read.
    fn of(path: &Path, start: &[u8]) -> std::result::Result<Self, String> {
        if start.starts_with(b"PK\x03\x04") {
            return Ok(Self::Torch);
        }
        if start.starts_with(b"version https://git-lfs") {
            return Err(
                "this is a Git LFS pointer, not the weights; fetch them with `git lfs pull`".into(),
            );
        }
        let legacy = start.starts_with(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19");
        if legacy || start.get(257..262) == Some(b"ustar") {
            return Err(
                "saved in the format of PyTorch before 1.6; convert it in Python with \
                        torch.save(torch.load(FILE, map_location=\"cpu\"), FILE)"
                    .into(),
            );
        }
        if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            return Ok(Self::Safetensors);
        }
        Err(
            "neither a torch.save archive (it does not start with `PK`) nor a .safetensors file; \
             it may be truncated"
                .into(),
        )
    }
}
