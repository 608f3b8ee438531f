//! The pages that CubeCL's pools cut out of a GPU's memory.

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Memory of usual cards, in GiB.
const CARDS: [u64; 11] = [4, 8, 12, 16, 24, 32, 40, 48, 80, 96, 141];
/// No pool has pages of less than a quarter of this.
const SMALLEST: u64 = 32 * MIB;

/// What the pools of a card hold beyond what is asked of them, where so many bytes are, the largest tensor that comes
/// and goes of `largest` bytes: a page of each pool that is not full. The card is the smallest usual one that holds
/// all of it.
pub(super) fn partly_filled(bytes: u64, largest: u64) -> u64 {
    let on = |card: u64| of_card(card * GIB, largest);
    let card = CARDS
        .into_iter()
        .find(|&card| bytes.saturating_add(on(card)) <= card * GIB);
    on(card.unwrap_or(CARDS[CARDS.len() - 1]))
}

/// The pages of the pools of a card up to the one that takes a tensor of `largest` bytes.
fn of_card(memory: u64, largest: u64) -> u64 {
    // As in CubeCL 0.10 (`MemoryConfiguration::SubSlices`): the largest tensor of a pool is a share of its page that
    // halves from pool to pool, and the last pool takes all that is larger.
    let (mut page, mut share) = (memory / 4, 1);
    let mut pools = vec![(page, page)];
    while page >= SMALLEST {
        page /= 4;
        share *= 2;
        pools.push((page, page / share));
    }
    pools.reverse();
    let taken = pools.iter().position(|&(_, most)| largest <= most);
    let used = taken.map_or(pools.len(), |index| index + 1);
    pools[..used].iter().map(|(page, _)| page).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A card of 24 GiB has pages of 24, 96, 384 and 1536 MiB for tensors of up to 1.5, 12, 96 and 768 MiB.
    #[test]
    fn pools_are_those_of_cubecl() {
        let pages = |largest| of_card(24 * GIB, largest * MIB) / MIB;
        assert_eq!(
            [1, 2, 12, 13, 96, 97, 768].map(pages),
            [24, 120, 120, 504, 504, 2040, 2040]
        );
        assert_eq!(pages(769), 2040 + 6 * 1024);
    }

    #[test]
    fn the_card_is_the_smallest_that_holds_all() {
        let small = of_card(16 * GIB, 80 * MIB);
        assert_eq!(partly_filled(14 * GIB, 80 * MIB), small);
        let next = of_card(24 * GIB, 80 * MIB);
        assert_eq!(partly_filled(16 * GIB - small + 1, 80 * MIB), next);
        assert!(partly_filled(u64::MAX, 1) > 0);
    }
}
