//! From flags to measurements.

use glmtune_model::presets::Preset;

use super::case::{AnswerCase, Case, KernelCase, Work};
use super::flags::{MAX_LEN, dropouts, training};
use super::models::ModelChoice;
use super::profile;
use crate::cli::{BenchArgs, Subject, TrainType};
use crate::commands::error::{Error, Result};

/// Everything, in the order in which it is measured: what takes little time leaves the rest of its share to what
/// follows.
const ALL: [Subject; 7] = [
    Subject::Load,
    Subject::Update,
    Subject::Collectives,
    Subject::Kernels,
    Subject::Prefill,
    Subject::Decode,
    Subject::Train,
];
/// The shortest row: with less, none has a target in every family.
const LEAST_LEN: usize = 16;

/// The measurements that are asked for, after those of the ceilings of each model's type.
pub fn cases(args: &BenchArgs) -> Vec<Case> {
    let asked = match args.profile {
        Some(name) => profile::cases(name, args),
        None => by_subject(args),
    };
    let mut cases: Vec<Case> = Vec::new();
    for case in asked {
        let has_ceilings = cases.iter().any(|other| other.model == case.model);
        if !has_ceilings {
            cases.push(Case {
                name: "ceilings".to_string(),
                model: case.model.clone(),
                work: Work::Machine,
                published_gb: None,
            });
        }
        cases.push(case);
    }
    cases
}

fn by_subject(args: &BenchArgs) -> Vec<Case> {
    let subjects = match args.what.as_slice() {
        [] => ALL.to_vec(),
        asked => asked.to_vec(),
    };
    let of = |subject| match subject {
        Subject::Train => trainings(args),
        Subject::Prefill => vec![(prefill_name(args), Work::Prefill(answer(args)))],
        Subject::Decode => vec![(decode_name(args), Work::Decode(answer(args)))],
        Subject::Load => vec![("load".to_string(), Work::Load)],
        Subject::Update => vec![("update".to_string(), Work::Update)],
        Subject::Collectives => vec![("collectives".to_string(), Work::Collectives)],
        Subject::Kernels => vec![("kernels".to_string(), Work::Kernels(kernels(args)))],
    };
    let model = ModelChoice::of(args, Preset::Medium);
    let all = subjects.into_iter().flat_map(of);
    all.map(|(name, work)| Case {
        name,
        model: model.clone(),
        work,
        published_gb: None,
    })
    .collect()
}

fn trainings(args: &BenchArgs) -> Vec<(String, Work)> {
    let methods = match args.methods.as_slice() {
        [] => {
            let adapters = TrainType::ALL.into_iter().filter(|kind| kind.is_adapter());
            let others = TrainType::ALL.into_iter().filter(|kind| !kind.is_adapter());
            adapters.chain(others).collect()
        }
        given => given.to_vec(),
    };
    let cases = methods.into_iter().flat_map(|method| {
        let dropouts = match method.is_adapter() {
            true => dropouts(args),
            // What has no adapter drops nothing.
            false => vec![0.0],
        };
        dropouts
            .into_iter()
            .map(move |dropout| training(args, method, dropout))
    });
    cases.map(|case| (case.name(), Work::Train(case))).collect()
}

fn answer(args: &BenchArgs) -> AnswerCase {
    AnswerCase {
        tokens: args.max_len.unwrap_or(MAX_LEN),
        batch_size: args.batch_size,
        new_tokens: args.new_tokens,
    }
}

fn prefill_name(args: &BenchArgs) -> String {
    let case = answer(args);
    format!("prefill, {} tokens", case.tokens * case.batch_size)
}

fn decode_name(args: &BenchArgs) -> String {
    let AnswerCase {
        tokens, batch_size, ..
    } = answer(args);
    match batch_size {
        1 => format!("decode, after {tokens} tokens"),
        rows => format!("decode {rows} rows, after {tokens} tokens"),
    }
}

fn kernels(args: &BenchArgs) -> KernelCase {
    KernelCase {
        tokens: args.max_len.unwrap_or(MAX_LEN) * args.batch_size,
        batch_size: args.batch_size,
        lora_dim: args.lora_dim,
    }
}

/// Checks the flags.
///
/// # Errors
/// [`Error::Request`] with all faults.
pub fn check(args: &BenchArgs) -> Result<()> {
    let counts = [
        ("batch_size", args.batch_size),
        ("lora_dim", args.lora_dim),
        ("pre_seq_len", args.pre_seq_len),
        ("new_tokens", args.new_tokens),
    ];
    let mut faults: Vec<String> = counts
        .into_iter()
        .filter(|(_, count)| *count == 0)
        .map(|(name, _)| format!("--{name} is 0, must be at least 1"))
        .collect();
    let mut say = |is_wrong: bool, fault: String| {
        if is_wrong {
            faults.push(fault);
        }
    };
    if let Some(len) = args.max_len {
        say(
            len < LEAST_LEN,
            format!("--max_len is {len}, must be at least {LEAST_LEN}"),
        );
    }
    for dropout in &args.dropout {
        say(
            !(0.0..1.0).contains(dropout),
            format!("--dropout has {dropout}, must be 0 to below 1"),
        );
    }
    if let Some(seconds) = args.seconds {
        say(
            !(seconds > 0.0 && seconds.is_finite()),
            format!("--seconds is {seconds}, must be a positive number"),
        );
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Error::Request(faults.join("\n  "))),
    }
}
