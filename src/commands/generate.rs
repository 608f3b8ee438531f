//! `glmtune generate`: continue one prompt.

use std::io::Write;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use glmtune_model::files::{self, Limit};
use glmtune_model::generation::{
    Finish, GenerationOptions, Sampling, Sequence, TokenEvent, generate,
};
use glmtune_model::tokenizer::{Message, Role, Tokenizer};
use glmtune_model::{GlmBackend, ModelConfig, ModelInfo};
use serde::Serialize;

use super::console::{catch_interrupts, interrupted, json_line, note, open_input};
use super::error::{Error, Result};
use super::session::{self, Session, say_prompting, type_name};
use crate::backend::{Selected, select};
use crate::cli::{GenerateArgs, SamplingArgs};
use crate::on_backend;

/// Runs the command.
pub fn run(args: &GenerateArgs) -> Result<()> {
    let info = session::open(&args.model)?;
    let mut options = generation_options(&args.sampling, &info);
    options.num_sequences = args.num_return_sequences;
    options.validate()?;
    let prompt = prompt_ids(args, &info)?;
    if let Some(warning) = beyond_training(prompt.len(), &info) {
        note(warning);
    }
    let selected = select(args.model.compute.backend, &args.model.compute.devices)?;
    on_backend!(&selected, |device: B| continue_prompt::<B>(
        args, &info, &selected, &device, prompt, &options
    ))
}

/// The flags as options; a flag that only matters when drawing asks for drawing.
pub fn generation_options(args: &SamplingArgs, info: &ModelInfo) -> GenerationOptions {
    let defaults = Sampling::default();
    let draws = args.do_sample
        || args.temperature.is_some()
        || args.top_k.is_some()
        || args.top_p.is_some();
    GenerationOptions {
        max_new_tokens: args.max_new_tokens.unwrap_or(512),
        min_new_tokens: args.min_new_tokens,
        max_length: args.max_length,
        sampling: draws.then(|| Sampling {
            temperature: args.temperature.unwrap_or(defaults.temperature),
            top_k: args.top_k.unwrap_or(defaults.top_k),
            top_p: args.top_p.unwrap_or(defaults.top_p),
        }),
        repetition_penalty: args.repetition_penalty,
        num_sequences: 1,
        seed: args.seed,
        stop_ids: info.stop_ids(),
        use_cache: !args.no_cache,
    }
}

fn prompt_ids(args: &GenerateArgs, info: &ModelInfo) -> Result<Vec<u32>> {
    let ids = match prompt_text(args)? {
        None => args.input_ids.clone(),
        Some(text) => encode_prompt(args, info, text)?,
    };
    let vocabulary = info.config.common().vocab_size;
    if let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
        return Err(Error::Request(format!(
            "token {id} of the prompt is outside the model's vocabulary of {vocabulary}"
        )));
    }
    match ids.is_empty() {
        true => Err(Error::Request(
            "give a prompt: --prompt TEXT, --prompt_file FILE or --input_ids N,N".to_string(),
        )),
        false => Ok(ids),
    }
}

/// What is to be said of a prompt that is longer than what the model was made for.
fn beyond_training(length: usize, info: &ModelInfo) -> Option<String> {
    let limit = info.config.common().max_positions;
    let key = match info.config {
        ModelConfig::ChatGlm(_) => "max_sequence_length",
        ModelConfig::ChatGlm2(_) => "seq_length",
    };
    (length > limit).then(|| {
        format!(
            "warning: the prompt has {length} tokens, but the model is made for {limit} (`{key}` in config.json); \
             expect a poor answer"
        )
    })
}

fn prompt_text(args: &GenerateArgs) -> Result<Option<String>> {
    let Some(path) = &args.prompt_file else {
        return Ok(args.prompt.clone());
    };
    let bytes = files::read_stream(&mut open_input(path)?, path, Limit::PROMPT)?;
    let text = files::text(bytes, path)?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_string()))
}

fn encode_prompt(args: &GenerateArgs, info: &ModelInfo, text: String) -> Result<Vec<u32>> {
    let tokenizer = info.tokenizer()?;
    if args.raw {
        return Ok(tokenizer.raw_prompt(info.mode, &text)?);
    }
    let system = args
        .system
        .clone()
        .map(|text| Message::new(Role::System, text));
    let messages: Vec<Message> = system
        .into_iter()
        .chain([Message::new(Role::User, text)])
        .collect();
    let prompting = info.prompting(args.prompting.prompt_format);
    say_prompting(&prompting);
    Ok(prompting.prompt(tokenizer, &messages)?.ids)
}

/// One line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    ids: &'a [u32],
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    finish: &'static str,
}

