//! Who talks to whom: all processes, those of a host, and those with the same place in their hosts.

use mpi::collective::SystemOperation;
use mpi::topology::{Color, SimpleCommunicator};
use mpi::traits::{Communicator, CommunicatorCollectives, Root};

use super::super::ranks::{HostPlace, Lane};
use crate::error::{Error, Result};

/// How many ranks of a host have fast links among them, where they are not all.
const ISLAND: &str = "GLMTUNE_RANKS_PER_HOST";

/// Processes that exchange something among themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Circle {
    /// All.
    All,
    /// Those with fast links to this one: of its host, or of a part of it.
    Island,
    /// Those with this one's place in their islands.
    Peers,
}

/// The communicators of this process, each with its lanes.
pub(super) struct Communicators {
    all: [SimpleCommunicator; 2],
    circles: Option<[[SimpleCommunicator; 2]; 2]>,
    /// This process among those of its host.
    pub host: HostPlace,
}

impl Communicators {
    /// All processes make them together.
    ///
    /// # Errors
    /// If a variable of the environment is wrong.
    pub fn new(world: &SimpleCommunicator) -> Result<Self> {
        let host = world.split_shared(world.rank());
        let island = match per_island()? {
            None => None,
            Some(ranks) => host.split_by_color_with_key(color(host.rank() / ranks), host.rank()),
        };
        let place = place(&host);
        let island = island.unwrap_or(host);
        let peers = peers(world, &island);
        let circles = peers.map(|peers| [lanes(&island), lanes(&peers)]);
        Ok(Self {
            all: lanes(world),
            circles,
            host: place,
        })
    }

    /// The communicator of a lane of a circle.
    pub fn of(&self, circle: Circle, lane: Lane) -> &SimpleCommunicator {
        let lanes = match (circle, &self.circles) {
            (Circle::Island, Some([island, _])) => island,
            (Circle::Peers, Some([_, peers])) => peers,
            _ => &self.all,
        };
        &lanes[lane as usize]
    }

    /// This process among all.
    pub fn place(&self) -> HostPlace {
        place(&self.all[0])
    }

    /// This process among those of its island and its peers, where islands have several ranks and are alike.
    pub fn places(&self) -> Option<[HostPlace; 2]> {
        let [island, peers] = self.circles.as_ref()?;
        Some([place(&island[0]), place(&peers[0])])
    }
}

fn lanes(communicator: &SimpleCommunicator) -> [SimpleCommunicator; 2] {
    Lane::ALL.map(|_| communicator.duplicate())
}

fn place(communicator: &SimpleCommunicator) -> HostPlace {
    HostPlace {
        rank: communicator.rank() as usize,
        size: communicator.size() as usize,
    }
}

fn color(value: i32) -> Color {
    Color::with_value(value)
}

/// The ranks with this one's place in their islands, in the order of the islands; none if those are not alike, or there
/// is nothing to gain.
fn peers(world: &SimpleCommunicator, island: &SimpleCommunicator) -> Option<SimpleCommunicator> {
    let (mut smallest, mut largest) = (0, 0);
    world.all_reduce_into(&island.size(), &mut smallest, SystemOperation::min());
    world.all_reduce_into(&island.size(), &mut largest, SystemOperation::max());
    if smallest != largest || largest == 1 || largest == world.size() {
        return None;
    }
    // Islands are numbered by their first ranks.
    let is_first = island.rank() == 0;
    let first = world.split_by_color_with_key(color(i32::from(is_first)), world.rank())?;
    let mut number = first.rank();
    island.process_at_rank(0).broadcast_into(&mut number);
    world.split_by_color_with_key(color(island.rank()), number)
}

fn per_island() -> Result<Option<i32>> {
    let Ok(value) = std::env::var(ISLAND) else {
        return Ok(None);
    };
    match value.trim().parse() {
        Ok(ranks) if ranks > 0 => Ok(Some(ranks)),
        _ => Err(Error::Request(format!(
            "{ISLAND} is `{}`, must be a number of ranks",
            value.escape_debug()
        ))),
    }
}
