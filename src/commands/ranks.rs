//! The processes that `mpirun` has started together.

use glmtune_training::parallel::ranks::ProcessGroup;

use crate::commands::error::{Error, Result};

/// Where Open MPI and MPICH tell a process how many there are.
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// Where they tell it its number among those of its machine.
const LOCAL_RANKS: [&str; 2] = ["OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID"];

/// This process's number among those of its machine.
pub fn local_rank() -> usize {
    let ranks = LOCAL_RANKS
        .iter()
        .filter_map(|name| std::env::var(name).ok());
    let rank = ranks.filter_map(|rank| rank.parse().ok()).next();
    rank.unwrap_or(0)
}

/// Joins the other processes, if there are any.
///
/// # Errors
/// If there are, and this build has no MPI.
pub fn join() -> Result<ProcessGroup> {
    let sizes = SIZES.iter().filter_map(|name| std::env::var(name).ok());
    let size = sizes.filter_map(|size| size.parse::<usize>().ok()).next();
    match size {
        None | Some(0 | 1) => Ok(ProcessGroup::default()),
        Some(size) => join_others(size),
    }
}

#[cfg(feature = "mpi")]
fn join_others(_: usize) -> Result<ProcessGroup> {
    use glmtune_training::parallel::mpi::World;
    let world = World::join();
    let world = world.ok_or_else(|| Error::Request("MPI could not be started".to_string()))?;
    Ok(ProcessGroup::of(std::sync::Arc::new(world)))
}

#[cfg(not(feature = "mpi"))]
fn join_others(size: usize) -> Result<ProcessGroup> {
    Err(Error::Request(format!(
        "started as one of {size} processes, but this build of glmtune has no MPI (build it with \
         `--features mpi`)"
    )))
}
