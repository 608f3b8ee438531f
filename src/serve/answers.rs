//! From what the engine tells to texts: tokens become text, end at stop strings, and carry their scores.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use glmtune_model::engine::{Event, TokenScore};
use glmtune_model::generation::{Finish, StopStrings};
use glmtune_model::tokenizer::tools::{AnswerEvent, AnswerReader};
use glmtune_model::tokenizer::{AnswerStream, Tokenizer};

use super::error::ApiError;
use super::listener::Events;
use super::logprobs::ScoredToken;
use super::metrics::Metrics;
use super::record::Record;
use super::usage::Usage;

/// Tokens of a prompt before its continuation that decide how the continuation is spelled: whether it begins a text,
/// and the bytes of a character that is not complete.
const CONTEXT: usize = 16;

/// What is asked of an answer's text.
#[derive(Debug)]
pub struct Form<'a> {
    /// What spells it.
    pub stream: AnswerStream<'a>,
    /// What tells calls of tools from text, if there are tools.
    pub reader: Option<AnswerReader>,
    /// Texts at which it ends.
    pub stop: &'a [String],
    /// The prompt, if it is to be repeated before the answer.
    pub echo: Option<&'a [u32]>,
    /// Whether the prompt's tokens come with their scores.
    pub scores_prompt: bool,
    /// Whether the token that ends the answer comes with its score, though it has no text: programs that score a prompt
    /// take what follows it for one token.
    pub scores_end: bool,
}

/// What spells the continuation of a prompt.
pub fn continuation_stream<'a>(
    tokenizer: &'a Tokenizer,
    prompt: &[u32],
    echo: bool,
) -> AnswerStream<'a> {
    let mut stream = tokenizer.decode_stream();
    if !echo {
        for &token in &prompt[prompt.len().saturating_sub(CONTEXT)..] {
            stream.push(token);
        }
    }
    stream.into()
}

/// What happens to the answers of a request.
#[derive(Debug, PartialEq)]
pub enum Update {
    /// One of them goes on.
    Piece {
        /// Which.
        number: usize,
        /// What comes.
        text: String,
        /// The tokens that end within what has come, if they are scored.
        scores: Vec<ScoredToken>,
    },
    /// One of them is a call of a tool.
    Call {
        /// Which.
        number: usize,
        /// The tool's name.
        name: String,
    },
    /// More of the JSON text of a call's arguments comes.
    Arguments {
        /// Which.
        number: usize,
        /// What comes.
        text: String,
    },
    /// One of them has ended.
    Ended {
        /// Which.
        number: usize,
        /// Why.
        finish: Finish,
    },
}

impl Update {
    /// Which of the answers it is about.
    pub fn number(&self) -> usize {
        match self {
            Self::Piece { number, .. }
            | Self::Call { number, .. }
            | Self::Arguments { number, .. }
            | Self::Ended { number, .. } => *number,
        }
    }
}

/// A part of a call of a tool.
enum CallPart {
    Name(String),
    Arguments(String),
}

/// One answer.
struct Answer<'a> {
    /// What spells it, until it has ended.
    stream: Option<AnswerStream<'a>>,
    reader: Option<AnswerReader>,
    /// What was read of a call.
    calls: Vec<CallPart>,
    echo: Option<&'a [u32]>,
    scores_prompt: bool,
    scores_end: bool,
    stops: StopStrings,
    /// Scored tokens whose text has not been given out, with where it ends.
    held: VecDeque<(ScoredToken, usize)>,
    /// Characters of all tokens so far.
    decoded: usize,
    /// Characters that were given out.
    given: usize,
    last: Option<Instant>,
}

impl<'a> Answer<'a> {
    fn new(form: Form<'a>) -> Self {
        Self {
            stream: Some(form.stream),
            reader: form.reader,
            calls: Vec::new(),
            echo: form.echo,
            scores_prompt: form.scores_prompt,
            scores_end: form.scores_end,
            stops: StopStrings::new(form.stop.iter().cloned()),
            held: VecDeque::new(),
            decoded: 0,
            given: 0,
            last: None,
        }
    }

    /// The text that a token completes.
    fn decode(&mut self, token: u32) -> String {
        let stream = self.stream.as_mut();
        let piece = stream.map_or(String::new(), |stream| stream.push(token));
        let text = match &mut self.reader {
            Some(reader) => {
                let events = reader.push(&piece);
                self.read(events)
            }
            None => piece,
        };
        self.decoded += text.chars().count();
        text
    }

