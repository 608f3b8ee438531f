//! A failure of a device to order, for tests; release builds have none.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Which waiting for the devices finds that one has failed, counted from 1, and after a colon its last words.
const VARIABLE: &str = "GLMTUNE_REHEARSE_DEVICE_FAILURE";

static WAITS: AtomicUsize = AtomicUsize::new(0);

/// Lets a thread panic whose name begins like a device's, if its time has come.
// The panic is what is rehearsed.
#[allow(clippy::panic)]
pub(super) fn perform(thread: &str) {
    let wait = WAITS.fetch_add(1, Ordering::SeqCst) + 1;
    let order = std::env::var(VARIABLE).unwrap_or_default();
    let Some((number, words)) = order.split_once(':') else {
        return;
    };
    if number.parse() != Ok(wait) {
        return;
    }
    let words = words.to_string();
    let device = std::thread::Builder::new().name(format!("{thread}rehearsal"));
    let ends = device.spawn(move || std::panic::panic_any(words));
    // As CubeCL does, nobody minds how the thread has ended.
    let _ = ends.map(|thread| thread.join().is_err());
}
