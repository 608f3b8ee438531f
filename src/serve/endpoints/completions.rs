//! `POST /v1/completions`.

use std::sync::Arc;

use glmtune_model::generation::Finish;
use serde_json::{Value, json};

use crate::serve::answers::{Answers, Form, Update, continuation_stream};
use crate::serve::choice::finish_reason;
use crate::serve::envelope::Envelope;
use crate::serve::error::ApiError;
use crate::serve::fields::Fields;
use crate::serve::generating::Generating;
use crate::serve::job::{Job, watch};
use crate::serve::listener::Events;
use crate::serve::logprobs::{self, ScoredToken};
use crate::serve::named::model_of;
use crate::serve::params::{MOST_TOKENS, Params};
use crate::serve::prompts;
use crate::serve::record::Record;
use crate::serve::state::State;

/// Most of the likeliest tokens beside each token.
const MOST_LIKELIEST: u32 = 5;
/// Most tokens of an answer when the request does not say, as OpenAI's API has it.
const USUAL_TOKENS: usize = 16;

/// What a completion asks for: that prompts are continued.
pub struct Completion {
    job: Job,
    /// Whether the prompt is repeated before its continuation.
    echo: bool,
    envelope: Envelope,
}

/// One continuation, as far as it has come.
#[derive(Debug, Default)]
pub struct Text {
    text: String,
    scores: Vec<ScoredToken>,
    finish: Option<Finish>,
}

impl Generating for Completion {
    type Answer = Text;
    const WHOLE: &'static str = "text_completion";
    const PIECE: &'static str = "text_completion";

    fn job(&self) -> &Job {
        &self.job
    }

    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn read(mut fields: Fields, state: &State) -> Result<Self, ApiError> {
        let model = model_of(&mut fields, state)?;
        let prompt = fields.require("prompt")?;
        let vocabulary = state.engine.limits().vocabulary;
        let params = Params::take(&mut fields, &state.served.defaults, vocabulary)?;
        let echo = fields.boolean("echo")?.unwrap_or(false);
        // A prompt may be scored without a continuation.
        let max_tokens = fields.count("max_tokens", u32::from(!echo)..=MOST_TOKENS)?;
        let scores = fields.count("logprobs", 0..=MOST_LIKELIEST)?;
        let adds_special = fields.boolean("add_special_tokens")?.unwrap_or(true);
        let is_of_one = |value: &Value| matches!(value.as_u64(), Some(best) if best == 1 || best == params.n as u64);
        fields.refuse_unless("best_of", is_of_one)?;
        fields.refuse_unless("suffix", |value| value == "")?;
        fields.finish()?;
        if state.settings.logs_prompts {
            tracing::info!(%prompt, "prompt");
        }
        Ok(Self {
            job: Job {
                model,
                prompts: prompts::read(state, "prompt", prompt, adds_special)?,
                params,
                max_tokens,
                usual: USUAL_TOKENS,
                scores,
                scores_prompt: echo && scores.is_some(),
                form: None,
            },
            echo,
            envelope: Envelope::new(state, "cmpl"),
        })
    }

    fn answers<'a>(
        &'a self,
        state: &'a State,
        events: Events,
        record: &Arc<Record>,
    ) -> Answers<'a> {
        let forms = self.job.each_prompt().map(|prompt| Form {
            stream: continuation_stream(&state.served.tokenizer, prompt, self.echo),
            reader: None,
            stop: &self.job.params.stop,
            echo: self.echo.then_some(prompt.as_slice()),
            scores_prompt: self.job.scores_prompt,
            scores_end: true,
        });
        let counts = (self.job.params.n, self.job.prompt_tokens());
        Answers::new(events, forms, counts, watch(state, record))
    }

    fn add(_: &State, answer: &mut Text, update: Update) {
        match update {
            Update::Piece { text, scores, .. } => {
                answer.text.push_str(&text);
                answer.scores.extend(scores);
            }
            // Only chats have tools.
            Update::Call { .. } | Update::Arguments { .. } => {}
            Update::Ended { finish, .. } => answer.finish = Some(finish),
        }
    }

    fn choice(&self, state: &State, index: usize, answer: &Text) -> Value {
        let logprobs = self.logprobs(state, &answer.scores);
        choice(index, &answer.text, logprobs, answer.finish)
    }

    fn piece(&self, state: &State, _: &mut Text, update: Update) -> Value {
        match update {
            Update::Piece {
                number,
                text,
                scores,
            } => choice(number, &text, self.logprobs(state, &scores), None),
            Update::Call { number, .. } | Update::Arguments { number, .. } => {
                choice(number, "", Value::Null, None)
            }
            Update::Ended { number, finish } => choice(number, "", Value::Null, Some(finish)),
        }
    }
}

impl Completion {
    fn logprobs(&self, state: &State, scores: &[ScoredToken]) -> Value {
        match self.job.scores {
            Some(_) => logprobs::completion(&state.served.tokenizer, scores),
            None => Value::Null,
        }
    }
}

fn choice(index: usize, text: &str, logprobs: Value, finish: Option<Finish>) -> Value {
    json!({
        "index": index,
        "text": text,
        "logprobs": logprobs,
        "finish_reason": finish.map(finish_reason),
    })
}
