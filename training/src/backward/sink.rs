//! Where gradients go.

use crate::error::Result;
use crate::gradients::Gradients;

/// Takes gradients as soon as they exist, once or a segment at a time.
pub type Sink<'a, B> = &'a mut dyn FnMut(Gradients<B>) -> Result<()>;
