//! Rows to batches, losses, gradients, updates and checkpoints.
