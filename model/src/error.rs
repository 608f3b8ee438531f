//! The one error type of this crate: what was wrong, where, and what would have been right.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::device_health::DeviceFailure;
use crate::printable::{Shown, printable, printable_lines, printable_path};

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong between a model directory and a generated token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory could not be read or written.
    #[error("{}: {source}", printable_path(path))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// A JSON file is not valid JSON, or not of the expected form; the source names line and column.
    #[error("{}: {source}", printable_path(path))]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and column.
        source: serde_json::Error,
    },

    /// A parameter that no segment of the architecture declares.
    #[error("`{}` is not a parameter of this architecture: none of its segments has it", Shown(.0))]
    UnknownParameter(String),

    /// A key of a JSON file has a value that glmtune cannot use.
    #[error(
        "{}: key `{}`: found {}, expected {expected}",
        printable_path(path),
        Shown(key),
        Shown(found)
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The value found, or "nothing".
        found: String,
        /// What would be right.
        expected: String,
    },

    /// Several keys of a configuration are missing, wrong, unknown or not supported: all faults together.
    #[error("{}:{}", printable_path(path), KeyFaultList(faults))]
    Config {
        /// The file.
        path: PathBuf,
        /// Every fault found.
        faults: Vec<KeyFault>,
    },

    /// A binary file is truncated, hostile or of an unknown form.
    #[error("{}: {}", printable_path(path), printable_lines(detail))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },

    /// A path leads to something other than a file: a directory, a pipe, a socket or a device, which could block or never end.
    #[error("{}: this is {kind}, not a regular file", printable_path(path))]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// What stands there.
        kind: &'static str,
    },

    /// A file is larger than such a file can be.
    #[error("{}: {}, and at most {limit} are read of {what}", printable_path(path), SizeFound(*size, *limit))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What such a file is.
        what: &'static str,
        /// The most bytes that it can have.
        limit: u64,
        /// The bytes that it has, where that is known.
        size: Option<u64>,
    },

    /// A file that is to be text is not UTF-8.
    #[error("{}: line {line}: not UTF-8", printable_path(path))]
    NotText {
        /// The file.
        path: PathBuf,
        /// The line of the first byte that is wrong, counted from 1.
        line: usize,
    },

    /// Tensors of a checkpoint do not fit the model: all faults together.
    #[error("{}: {} tensor(s) do not fit the model:{}", printable_path(path), faults.len(), FaultList(faults))]
    Weights {
        /// The model or adapter directory.
        path: PathBuf,
        /// Every fault found.
        faults: Vec<WeightFault>,
    },

    /// Adapters do not fit the model that they are to be folded into: all faults of all adapters together.
    #[error("{}: {} module(s) of the adapters do not fit this model:{}", printable_path(base), faults.len(), AdapterFaultList(faults))]
    Adapters {
        /// The model directory.
        base: PathBuf,
        /// Every fault found, with its adapter's directory.
        faults: Vec<(PathBuf, WeightFault)>,
    },

    /// A directory lacks what it needs, or two of its files contradict each other.
    #[error("{}: {}", printable_path(path), printable_lines(detail))]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is missing and what would be right.
        detail: String,
    },

    /// A row of a data file cannot be used.
    #[error("{}:{line}: {}{}", printable_path(path), printable_lines(detail), other_rows(*others))]
    Row {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1; in a JSON array, the row's number.
        line: usize,
        /// What is wrong, with column or key, and what would be right.
        detail: String,
        /// How many other rows of the file are broken too.
        others: usize,
    },

    /// A text could not be encoded, or a tokenizer could not be built.
    #[error("tokenizer: {}", printable_lines(.0))]
    Tokenizer(String),

    /// A computation failed or gave no numbers.
    #[error("{}", printable_lines(.0))]
    Compute(String),

    /// A device failed: nothing that it gave since can be used.
    #[error("{0}")]
    Device(DeviceFailure),

    /// The request itself was wrong.
    #[error("{}", printable_lines(.0))]
    Request(String),
}

