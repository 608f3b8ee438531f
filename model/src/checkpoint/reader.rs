//! The weights of a model directory, in any of the four published layouts.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::dtype::DType;
use super::index::Index;
use super::natural::natural_order;
use super::source::WeightFile;
use super::tensor::{RawTensor, Slot, TensorInfo};
use crate::error::{Error, Result};

/// Names of a directory's weights, in the order in which they are looked for.
const LAYOUTS: [(&str, Layout); 4] = [
    ("model.safetensors.index.json", Layout::ShardedSafetensors),
    ("model.safetensors", Layout::Safetensors),
    ("pytorch_model.bin.index.json", Layout::ShardedPytorch),
    ("pytorch_model.bin", Layout::Pytorch),
];

/// How many faults of an index an error lists by name.
const LISTED: usize = 20;

/// The files in which a checkpoint was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `model.safetensors.index.json` and its files.
    ShardedSafetensors,
    /// `model.safetensors`.
    Safetensors,
    /// `pytorch_model.bin.index.json` and its files.
    ShardedPytorch,
    /// `pytorch_model.bin`.
    Pytorch,
    /// A file that was named.
    File,
}

/// The weights of a directory or a file: names, types and shapes at once, values one tensor at a time.
///
/// Can be shared between threads; reads do not disturb each other.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    layout: Layout,
    files: Vec<WeightFile>,
    /// File and slot of each tensor, in natural order of their names.
    places: Vec<(usize, usize)>,
    by_name: HashMap<String, (usize, usize)>,
}

impl Checkpoint {
    /// Opens the weights of a model directory: the first present of `model.safetensors.index.json`,
    /// `model.safetensors`, `pytorch_model.bin.index.json` and `pytorch_model.bin`.
    ///
    /// # Errors
    ///
    /// [`Error::Directory`] if there is none of them, if a file of the index is missing, or if index and
    /// files contradict each other; [`Error::Key`] if the index names a file outside the directory;
    /// [`Error::Malformed`] if a file is truncated, hostile or of an unknown form.
    pub fn open(dir: &Path) -> Result<Self> {
        for (name, layout) in LAYOUTS {
            let path = dir.join(name);
            // A dangling link is present: opening it then says what is wrong with it.
            if path.symlink_metadata().is_err() {
                continue;
            }
            tracing::info!("weights: {}", path.display());
            return match layout {
                Layout::ShardedSafetensors | Layout::ShardedPytorch => {
                    Self::open_index(dir, &path, layout)
                }
                _ => Self::new(dir, layout, vec![WeightFile::open(&path)?]),
            };
        }
        let names = LAYOUTS.map(|(name, _)| name).join(", ");
        Err(Error::directory(
            dir,
            format!("no weights here: looked for {names}"),
        ))
    }

    /// Opens one file of weights, `.safetensors` or a `torch.save` archive.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be read, [`Error::Malformed`] if it is truncated, hostile or of an
    /// unknown form.
    pub fn open_file(path: &Path) -> Result<Self> {
        tracing::info!("weights: {}", path.display());
        Self::new(path, Layout::File, vec![WeightFile::open(path)?])
    }

    fn open_index(dir: &Path, index_path: &Path, layout: Layout) -> Result<Self> {
        let index = Index::read(index_path)?;
        let names = index.files();
        if let Some(name) = names.iter().find(|name| !dir.join(name).exists()) {
            let detail = format!(
                "`{name}` is missing, which `{}` names",
                file_name(index_path)
            );
            return Err(Error::directory(dir, detail));
        }
        let files = names
            .iter()
            .map(|name| WeightFile::open(&dir.join(name)))
            .collect::<Result<Vec<_>>>()?;
        check_index(dir, &index, &files)?;
        Self::new(dir, layout, files)
    }

    fn new(path: &Path, layout: Layout, files: Vec<WeightFile>) -> Result<Self> {
        let mut by_name = HashMap::new();
        for (file, weights) in files.iter().enumerate() {
            for (slot, entry) in weights.contents.slots.iter().enumerate() {
                let name = &entry.info.name;
                if by_name.insert(name.clone(), (file, slot)).is_some() {
                    let detail = format!("two files hold a tensor `{name}`");
                    return Err(Error::directory(path, detail));
                }
            }
        }
        let mut places: Vec<_> = by_name.iter().collect();
        places.sort_by(|(a, _), (b, _)| natural_order(a, b));
        let places = places.into_iter().map(|(_, &place)| place).collect();
        Ok(Self {
            path: path.to_path_buf(),
            layout,
            files,
            places,
            by_name,
        })
    }

