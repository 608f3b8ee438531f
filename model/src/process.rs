//! How a process names itself to others, on this machine or another one.

use std::fmt;
use std::fs;

use serde::{Deserialize, Serialize};

/// Longest host name that is noted; the rest is left out.
const MAX_HOST: usize = 24;
/// Digits of the kernel's identity that are noted.
const BOOT_DIGITS: usize = 8;

/// A process as a file names it: who writes here, who left this behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessName {
    /// Name of the host, letters, digits, dots, dashes and underscores only.
    pub host: String,
    /// What the running kernel calls itself, where it does: containers of one machine have it in common,
    /// whatever their hosts are called.
    pub boot: String,
    /// Number of the process.
    pub pid: u32,
}

impl ProcessName {
    /// This process.
    pub fn this() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            host: host_name().chars().take(MAX_HOST).collect(),
            boot: boot
                .chars()
                .filter(char::is_ascii_hexdigit)
                .take(BOOT_DIGITS)
                .collect(),
            pid: std::process::id(),
        }
    }

    /// Whether it runs, or ran, on this machine: only then do locks and numbers of processes tell what has
    /// become of it.
    pub fn is_of_this_machine(&self) -> bool {
        let this = Self::this();
        self.host == this.host || (!self.boot.is_empty() && self.boot == this.boot)
    }

    /// Whether a process of its number can be seen to run here. That none is seen proves nothing: it may run
    /// in another container, or the system may not tell.
    pub fn is_seen(&self) -> bool {
        fs::exists(format!("/proc/{}", self.pid)).unwrap_or(false)
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on host {}", self.pid, self.host)
    }
}

/// The name of this host. It is there to tell machines apart: where none is found, any will do.
pub fn host_name() -> String {
    let kernel = || fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let variable = |name| std::env::var(name).ok();
    let found = kernel()
        .or_else(|| variable("HOSTNAME"))
        .or_else(|| variable("COMPUTERNAME"))
        .unwrap_or_default();
    let safe = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = found.trim().chars().filter(safe).collect();
    if name.is_empty() {
        "localhost".to_string()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_runs_here() {
        let this = ProcessName::this();
        assert!(this.is_of_this_machine());
        assert!(this.is_seen() || !cfg!(target_os = "linux"));
        let other = ProcessName {
            host: format!("not-{}", this.host),
            boot: String::new(),
            ..this
        };
        assert!(!other.is_of_this_machine());
    }
}