    /// Keeps what belongs to a call; gives what is text.
    fn read(&mut self, events: Vec<AnswerEvent>) -> String {
        let mut text = String::new();
        for event in events {
            match event {
                AnswerEvent::TextDelta(delta) => text.push_str(&delta),
                AnswerEvent::CallStarted { name } => self.calls.push(CallPart::Name(name)),
                AnswerEvent::ArgumentsDelta(delta) => self.calls.push(CallPart::Arguments(delta)),
            }
        }
        text
    }

    /// The prompt, before its continuation.
    fn echo(&mut self, scores: Vec<Option<TokenScore>>) -> (String, Vec<ScoredToken>) {
        let Some(prompt) = self.echo.take() else {
            return (String::new(), Vec::new());
        };
        let mut text = String::new();
        let mut scores = scores.into_iter();
        let mut tokens = Vec::new();
        for &token in prompt {
            let offset = self.decoded;
            text.push_str(&self.decode(token));
            let score = scores.next().flatten();
            tokens.push(ScoredToken {
                token,
                score,
                offset,
            });
        }
        self.given = self.decoded;
        match self.scores_prompt {
            true => (text, tokens),
            false => (text, Vec::new()),
        }
    }

    fn push(&mut self, token: u32, score: Option<TokenScore>) -> (String, Vec<ScoredToken>) {
        let offset = self.decoded;
        let piece = self.decode(token);
        if score.is_some() {
            let scored = ScoredToken {
                token,
                score,
                offset,
            };
            self.held.push_back((scored, self.decoded));
        }
        let text = self.stops.push(&piece);
        let scores = self.release(&text);
        (text, scores)
    }

    /// Takes note of the token that ends the answer, which has no text.
    fn end_token(&mut self, token: u32, score: TokenScore) {
        if self.scores_end {
            let scored = ScoredToken {
                token,
                score: Some(score),
                offset: self.decoded,
            };
            self.held.push_back((scored, self.decoded));
        }
    }

    /// The tokens whose text has been given out, and at a stop also the one that the stop cuts.
    fn release(&mut self, text: &str) -> Vec<ScoredToken> {
        self.given += text.chars().count();
        let (given, is_stopped) = (self.given, self.stops.is_stopped());
        let mut released = Vec::new();
        while let Some((scored, end)) = self.held.pop_front() {
            if end <= given || (is_stopped && scored.offset < given) {
                released.push(scored);
                continue;
            }
            if !is_stopped {
                self.held.push_front((scored, end));
            }
            break;
        }
        released
    }

    /// What is left at the end.
    fn finish(&mut self) -> (String, Vec<ScoredToken>) {
        let rest = self.stream.take().map(AnswerStream::finish);
        let mut rest = rest.unwrap_or_default();
        if let Some(mut reader) = self.reader.take() {
            let mut events = reader.push(&rest);
            events.extend(reader.finish());
            rest = self.read(events);
        }
        let mut text = self.stops.push(&rest);
        if !self.stops.is_stopped() {
            text.push_str(&self.stops.finish());
        }
        let scores = match self.stops.is_stopped() {
            true => self.release(&text),
            false => self.held.drain(..).map(|(scored, _)| scored).collect(),
        };
        (text, scores)
    }
}

/// The answers of a request, as they come.
pub struct Answers<'a> {
    events: Events,
    answers: Vec<Option<Answer<'a>>>,
    open: usize,
    ready: VecDeque<Update>,
    usage: Usage,
    /// Answers to each prompt.
    n: usize,
    watch: Watch<'a>,
}

/// Who watches how long answers take.
#[derive(Debug)]
pub struct Watch<'a> {
    /// When the request must be done.
    pub deadline: Instant,
    /// What is counted.
    pub metrics: &'a Metrics,
    /// What the log says of the request.
    pub record: Arc<Record>,
}

