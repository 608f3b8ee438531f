//! The two formats in which an adapter's weights are written.

use std::path::Path;

use crate::checkpoint::{TensorInfo, write_safetensors, write_torch};
use crate::error::Result;

/// Format of an adapter's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileFormat {
    /// `.safetensors`.
    #[default]
    Safetensors,
    /// `.bin`, as `torch.save` writes it: all that the official ptuning script and old releases of PEFT open.
    PyTorch,
}

impl FileFormat {
    /// Writes tensors to the one of two files that is of this format.
    pub(super) fn write(
        self,
        dir: &Path,
        safetensors: &str,
        pytorch: &str,
        tensors: &[(TensorInfo, &[u8])],
    ) -> Result<()> {
        match self {
            Self::Safetensors => write_safetensors(&dir.join(safetensors), tensors),
            Self::PyTorch => write_torch(&dir.join(pytorch), tensors),
        }
    }
}
