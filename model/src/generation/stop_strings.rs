//! Texts at which an answer ends, wherever they lie between its tokens.

/// Cuts an answer, which comes in pieces, at the first of some texts. What may be the beginning of one is held back
/// until it is certain, so that no part of it is ever given out.
#[derive(Debug, Clone)]
pub struct StopStrings {
    stops: Vec<String>,
    /// The end of the answer so far, if it may be the beginning of a stop.
    held: String,
    is_stopped: bool,
}

impl StopStrings {
    /// Stops at any of `stops`; empty ones stop nothing.
    pub fn new(stops: impl IntoIterator<Item = String>) -> Self {
        Self {
            stops: stops.into_iter().filter(|stop| !stop.is_empty()).collect(),
            held: String::new(),
            is_stopped: false,
        }
    }

    /// Adds a piece; gives the text that is now certain to come before any stop.
    pub fn push(&mut self, piece: &str) -> String {
        if self.is_stopped {
            return String::new();
        }
        let mut text = std::mem::take(&mut self.held);
        text.push_str(piece);
        let first = self.stops.iter().filter_map(|stop| text.find(stop)).min();
        if let Some(at) = first {
            self.is_stopped = true;
            text.truncate(at);
            return text;
        }
        self.held = text.split_off(text.len() - self.beginning(&text));
        text
    }

    /// Length in bytes of the longest end of a text that is the beginning of a stop.
    fn beginning(&self, text: &str) -> usize {
        let longest = |stop: &String| {
            let lengths = stop.char_indices().map(|(at, _)| at).skip(1);
            let fitting = lengths.filter(|&length| text.ends_with(&stop[..length]));
            fitting.max().unwrap_or(0)
        };
        self.stops.iter().map(longest).max().unwrap_or(0)
    }

    /// Whether a stop has come: what follows adds nothing.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// What was held back and turned out to be no stop, at the end of the answer.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, String, bool) {
        let mut stopper = StopStrings::new(stops.iter().map(|stop| stop.to_string()));
        let given = pieces.iter().map(|piece| stopper.push(piece)).collect();
        let is_stopped = stopper.is_stopped();
        (given, stopper.finish(), is_stopped)
    }

    #[test]
    fn a_stop_across_pieces_is_never_seen() {
        let (given, rest, is_stopped) = run(&["\n\nQ"], &["a\n", "\n", "Q: b", "c"]);
        assert_eq!((given.concat().as_str(), rest.as_str()), ("a", ""));
        assert!(is_stopped);
    }

    #[test]
    fn what_was_no_stop_comes_later() {
        let (given, rest, is_stopped) = run(&["<end>"], &["a<e", "x<", "en"]);
        assert_eq!(given, ["a", "<ex", ""]);
        assert_eq!(rest, "<en");
        assert!(!is_stopped);
    }

    #[test]
    fn the_first_stop_wins_and_empty_ones_do_not_count() {
        let (given, _, is_stopped) = run(&["", "world", "o w"], &["hello world"]);
        assert_eq!((given.concat().as_str(), is_stopped), ("hell", true));
        let (given, rest, _) = run(&[""], &["abc"]);
        assert_eq!((given.concat().as_str(), rest.as_str()), ("abc", ""));
    }

    #[test]
    fn a_stop_that_begins_within_a_false_beginning_is_found() {
        let (given, rest, is_stopped) = run(&["aab"], &["a", "a", "a", "b", "c"]);
        assert_eq!((given.concat().as_str(), rest.as_str()), ("a", ""));
        assert!(is_stopped);
        let (given, _, _) = run(&["好的"], &["你", "好", "好的"]);
        assert_eq!(given.concat(), "你好");
    }

    #[test]
    fn pieces_do_not_matter() {
        let text = "abcabdabcabcabd!xyz";
        let whole = run(&["abcabcabd", "yz"], &[text]);
        for size in 1..text.len() {
            let pieces: Vec<&str> = (0..text.len())
                .step_by(size)
                .map(|at| &text[at..(at + size).min(text.len())])
                .collect();
            let (given, rest, is_stopped) = run(&["abcabcabd", "yz"], &pieces);
            assert_eq!(given.concat() + &rest, whole.0.concat() + &whole.1);
            assert_eq!(is_stopped, whole.2);
        }
    }
}
