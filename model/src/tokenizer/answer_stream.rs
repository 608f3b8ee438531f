//! Answers to text as their tokens come.

use super::Tokenizer;
use super::mode::Mode;
use super::stream::DecodeStream;

/// Text of an answer as its tokens come: all of it together is what
/// [`Tokenizer::decode_answer`] makes of all tokens.
#[derive(Debug)]
pub struct AnswerStream<'a> {
    decoder: DecodeStream<'a>,
    /// The line break after the role, which is not part of the text; empty once it has come or cannot come any more.
    line_break: Vec<u32>,
    /// First tokens that may belong to it.
    held: Vec<u32>,
}

impl Tokenizer {
    /// Text of an answer whose tokens come one at a time.
    pub fn answer_stream(&self, mode: Mode) -> AnswerStream<'_> {
        let line_break = match mode.has_roles() {
            true => self.encode("\n").unwrap_or_default(),
            false => Vec::new(),
        };
        AnswerStream {
            decoder: self.decode_stream(),
            line_break,
            held: Vec::new(),
        }
    }
}

impl<'a> From<DecodeStream<'a>> for AnswerStream<'a> {
    /// A text that no role opens, or what continues one.
    fn from(decoder: DecodeStream<'a>) -> Self {
        Self {
            decoder,
            line_break: Vec::new(),
            held: Vec::new(),
        }
    }
}

impl AnswerStream<'_> {
    /// Adds a token; gives the text that is now certain.
    pub fn push(&mut self, token: u32) -> String {
        if self.line_break.is_empty() {
            return self.decoder.push(token).unwrap_or_default();
        }
        self.held.push(token);
        let last = self.line_break.last().copied();
        let is_last = self.held.len() == 1 && last == Some(token);
        if self.held == self.line_break || is_last {
            self.held.clear();
            self.line_break.clear();
            return String::new();
        }
        match self.line_break.starts_with(&self.held) {
            true => String::new(),
            false => self.release(),
        }
    }

    fn release(&mut self) -> String {
        self.line_break.clear();
        let held = std::mem::take(&mut self.held);
        let pieces = held.into_iter().filter_map(|id| self.decoder.push(id));
        pieces.collect()
    }

    /// The rest; bytes that never became a character are written as U+FFFD.
    pub fn finish(mut self) -> String {
        let mut text = self.release();
        text.extend(self.decoder.finish());
        text
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::small::tests::opened_small_tokenizer;
    use super::*;

    #[test]
    fn as_the_whole_answer() {
        for mode in Mode::ALL {
            let tokenizer = opened_small_tokenizer(mode);
            for text in [
                "",
                "\n",
                "\n\n好",
                "\nplain",
                "plain\n",
                " \n",
                "好\u{fffd}",
            ] {
                let mut tokens = tokenizer.encode(text).unwrap();
                // Half a character at the end.
                tokens.extend(&tokenizer.encode("好").unwrap()[..1]);
                let mut stream = tokenizer.answer_stream(mode);
                let mut streamed: String = tokens.iter().map(|&id| stream.push(id)).collect();
                streamed.push_str(&stream.finish());
                assert_eq!(streamed, tokenizer.decode_answer(mode, &tokens), "{text:?}");
            }
        }
    }
}
