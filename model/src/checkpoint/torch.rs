//! Weights in the format of `torch.save` since PyTorch 1.6: a zip archive of a pickle and raw numbers.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use super::pickle::{Id, Pickle, Value, View};
use super::tensor::{Contents, Slot, TensorInfo};
use super::zip::{Archive, ZipError};
use crate::error::{Error, Result};
use crate::files::read_at;

/// A pickle beyond this belongs to no checkpoint (ChatGLM-6B's are some 20 KB).
const MAX_PICKLE: u64 = 64 << 20;

/// Longest name of a tensor. Names are copied, and a pickle can repeat one cheaply.
const MAX_NAME: usize = 4096;

/// How often the bytes of a file may be taken by tensors that share storages, as tied weights do.
const MOST_SHARED: u64 = 4;

/// Keys under which trainers put the state dict when they save other things with it.
const WRAPPERS: [&str; 2] = ["state_dict", "module"];

/// Reads which tensors a file of `len` bytes holds, and checks that they lie inside it.
pub(crate) fn contents(file: &File, len: u64, path: &Path) -> Result<Contents> {
    let reader = Reader {
        archive: Archive::open(file, len).map_err(|error| zip_error(path, error))?,
        file,
        len,
        path,
    };
    let prefix = reader.prefix()?;
    reader.check_byte_order(&prefix)?;
    let (start, size) = reader.entry(&format!("{prefix}data.pkl"))?;
    if size > MAX_PICKLE {
        return Err(reader.malformed(format!(
            "a pickle of {size} bytes; at most {MAX_PICKLE} are read"
        )));
    }
    let mut bytes = vec![0; size as usize];
    read_at(file, start, &mut bytes).map_err(|error| Error::io(path, error))?;
    let pickle = Pickle::parse(&bytes).map_err(|error| reader.malformed(error.to_string()))?;
    reader.slots(&pickle, &prefix)
}

fn zip_error(path: &Path, error: ZipError) -> Error {
    match error {
        ZipError::Io(source) => Error::io(path, source),
        other => Error::malformed(path, other.to_string()),
    }
}

struct Reader<'a> {
    archive: Archive,
    file: &'a File,
    /// Bytes of the file.
    len: u64,
    path: &'a Path,
}

impl Reader<'_> {
    fn malformed(&self, detail: impl Into<String>) -> Error {
        Error::malformed(self.path, detail)
    }

    fn find(&self, name: &str) -> Result<Option<(u64, u64)>> {
        self.archive
            .locate(self.file, name)
            .map_err(|error| zip_error(self.path, error))
    }

    fn entry(&self, name: &str) -> Result<(u64, u64)> {
        self.find(name)?
            .ok_or_else(|| self.malformed(format!("the archive has no entry `{name}`")))
    }

    /// The folder inside the archive, which torch names after the file: `archive/`.
    fn prefix(&self) -> Result<String> {
        let mut prefixes = self.archive.names().filter_map(|name| {
            let prefix = name.strip_suffix("data.pkl")?;
            prefix.ends_with('/').then_some(prefix)
        });
        match (prefixes.next(), prefixes.next()) {
            (Some(prefix), None) => Ok(prefix.to_owned()),
            (None, _) => {
                Err(self.malformed("a zip archive, but not of torch.save: no `data.pkl` in it"))
            }
            _ => Err(self.malformed("the archive holds more than one `data.pkl`")),
        }
    }

    fn check_byte_order(&self, prefix: &str) -> Result<()> {
        // Absent before PyTorch 2.1, which is little-endian on every machine that trains.
        let Some((start, size)) = self.find(&format!("{prefix}byteorder"))? else {
            return Ok(());
        };
        let mut bytes = vec![0; size.min(16) as usize];
        read_at(self.file, start, &mut bytes).map_err(|error| Error::io(self.path, error))?;
        if bytes == b"little" {
            Ok(())
        } else {
            Err(self.malformed("saved on a big-endian machine; only little-endian files are read"))
        }
    }

    fn slots(&self, pickle: &Pickle<'_>, prefix: &str) -> Result<Contents> {
        let mut contents = Contents::default();
        let mut bytes = 0usize;
        let mut storages = HashMap::new();
        for (name, id) in self.state_dict(pickle)? {
            let Value::Tensor(view) = pickle.get(id) else {
                contents.skipped.push(name.to_owned());
                continue;
            };
            let key = view.storage.key;
            let place = match storages.get(key) {
                Some(&place) => place,
                None => {
                    let place = self.entry(&format!("{prefix}data/{key}"))?;
                    storages.insert(key, place);
                    place
                }
            };
            let slot = slot(name, view, place)
                .map_err(|what| self.malformed(format!("tensor `{name}`: {what}")))?;
            bytes = bytes.saturating_add(slot.info.bytes());
            if bytes as u64 > self.len.saturating_mul(MOST_SHARED) {
                return Err(self.malformed(format!(
                    "its tensors take more than {MOST_SHARED} times the bytes of the file: too many share a \
                     storage"
                )));
            }
            contents.slots.push(slot);
        }
        Ok(contents)
    }

    /// The items of the state dict, which may stand inside another dict.
    fn state_dict<'p>(&self, pickle: &'p Pickle<'_>) -> Result<Vec<(&'p str, Id)>> {
        let items = self.items(pickle, pickle.root())?;
        let is_tensor = |id: Id| matches!(pickle.get(id), Value::Tensor(_));
        if items.iter().any(|&(_, id)| is_tensor(id)) {
            return Ok(items);
        }
        for wrapper in WRAPPERS {
            if let Some(&(_, id)) = items.iter().find(|(name, _)| *name == wrapper) {
                let inner = self.items(pickle, pickle.get(id))?;
                if inner.iter().any(|&(_, id)| is_tensor(id)) {
                    return Ok(inner);
                }
            }
        }
        if items.is_empty() {
            return Ok(items);
        }
        let names: Vec<_> = items.iter().take(8).map(|(name, _)| *name).collect();
        Err(self.malformed(format!(
            "not a state dict: its values are not tensors (keys: {})",
            names.join(", ")
        )))
    }

    fn items<'p>(
        &self,
        pickle: &'p Pickle<'_>,
        value: &'p Value<'_>,
    ) -> Result<Vec<(&'p str, Id)>> {
        let Value::Dict(pairs) = value else {
            return Err(self.malformed("not a state dict: the pickle does not hold a dict"));
        };
        let mut seen = HashMap::new();
        let mut items = Vec::new();
        for &(key, id) in pairs {
            let Value::Text(name) = pickle.get(key) else {
                continue;
            };
            if name.len() > MAX_NAME {
                return Err(self.malformed(format!("a name of {} bytes", name.len())));
            }
            if seen.insert(*name, ()).is_some() {
                return Err(self.malformed(format!("two values of the name `{name}`")));
            }
            items.push((*name, id));
        }
        Ok(items)
    }
}

