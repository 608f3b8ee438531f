//! The processes that `mpirun` or `srun` has started together.

use glmtune_training::parallel::processes::ranks::{HostPlace, ProcessGroup};

use crate::commands::error::Result;

/// Where Open MPI and MPICH tell a process how many there are.
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// Where SLURM tells it, and what tells that it has started MPI.
const SLURM_SIZE: &str = "SLURM_STEP_NUM_TASKS";
const SLURM_RANKS: [&str; 2] = ["PMIX_RANK", "PMI_RANK"];

/// Where Open MPI, MPICH and SLURM tell it its number among those of its host.
const LOCAL_RANKS: [&str; 3] = [
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "MPI_LOCALRANKID",
    "SLURM_LOCALID",
];

/// A variable of the environment.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// This process's place among those of its host; none where it has the host, and all its cards, to itself.
pub fn host_place(flag: Option<i64>, group: &ProcessGroup) -> Option<HostPlace> {
    let place = group.ranks().map(|ranks| ranks.host_place());
    place_of(flag, place, &variable)
}

/// The flag wins, then what the launcher says, then what MPI found.
fn place_of(
    flag: Option<i64>,
    found: Option<HostPlace>,
    variable: Variable<'_>,
) -> Option<HostPlace> {
    let place = |rank: usize, size: usize| HostPlace {
        rank,
        size: size.max(rank.saturating_add(1)),
    };
    let size = found.map_or(1, |found| found.size);
    if let Some(rank) = flag.and_then(|rank| usize::try_from(rank).ok()) {
        return Some(place(rank, size));
    }
    let found = found.filter(|found| found.size > 1)?;
    let told = LOCAL_RANKS.iter().find_map(|name| number(name, variable));
    Some(place(told.unwrap_or(found.rank), size))
}

fn number(name: &str, variable: Variable<'_>) -> Option<usize> {
    variable(name)?.trim().parse().ok()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Joins the other processes, if there are any.
///
/// # Errors
/// If there are, and this build has no MPI, or one that does not serve.
pub fn join() -> Result<ProcessGroup> {
    match size(&variable) {
        0 | 1 => Ok(ProcessGroup::default()),
        size => join_others(size),
    }
}

/// How many processes were started together.
fn size(variable: Variable<'_>) -> usize {
    let told = SIZES.iter().find_map(|name| number(name, variable));
    let by_slurm = || {
        let is_mpi = SLURM_RANKS.iter().any(|name| variable(name).is_some());
        is_mpi.then(|| number(SLURM_SIZE, variable)).flatten()
    };
    told.or_else(by_slurm).unwrap_or(1)
}

#[cfg(feature = "mpi")]
fn join_others(_: usize) -> Result<ProcessGroup> {
    Ok(ProcessGroup::of(
        glmtune_training::parallel::processes::mpi::join()?,
    ))
}

#[cfg(not(feature = "mpi"))]
fn join_others(size: usize) -> Result<ProcessGroup> {
    Err(crate::commands::error::Error::Request(format!(
        "started as one of {size} processes, but this build of glmtune has no MPI (build it with \
         `--features mpi`)"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        move |name| {
            let found = pairs.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| value.to_string())
        }
    }

    #[test]
    fn the_flag_wins_then_the_launcher_then_mpi() {
        let found = Some(HostPlace { rank: 1, size: 4 });
        let open_mpi = with(&[("OMPI_COMM_WORLD_LOCAL_RANK", "2"), ("SLURM_LOCALID", "0")]);
        let slurm = with(&[("SLURM_LOCALID", " 3")]);
        let nothing = with(&[("SLURM_LOCALID", "third")]);
        let rank = |flag, variable| place_of(flag, found, variable).map(|place| place.rank);
        assert_eq!(rank(Some(3), &open_mpi), Some(3));
        assert_eq!(rank(Some(-1), &open_mpi), Some(2));
        assert_eq!(rank(None, &slurm), Some(3));
        assert_eq!(rank(None, &nothing), Some(1));
        let mpich = with(&[("MPI_LOCALRANKID", "0")]);
        assert_eq!(rank(None, &mpich), Some(0));
    }

    #[test]
    fn a_process_that_has_its_host_to_itself_has_no_place() {
        let variable = with(&[("SLURM_LOCALID", "0")]);
        assert_eq!(place_of(None, None, &variable), None);
        assert_eq!(place_of(Some(-1), None, &variable), None);
        let alone = Some(HostPlace { rank: 0, size: 1 });
        assert_eq!(place_of(None, alone, &variable), None);
        // Another launcher has started it beside others.
        let told = place_of(Some(2), None, &variable);
        assert_eq!(told, Some(HostPlace { rank: 2, size: 3 }));
    }

    #[test]
    fn launchers_tell_how_many_there_are() {
        assert_eq!(size(&with(&[("OMPI_COMM_WORLD_SIZE", "4")])), 4);
        assert_eq!(size(&with(&[("PMI_SIZE", "2"), ("PMI_RANK", "1")])), 2);
        let slurm = with(&[("PMIX_RANK", "0"), ("SLURM_STEP_NUM_TASKS", "16")]);
        assert_eq!(size(&slurm), 16);
        // A step of SLURM without MPI: each process is one of its own.
        assert_eq!(size(&with(&[("SLURM_STEP_NUM_TASKS", "16")])), 1);
        assert_eq!(size(&with(&[])), 1);
    }
}
