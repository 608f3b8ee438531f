//! What keys do.

use glmtune_training::observer::{Request, StopSignal};
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::state::{Mode, State};

/// What a key asks for beyond the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// What Ctrl-C is for.
    Interrupt,
}

/// Takes in what came from the terminal.
pub fn press(state: &mut State, stop: &StopSignal, event: &Event) -> Action {
    let Event::Key(key) = event else {
        return Action::None;
    };
    if key.kind == KeyEventKind::Release {
        return Action::None;
    }
    if is_interrupt(key) {
        return Action::Interrupt;
    }
    state.mode = match (state.mode, key.code) {
        (Mode::Watching, KeyCode::Char('q' | 'Q')) => Mode::Asking,
        (Mode::Watching, KeyCode::Char('l' | 'L')) => {
            state.is_log_scale = !state.is_log_scale;
            Mode::Watching
        }
        (Mode::Asking, KeyCode::Char('s' | 'S')) => stopping(stop, Request::SaveAndStop),
        (Mode::Asking, KeyCode::Char('d' | 'D')) => stopping(stop, Request::Discard),
        (Mode::Asking, KeyCode::Esc | KeyCode::Char('q' | 'Q' | 'n' | 'N')) => Mode::Watching,
        (mode, _) => mode,
    };
    Action::None
}

fn stopping(stop: &StopSignal, request: Request) -> Mode {
    stop.ask(request);
    Mode::Stopping(request)
}

fn is_interrupt(key: &KeyEvent) -> bool {
    key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('c' | 'C'))
}

#[cfg(test)]
mod tests {
    use glmtune_training::observer::Observer;

    use super::super::state::tests::state;
    use super::*;

    fn type_keys(keys: &[KeyCode]) -> (State, StopSignal) {
        let (mut state, stop) = (state(10), StopSignal::default());
        for &code in keys {
            let event = Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
            assert_eq!(press(&mut state, &stop, &event), Action::None);
        }
        (state, stop)
    }

    #[test]
    fn a_stop_is_asked_for_twice() {
        let (state, stop) = type_keys(&[KeyCode::Char('s'), KeyCode::Char('d')]);
        assert_eq!(
            (state.mode, stop.request()),
            (Mode::Watching, Request::GoOn)
        );
        let (state, stop) = type_keys(&[KeyCode::Char('q'), KeyCode::Char('s')]);
        assert_eq!(state.mode, Mode::Stopping(Request::SaveAndStop));
        assert_eq!(stop.request(), Request::SaveAndStop);
        let (_, stop) = type_keys(&[KeyCode::Char('q'), KeyCode::Char('d')]);
        assert_eq!(stop.request(), Request::Discard);
        let keys = [KeyCode::Char('q'), KeyCode::Esc, KeyCode::Char('s')];
        assert_eq!(type_keys(&keys).1.request(), Request::GoOn);
        assert!(type_keys(&[KeyCode::Char('l')]).0.is_log_scale);
    }

    #[test]
    fn control_c_interrupts() {
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        let found = press(&mut state(1), &StopSignal::default(), &Event::Key(key));
        assert_eq!(found, Action::Interrupt);
    }
}