/// Checks a tensor against the archive entry of its storage, which lies at `place` (offset, size).
fn slot(name: &str, view: &View<'_>, (start, size): (u64, u64)) -> Result<Slot, String> {
    let dtype = view.storage.dtype;
    let storage_bytes = view.storage.len.checked_mul(dtype.size());
    if storage_bytes.is_none_or(|bytes| bytes as u64 > size) {
        return Err(format!(
            "its storage claims {} elements of {dtype}, the file holds {size} bytes",
            view.storage.len
        ));
    }
    let elements = view
        .shape
        .iter()
        .try_fold(1usize, |count, &dim| count.checked_mul(dim));
    let last = last_element(view);
    // The first condition also refuses views that repeat elements, whose size is bounded by nothing.
    if elements.is_none_or(|count| count > view.storage.len)
        || last.is_none_or(|last| last > view.storage.len)
    {
        return Err(format!(
            "shape {:?} with strides {:?} at offset {} does not fit its storage of {} elements",
            view.shape, view.strides, view.offset, view.storage.len
        ));
    }
    Ok(Slot {
        info: TensorInfo::new(name, dtype, view.shape.clone()),
        start: start + (view.offset * dtype.size()) as u64,
        strides: (!is_row_major(view)).then(|| view.strides.clone()),
    })
}

/// One past the last element that a view touches; nothing if that overflows.
fn last_element(view: &View<'_>) -> Option<usize> {
    if view.shape.contains(&0) {
        return Some(view.offset);
    }
    view.shape
        .iter()
        .zip(&view.strides)
        .try_fold(view.offset, |last, (dim, stride)| {
            last.checked_add((dim - 1).checked_mul(*stride)?)
        })?
        .checked_add(1)
}

