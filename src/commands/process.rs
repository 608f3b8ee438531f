//! What the systems offer differently: a child that gets no Ctrl-C of its own and does not outlive this program, a
//! signal to it, and its memory.

use std::io;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicI32, Ordering};

/// The child that runs; 0 for none.
static RUNNING: AtomicI32 = AtomicI32::new(0);

/// Starts a child. Ctrl-C at the terminal does not reach it but through [`interrupt`], so that it comes once.
///
/// # Errors
/// If it cannot be started.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    separate(command);
    let child = command.spawn()?;
    RUNNING.store(i32::try_from(child.id()).unwrap_or(0), Ordering::SeqCst);
    Ok(child)
}

/// The child has ended.
pub fn forget() {
    RUNNING.store(0, Ordering::SeqCst);
}

#[cfg(unix)]
fn separate(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
    #[cfg(target_os = "linux")]
    {
        let parent = std::process::id();
        let end_with_parent = move || {
            // SAFETY: both calls only read and set attributes of the calling process; they take no pointers, do not
            // allocate, and are safe between fork and exec.
            let (set, now) = unsafe {
                (
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL),
                    libc::getppid(),
                )
            };
            match set == 0 && u32::try_from(now) == Ok(parent) {
                true => Ok(()),
                false => Err(io::Error::other(
                    "the program that starts this one has ended",
                )),
            }
        };
        // SAFETY: the closure allocates nothing and takes no lock before it has failed.
        unsafe { command.pre_exec(end_with_parent) };
    }
}

#[cfg(not(unix))]
fn separate(_: &mut Command) {}

/// Asks a child to save what it has and end.
#[cfg(unix)]
pub fn interrupt(child: &mut Child) {
    if let Ok(id) = i32::try_from(child.id()) {
        // SAFETY: a signal to a child that has not been waited for, so that its number is nobody else's.
        unsafe { libc::kill(id, libc::SIGINT) };
    }
}

/// Ends a child; what it had saved stays.
#[cfg(not(unix))]
pub fn interrupt(child: &mut Child) {
    let _ = child.kill();
}

/// Ends the child that runs, at once: for a second Ctrl-C.
pub fn kill_running() {
    #[cfg(unix)]
    {
        let id = RUNNING.load(Ordering::SeqCst);
        if id > 0 {
            // SAFETY: a signal to a child that has not been waited for, so that its number is nobody else's.
            unsafe { libc::kill(id, libc::SIGKILL) };
        }
    }
}

/// The most memory that a running process has had at once.
#[cfg(target_os = "linux")]
pub fn peak_bytes(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Other systems do not tell it of a process that runs.
#[cfg(not(target_os = "linux"))]
pub fn peak_bytes(_: u32) -> Option<u64> {
    None
}
