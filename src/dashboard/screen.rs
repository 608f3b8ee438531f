//! The terminal under a dashboard: another screen, keys as they come, and everything as it was afterwards.

use std::io::{self, BufWriter, Stdout, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, TryLockError};
use std::time::Duration;

use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::prelude::CrosstermBackend;
use ratatui::{Frame, Terminal};

/// Whether the terminal is not as it was.
static IS_OPEN: AtomicBool = AtomicBool::new(false);
/// Held while a picture is being drawn.
static DRAWING: Mutex<()> = Mutex::new(());
/// How often, and how long each time, a picture that is being drawn is waited for.
const WAITS: u32 = 40;
const WAIT: Duration = Duration::from_millis(5);

/// The screen of a dashboard.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// If it cannot be put into raw mode or has no size; it is then as it was.
    pub fn open() -> io::Result<Self> {
        restore_at_panics();
        let out = BufWriter::with_capacity(1 << 16, stdout());
        let terminal = Terminal::new(CrosstermBackend::new(out))?;
        enable_raw_mode()?;
        IS_OPEN.store(true, Ordering::SeqCst);
        // Not by the terminal's own `clear`, which asks where the cursor is; not all terminals answer.
        let opened = execute!(stdout(), EnterAlternateScreen, Clear(ClearType::All), Hide);
        if let Err(error) = opened {
            close();
            return Err(error);
        }
        Ok(Self { terminal })
    }

    /// Draws a picture, unless the terminal was given back.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        let _drawing = DRAWING.lock();
        if is_open() {
            self.terminal.draw(picture)?;
        }
        Ok(())
    }
}

/// Whether a dashboard has the terminal.
pub fn is_open() -> bool {
    IS_OPEN.load(Ordering::SeqCst)
}

/// Gives the terminal back, from any thread; does nothing where no dashboard has it.
pub fn close() {
    if !IS_OPEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // A picture that is under way would end up on the main screen. If it is this very thread that draws,
    // and has failed, there is nothing to wait for.
    for _ in 0..WAITS {
        match DRAWING.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(WAIT),
            Ok(_) | Err(TryLockError::Poisoned(_)) => break,
        }
    }
    // Where the terminal is gone there is nothing to give back.
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// What a panic says must be readable, and the terminal usable.
fn restore_at_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            close();
            before(info);
        }));
    });
}
