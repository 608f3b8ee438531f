//! Several processes, on one host or many: what they share out and what they send each other.
//!
//! [`ranks`] is what a training needs of them and `mpi` how it is done; `reduction` brings gradients to the rank that
//! updates their part, `gathering` the updated parts back to all, by way of the levels of a cluster; `sharding` is
//! for weights of which no rank keeps more than its part.

pub(crate) mod gathering;
#[cfg(any(feature = "mpi", test))]
pub(crate) mod levels;
#[cfg(feature = "mpi")]
pub mod mpi;
pub mod ranks;
pub(crate) mod reduction;
pub(crate) mod sharding;
#[cfg(test)]
pub(crate) mod threads_as_ranks;
