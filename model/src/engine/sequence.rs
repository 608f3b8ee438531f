//! A request that has a place: what of it is computed, and what comes next.

use std::ops::Range;
use std::time::Instant;

use super::kept::Computed;
use super::request::{Continuation, Event, Failure, Listener, Task, TokenScore};
use super::scores::score;
use crate::error::Error;
use crate::generation::{Constraint, Finish, Sampler};

/// A request that has a place in the arena.
pub(super) struct Sequence {
    /// Its place; of its tokens, those that are computed are there.
    pub computed: Computed,
    /// Prompt and continuation.
    pub tokens: Vec<u32>,
    /// Tokens of the prompt.
    prompt: usize,
    /// Tokens of the prompt that others had computed.
    cached: usize,
    work: Work,
    listener: Box<dyn Listener>,
    /// When it was asked for.
    pub since: Instant,
    /// Whether it has come to its end, in one way or another.
    pub has_ended: bool,
}

/// What is done with a prompt, and how far it is.
enum Work {
    Continue {
        continuation: Box<Continuation>,
        sampler: Box<Sampler>,
        prompt_scores: Vec<Option<TokenScore>>,
    },
    Embed {
        /// Sum of the hidden states so far, `[hidden]`.
        sum: Vec<f32>,
    },
}

impl Sequence {
    /// A sequence at a place where the first tokens of the prompt are computed already.
    pub fn new(
        computed: Computed,
        prompt: Vec<u32>,
        task: Task,
        listener: Box<dyn Listener>,
        since: Instant,
    ) -> Self {
        let work = match task {
            Task::Continue(continuation) => Work::Continue {
                sampler: Box::new(Sampler::new(continuation.drawing.clone(), &prompt)),
                continuation,
                prompt_scores: vec![None],
            },
            Task::Embed => Work::Embed { sum: Vec::new() },
        };
        Self {
            cached: computed.tokens.len(),
            computed,
            prompt: prompt.len(),
            tokens: prompt,
            work,
            listener,
            since,
            has_ended: false,
        }
    }

    /// Tokens whose keys and values are there.
    pub fn done(&self) -> usize {
        self.computed.tokens.len()
    }

    /// Tokens that are yet to be computed.
    pub fn remaining(&self) -> usize {
        self.tokens.len() - self.done()
    }

    /// Whether its prompt is not computed yet.
    pub fn is_in_prompt(&self) -> bool {
        self.done() < self.prompt
    }

    /// The tokens of a pass that may compute `most` of them: all that see each other, at least.
    pub fn piece(&self, most: usize) -> Range<usize> {
        let least = self
            .computed
            .positions
            .first_piece()
            .saturating_sub(self.done());
        let length = self.remaining().min(most.max(least).max(1));
        self.done()..self.done() + length
    }

    /// Where a token goes in the arena.
    pub fn place_of(&self, token: usize) -> usize {
        self.computed.place.start + self.computed.prefix + token
    }

    /// The range of the arena that a token of a pass which ends at token `end` sees.
    pub fn visible(&self, token: usize, end: usize) -> (u32, u32) {
        let (_, to) = self.computed.positions.visible(token);
        let to = self.place_of((to as usize).min(end));
        (self.computed.place.start as u32, to as u32)
    }

    /// The tokens of a piece whose logits are needed.
    pub fn wanted(&self, piece: &Range<usize>) -> Range<usize> {
        match &self.work {
            Work::Embed { .. } => piece.end..piece.end,
            Work::Continue { continuation, .. }
                if continuation.scores_prompt && self.is_in_prompt() =>
            {
                piece.clone()
            }
            Work::Continue { continuation, .. } => {
                let is_last = piece.end == self.tokens.len() && continuation.max_new_tokens > 0;
                piece.end - usize::from(is_last)..piece.end
            }
        }
    }

    /// Whether the hidden states of its tokens are needed.
    pub fn is_embedding(&self) -> bool {
        matches!(self.work, Work::Embed { .. })
    }

    /// Takes the sum of a piece's hidden states, `[hidden]`.
    pub fn add_hidden(&mut self, piece: Range<usize>, values: Vec<f32>) {
        self.note(piece);
        let is_done = self.remaining() == 0;
        let Work::Embed { sum } = &mut self.work else {
            return;
        };
        match sum.is_empty() {
            true => *sum = values,
            false => sum
                .iter_mut()
                .zip(values)
                .for_each(|(sum, value)| *sum += value),
        }
        if is_done {
            let count = self.prompt as f32;
            let mean = sum.iter().map(|sum| sum / count).collect();
            self.end(Event::Embedding(mean));
        }
    }

