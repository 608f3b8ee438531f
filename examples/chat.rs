//! Asks a model, with an adapter if one is given, and prints the answer as it comes.
//!
//! `cargo run --release --example chat -- QUESTION MODEL [ADAPTER]`

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::Write;
use std::ops::ControlFlow;

use burn_flex::{Flex, FlexDevice};
use glmtune::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (question, source) = match arguments.as_slice() {
        [question, model] => (question, ModelSource::new(model)),
        [question, model, adapter] => (question, ModelSource::new(model).with_adapter(adapter)),
        _ => return Err("usage: chat QUESTION MODEL [ADAPTER]".into()),
    };
    ask(source, question, &mut |text| {
        print!("{text}");
        let _ = std::io::stdout().flush();
    })?;
    println!();
    Ok(())
}

/// Loads a model with its adapters and answers a question, piece by piece.
pub fn ask(
    source: ModelSource,
    question: &str,
    show: &mut dyn FnMut(&str),
) -> Result<(), Box<dyn Error>> {
    let info = ModelInfo::read(source, &mut |_| ())?;
    let model = info.load::<Flex>(FloatType::F32, &FlexDevice, &mut |_, _, _| ())?;
    let tokenizer = info.tokenizer()?;

    // A tuned model is asked as its rows asked, a published one as its publishers do.
    let message = Message::new(Role::User, question);
    let prompt = info.prompting(None).prompt(tokenizer, &[message])?.ids;
    let options = GenerationOptions {
        max_new_tokens: 64,
        stop_ids: info.stop_ids(),
        ..GenerationOptions::default()
    };
    let mut text = tokenizer.decode_stream();
    generate(&model, &[prompt], &options, &mut |event| {
        text.push(event.token).iter().for_each(|piece| show(piece));
        ControlFlow::Continue(())
    })?;
    text.finish().iter().for_each(|rest| show(rest));
    Ok(())
}
