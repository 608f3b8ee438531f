//! Writing `.safetensors` files, one tensor at a time.

use std::collections::HashSet;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::atomic::AtomicFile;
use super::safetensors::header_name;
use super::tensor::TensorInfo;
use crate::error::{Error, Result};

/// Name of the index of a sharded checkpoint.
const INDEX: &str = "model.safetensors.index.json";

/// Which tensor goes into which file. Fixed before the first byte, since headers come first.
#[derive(Debug, Clone)]
pub struct ShardPlan {
    shards: Vec<Vec<TensorInfo>>,
    total_size: u64,
}

impl ShardPlan {
    /// Deals tensors out to files of at most `max_shard_size` bytes of data, in the given order. A tensor
    /// larger than that gets a file of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Request`] if there are two tensors of one name, or one is too large to be described.
    pub fn new(tensors: impl IntoIterator<Item = TensorInfo>, max_shard_size: u64) -> Result<Self> {
        let mut names = HashSet::new();
        let mut shards: Vec<Vec<TensorInfo>> = Vec::new();
        let (mut shard_size, mut total_size) = (0u64, 0u64);
        for tensor in tensors {
            let size = tensor.dtype.bytes_of(&tensor.shape).map(|size| size as u64);
            let total = size.and_then(|size| total_size.checked_add(size));
            let (Some(size), Some(total)) = (size, total) else {
                let detail = format!(
                    "tensor `{}` of shape {:?} is too large",
                    tensor.name, tensor.shape
                );
                return Err(Error::Request(detail));
            };
            if tensor.name == "__metadata__" || !names.insert(tensor.name.clone()) {
                return Err(Error::Request(format!(
                    "tensor name `{}`: reserved, or used twice",
                    tensor.name
                )));
            }
            total_size = total;
            match shards.last_mut() {
                Some(shard) if shard_size + size <= max_shard_size => shard.push(tensor),
                _ => {
                    shards.push(vec![tensor]);
                    shard_size = 0;
                }
            }
            shard_size += size;
        }
        for shard in &mut shards {
            // Larger types first keeps every tensor aligned; readers that map the file rely on it.
            shard.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype.size()));
        }
        if shards.is_empty() {
            shards.push(Vec::new());
        }
        Ok(Self { shards, total_size })
    }

    /// The tensors in the order in which they must be written.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.shards.iter().flatten()
    }

    /// The number of files, without the index.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Bytes of all tensors together.
    pub fn total_size(&self) -> u64 {
        self.total_size
    }

    /// Name of the file of a shard, counted from 0: `model-00001-of-00003.safetensors`.
    pub fn file_name(&self, shard: usize) -> String {
        format!(
            "model-{:05}-of-{:05}.safetensors",
            shard + 1,
            self.shards.len()
        )
    }

    fn index(&self) -> Value {
        let mut places: Vec<_> = self
            .shards
            .iter()
            .enumerate()
            .flat_map(|(shard, tensors)| tensors.iter().map(move |tensor| (&tensor.name, shard)))
            .collect();
        places.sort();
        let weight_map: Map<_, _> = places
            .into_iter()
            .map(|(name, shard)| (name.clone(), self.file_name(shard).into()))
            .collect();
        json!({"metadata": {"total_size": self.total_size}, "weight_map": weight_map})
    }
}

/// Writes the files of a [`ShardPlan`], then the index. Memory: one tensor, the caller's.
///
/// Every file has a temporary name until [`ShardWriter::finish`]; dropped before, the writer leaves
/// nothing behind.
#[derive(Debug)]
pub struct ShardWriter {
    dir: PathBuf,
    plan: ShardPlan,
    current: Option<TensorFile>,
    done: Vec<AtomicFile>,
}

