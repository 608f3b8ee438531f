//! No training keeps a cache: what Burn makes of the default will do.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;

use super::CacheOps;

impl<B: CacheOps, C: CheckpointStrategy> CacheOps for Autodiff<B, C> {}
