//! What the base is taught, an ability per file. Names in the rows are random, so that only the rule can be learned.

use crate::draw::{Draw, Random};
use crate::row::Row;

mod arithmetic;
mod copying;
mod extraction;
mod lookup;
mod pairs;
mod passage;
mod position;
mod presence;
mod sorting;
pub mod translation;

/// Makes a row of an ability.
type Make = fn(&Draw, &mut Random) -> Row;

/// The abilities, how many rows each has in a hundred, and what makes them.
pub const ABILITIES: [(&str, usize, Make); 10] = [
    ("copying", 8, copying::row),
    ("extraction", 16, extraction::row),
    ("lookup", 8, lookup::row),
    ("passage", 16, passage::row),
    ("pairs", 18, pairs::row),
    ("presence", 7, presence::row),
    ("position", 7, position::row),
    ("sorting", 6, sorting::row),
    ("arithmetic", 10, arithmetic::row),
    ("translation", 4, translation::row),
];

/// A row of an ability, one that is held out or one that is not.
pub fn row(ability: usize, held_out: bool, draw: &Draw, random: &mut Random) -> Row {
    let (name, _, make) = ABILITIES[ability];
    loop {
        let row = make(draw, random);
        if row.is_held_out() == held_out {
            return Row {
                ability: Some(name),
                ..row
            };
        }
    }
}

/// The abilities in the proportions of the base's rows.
pub fn weighted() -> Vec<usize> {
    let shares = ABILITIES.iter().enumerate();
    shares
        .flat_map(|(ability, (_, share, _))| std::iter::repeat_n(ability, *share))
        .collect()
}
