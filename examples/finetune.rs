//! Trains a LoRA adapter of a model on a file of rows, on the CPU.
//!
//! `cargo run --release --example finetune -- MODEL ROWS.jsonl OUTPUT`

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;

use burn_flex::{Flex, FlexDevice};
use glmtune::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, rows, output] = arguments.as_slice() else {
        return Err("usage: finetune MODEL ROWS.jsonl OUTPUT".into());
    };
    let outcome = finetune(Path::new(model), Path::new(rows), Path::new(output))?;
    println!("{} steps; {:?}", outcome.steps, outcome.output);
    Ok(())
}

/// Loads a model, attaches LoRA, trains on rows and saves the adapter.
pub fn finetune(model: &Path, rows: &Path, output: &Path) -> Result<Outcome, Box<dyn Error>> {
    let model = ModelInfo::open(model)?;
    let settings = TrainSettings {
        per_device_train_batch_size: 4,
        num_train_epochs: 3,
        show_loss_step: 1,
        ..TrainSettings::new(model.mode, Method::lora(8))
    };
    let options = ReadOptions::default();
    let dataset = Dataset::read(rows, &model, &settings, options, &|_, _| ())?;
    println!("{}", dataset.summary());

    // Locked while the training runs; checkpoints go there, too.
    let output = OutputDir::open(output)?;
    let request = TrainingRequest::<Flex>::new(&model, settings, dataset, output, FlexDevice);
    let training = Training::prepare(request, &mut |_| ())?;
    let mut lines = Lines::new(1, |line: &str| println!("{line}"));
    let (_model, outcome) = training.run(&mut lines)?;
    Ok(outcome)
}