impl ShardWriter {
    /// Starts writing into an existing directory.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the directory cannot be written to.
    pub fn create(dir: &Path, plan: ShardPlan) -> Result<Self> {
        let mut writer = Self {
            dir: dir.to_path_buf(),
            plan,
            current: None,
            done: Vec::new(),
        };
        writer.open_next()?;
        Ok(writer)
    }

    /// The plan that is followed.
    pub fn plan(&self) -> &ShardPlan {
        &self.plan
    }

    /// The tensor that [`Self::write`] expects next, if any is left.
    pub fn next_tensor(&self) -> Option<&TensorInfo> {
        self.current.as_ref().and_then(TensorFile::next)
    }

    /// Writes the next tensor of the plan: little-endian elements in row-major order.
    ///
    /// # Errors
    ///
    /// [`Error::Request`] if it is not the plan's turn of that name or not of its size; [`Error::Io`] if
    /// the disk refuses.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let Some(shard) = &mut self.current else {
            return Err(Error::Request(format!(
                "tensor `{name}` comes after the last of the plan"
            )));
        };
        shard.write(name, bytes)?;
        if shard.next().is_none() {
            self.open_next()?;
        }
        Ok(())
    }

    /// Gives all files their names, the index last.
    ///
    /// # Errors
    ///
    /// [`Error::Request`] if a tensor of the plan was not written; [`Error::Io`] if the disk refuses.
    pub fn finish(mut self) -> Result<()> {
        if let Some(missing) = self.next_tensor() {
            return Err(Error::Request(format!(
                "tensor `{}` of the plan was not written",
                missing.name
            )));
        }
        self.close_current()?;
        for file in self.done.drain(..) {
            file.commit()?;
        }
        let path = self.dir.join(INDEX);
        let mut bytes = serde_json::to_vec_pretty(&self.plan.index())
            .map_err(|error| Error::json(&path, error))?;
        bytes.push(b'\n');
        AtomicFile::write(&path, &bytes)
    }

    /// Closes the current file and opens the next one that has tensors to be written.
    fn open_next(&mut self) -> Result<()> {
        self.close_current()?;
        let number = self.done.len();
        if let Some(tensors) = self.plan.shards.get(number) {
            let path = self.dir.join(self.plan.file_name(number));
            self.current = Some(TensorFile::create(&path, tensors.clone())?);
        }
        Ok(())
    }

    fn close_current(&mut self) -> Result<()> {
        if let Some(shard) = self.current.take() {
            self.done.push(shard.finish()?);
        }
        Ok(())
    }
}

/// Writes one small `.safetensors` file, such as an adapter, all or nothing. The order of the tensors is
/// kept, but for larger element types coming first.
///
/// # Errors
///
/// [`Error::Request`] if two tensors have one name or one's bytes do not match its shape; [`Error::Io`] if
/// the disk refuses.
pub fn write_safetensors(path: &Path, tensors: &[(TensorInfo, &[u8])]) -> Result<()> {
    // One shard: the same order, the same checks.
    let plan = ShardPlan::new(tensors.iter().map(|(info, _)| info.clone()), u64::MAX)?;
    let mut file = TensorFile::create(path, plan.tensors().cloned().collect())?;
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|(info, _)| std::cmp::Reverse(info.dtype.size()));
    for (info, bytes) in order {
        file.write(&info.name, bytes)?;
    }
    file.finish()?.commit()
}

/// One `.safetensors` file, written a tensor at a time in the order given; its name is temporary until
/// [`TensorFile::commit`].
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: BufWriter<AtomicFile>,
    tensors: Vec<TensorInfo>,
    written: usize,
}