    /// Takes the logits of the [`wanted`](Self::wanted) tokens of a piece, one row after the other, and goes on.
    pub fn advance(&mut self, piece: Range<usize>, logits: &mut [f32], vocabulary: usize) {
        let wanted = self.wanted(&piece);
        let was_in_prompt = self.is_in_prompt();
        self.note(piece);
        let Work::Continue {
            continuation,
            prompt_scores,
            ..
        } = &mut self.work
        else {
            return;
        };
        let likeliest = continuation.scores.unwrap_or(0);
        let max_new_tokens = continuation.max_new_tokens;
        if was_in_prompt && continuation.scores_prompt {
            for (token, logits) in wanted.zip(logits.chunks(vocabulary)) {
                if let Some(&next) = self.tokens.get(token + 1) {
                    prompt_scores.push(Some(score(logits, next, likeliest)));
                }
            }
        }
        if self.is_in_prompt() {
            return;
        }
        if was_in_prompt {
            self.tell_prompt();
        }
        match max_new_tokens {
            0 => self.end(Event::Ended(Finish::Length)),
            _ => {
                let from = logits.len().saturating_sub(vocabulary);
                self.draw(&mut logits[from..]);
            }
        }
    }

    fn tell_prompt(&mut self) {
        let cached = self.cached;
        self.listener.tell(Event::Started { cached });
        if let Work::Continue {
            continuation,
            prompt_scores,
            ..
        } = &mut self.work
            && continuation.scores_prompt
        {
            self.listener
                .tell(Event::PromptScores(std::mem::take(prompt_scores)));
        }
    }

    /// Draws the next token from its logits, `[vocabulary]`.
    fn draw(&mut self, logits: &mut [f32]) {
        let new_tokens = self.tokens.len() - self.prompt;
        let Work::Continue {
            continuation,
            sampler,
            ..
        } = &mut self.work
        else {
            return;
        };
        let original = continuation.scores.map(|_| logits.to_vec());
        let constraint = &mut continuation.constraint;
        let must_stop = constraint.as_ref().is_some_and(Constraint::is_complete);
        let can_stop = must_stop || new_tokens >= continuation.min_new_tokens;
        let banned: &[u32] = if can_stop {
            &[]
        } else {
            &continuation.stop_ids
        };
        if let Some(Err(error)) = constraint.as_mut().map(|it| it.mask(logits)) {
            return self.fail(failure(&error));
        }
        let Some(token) = sampler.next(logits, banned) else {
            return self.fail(Failure::Computation(NOT_FINITE.to_string()));
        };
        if let Some(Err(error)) = constraint.as_mut().map(|it| it.accept(token)) {
            return self.fail(failure(&error));
        }
        let score = original.map(|logits| score(&logits, token, continuation.scores.unwrap_or(0)));
        if continuation.stop_ids.contains(&token) {
            if let Some(score) = score {
                self.listener.tell(Event::EndToken { token, score });
            }
            return self.end(Event::Ended(Finish::Stop));
        }
        let is_full = new_tokens + 1 >= continuation.max_new_tokens;
        self.tokens.push(token);
        self.listener.tell(Event::Token { token, score });
        if is_full {
            self.end(Event::Ended(Finish::Length));
        }
    }

    /// Notes that a piece is computed.
    fn note(&mut self, piece: Range<usize>) {
        self.computed.tokens.extend_from_slice(&self.tokens[piece]);
    }

    fn end(&mut self, event: Event) {
        self.has_ended = true;
        self.listener.tell(event);
    }

    /// Ends it without a result.
    pub fn fail(&mut self, failure: Failure) {
        if !self.has_ended {
            self.end(Event::Failed(failure));
        }
    }

    /// Whether nobody listens any more.
    pub fn is_gone(&self) -> bool {
        self.listener.is_gone()
    }
}

/// What a constraint that cannot go on makes of its request.
fn failure(error: &Error) -> Failure {
    match error {
        Error::Request(reason) => Failure::Request(reason.clone()),
        other => Failure::Computation(other.to_string()),
    }
}

const NOT_FINITE: &str =
    "the model's logits are not finite: the compute type overflowed or the weights are damaged";
