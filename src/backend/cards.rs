//! Which card a process takes that shares its host with others.

use glmtune_model::error::{Error, Result};
use glmtune_training::parallel::processes::ranks::HostPlace;

/// What shows a process some of the cards.
pub const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// The number of the card of a process among those of its host: the one of its place among those that are named, which
/// are the same for all, else among those that it sees. `shown` is what [`VISIBLE`] says: a launcher that shows each
/// process one card has chosen already.
///
/// # Errors
/// If there are fewer cards than processes.
pub fn of(place: HostPlace, named: &[usize], visible: usize, shown: Option<&str>) -> Result<usize> {
    let HostPlace { rank, size } = place;
    if !named.is_empty() {
        return named.get(rank).copied().ok_or_else(|| {
            Error::Request(format!(
                "--devices names {} for the {size} processes of this host, and process {rank} finds none: name \
                 one card for each, or start fewer processes",
                count(named.len())
            ))
        });
    }
    let shows_one = shown.is_some_and(|shown| !shown.trim().is_empty() && !shown.contains(','));
    match rank < visible {
        true => Ok(rank),
        false if visible == 1 && shows_one => Ok(0),
        false => Err(Error::Request(format!(
            "{size} processes on this host and {}{}: start as many processes as cards, or show more of them",
            count(visible),
            shown.map_or(String::new(), |shown| format!(
                " ({VISIBLE} is `{}`)",
                shown.escape_debug()
            ))
        ))),
    }
}

fn count(cards: usize) -> String {
    match cards {
        1 => "1 card".to_string(),
        _ => format!("{cards} cards"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(rank: usize, named: &[usize], visible: usize, shown: Option<&str>) -> Option<usize> {
        of(HostPlace { rank, size: 4 }, named, visible, shown).ok()
    }

    #[test]
    fn each_process_takes_the_card_of_its_place() {
        for rank in 0..4 {
            assert_eq!(card(rank, &[], 4, None), Some(rank));
            assert_eq!(card(rank, &[], 8, Some("0,1,2,3,4,5,6,7")), Some(rank));
            assert_eq!(card(rank, &[7, 5, 3, 1], 8, None), Some(7 - 2 * rank));
        }
    }

    #[test]
    fn a_launcher_that_shows_each_process_one_card_has_chosen() {
        assert_eq!(card(3, &[], 1, Some("3")), Some(0));
        assert_eq!(card(3, &[], 1, Some("GPU-8932f937-d72c")), Some(0));
    }

    #[test]
    fn more_processes_than_cards_are_refused() {
        for (named, visible, shown) in [
            (&[][..], 1, None),
            (&[], 1, Some("")),
            (&[], 3, None),
            (&[], 2, Some("0,1")),
            (&[0, 1, 2], 8, None),
        ] {
            assert_eq!(card(3, named, visible, shown), None, "{named:?} {visible}");
        }
        let error = of(HostPlace { rank: 2, size: 3 }, &[], 2, Some("0,1"));
        let error = error
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(
            error.contains("3 processes on this host and 2 cards"),
            "{error}"
        );
    }
}