impl<'a> Answers<'a> {
    /// The answers that `events` tell of, one for each form, `n` for each prompt; `prompt` tokens of prompts.
    pub fn new(
        events: Events,
        forms: impl IntoIterator<Item = Form<'a>>,
        (n, prompt): (usize, usize),
        watch: Watch<'a>,
    ) -> Self {
        let answers: Vec<_> = forms
            .into_iter()
            .map(|form| Some(Answer::new(form)))
            .collect();
        let usage = Usage {
            prompt,
            ..Usage::default()
        };
        watch.record.note(usage);
        Self {
            events,
            open: answers.len(),
            answers,
            ready: VecDeque::new(),
            usage,
            n,
            watch,
        }
    }

    /// What was used so far.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// What happens next; `None` when all answers have ended. Nothing is lost if the call is not waited for.
    ///
    /// # Errors
    /// If an answer fails, or takes too long.
    pub async fn next(&mut self) -> Result<Option<Update>, ApiError> {
        loop {
            if let Some(update) = self.ready.pop_front() {
                return Ok(Some(update));
            }
            if self.open == 0 {
                return Ok(None);
            }
            let deadline = self.watch.deadline.into();
            let event = tokio::time::timeout_at(deadline, self.events.next()).await;
            let (number, event) = event
                .map_err(|_| ApiError::too_slow())?
                .ok_or_else(ApiError::internal)?;
            self.take(number, event)?;
        }
    }

    fn take(&mut self, number: usize, event: Event) -> Result<(), ApiError> {
        let Some(answer) = self.answers.get_mut(number).and_then(Option::as_mut) else {
            return Ok(());
        };
        match event {
            Event::Started { cached } => {
                if number.is_multiple_of(self.n.max(1)) {
                    self.usage.cached += cached;
                }
                if !answer.scores_prompt {
                    let (text, scores) = answer.echo(Vec::new());
                    self.piece(number, text, scores);
                }
            }
            Event::PromptScores(scores) => {
                let (text, scores) = answer.echo(scores);
                self.piece(number, text, scores);
            }
            Event::Token { token, score } => self.token(number, token, score),
            Event::EndToken { token, score } => answer.end_token(token, score),
            Event::Ended(finish) => self.end(number, finish),
            Event::Embedding(_) => return Err(ApiError::internal()),
            Event::Failed(failure) => return Err(failure.into()),
        }
        self.watch.record.note(self.usage);
        Ok(())
    }

    fn token(&mut self, number: usize, token: u32, score: Option<TokenScore>) {
        let Some(answer) = self.answers.get_mut(number).and_then(Option::as_mut) else {
            return;
        };
        self.usage.completion += 1;
        self.watch.count(answer.last.replace(Instant::now()));
        let (text, scores) = answer.push(token, score);
        let is_stopped = answer.stops.is_stopped();
        let calls = std::mem::take(&mut answer.calls);
        self.piece(number, text, scores);
        self.call(number, calls);
        if is_stopped {
            self.events.end(number);
            self.close(number, Finish::Stop);
        }
    }

    fn end(&mut self, number: usize, finish: Finish) {
        let Some(answer) = self.answers.get_mut(number).and_then(Option::as_mut) else {
            return;
        };
        let (text, scores) = answer.finish();
        let finish = match answer.stops.is_stopped() {
            true => Finish::Stop,
            false => finish,
        };
        let calls = std::mem::take(&mut answer.calls);
        self.piece(number, text, scores);
        self.call(number, calls);
        self.close(number, finish);
    }

    fn piece(&mut self, number: usize, text: String, scores: Vec<ScoredToken>) {
        if !text.is_empty() || !scores.is_empty() {
            self.ready.push_back(Update::Piece {
                number,
                text,
                scores,
            });
        }
    }

    fn call(&mut self, number: usize, parts: Vec<CallPart>) {
        let updates = parts.into_iter().map(|part| match part {
            CallPart::Name(name) => Update::Call { number, name },
            CallPart::Arguments(text) => Update::Arguments { number, text },
        });
        self.ready.extend(updates);
    }

    fn close(&mut self, number: usize, finish: Finish) {
        if let Some(answer) = self.answers.get_mut(number) {
            *answer = None;
        }
        self.open = self.open.saturating_sub(1);
        self.ready.push_back(Update::Ended { number, finish });
    }
}

impl Watch<'_> {
    fn count(&self, last: Option<Instant>) {
        match last {
            Some(last) => self.metrics.count_next_token(last.elapsed()),
            None => self
                .metrics
                .count_first_token(self.record.began().elapsed()),
        }
    }
}