impl Error {
    /// An [`Error::Io`] at `path`.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.as_ref().to_path_buf(),
            source,
        }
    }

    /// An [`Error::Json`] at `path`.
    pub fn json(path: impl AsRef<Path>, source: serde_json::Error) -> Self {
        Self::Json {
            path: path.as_ref().to_path_buf(),
            source,
        }
    }

    /// An [`Error::Malformed`] at `path`.
    pub fn malformed(path: impl AsRef<Path>, detail: impl Into<String>) -> Self {
        Self::Malformed {
            path: path.as_ref().to_path_buf(),
            detail: detail.into(),
        }
    }

    /// An [`Error::Directory`] at `path`.
    pub fn directory(path: impl AsRef<Path>, detail: impl Into<String>) -> Self {
        Self::Directory {
            path: path.as_ref().to_path_buf(),
            detail: detail.into(),
        }
    }

    /// An [`Error::Key`] of the file at `path`.
    pub fn key(
        path: impl AsRef<Path>,
        key: impl Into<String>,
        found: impl fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::Key {
            path: path.as_ref().to_path_buf(),
            key: key.into(),
            found: found.to_string(),
            expected: expected.into(),
        }
    }

    /// Whether a file or directory is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }

    /// Whether the request was wrong (exit status 2), as opposed to a failure while running (1).
    pub fn is_request(&self) -> bool {
        match self {
            Self::Request(_)
            | Self::Key { .. }
            | Self::Config { .. }
            | Self::Adapters { .. }
            | Self::Directory { .. }
            | Self::Row { .. }
            | Self::Json { .. }
            | Self::NotRegular { .. }
            | Self::TooLarge { .. }
            | Self::NotText { .. } => true,
            Self::Io { .. } => self.is_missing(),
            Self::Malformed { .. }
            | Self::Weights { .. }
            | Self::Tokenizer(_)
            | Self::Compute(_)
            | Self::UnknownParameter(_)
            | Self::Device(_) => false,
        }
    }
}

/// As many other rows mean that the file was not read to its end.
pub(crate) const MANY: usize = 999;

fn other_rows(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " (and 1 other broken row)".to_string(),
        count if count < MANY => format!(" (and {count} other broken rows)"),
        count => format!(" (and at least {count} other broken rows)"),
    }
}

struct SizeFound(Option<u64>, u64);

impl fmt::Display for SizeFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(size) => write!(f, "{size} bytes"),
            None => write!(f, "more than {} bytes", self.1),
        }
    }
}

/// One key of a configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFault {
    /// It is missing, or has a value that cannot be used.
    Value {
        /// The key.
        key: String,
        /// The value found, or "nothing".
        found: String,
        /// What would be right.
        expected: String,
    },
    /// Nothing reads it.
    Unknown {
        /// The key.
        key: String,
        /// The key that may have been meant.
        near: Option<String>,
    },
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value {
                key,
                found,
                expected,
            } => {
                let (key, found) = (Shown(key), Shown(found));
                write!(f, "key `{key}`: found {found}, expected {expected}")
            }
            Self::Unknown { key, near: None } => {
                write!(f, "key `{}` is unknown; remove it", Shown(key))
            }
            Self::Unknown {
                key,
                near: Some(near),
            } => write!(f, "key `{}` is unknown; did you mean `{near}`?", Shown(key)),
        }
    }
}

struct KeyFaultList<'a>(&'a [KeyFault]);

impl fmt::Display for KeyFaultList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

/// One tensor that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightFault {
    /// The model has the parameter, the files do not.
    Missing {
        /// The parameter's path.
        key: String,
    },
    /// The files have the tensor, the model does not.
    Unused {
        /// The tensor's name.
        key: String,
    },
    /// The shapes differ.
    Shape {
        /// The parameter's path.
        key: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape in the model.
        expected: Vec<usize>,
    },
    /// The type is not one of f16, bf16 and f32.
    Type {
        /// The parameter's path.
        key: String,
        /// Type in the file.
        found: String,
    },
    /// An element is NaN or infinite.
    NotFinite {
        /// The tensor's name.
        key: String,
        /// The type in which it was read.
        dtype: String,
    },
}

impl fmt::Display for WeightFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { key } => write!(f, "missing: {}", printable(key)),
            Self::Unused { key } => write!(f, "not part of the model: {}", printable(key)),
            Self::NotFinite { key, dtype } => write!(
                f,
                "not finite: {} holds NaN or infinity, or values beyond the range of {dtype} (bf16 and f32 \
                 have more than f16)",
                printable(key)
            ),
            Self::Shape {
                key,
                found,
                expected,
            } => write!(
                f,
                "wrong shape: {} is {found:?} in the file, {expected:?} in the model",
                printable(key)
            ),
            Self::Type { key, found } => {
                write!(
                    f,
                    "wrong type: {} is {found}; f16, bf16 and f32 can be read",
                    printable(key)
                )
            }
        }
    }
}

struct FaultList<'a>(&'a [WeightFault]);

impl fmt::Display for FaultList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, rest) = self.0.split_at(self.0.len().min(LISTED));
        shown
            .iter()
            .try_for_each(|fault| write!(f, "\n  {fault}"))?;
        more(f, rest.len())
    }
}

struct AdapterFaultList<'a>(&'a [(PathBuf, WeightFault)]);

impl fmt::Display for AdapterFaultList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, rest) = self.0.split_at(self.0.len().min(LISTED));
        shown
            .iter()
            .try_for_each(|(dir, fault)| write!(f, "\n  {}: {fault}", printable_path(dir)))?;
        more(f, rest.len())
    }
}

/// Faults that a message lists; a model of another size has thousands.
const LISTED: usize = 200;

fn more(f: &mut fmt::Formatter<'_>, count: usize) -> fmt::Result {
    match count {
        0 => Ok(()),
        count => write!(f, "\n  and {count} more"),
    }
}