fn continue_prompt<B: GlmBackend>(
    args: &GenerateArgs,
    info: &ModelInfo,
    selected: &Selected,
    device: &B::Device,
    prompt: Vec<u32>,
    options: &GenerationOptions,
) -> Result<()> {
    let session = Session::<B>::load(info, &args.model, selected, device)?;
    note(format!(
        "{selected}, {}, loaded in {:.1} s",
        type_name(session.dtype),
        session.load_time.as_secs_f64()
    ));
    catch_interrupts()?;
    // One plain continuation is shown as it comes; several, or JSON, when they are complete.
    let streams = args.num_return_sequences == 1 && !args.json;
    let mut stream = Stream::new(info.tokenizer.as_ref().filter(|_| streams));
    let mut speed = Speed::start(prompt.len());
    let generation = generate(&session.model, &[prompt], options, &mut |event| {
        speed.count(event);
        match stream.push(event.token) {
            Ok(()) if !interrupted() => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    })?;
    stream.finish()?;
    note(speed.summary());
    if info.tokenizer.is_none() || !streams {
        print_sequences(args, info.tokenizer.as_ref(), &generation.sequences)?;
    }
    Ok(())
}

fn print_sequences(
    args: &GenerateArgs,
    tokenizer: Option<&Tokenizer>,
    sequences: &[Sequence],
) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for (index, sequence) in sequences.iter().enumerate() {
        let text = tokenizer.map(|tokenizer| tokenizer.decode(&sequence.tokens));
        if args.json {
            let line = Line {
                ids: &sequence.tokens,
                text,
                finish: finish_name(sequence.finish),
            };
            json_line(&mut out, &line)?;
            continue;
        }
        if sequences.len() > 1 {
            writeln!(out, "[{}]", index + 1)?;
        }
        writeln!(
            out,
            "{}",
            text.unwrap_or_else(|| ids_text(&sequence.tokens))
        )?;
    }
    out.flush()?;
    Ok(())
}

fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Interrupted => "interrupted",
    }
}

/// Ids as `--input_ids` takes them: what there is to show of a model without a tokenizer.
pub fn ids_text(ids: &[u32]) -> String {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    ids.join(",")
}

/// Text on standard output as it comes.
pub struct Stream<'a> {
    decoder: Option<glmtune_model::tokenizer::DecodeStream<'a>>,
    text: String,
    failure: Option<std::io::Error>,
}

impl<'a> Stream<'a> {
    /// A stream of a tokenizer's text; without one, nothing is shown.
    pub fn new(tokenizer: Option<&'a Tokenizer>) -> Self {
        Self {
            decoder: tokenizer.map(Tokenizer::decode_stream),
            text: String::new(),
            failure: None,
        }
    }

    /// Shows what a token adds. `Err` means that standard output failed; [`finish`](Self::finish) says how.
    pub fn push(&mut self, token: u32) -> std::result::Result<(), ()> {
        let piece = self
            .decoder
            .as_mut()
            .and_then(|decoder| decoder.push(token));
        self.show(&piece.unwrap_or_default())
    }

    fn show(&mut self, piece: &str) -> std::result::Result<(), ()> {
        if piece.is_empty() {
            return Ok(());
        }
        self.text.push_str(piece);
        let mut out = std::io::stdout().lock();
        let written = out.write_all(piece.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| self.failure = Some(error))
    }

    /// Shows the rest, ends the line, and gives the whole text.
    ///
    /// # Errors
    /// If standard output failed at any time.
    pub fn finish(mut self) -> Result<String> {
        if let Some(decoder) = self.decoder.take() {
            let rest = format!("{}\n", decoder.finish().unwrap_or_default());
            let _ = self.show(&rest);
        }
        match self.failure {
            Some(error) => Err(Error::Stream(error)),
            None => Ok(self.text.trim_end_matches('\n').to_string()),
        }
    }
}

/// How fast a generation is.
pub struct Speed {
    prompt: usize,
    tokens: usize,
    started: Instant,
    first: Option<Instant>,
    last: Instant,
}

impl Speed {
    /// Starts the clock for a prompt of a number of tokens.
    pub fn start(prompt: usize) -> Self {
        let now = Instant::now();
        Self {
            prompt,
            tokens: 0,
            started: now,
            first: None,
            last: now,
        }
    }

    /// Counts a token.
    pub fn count(&mut self, _event: TokenEvent) {
        self.last = Instant::now();
        self.first.get_or_insert(self.last);
        self.tokens += 1;
    }

    /// `prompt 12 tokens in 0.3 s; 40 tokens, 21.2 tokens/s`.
    pub fn summary(&self) -> String {
        let first = self.first.unwrap_or(self.last);
        let prompt_time = (first - self.started).as_secs_f64();
        let rate = rate(self.tokens.saturating_sub(1), self.last - first);
        format!(
            "prompt {} tokens in {prompt_time:.2} s; {} tokens{rate}",
            self.prompt, self.tokens
        )
    }
}

/// The first token belongs to the prompt's pass, so a rate needs two.
fn rate(tokens: usize, time: Duration) -> String {
    match tokens > 0 && !time.is_zero() {
        true => format!(", {:.2} tokens/s", tokens as f64 / time.as_secs_f64()),
        false => String::new(),
    }
}