    /// The directory or file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files in which the weights were found.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The weight files themselves.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// Every tensor, `layers.2` before `layers.10`.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.places.iter().map(|&place| &self.slot(place).1.info)
    }

    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name
            .get(name)
            .map(|&place| &self.slot(place).1.info)
    }

    /// Names of values in a pickle that are not tensors, and so are not read.
    pub fn skipped(&self) -> impl Iterator<Item = &str> {
        let names = self.files.iter().flat_map(|file| &file.contents.skipped);
        names.map(String::as_str)
    }

    /// Reads a tensor as it is stored.
    ///
    /// # Errors
    ///
    /// [`Error::Directory`] if there is no such tensor, [`Error::Io`] or [`Error::Malformed`] if its bytes
    /// cannot be read.
    pub fn read(&self, name: &str) -> Result<RawTensor> {
        let (file, slot) = self.find(name)?;
        file.read(slot)
    }

    /// Reads a tensor of floats as f32, f16 or bf16, converting it on the way if it is stored otherwise.
    ///
    /// Memory: the tensor in the target type and 1 MiB. (A tensor that is not stored row by row, as some
    /// pickles hold, takes the stretch of the file that it spans besides.) Values beyond the range of
    /// f16 become infinite.
    ///
    /// # Errors
    ///
    /// As [`Self::read`]; [`Error::Weights`] if either type is not a float that can be converted.
    pub fn read_as(&self, name: &str, target: DType) -> Result<RawTensor> {
        let (file, slot) = self.find(name)?;
        file.read_as(slot, target)
    }

    /// Some elements of a tensor of floats as float32, in row-major order from `first` on.
    ///
    /// # Errors
    ///
    /// As [`Self::read_as`].
    pub(crate) fn floats(&self, name: &str, first: usize, count: usize) -> Result<Vec<f32>> {
        let (file, slot) = self.find(name)?;
        file.floats(slot, first, count)
    }

    fn find(&self, name: &str) -> Result<(&WeightFile, &Slot)> {
        match self.by_name.get(name) {
            Some(&place) => Ok(self.slot(place)),
            None => Err(Error::directory(&self.path, format!("no tensor `{name}`"))),
        }
    }

    fn slot(&self, (file, slot): (usize, usize)) -> (&WeightFile, &Slot) {
        let file = &self.files[file];
        (file, &file.contents.slots[slot])
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Index and files must name the same tensors in the same places.
fn check_index(dir: &Path, index: &Index, files: &[WeightFile]) -> Result<()> {
    let mut held = HashSet::new();
    for file in files {
        let name = file_name(&file.path);
        for slot in &file.contents.slots {
            held.insert((slot.info.name.clone(), name.clone()));
        }
    }
    let mut faults = Vec::new();
    for place in &index.places {
        if !held.remove(place) {
            faults.push(format!("`{}` is not in `{}`", place.0, place.1));
        }
    }
    let mut extra: Vec<_> = held.into_iter().collect();
    extra.sort_by(|a, b| natural_order(&a.0, &b.0));
    faults.extend(
        extra
            .iter()
            .map(|(name, file)| format!("`{name}` in `{file}` is not in the index")),
    );
    if faults.is_empty() {
        return Ok(());
    }
    let more = faults.len().saturating_sub(LISTED);
    faults.truncate(LISTED);
    let mut detail = format!("the index and its files differ:\n  {}", faults.join("\n  "));
    if more > 0 {
        detail.push_str(&format!("\n  and {more} more"));
    }
    Err(Error::directory(dir, detail))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::writer::write_safetensors;
    use super::*;
    use std::fs;

    fn put(dir: &Path, name: &str, tensors: &[&str]) {
        let tensors: Vec<_> = tensors
            .iter()
            .map(|name| (TensorInfo::new(*name, DType::U8, [1]), &[7u8][..]))
            .collect();
        write_safetensors(&dir.join(name), &tensors).unwrap();
    }

    fn index(dir: &Path, map: &[(&str, &str)]) {
        let map: serde_json::Map<_, _> = map
            .iter()
            .map(|(name, file)| ((*name).to_owned(), (*file).into()))
            .collect();
        let json = serde_json::json!({"weight_map": map}).to_string();
        fs::write(dir.join("model.safetensors.index.json"), json).unwrap();
    }

    fn message(dir: &Path) -> String {
        Checkpoint::open(dir)
            .expect_err("must be refused")
            .to_string()
    }

    #[test]
    fn the_index_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        assert!(message(dir).contains("pytorch_model.bin.index.json"));
        put(dir, "model.safetensors", &["old"]);
        assert_eq!(Checkpoint::open(dir).unwrap().layout(), Layout::Safetensors);
        put(dir, "model-1.safetensors", &["new"]);
        index(dir, &[("new", "model-1.safetensors")]);
        let checkpoint = Checkpoint::open(dir).unwrap();
        assert_eq!(checkpoint.layout(), Layout::ShardedSafetensors);
        assert_eq!(checkpoint.entries().next().unwrap().name, "new");
        assert!(checkpoint.read("old").is_err());
    }

    #[test]
    fn an_index_that_lies_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("model");
        fs::create_dir(&dir).unwrap();
        put(folder.path(), "secret.safetensors", &["a"]);
        put(&dir, "x.safetensors", &["a", "b"]);
        index(&dir, &[("a", "../secret.safetensors")]);
        assert!(message(&dir).contains("plain name"));
        index(&dir, &[("a", "x.safetensors"), ("b", "y.safetensors")]);
        assert!(message(&dir).contains("`y.safetensors` is missing"));
        index(&dir, &[("a", "x.safetensors"), ("c", "x.safetensors")]);
        let message = message(&dir);
        assert!(
            message.contains("`c` is not in `x.safetensors`"),
            "{message}"
        );
        assert!(
            message.contains("`b` in `x.safetensors` is not in the index"),
            "{message}"
        );
    }

    #[test]
    #[cfg(unix)]
    fn links_of_the_hub_cache_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("snapshot");
        fs::create_dir(&dir).unwrap();
        put(folder.path(), "blob.safetensors", &["a"]);
        std::os::unix::fs::symlink("../blob.safetensors", dir.join("x.safetensors")).unwrap();
        index(&dir, &[("a", "x.safetensors")]);
        assert_eq!(
            Checkpoint::open(&dir).unwrap().read("a").unwrap().bytes,
            [7]
        );
    }

    #[test]
    fn threads_can_share_it() {
        fn shared<T: Send + Sync>() {}
        shared::<Checkpoint>();
    }

    #[test]
    #[cfg(unix)]
    fn only_regular_files_are_opened() {
        let error = Checkpoint::open_file(Path::new("/dev/zero")).expect_err("endless");
        assert!(error.to_string().contains("not a regular file"));
    }
}
