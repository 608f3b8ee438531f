//! `glmtune bench`: measured speed and memory.
//!
//! Every measurement runs in a process of its own, watches the library's own paths, and is held against what the
//! machine gives at most. `plan.rs` says what is measured, `one.rs` is the process of one measurement, and a file
//! beside them has what it does.

mod answers;
mod budget;
mod case;
mod ceilings;
mod clock;
mod flags;
mod folder;
mod loading;
mod measured;
mod models;
mod one;
mod place;
mod plan;
mod products;
mod profile;
mod results;
mod rows;
mod runner;
mod selection;
mod table;
mod training;
mod transfers;
mod update;

use std::io::Write;

use glmtune_training::parallel::processes::ranks::Ranks;

use self::budget::Budget;
use self::case::{Case, Work};
use self::folder::Folder;
use self::measured::Measured;
use self::models::Models;
use self::results::{Entry, Key, Results};
use self::runner::{Ended, Runner};
use super::console::{interrupted, json_line, note, on_interrupts};
use super::error::{Error, Result};
use super::{process, ranks};
use crate::backend::{describe, set_fused};
use crate::cli::{BenchArgs, Subject};

/// Runs the command.
pub fn run(args: &BenchArgs) -> Result<()> {
    set_fused(!args.compute.no_fused);
    if let Some(work) = &args.measure {
        return one::run(args, work);
    }
    plan::check(args)?;
    let group = ranks::join()?;
    match group.ranks() {
        Some(ranks) => between_processes(args, ranks),
        None => alone(args),
    }
}

fn alone(args: &BenchArgs) -> Result<()> {
    let device = describe(&one::devices(args)?);
    let cases = plan::cases(args);
    let keys: Vec<Key> = cases.iter().map(|case| key(args, &device, case)).collect();
    let mut results = Results::open(args.output.as_deref())?;
    on_interrupts(
        || note("stopping; once more to stop at once"),
        process::kill_running,
    )?;
    let folder = Folder::open(args.work_dir.as_deref())?;
    let runner = Runner {
        args,
        models: Models::new(&folder, args),
        folder: &folder,
    };
    let mut waiting: Vec<(&Case, &Key)> = cases.iter().zip(&keys).collect();
    waiting.retain(|(_, key)| results.get(key).is_none());
    let not_measured = measure(&runner, &waiting, &mut results)?;
    show(args, &results, &keys, &not_measured)?;
    conclude(&results.of(&keys), &not_measured)
}

/// Measures what there is time for, and gives the names of the rest.
fn measure<'a>(
    runner: &Runner<'_>,
    waiting: &[(&'a Case, &Key)],
    results: &mut Results,
) -> Result<Vec<&'a str>> {
    let budget = Budget::start(runner.args);
    let count = waiting.len();
    let mut not_measured: Vec<&str> = Vec::new();
    for (index, &(case, key)) in waiting.iter().enumerate() {
        if interrupted() || budget.is_spent() {
            not_measured.push(&case.name);
            continue;
        }
        let model = case.model.name();
        note(format!("{}/{count} {model}, {}", index + 1, case.name));
        let ended = runner.run(case, &budget, count - index)?;
        // One that the whole time does not suffice for has failed; another one may have more of it next time.
        let ran_out = interrupted() || (ended.is_cut_off && index > 0);
        match ended.measured.is_none() && ran_out {
            true => not_measured.push(&case.name),
            false => results.add(entry(case, key, ended))?,
        }
    }
    Ok(not_measured)
}

/// What the processes of a run can measure together.
fn between_processes(args: &BenchArgs, ranks: &dyn Ranks) -> Result<()> {
    if args.what != [Subject::Collectives] {
        return Err(Error::Request(
            "several processes measure `glmtune bench collectives` alone; start everything else without mpirun"
                .to_string(),
        ));
    }
    let measured = transfers::between(ranks)?;
    if ranks.rank() > 0 {
        return Ok(());
    }
    let device = format!("{} processes", ranks.size());
    let cases = plan::cases(args);
    let case = cases
        .into_iter()
        .find(|case| case.work == Work::Collectives);
    let Some(case) = case else {
        return Ok(());
    };
    let key = key(args, &device, &case);
    let mut results = Results::open(args.output.as_deref())?;
    let ended = Ended {
        measured: Some(Measured {
            dtype: "f32".to_string(),
            measured,
            ..Measured::default()
        }),
        ..Ended::default()
    };
    results.add(entry(&case, &key, ended))?;
    show(args, &results, &[key], &[])
}

fn key(args: &BenchArgs, device: &str, case: &Case) -> Key {
    Key {
        model: case.model.name(),
        mode: args.mode.map(|mode| mode.to_string()),
        device: device.to_string(),
        asked_dtype: args.compute.dtype.map(runner::type_flag),
        fused: !args.compute.no_fused,
        settings: case.work.clone(),
    }
}

fn entry(case: &Case, key: &Key, ended: Ended) -> Entry {
    let Ended {
        measured,
        peak_bytes,
        failed,
        is_cut_off: _,
    } = ended;
    let measured = measured.unwrap_or_default();
    Entry {
        name: case.name.clone(),
        key: key.clone(),
        dtype: measured.dtype,
        failed,
        process_peak_bytes: peak_bytes,
        device_peak_bytes: measured.pool_bytes,
        published_gb: case.published_gb,
        measured: measured.measured,
    }
}

fn show(args: &BenchArgs, results: &Results, keys: &[Key], not_measured: &[&str]) -> Result<()> {
    let entries = results.of(keys);
    let mut out = std::io::stdout().lock();
    match args.json {
        true => json_line(&mut out, &results.json(&entries, not_measured))?,
        false => out.write_all(table::table(results, &entries).as_bytes())?,
    }
    out.flush()?;
    Ok(())
}

/// Says what there is no result of.
fn conclude(entries: &[&Entry], not_measured: &[&str]) -> Result<()> {
    let missing = not_measured.join("; ");
    if interrupted() {
        return Err(Error::Interrupted(format!("not measured: {missing}")));
    }
    if !not_measured.is_empty() {
        note(format!(
            "the time was up (--seconds) before: {missing}; with --output the same command goes on"
        ));
    }
    let failed = entries.iter().filter(|entry| !entry.failed.is_empty());
    let failed: Vec<String> = failed
        .map(|entry| format!("{}: {}", entry.name, entry.failed.join("\n  ")))
        .collect();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Error::Failed(format!(
            "not all could be measured: {}",
            failed.join("\n  ")
        ))),
    }
}
