//! A file of rows becomes a data set: laid out in parallel, checked, or taken from the cache.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use glmtune_model::rows::{LaidOut, NumberedRow, Row, Rows, TrainingRow, lay_out, read_rows};
use glmtune_model::tokenizer::Tokenizer;
use rayon::prelude::*;

use super::cache::TokenCache;
use super::dataset::Dataset;
use super::settings::DataSettings;
use super::summary::{Summary, count_targets};
use super::token_store::TokenStore;
use crate::error::{Error, Result};

/// Rows that are encoded before their text is dropped.
const CHUNK: usize = 4096;

/// Reads, encodes and checks a file of rows. `progress` is called with the rows done and all rows.
///
/// # Errors
/// If a row is broken, has no target or a token outside of the vocabulary, with its line and the number of
/// other such rows; if no row is left.
pub(super) fn prepare(
    settings: &DataSettings<'_>,
    tokenizer: Option<&Tokenizer>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Dataset> {
    settings.limits.validate(settings.mode)?;
    let cache = TokenCache::find(settings)?;
    tracing::info!("rows: {}", settings.path.display());
    if let Some(dataset) = cache.as_ref().and_then(TokenCache::read) {
        tracing::info!("rows: encoded before, taken from the cache");
        return Ok(dataset);
    }
    let Rows { rows, unused_keys } = read_rows(settings.path, &settings.format)?;
    let is_text = rows.iter().any(|row| matches!(row.row, Row::Text { .. }));
    let mut dataset = encode(settings, tokenizer, rows, progress)?;
    dataset.summary.unused_keys = unused_keys;
    if let Some(cache) = cache.filter(|_| is_text) {
        cache.write(&dataset);
    }
    Ok(dataset)
}

fn encode(
    settings: &DataSettings<'_>,
    tokenizer: Option<&Tokenizer>,
    mut rows: Vec<NumberedRow>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Dataset> {
    let (total, done) = (rows.len(), AtomicUsize::new(0));
    let mut store = TokenStore::default();
    let mut summary = Summary::default();
    let mut faults = Faults::default();
    rows.reverse();
    while !rows.is_empty() {
        // Taken from the end of the reversed rows, so that their text goes with them.
        let chunk = rows.split_off(rows.len().saturating_sub(CHUNK));
        let laid_out: Vec<(usize, LaidOut)> = chunk
            .par_iter()
            .rev()
            .map(|NumberedRow { line, row }| {
                let laid_out = lay_out(row, tokenizer, settings.mode, settings.limits)?;
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
                Ok((*line, laid_out))
            })
            .collect::<Result<_>>()?;
        for (
            line,
            LaidOut {
                row,
                truncated: cut,
                without_answer,
            },
        ) in laid_out
        {
            if cut && settings.is_skip {
                tracing::info!(
                    "{}: line {line}: skipped, too long",
                    settings.path.display()
                );
                summary.skipped += 1;
                continue;
            }
            if cut {
                tracing::info!("{}: line {line}: truncated", settings.path.display());
            }
            summary.truncated += usize::from(cut);
            summary.without_answer += usize::from(without_answer);
            match fault(&row, settings.vocabulary) {
                Some(detail) => faults.add(line, detail),
                None => store.push(line, &row),
            }
        }
    }
    faults.check(settings.path)?;
    if store.ends.is_empty() {
        let reason = match summary.skipped {
            0 => "no rows".to_string(),
            skipped => {
                format!("all {skipped} rows would be truncated, and --is_skip leaves them out")
            }
        };
        return Err(Error::Request(format!(
            "{}: {reason}",
            settings.path.display()
        )));
    }
    summary.measure(&store);
    Ok(Dataset::new(store, summary))
}

/// Why a row cannot be trained on.
fn fault(row: &TrainingRow, vocabulary: usize) -> Option<String> {
    let ids = row.input_ids.iter().map(|&id| i64::from(id));
    let outside = |id: &i64| *id >= vocabulary as i64;
    if let Some(id) = ids.chain(row.labels.iter().copied()).find(outside) {
        return Some(format!(
            "token {id} is outside the model's vocabulary of {vocabulary}"
        ));
    }
    let targets = count_targets(row.labels.iter().copied());
    (targets == 0).then(|| {
        "no token to predict: the output is empty, or every label after the first is -100"
            .to_string()
    })
}

/// The first fault and the number of others.
#[derive(Default)]
struct Faults {
    first: Option<(usize, String)>,
    others: usize,
}

impl Faults {
    fn add(&mut self, line: usize, detail: String) {
        match self.first {
            None => self.first = Some((line, detail)),
            Some(_) => self.others += 1,
        }
    }

    fn check(self, path: &Path) -> Result<()> {
        match self.first {
            None => Ok(()),
            Some((line, detail)) => Err(glmtune_model::Error::Row {
                path: path.to_path_buf(),
                line,
                detail,
                others: self.others,
            }
            .into()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use glmtune_model::rows::{LayoutLimits, RowFormat};
    use glmtune_model::tokenizer::{Mode, small_tokenizer};

    use super::*;

    struct Case {
        folder: tempfile::TempDir,
        tokenizer: Tokenizer,
    }

    impl Case {
        fn new(rows: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (tokenizer, config) = small_tokenizer(Mode::Glm2);
            fs::write(folder.path().join("tokenizer.json"), tokenizer).unwrap();
            fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
            fs::write(folder.path().join("rows.jsonl"), rows).unwrap();
            let tokenizer = Tokenizer::from_dir(folder.path(), Some(Mode::Glm2)).unwrap();
            Self { folder, tokenizer }
        }

        fn prepare(&self, max_len: usize, is_skip: bool) -> Result<Dataset> {
            let path = self.folder.path().join("rows.jsonl");
            let settings = DataSettings {
                path: &path,
                mode: Mode::Glm2,
                format: RowFormat::default(),
                limits: LayoutLimits {
                    max_len,
                    max_src_len: 40,
                },
                is_skip,
                vocabulary: self.tokenizer.vocab_size(),
                cache: Some(self.folder.path().join("cache")),
                tokenizer_files: vec![self.folder.path().join("tokenizer.json")],
            };
            prepare(&settings, Some(&self.tokenizer), &|_, _| ())
        }

        fn cached(&self) -> Vec<PathBuf> {
            let entries = fs::read_dir(self.folder.path().join("cache")).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect()
        }
    }

    const ROWS: &str = "{\"instruction\": \"a\", \"input\": \"b\", \"output\": \"c\"}\n\
                        {\"instruction\": \"aa\", \"input\": \"\", \"output\": \"cc\"}\n";

    #[test]
    fn a_second_run_takes_the_tokens_from_the_cache() {
        let case = Case::new(ROWS);
        let fresh = case.prepare(64, false).unwrap();
        assert!(!fresh.summary().from_cache);
        let mut cached = case.prepare(64, false).unwrap();
        assert!(cached.summary().from_cache);
        cached.summary.from_cache = false;
        assert_eq!(fresh, cached);
        assert!(!case.prepare(63, false).unwrap().summary().from_cache);
        let more = format!("{ROWS}{ROWS}");
        fs::write(case.folder.path().join("rows.jsonl"), more).unwrap();
        let other = case.prepare(64, false).unwrap();
        assert!(!other.summary().from_cache);
        assert_eq!(other.len(), 4);
        assert_ne!(other.fingerprint(), fresh.fingerprint());
    }

    #[test]
    fn a_damaged_cache_is_rebuilt() {
        let case = Case::new(ROWS);
        let fresh = case.prepare(64, false).unwrap();
        let path = case.cached().remove(0);
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(case.prepare(64, false).unwrap(), fresh);
        }
        for index in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[index] ^= 0x40;
            fs::write(&path, &bytes).unwrap();
            assert_eq!(case.prepare(64, false).unwrap(), fresh, "byte {index}");
        }
    }

    #[test]
    fn rows_without_targets_are_named_by_line() {
        let empty = "{\"input_ids\": [1, 2], \"labels\": [5, -100]}\n";
        let case = Case::new(&format!("{ROWS}\n{empty}{empty}"));
        let error = case.prepare(64, false).unwrap_err().to_string();
        assert!(
            error.contains("rows.jsonl:4: no token to predict"),
            "{error}"
        );
        assert!(error.contains("and 1 other"), "{error}");
    }

    #[test]
    fn tokens_outside_the_vocabulary_are_named_by_line() {
        let case = Case::new("{\"input_ids\": [1, 99999], \"labels\": [5, 5]}\n");
        let error = case.prepare(64, false).unwrap_err().to_string();
        assert!(error.contains(":1: token 99999"), "{error}");
    }

    #[test]
    fn long_rows_are_skipped_on_request() {
        let long = format!(
            "{{\"instruction\": \"{}\", \"input\": \"\", \"output\": \"x\"}}\n",
            "word ".repeat(100)
        );
        let case = Case::new(&format!("{long}{ROWS}"));
        let kept = case.prepare(64, true).unwrap();
        assert_eq!(
            (kept.len(), kept.summary().skipped, kept.line(0)),
            (2, 1, 2)
        );
        let cut = case.prepare(64, false).unwrap();
        assert_eq!((cut.len(), cut.summary().truncated), (3, 1));
        let error = Case::new(&long).prepare(64, true).unwrap_err().to_string();
        assert!(error.contains("all 1 rows"), "{error}");
        assert!(
            Case::new("\n")
                .prepare(64, true)
                .unwrap_err()
                .to_string()
                .contains("no rows")
        );
    }
}