impl TensorFile {
    /// Starts a file of these tensors.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be written.
    pub fn create(path: &Path, tensors: Vec<TensorInfo>) -> Result<Self> {
        let header = header(&tensors);
        let mut file = BufWriter::new(AtomicFile::create(path)?);
        file.write_all(&(header.len() as u64).to_le_bytes())
            .and_then(|()| file.write_all(header.as_bytes()))
            .map_err(|error| Error::io(path, error))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            tensors,
            written: 0,
        })
    }

    /// The tensor that is to be written next, if any is left.
    fn next(&self) -> Option<&TensorInfo> {
        self.tensors.get(self.written)
    }

    /// Writes the next tensor: little-endian elements in row-major order.
    ///
    /// # Errors
    ///
    /// [`Error::Request`] if it is not that tensor's turn or the size differs; [`Error::Io`] if the disk
    /// refuses.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        match self.next() {
            Some(expected) if expected.name == name && expected.bytes() == bytes.len() => {}
            Some(expected) => {
                return Err(Error::Request(format!(
                    "tensor `{name}` of {} bytes was to be written where `{}` of {} bytes is planned",
                    bytes.len(),
                    expected.name,
                    expected.bytes()
                )));
            }
            None => return Err(Error::Request(format!("tensor `{name}` is not planned"))),
        }
        self.file
            .write_all(bytes)
            .map_err(|error| Error::io(&self.path, error))?;
        self.written += 1;
        Ok(())
    }

    /// Gives the file its name.
    ///
    /// # Errors
    ///
    /// [`Error::Request`] if a tensor was not written; [`Error::Io`] if the disk refuses.
    pub fn commit(self) -> Result<()> {
        if let Some(missing) = self.next() {
            return Err(Error::Request(format!(
                "tensor `{}` was not written",
                missing.name
            )));
        }
        self.finish()?.commit()
    }

    /// Forces the file to disk; it has its temporary name still.
    fn finish(self) -> Result<AtomicFile> {
        let mut file = self
            .file
            .into_inner()
            .map_err(|error| Error::io(&self.path, error.into_error()))?;
        file.seal()?;
        Ok(file)
    }
}

