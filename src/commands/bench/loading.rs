//! Reading a checkpoint into the device's memory. What the system keeps of its files in memory is not read from the
//! disk again, so that all but perhaps the first time tell of everything but the disk.

use glmtune_model::GlmBackend;
use glmtune_model::checkpoint::Checkpoint;

use super::measured::Found;
use super::place::Place;
use crate::commands::error::Result;

/// Measures it.
///
/// # Errors
/// If the model cannot be loaded.
pub fn measure<B: GlmBackend>(place: &Place<'_, B>) -> Result<Found> {
    let dtype = place.dtype.try_into()?;
    let checkpoint = Checkpoint::open(place.info.dir())?;
    let sizes = checkpoint
        .entries()
        .map(|info| info.elements() * info.dtype.size());
    let bytes: usize = sizes.sum();
    let found = place.clock.repeat("", || {
        let model = place
            .info
            .load::<B>(dtype, place.device(), &mut |_, _, _| ())?;
        place.wait()?;
        drop(model);
        Ok(())
    })?;
    Ok(found.bytes(bytes as f64))
}
