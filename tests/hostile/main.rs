//! Every reader against files that are damaged or that lie: each input is refused with a message that names
//! its file, or read the same every time; no panic, no hang, no memory by a file's word.
//!
//! Inputs are made from small files that are right, by a seed. `cargo test --test hostile` reads a few
//! thousand; `GLMTUNE_HOSTILE_INPUTS=20000 cargo test --test hostile -- --ignored --nocapture full` as many as
//! are asked for, and `GLMTUNE_HOSTILE_SEED` chooses others.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod child;
mod corpus;
mod memory;
mod mutate;
mod parent;
#[cfg(unix)]
mod places;
mod random;
mod targets;

use targets::TARGETS;

/// The variable by which a child learns its inputs.
pub const CHILD: &str = "GLMTUNE_HOSTILE_CHILD";

/// Reads inputs of all targets together and holds that nothing went wrong.
fn read_inputs(inputs: usize, seed: u64) {
    let shares: usize = TARGETS.iter().map(|target| target.share).sum();
    let mut faults = Vec::new();
    for target in &TARGETS {
        let count = (inputs * target.share).div_ceil(shares);
        let counts = parent::run(target.name, seed, count);
        println!("{}: {counts}", target.name);
        let named = counts
            .faults
            .iter()
            .map(|fault| format!("{}: {fault}", target.name));
        faults.extend(named);
    }
    assert!(faults.is_empty(), "seed {seed}:\n{}", faults.join("\n"));
}

#[test]
fn a_few_inputs() {
    read_inputs(3000, 1);
}

#[test]
#[ignore = "takes minutes"]
fn full() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let inputs = number("GLMTUNE_HOSTILE_INPUTS").unwrap_or(20_000);
    read_inputs(inputs as usize, number("GLMTUNE_HOSTILE_SEED").unwrap_or(2));
}

/// Run by the others, in a process of its own.
#[test]
#[ignore = "run by the others"]
fn child() {
    let Ok(text) = std::env::var(CHILD) else {
        return;
    };
    let mut parts = text.splitn(4, ' ');
    let mut number = || {
        parts
            .next()
            .and_then(|part| part.parse::<u64>().ok())
            .unwrap()
    };
    let (seed, from, to) = (number(), number(), number());
    child::run(parts.next().unwrap(), seed, from as usize, to as usize);
}
