//! The dashboard of a training: what it knows ([`State`]), how that looks, and the terminal that shows it.
//!
//! The training tells it of events; a thread of its own draws, a few times a second at most, and listens to
//! the keyboard.

mod axis;
mod curve;
mod keys;
mod numbers;
mod palette;
mod screen;
mod series;
mod state;
mod view;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use glmtune_training::observer::{Event, Observer, Request, RunDescription, StopSignal};
use glmtune_training::report::{History, clock};
use ratatui::crossterm::event;

use crate::print::{self, Stream};
use palette::Palette;
use screen::Screen;
pub use screen::close as close_screen;
use state::{Mode, State};

/// Between two pictures at least, where steps are quick.
const REDRAW: Duration = Duration::from_millis(250);
/// Between two pictures at most, so that clocks run.
const TICK: Duration = Duration::from_secs(1);
/// How long the keyboard is listened to at a time; the end of a training waits for it.
const LISTEN: Duration = Duration::from_millis(50);
/// Lines that are printed after the dashboard at most.
const KEPT: usize = 200;

/// What the training and the drawing thread share.
struct Shared {
    state: Mutex<State>,
    started: Instant,
    has_news: AtomicBool,
    is_over: AtomicBool,
    stop: StopSignal,
    interrupt: Arc<dyn Fn() + Send + Sync>,
    /// Lines for the main screen once it is back.
    kept: Mutex<Vec<(Stream, String)>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, stream: Stream, text: &str) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((stream, text.to_string()));
    }

    /// A line that was meant for the screen that is hidden.
    fn note(&self, stream: Stream, text: &str) {
        self.keep(stream, text);
        self.state().note(text);
        self.has_news.store(true, Ordering::SeqCst);
    }
}

/// A dashboard on the terminal. Dropped, it gives the terminal back and prints a summary.
pub struct Dashboard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Dashboard {
    /// Takes the terminal for a run; `history` is what came before a resume. Keys make requests by `stop`,
    /// and Ctrl-C calls `interrupt`.
    ///
    /// # Errors
    /// If the terminal does not do what a dashboard needs; it is then as it was.
    pub fn open(
        run: RunDescription,
        history: &History,
        stop: StopSignal,
        interrupt: Arc<dyn Fn() + Send + Sync>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(run, history)),
            started: Instant::now(),
            has_news: AtomicBool::new(true),
            is_over: AtomicBool::new(false),
            stop,
            interrupt,
            kept: Mutex::new(Vec::new()),
        });
        let screen = Screen::open()?;
        let lines = shared.clone();
        print::divert(move |stream, text| lines.note(stream, text));
        let own = shared.clone();
        let thread = std::thread::Builder::new()
            .name("dashboard".to_string())
            .spawn(move || watch(&own, screen));
        let mut dashboard = Self {
            shared,
            thread: None,
        };
        // A failure gives the terminal back by the drop.
        dashboard.thread = Some(thread?);
        Ok(dashboard)
    }

    /// The last numbers, for the main screen.
    fn summary(&self) -> Option<String> {
        let state = self.shared.state();
        let record = state.last?;
        Some(format!(
            "step {}/{}  epoch {}  loss {:.4} (averaged)  lr {:.3e}  {:.0} tokens/s  {}",
            record.step,
            state.run.total_steps,
            record.epoch,
            state.loss.smooth().unwrap_or(f64::NAN),
            record.lr,
            state.speed.smooth().unwrap_or(f64::NAN),
            clock(state.elapsed().as_secs_f64()),
        ))
    }
}

impl Observer for Dashboard {
    fn notice(&mut self, event: &Event<'_>) {
        let elapsed = self.shared.started.elapsed();
        self.shared.state().notice(event, elapsed);
        match event {
            Event::Note(text) => self.shared.keep(Stream::Out, text),
            Event::Evaluated(record) => self.shared.keep(Stream::Out, &record.line()),
            Event::Saved(_, path) => {
                let text = format!("saved {}", path.display());
                self.shared.keep(Stream::Out, &text);
            }
            _ => {}
        }
        self.shared.has_news.store(true, Ordering::SeqCst);
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // It has said itself what it has died of.
            let _ = thread.join();
        }
        screen::close();
        print::undivert();
        let kept = std::mem::take(
            &mut *self
                .shared
                .kept
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for (stream, text) in kept {
            print::line(stream, &text);
        }
        if let Some(summary) = self.summary() {
            print::say(summary);
        }
    }
}

/// Draws and listens until the training is over.
fn watch(shared: &Shared, mut screen: Screen) {
    let palette = Palette::new(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));
    let mut drawn: Option<Instant> = None;
    while !shared.is_over.load(Ordering::SeqCst) && screen::is_open() {
        let since = drawn.map_or(TICK, |drawn| drawn.elapsed());
        let has_news = shared.has_news.load(Ordering::SeqCst);
        if since >= TICK || (has_news && since >= REDRAW) {
            shared.has_news.store(false, Ordering::SeqCst);
            let picture = picture(shared);
            // A terminal that is gone is not a reason to end a training.
            let _ = screen.draw(|frame| view::draw(frame, &picture, palette));
            drawn = Some(Instant::now());
        }
        if listen(shared) {
            drawn = None;
        }
    }
}

/// The state at this moment; the training need not wait for the drawing of it.
fn picture(shared: &Shared) -> State {
    let mut state = shared.state();
    state.tick(shared.started.elapsed());
    let request = shared.stop.request();
    if request != Request::GoOn {
        state.mode = Mode::Stopping(request);
    }
    state.clone()
}

/// Whether something came from the keyboard or the terminal has a new size.
fn listen(shared: &Shared) -> bool {
    match event::poll(LISTEN) {
        Ok(true) => {}
        Ok(false) => return false,
        Err(_) => {
            std::thread::sleep(LISTEN);
            return false;
        }
    }
    let Ok(event) = event::read() else {
        return false;
    };
    let action = keys::press(&mut shared.state(), &shared.stop, &event);
    if action == keys::Action::Interrupt {
        (shared.interrupt)();
    }
    true
}
