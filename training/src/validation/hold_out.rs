//! Which rows are held out of those to train on.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::settings::HoldOut;
use crate::data::Dataset;
use crate::error::{Error, Result};

/// The stream of the draw: epochs, which shuffle by the same seed, count from 0.
const STREAM: u64 = u64::MAX;

/// Rows to train on and rows to validate on, both in the order of the file. The draw depends on the seed and
/// the number of rows alone.
///
/// # Errors
/// If no row is left to train on.
pub fn hold_out(rows: &Dataset, size: HoldOut, seed: u64) -> Result<(Dataset, Dataset)> {
    let (all, held_out) = (rows.len(), size.rows(rows.len()));
    if held_out >= all {
        return Err(Error::Request(format!(
            "val_size {size} holds out {held_out} of {all} rows, and leaves none to train on"
        )));
    }
    let (trained, held_out) = draw(all, held_out, seed);
    Ok((rows.select(&trained), rows.select(&held_out)))
}

fn draw(rows: usize, held_out: usize, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..rows).collect();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(STREAM);
    order.shuffle(&mut random);
    let mut trained = order.split_off(held_out);
    order.sort_unstable();
    trained.sort_unstable();
    (trained, order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_holds_out_the_same_rows() {
        let (trained, held_out) = draw(1000, 100, 7);
        assert_eq!((trained.len(), held_out.len()), (900, 100));
        assert_eq!((trained.clone(), held_out.clone()), draw(1000, 100, 7));
        assert_ne!(held_out, draw(1000, 100, 8).1);
        assert!(trained.is_sorted() && held_out.is_sorted());
        let mut all = [trained, held_out].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..1000));
    }
}
