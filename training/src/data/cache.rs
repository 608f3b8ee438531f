//! Tokens on disk, under a name that is a digest of everything they depend on.
//!
//! A cache is a convenience: one that is damaged, cut off or foreign is rebuilt, and one that cannot be
//! written is done without.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;

use glmtune_model::checkpoint::{AtomicFile, remove_stale};
use glmtune_model::digest::{Digest, LENGTH as DIGEST};
use glmtune_model::files;
use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::settings::DataSettings;
use super::summary::Summary;
use super::token_store::TokenStore;
use crate::error::Result;

/// First bytes of the file, version included.
const MAGIC: &[u8; 16] = b"glmtune-tokens-2";
/// Largest header that is read.
const MAX_HEADER: usize = 1 << 20;

/// The place of one data set's tokens.
#[derive(Debug)]
pub(super) struct TokenCache {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Header {
    tokens: usize,
    rows: usize,
    summary: Summary,
}

impl TokenCache {
    /// The place of the tokens that belong to some settings; none if there is to be no cache.
    ///
    /// # Errors
    /// If the rows or the tokenizer's files cannot be read.
    pub fn find(settings: &DataSettings<'_>) -> Result<Option<Self>> {
        // A pipe can be read once only, and the rows need that.
        let Some(folder) = settings.cache.as_ref().filter(|_| settings.path.is_file()) else {
            return Ok(None);
        };
        let limits = settings.limits;
        let mut digest = Digest::of(MAGIC).with(format!(
            "{} {:?} {} {} {} {}",
            settings.mode,
            settings.format,
            limits.max_len,
            limits.max_src_len,
            settings.is_skip,
            settings.vocabulary
        ));
        for path in std::iter::once(settings.path)
            .chain(settings.tokenizer_files.iter().map(PathBuf::as_path))
        {
            digest = digest.with(Digest::of_file(path)?.0.bytes());
        }
        let name = format!("{}.tokens", digest.hex());
        Ok(Some(Self {
            path: folder.join(name),
        }))
    }

    /// The tokens, if they are there and whole.
    pub fn read(&self) -> Option<Dataset> {
        let (file, len) = files::open_regular(&self.path).ok()?;
        let dataset = read_whole(file, len).and_then(|bytes| parse(&bytes));
        if dataset.is_none() {
            tracing::warn!("{}: damaged; encoding anew", self.path.display());
        }
        dataset
    }

    /// Writes the tokens; whatever hinders it is a warning.
    pub fn write(&self, dataset: &Dataset) {
        if let Err(error) = self.try_write(dataset) {
            tracing::warn!("tokens are not cached: {error}");
        }
    }

    fn try_write(&self, dataset: &Dataset) -> Result<()> {
        let failed = |error| glmtune_model::Error::io(&self.path, error);
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
            for removed in remove_stale(folder) {
                tracing::info!("removed {}, left half written", removed.display());
            }
        }
        let store = &dataset.store;
        let header = Header {
            tokens: store.ids.len(),
            rows: store.ends.len(),
            summary: dataset.summary.clone(),
        };
        let header = serde_json::to_vec(&header)
            .map_err(|error| glmtune_model::Error::json(&self.path, error))?;
        let length = (header.len() as u64).to_le_bytes();
        let parts: [&[u8]; 6] = [
            &length,
            &header,
            bytemuck::cast_slice(&store.ends),
            bytemuck::cast_slice(&store.lines),
            bytemuck::cast_slice(&store.ids),
            bytemuck::cast_slice(&store.labels),
        ];
        let digest = parts.iter().fold(Digest::default(), Digest::with);
        let mut file = AtomicFile::create(&self.path)?;
        file.write_all(MAGIC).map_err(failed)?;
        file.write_all(&digest.bytes()).map_err(failed)?;
        for part in parts {
            file.write_all(part).map_err(failed)?;
        }
        Ok(file.commit()?)
    }
}

/// The bytes of a cache file whose length is that which its header tells, before anything else is read.
fn read_whole(file: File, len: u64) -> Option<Vec<u8>> {
    let mut file = file.take(len);
    let mut bytes = Vec::new();
    let start = (MAGIC.len() + DIGEST + size_of::<u64>()) as u64;
    file.by_ref().take(start).read_to_end(&mut bytes).ok()?;
    let length = bytes.strip_prefix(MAGIC)?.get(DIGEST..)?.try_into().ok()?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER as u64 {
        return None;
    }
    file.by_ref().take(length).read_to_end(&mut bytes).ok()?;
    let header: Header = serde_json::from_slice(&bytes[start as usize..]).ok()?;
    let row = (size_of::<u64>() + size_of::<u32>()) as u64;
    let token = (size_of::<u32>() + size_of::<i32>()) as u64;
    let rows = (header.rows as u64).checked_mul(row)?;
    let tokens = (header.tokens as u64).checked_mul(token)?;
    let expected = rows.checked_add(tokens)?.checked_add(start + length)?;
    if expected != len {
        return None;
    }
    bytes
        .try_reserve_exact((len - start - length) as usize)
        .ok()?;
    file.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn parse(bytes: &[u8]) -> Option<Dataset> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (digest, payload) = rest.split_at_checked(DIGEST)?;
    if Digest::of(payload).bytes() != *digest {
        return None;
    }
    let (length, rest) = payload.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (header, rest) = rest.split_at_checked(length.min(MAX_HEADER))?;
    let header: Header = serde_json::from_slice(header).ok()?;
    let (ends, rest) = take::<u64>(rest, header.rows)?;
    let (lines, rest) = take::<u32>(rest, header.rows)?;
    let (ids, rest) = take::<u32>(rest, header.tokens)?;
    let (labels, rest) = take::<i32>(rest, header.tokens)?;
    let sorted = ends.is_sorted() && ends.last().copied() == Some(header.tokens as u64);
    if !rest.is_empty() || !sorted {
        return None;
    }
    let store = TokenStore {
        ids,
        labels,
        ends,
        lines,
    };
    let summary = Summary {
        from_cache: true,
        ..header.summary
    };
    Some(Dataset::new(store, summary))
}

/// The next `count` numbers; checked against what is there before anything is allocated.
fn take<T: bytemuck::Pod>(bytes: &[u8], count: usize) -> Option<(Vec<T>, &[u8])> {
    let size = count.checked_mul(size_of::<T>())?;
    let (numbers, rest) = bytes.split_at_checked(size)?;
    Some((bytemuck::pod_collect_to_vec(numbers), rest))
}
