//! `state.json`: what a checkpoint says of itself, signed, so that no damage goes unnoticed.

use std::collections::BTreeMap;
use std::path::Path;

use glmtune_model::digest::Digest;
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use super::progress::TrainingProgress;
use crate::saving::RunId;

/// Version of the layout.
pub(super) const VERSION: u32 = 3;
/// What stands in place of the digest while the digest is computed.
const UNSIGNED: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The whole state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    version: u32,
    /// The run that wrote it.
    pub(super) run: RunId,
    pub(super) progress: TrainingProgress,
    pub(super) identity: Identity,
    /// Size and digest of each file.
    pub(super) files: BTreeMap<String, FileDigest>,
    /// Digest of this very text, with zeros in the digest's place.
    sha256: String,
}

/// Only the version: another one may have other fields.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl State {
    pub(super) fn new(
        run: RunId,
        progress: TrainingProgress,
        identity: Identity,
        files: BTreeMap<String, FileDigest>,
    ) -> Self {
        Self {
            version: VERSION,
            run,
            progress,
            identity,
            files,
            sha256: UNSIGNED.to_string(),
        }
    }

    /// The text of the file.
    pub(super) fn signed(&self) -> serde_json::Result<String> {
        let unsigned = Self {
            sha256: UNSIGNED.to_string(),
            ..self.clone()
        };
        let text = serde_json::to_string_pretty(&unsigned)?;
        let digest = Digest::of(text.as_bytes()).hex();
        // The field is the last one.
        Ok(replace_last(&text, UNSIGNED, &digest).unwrap_or(text))
    }

    /// Reads a string that [`signed`](Self::signed) gave; the reason if it is anything else.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let versioned: Versioned =
            serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if versioned.version != VERSION {
            return Err(format!(
                "written in layout {}, this glmtune reads {VERSION}",
                versioned.version
            ));
        }
        let state: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let is_signed = state.sha256.len() == UNSIGNED.len()
            && std::str::from_utf8(text)
                .ok()
                .and_then(|text| replace_last(text, &state.sha256, UNSIGNED))
                .is_some_and(|unsigned| Digest::of(unsigned.as_bytes()).hex() == state.sha256);
        match is_signed {
            true => Ok(state),
            false => Err("damaged, or changed by hand: its digest differs".to_string()),
        }
    }
}

/// A string with the last occurrence of a part replaced; nothing if there is none.
fn replace_last(text: &str, part: &str, by: &str) -> Option<String> {
    let (before, after) = text.rsplit_once(part)?;
    Some([before, by, after].concat())
}

/// Size and digest of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileDigest {
    bytes: u64,
    sha256: String,
}

impl FileDigest {
    pub(super) fn of(path: &Path) -> crate::error::Result<Self> {
        let (digest, bytes) = Digest::of_file(path)?;
        Ok(Self {
            bytes,
            sha256: digest.hex(),
        })
    }

    /// What is wrong with the file of this digest; its size is looked at before it is read.
    pub(super) fn fault(&self, path: &Path) -> Option<String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match path.symlink_metadata() {
            Err(error) => return Some(format!("{name}: {error}")),
            Ok(metadata) if !metadata.is_file() => {
                return Some(format!("{name} is not a regular file"));
            }
            Ok(metadata) if metadata.len() != self.bytes => {
                return Some(format!(
                    "{name} is truncated or damaged: {} bytes, expected {}",
                    metadata.len(),
                    self.bytes
                ));
            }
            Ok(_) => {}
        }
        match Self::of(path) {
            Ok(found) if found == *self => None,
            Ok(_) => Some(format!("{name} is damaged: its digest differs")),
            Err(error) => Some(error.to_string()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::precision::LossScale;
    use crate::validation::{Best, Metric, Standing};

    fn state(text: &str, scale: Option<f64>) -> State {
        let settings = json!({"learning_rate": 2.9999999999999997e-5, "name": text});
        let file = FileDigest {
            bytes: 123,
            sha256: Digest::of(b"file").hex(),
        };
        State::new(
            RunId::new(),
            TrainingProgress {
                step: 7,
                updates: 6,
                epoch: 1,
                micro_batch: 4,
                loss_scale: scale.map(|scale| LossScale {
                    scale,
                    good_steps: 3,
                    tolerated: 2,
                }),
                validation: Some(Standing {
                    metric: Metric::Loss,
                    rows: u64::MAX,
                    best: Some(Best {
                        step: 5,
                        epoch: 1,
                        value: 0.1 + 0.2,
                    }),
                    without_improvement: 2,
                }),
            },
            Identity {
                settings: settings.as_object().cloned().unwrap_or_default(),
                data: "data".to_string(),
                model: "model".to_string(),
            },
            BTreeMap::from([("weights.safetensors".to_string(), file)]),
        )
    }

    /// No single bit can be another one and the text still be taken for a state that it was not.
    #[test]
    fn every_flipped_bit_is_noticed() {
        let text = state("modules", Some(65536.0)).signed().unwrap();
        let whole = State::parse(text.as_bytes()).unwrap();
        for bit in 0..8 * text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(found) = State::parse(&bytes) {
                assert_eq!(found, whole, "bit {bit}");
            }
        }
    }

    #[test]
    fn another_layout_is_told_by_its_number() {
        let error = State::parse(br#"{"version": 1, "progress": {}}"#).unwrap_err();
        assert!(error.contains("layout 1"), "{error}");
    }

    proptest! {
        /// Whatever the settings hold, what was signed is read back, and what was cut or changed is not.
        #[test]
        fn what_is_signed_is_read_back(
            text in "\\PC{0,80}|[0-9a-f]{64}|0{64}",
            scale in proptest::option::of(1e-3f64..1e9),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let written = state(&text, scale).signed().unwrap();
            let read = State::parse(written.as_bytes()).unwrap();
            prop_assert_eq!(&read.identity.settings["name"], &json!(text));
            let mut bytes = written.into_bytes();
            let at = at.index(bytes.len());
            prop_assert!(State::parse(&bytes[..at]).is_err());
            if bytes[at] != byte {
                bytes[at] = byte;
                prop_assert!(State::parse(&bytes).is_err_and(|reason| !reason.is_empty()));
            }
        }
    }
}