fn is_row_major(view: &View<'_>) -> bool {
    if view.shape.contains(&0) {
        return true;
    }
    let mut expected = 1;
    view.shape
        .iter()
        .zip(&view.strides)
        .rev()
        .all(|(&dim, &stride)| {
            let fits = dim == 1 || stride == expected;
            expected *= dim;
            fits
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::dtype::DType;
    use super::super::source::WeightFile;
    use super::super::zip::tests::archive;
    use super::*;
    use proptest::prelude::*;

    fn text(value: &str) -> Vec<u8> {
        let mut bytes = vec![b'X'];
        bytes.extend((value.len() as u32).to_le_bytes());
        bytes.extend(value.as_bytes());
        bytes
    }

    fn int(value: usize) -> Vec<u8> {
        let mut bytes = vec![0x8a, 8];
        bytes.extend((value as u64).to_le_bytes());
        bytes
    }

    fn tuple(values: &[usize]) -> Vec<u8> {
        let items: Vec<u8> = values.iter().flat_map(|&value| int(value)).collect();
        [b"(", &items[..], b"t"].concat()
    }

    struct Tensor<'a> {
        name: &'a str,
        key: &'a str,
        len: usize,
        offset: usize,
        shape: &'a [usize],
        strides: &'a [usize],
    }

    const ROW: Tensor<'static> = Tensor {
        name: "w",
        key: "0",
        len: 6,
        offset: 0,
        shape: &[2, 3],
        strides: &[3, 1],
    };

    fn dict(tensors: &[Tensor<'_>]) -> Vec<u8> {
        let mut bytes = b"}(".to_vec();
        for tensor in tensors {
            bytes.extend(text(tensor.name));
            bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
            bytes.extend(text("storage"));
            bytes.extend(b"ctorch\nByteStorage\n");
            bytes.extend(text(tensor.key));
            bytes.extend(text("cpu"));
            bytes.extend(int(tensor.len));
            bytes.extend(b"tQ");
            bytes.extend(int(tensor.offset));
            bytes.extend(tuple(tensor.shape));
            bytes.extend(tuple(tensor.strides));
            bytes.extend(b"\x89ccollections\nOrderedDict\n)RtR");
        }
        bytes.extend(b"u");
        bytes
    }

    fn pickle(tensors: &[Tensor<'_>]) -> Vec<u8> {
        [b"\x80\x02", &dict(tensors)[..], b"."].concat()
    }

    fn file(pickle: &[u8]) -> Vec<u8> {
        archive(&[
            ("x/data.pkl", pickle),
            ("x/byteorder", b"little"),
            ("x/data/0", b"abcdef"),
            ("x/version", b"3\n"),
        ])
    }

    fn open(bytes: &[u8]) -> Result<WeightFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pytorch_model.bin");
        std::fs::write(&path, bytes).unwrap();
        WeightFile::open(&path)
    }

    fn read(tensors: &[Tensor<'_>]) -> Vec<u8> {
        let file = open(&file(&pickle(tensors))).unwrap();
        file.read(&file.contents.slots[0]).unwrap().bytes
    }

    #[test]
    fn views_are_gathered() {
        assert_eq!(read(&[ROW]), b"abcdef");
        let transposed = Tensor {
            shape: &[3, 2],
            strides: &[1, 3],
            ..ROW
        };
        assert_eq!(read(&[transposed]), b"adbecf");
        let column = Tensor {
            offset: 1,
            shape: &[2],
            strides: &[3],
            ..ROW
        };
        assert_eq!(read(&[column]), b"be");
        let narrowed = Tensor {
            offset: 1,
            shape: &[2, 2],
            strides: &[3, 1],
            ..ROW
        };
        assert_eq!(read(&[narrowed]), b"bcef");
        let scalar = Tensor {
            offset: 5,
            shape: &[],
            strides: &[],
            ..ROW
        };
        assert_eq!(read(&[scalar]), b"f");
        let empty = Tensor {
            shape: &[0, 3],
            strides: &[1, 9],
            ..ROW
        };
        assert_eq!(read(&[empty]), b"");
        let ones = Tensor {
            shape: &[1, 6],
            strides: &[99, 1],
            ..ROW
        };
        assert_eq!(read(&[ones]), b"abcdef");
    }

    #[test]
    fn wrapped_state_dicts_and_other_values() {
        for wrapper in WRAPPERS {
            let inner = dict(&[ROW]);
            let bytes = [
                b"}",
                &text("epoch")[..],
                b"K\x01s",
                &text(wrapper),
                &inner,
                b"s.",
            ]
            .concat();
            assert_eq!(
                open(&file(&bytes)).unwrap().contents.slots[0].info.name,
                "w"
            );
        }
        let bytes = [&dict(&[ROW])[..], &text("step"), b"K\x07s."].concat();
        assert_eq!(open(&file(&bytes)).unwrap().contents.skipped, ["step"]);
        let attributes = [&dict(&[ROW])[..], b"}", &text("_metadata"), b"}sb."].concat();
        assert_eq!(open(&file(&attributes)).unwrap().contents.slots.len(), 1);
    }

    /// A small file cannot stand for a large model.
    #[test]
    fn shared_storages_are_bounded() {
        let names: Vec<String> = (0..6000).map(|index| index.to_string()).collect();
        let view = |name| Tensor { name, ..ROW };
        let bytes = |count: usize| {
            let tensors: Vec<_> = names[..count].iter().map(|name| view(name)).collect();
            let data = [b'x'; 60_000];
            let pickle = pickle(&tensors);
            let mut wide = pickle.clone();
            // The storage and the tensors are of 60,000 elements instead of six.
            for (from, to) in [
                (int(6), int(60_000)),
                (tuple(&[2, 3]), tuple(&[2, 30_000])),
                (tuple(&[3, 1]), tuple(&[30_000, 1])),
            ] {
                wide = replaced(&wide, &from, &to);
            }
            archive(&[("x/data.pkl", &wide), ("x/data/0", &data)])
        };
        assert!(open(&bytes(3)).is_ok());
        let message = open(&bytes(6000)).expect_err("must be refused").to_string();
        assert!(message.contains("share a storage"), "{message}");
    }

    fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at..].starts_with(from) {
                out.extend(to);
                at += from.len();
            } else {
                out.push(bytes[at]);
                at += 1;
            }
        }
        out
    }

    #[test]
    fn faults_are_named() {
        let view = |tensor: Tensor<'_>| file(&pickle(&[tensor]));
        let big = usize::MAX >> 1;
        for (bytes, part) in [
            (view(Tensor { len: 7, ..ROW }), "claims 7 elements"),
            (view(Tensor { len: big, ..ROW }), "claims"),
            (
                view(Tensor { offset: 1, ..ROW }),
                "does not fit its storage",
            ),
            (
                view(Tensor {
                    shape: &[1 << 40],
                    strides: &[0],
                    ..ROW
                }),
                "does not fit its storage",
            ),
            (
                view(Tensor {
                    shape: &[2, 2],
                    strides: &[big, 1],
                    ..ROW
                }),
                "does not fit its storage",
            ),
            (
                view(Tensor {
                    shape: &[big, big, 4],
                    strides: &[1, 1, 1],
                    ..ROW
                }),
                "does not fit its storage",
            ),
            (
                view(Tensor {
                    shape: &[0],
                    strides: &[1],
                    offset: big,
                    ..ROW
                }),
                "does not fit its storage",
            ),
            (view(Tensor { key: "9", ..ROW }), "no entry `x/data/9`"),
            (
                view(Tensor {
                    key: "../data.pkl",
                    ..ROW
                }),
                "no entry `x/data/../data.pkl`",
            ),
            (file(&pickle(&[ROW, ROW])), "two values of the name `w`"),
            (file(b"]."), "does not hold a dict"),
            (
                file(&[b"}", &text("epoch")[..], b"K\x01s."].concat()),
                "keys: epoch",
            ),
            (
                file(b"cos\nsystem\n."),
                "refused: the pickle wants to use `os.system`",
            ),
            (archive(&[("x/other", b"")]), "no `data.pkl`"),
            (
                archive(&[("x/data.pkl", b"}."), ("y/data.pkl", b"}.")]),
                "more than one",
            ),
            (
                archive(&[("x/data.pkl", b"}."), ("x/byteorder", b"big")]),
                "big-endian",
            ),
            (
                b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec(),
                "before 1.6",
            ),
            (
                b"version https://git-lfs.github.com/spec/v1\n".to_vec(),
                "git lfs pull",
            ),
            (b"garbage".to_vec(), "neither"),
            (Vec::new(), "neither"),
        ] {
            let message = open(&bytes).expect_err(part).to_string();
            assert!(message.contains(part), "{message:?} lacks {part:?}");
            assert!(message.contains("pytorch_model.bin"), "{message}");
        }
    }

    #[test]
    fn shared_storages_are_read_twice() {
        let file = open(&file(&pickle(&[ROW, Tensor { name: "v", ..ROW }]))).unwrap();
        for slot in &file.contents.slots {
            assert_eq!(file.read(slot).unwrap().bytes, b"abcdef");
            assert_eq!(slot.info.dtype, DType::U8);
        }
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(
            hits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in 0..80usize,
        ) {
            let mut bytes = file(&pickle(&[ROW]));
            for (at, byte) in hits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(bytes.len() - if cut < 40 { 0 } else { cut });
            if let Ok(file) = open(&bytes) {
                for slot in &file.contents.slots {
                    prop_assert!(file.read(slot).unwrap().bytes.len() <= bytes.len() * 8);
                }
            }
        }
    }
}
