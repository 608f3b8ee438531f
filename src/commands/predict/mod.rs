//! `glmtune predict`: answer every row of a file.

mod batch_size;
mod kept;
mod line;
mod object_text;
mod order;
mod output;
mod progress;
mod questions;
mod settings;

use std::ops::ControlFlow;

use glmtune_model::generation::{BatchEvent, Batching, GenerationOptions, generate_batches};
use glmtune_model::{GlmBackend, ModelInfo};

use super::console::{catch_interrupts, interrupted, note};
use super::error::{Error, Result};
use super::generate::generation_options;
use super::session::{self, Session, compute_type, type_name};
use crate::backend::{Selected, select};
use crate::cli::PredictArgs;
use crate::on_backend;
use batch_size::Memory;
use line::Lines;
use output::Output;
use progress::Progress;
use questions::Questions;
use settings::Settings;

pub(super) use settings::path as settings_path;

/// Runs the command.
pub fn run(args: &PredictArgs) -> Result<()> {
    if args.layout.is_skip {
        return Err(Error::Request(
            "--is_skip leaves rows out of a training; here every row gets an answer: leave the flag out"
                .to_string(),
        ));
    }
    let info = session::open(&args.model)?;
    let mut options = generation_options(&args.sampling, &info);
    options.num_sequences = args.num_return_sequences;
    options.validate()?;
    let questions = Questions::read(args, &info)?;
    let output = Output::open(args, &questions)?;
    let selected = select(args.model.compute.backend, &args.model.compute.devices)?;
    on_backend!(&selected, |device: B| predict::<B>(
        args, &info, &selected, &device, &questions, &options, output
    ))
}

fn predict<B: GlmBackend>(
    args: &PredictArgs,
    info: &ModelInfo,
    selected: &Selected,
    device: &B::Device,
    questions: &Questions,
    options: &GenerationOptions,
    mut output: Output,
) -> Result<()> {
    let dtype = compute_type::<B>(info, &args.model, selected, device)?;
    let mut settings = Settings::of(args, info, questions, options, dtype)?;
    let kept_size = output.check(&settings)?;
    if output.rows() == questions.len() {
        output.complete()?;
        note(format!(
            "{}: all {} rows are there already",
            args.output.display(),
            questions.len()
        ));
        return Ok(());
    }
    let session = Session::<B>::load_in(dtype, info, selected, device)?;
    let memory = Memory::of(&session.model, info, dtype, questions.longest(), options);
    settings.batch_size = match args.batch_size.or(kept_size) {
        Some(size) => size,
        None => memory.batch_size(selected),
    };
    let batching = Batching {
        batch_size: settings.batch_size,
        first: output.rows(),
    };
    note(format!(
        "{selected}, {}, {} rows at a time",
        type_name(dtype),
        settings.batch_size
    ));
    output.start(&settings)?;
    catch_interrupts()?;
    answer(&session, info, questions, options, batching, &mut output)?;
    output.sync()
}

fn answer<B: GlmBackend>(
    session: &Session<B>,
    info: &ModelInfo,
    questions: &Questions,
    options: &GenerationOptions,
    batching: Batching,
    output: &mut Output,
) -> Result<()> {
    let mut progress = Progress::start(questions.len(), batching.first);
    let mut lines = Lines::new(questions, info, batching.first);
    let done = generate_batches(
        &session.model,
        questions.prompts(),
        options,
        batching,
        &mut |event| {
            match event {
                BatchEvent::Token { .. } => progress.token(),
                BatchEvent::Answered(answer) => {
                    for line in lines.ready(answer)? {
                        output.append(&line)?;
                    }
                    progress.row();
                }
            }
            Ok::<_, Error>(match interrupted() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        },
    );
    progress.clear();
    done?;
    if output.rows() < questions.len() {
        return Err(Error::Interrupted(format!(
            "{} of {} rows are in {}; the same command goes on from there",
            output.rows(),
            questions.len(),
            output.path().display()
        )));
    }
    note(format!(
        "{}: {} rows{}",
        output.path().display(),
        output.rows(),
        progress.summary()
    ));
    Ok(())
}