/// The header of a file of these tensors, padded with spaces so that the data is aligned to 8 bytes.
fn header(tensors: &[TensorInfo]) -> String {
    let mut entries = Map::new();
    // `transformers` refuses files without it.
    entries.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut start = 0;
    for tensor in tensors {
        let end = start + tensor.bytes();
        entries.insert(
            tensor.name.clone(),
            json!({
                "dtype": header_name(tensor.dtype),
                "shape": tensor.shape,
                "data_offsets": [start, end],
            }),
        );
        start = end;
    }
    let mut header = Value::Object(entries).to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    header
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::dtype::DType;
    use super::super::reader::{Checkpoint, Layout};
    use super::*;
    use proptest::prelude::*;

    fn infos() -> Vec<TensorInfo> {
        vec![
            TensorInfo::new("layers.0.w", DType::F16, [3]),
            TensorInfo::new("layers.0.b", DType::F32, [2, 1]),
            TensorInfo::new("layers.10.w", DType::BF16, [5, 2]),
            TensorInfo::new("layers.2.w", DType::F32, [1]),
            TensorInfo::new("empty", DType::F32, [0, 4]),
        ]
    }

    fn data(info: &TensorInfo) -> Vec<u8> {
        let seed = info.name.len() as u8;
        (0..info.bytes())
            .map(|i| seed.wrapping_add((i as u8).wrapping_mul(7)))
            .collect()
    }

    fn write(dir: &Path, infos: Vec<TensorInfo>, max: u64) -> ShardPlan {
        let plan = ShardPlan::new(infos, max).unwrap();
        let mut writer = ShardWriter::create(dir, plan.clone()).unwrap();
        while let Some(info) = writer.next_tensor().cloned() {
            writer.write(&info.name, &data(&info)).unwrap();
        }
        writer.finish().unwrap();
        plan
    }

    #[test]
    fn shards_come_back() {
        for (max, shards) in [(1, 5), (15, 3), (1000, 1)] {
            let folder = tempfile::tempdir().unwrap();
            let plan = write(folder.path(), infos(), max);
            assert_eq!(plan.shard_count(), shards, "{max}");
            assert_eq!(plan.total_size(), 38);
            let checkpoint = Checkpoint::open(folder.path()).unwrap();
            assert_eq!(checkpoint.layout(), Layout::ShardedSafetensors);
            let names: Vec<_> = checkpoint
                .entries()
                .map(|info| info.name.as_str())
                .collect();
            assert_eq!(
                names,
                [
                    "empty",
                    "layers.0.b",
                    "layers.0.w",
                    "layers.2.w",
                    "layers.10.w"
                ]
            );
            for info in infos() {
                assert_eq!(checkpoint.get(&info.name), Some(&info));
                assert_eq!(checkpoint.read(&info.name).unwrap().bytes, data(&info));
            }
            assert_eq!(
                std::fs::read_dir(folder.path()).unwrap().count(),
                shards + 1
            );
        }
    }

    #[test]
    fn an_unfinished_writer_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let plan = ShardPlan::new(infos(), 1).unwrap();
        let mut writer = ShardWriter::create(folder.path(), plan).unwrap();
        writer.write("layers.0.w", &[0; 6]).unwrap();
        assert!(writer.write("layers.0.b", &[0; 7]).is_err());
        assert!(writer.write("layers.2.w", &[0; 4]).is_err());
        writer.write("layers.0.b", &[0; 8]).unwrap();
        let error = writer.finish().expect_err("incomplete").to_string();
        assert!(error.contains("`layers.10.w`"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn plans_refuse_what_cannot_be_read_back() {
        let twice = [
            TensorInfo::new("a", DType::U8, [1]),
            TensorInfo::new("a", DType::U8, [1]),
        ];
        assert!(ShardPlan::new(twice, 10).is_err());
        let huge = [TensorInfo::new("a", DType::F32, [usize::MAX, 2])];
        assert!(ShardPlan::new(huge, 10).is_err());
    }

    #[test]
    fn reading_in_another_type() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        // More than one chunk, so that the seams show.
        let count = 600_001usize;
        let floats: Vec<u8> = (0..count).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let info = TensorInfo::new("w", DType::F32, [count]);
        write_safetensors(&path, &[(info, &floats)]).unwrap();
        let tensor = Checkpoint::open_file(&path)
            .unwrap()
            .read_as("w", DType::BF16)
            .unwrap();
        assert_eq!((tensor.dtype, tensor.bytes.len()), (DType::BF16, 2 * count));
        for (i, bytes) in tensor.bytes.as_chunks::<2>().0.iter().enumerate() {
            assert_eq!(
                half::bf16::from_le_bytes(*bytes),
                half::bf16::from_f32(i as f32)
            );
        }
    }

    #[test]
    fn integers_are_not_converted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        write_safetensors(&path, &[(TensorInfo::new("w", DType::I64, [1]), &[0; 8])]).unwrap();
        let error = Checkpoint::open_file(&path)
            .unwrap()
            .read_as("w", DType::F32);
        assert!(
            error
                .expect_err("integers")
                .to_string()
                .contains("w is i64")
        );
    }

    proptest! {
        #[test]
        fn any_plan_comes_back(
            tensors in proptest::collection::vec((0..10usize, proptest::collection::vec(0..4usize, 0..4)), 0..9),
            max in 0..60u64,
        ) {
            use DType::*;
            let types = [F64, F32, F16, BF16, I64, I32, I16, I8, U8, Bool];
            let infos: Vec<_> = tensors
                .into_iter()
                .enumerate()
                .map(|(i, (dtype, shape))| TensorInfo::new(format!("t.{i}\"\u{e9}"), types[dtype], shape))
                .collect();
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), infos.clone(), max);
            let checkpoint = Checkpoint::open(folder.path()).unwrap();
            prop_assert_eq!(checkpoint.entries().len(), infos.len());
            for info in infos {
                prop_assert_eq!(checkpoint.read(&info.name).unwrap().bytes, data(&info));
            }
        }
    }
}
