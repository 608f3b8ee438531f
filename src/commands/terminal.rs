//! The terminal's state under a dashboard, which puts it into raw mode.

#[cfg(unix)]
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// The terminal as it was before.
pub struct Terminal {
    #[cfg(unix)]
    before: Option<Termios>,
}

impl Terminal {
    /// Remembers the state of the terminal.
    pub fn remember() -> Self {
        Self {
            #[cfg(unix)]
            before: tcgetattr(std::io::stdin()).ok(),
        }
    }

    /// Puts the terminal back: cooked, the main screen, with a cursor.
    pub fn restore(&self) {
        #[cfg(unix)]
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
        print!("\x1b[?1049l\x1b[?25h");
        let _ = std::io::Write::flush(&mut std::io::stdout());
    }

    /// Makes Ctrl-C an interrupt again; raw mode would hand it to the dashboard, which knows no such key.
    pub fn let_interrupts_through() {
        // The dashboard's thread sets raw mode at its start.
        std::thread::sleep(std::time::Duration::from_millis(200));
        #[cfg(unix)]
        if let Ok(mut modes) = tcgetattr(std::io::stdin()) {
            modes.local_modes |= LocalModes::ISIG;
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &modes);
        }
    }
}
