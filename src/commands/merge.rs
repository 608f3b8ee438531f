//! `glmtune merge`: LoRA adapters folded into the base, as a complete model directory.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use glmtune_model::FloatType;
use glmtune_model::adapters::AdapterMeta;
use glmtune_model::checkpoint::{AtomicDir, Existing, ShardPlan, parse_size};
use glmtune_model::merge::Merge;
use glmtune_model::model_info::{check_bases, noted_mode, require_directory, require_model};
use glmtune_model::tokenizer::{Mode, Tokenizer};

use super::console::{catch_interrupts, human_bytes, interrupted, note, progress_bar};
use super::error::{Error, Result};
use super::leftovers::tidy_beside;
use crate::cli::MergeArgs;

/// Runs the command.
pub fn run(args: &MergeArgs) -> Result<()> {
    let max_shard_size = parse_size(&args.max_shard_size)?;
    require_model(&args.model_name_or_path)?;
    for adapter in &args.adapter {
        require_directory(adapter)?;
    }
    let output_dir = output_dir(args)?;
    let meta = result_meta(args)?;
    let (base, adapters) = (&args.model_name_or_path, &args.adapter);
    check_bases(base, adapters, args.force, &mut |line| note(line))?;
    let dtype = args.dtype.map(|dtype| FloatType::from(dtype).into());
    let merge = Merge::open(&args.model_name_or_path, &args.adapter, dtype)?;
    let plan = merge.plan(max_shard_size)?;
    tidy_beside(&output_dir);
    let dir = AtomicDir::create(&output_dir, Existing::Refuse)?;
    let summary = summary(&output_dir, &merge, &plan);
    write(&merge, plan, dir.path())?;
    if let Some(meta) = meta {
        meta.write(dir.path())?;
    }
    dir.commit()?;
    note(summary);
    Ok(())
}

/// Where the result goes: beside the adapter unless told otherwise, not into it, where a second run would take
/// it for one.
fn output_dir(args: &MergeArgs) -> Result<PathBuf> {
    if let Some(dir) = &args.output_dir {
        return Ok(dir.clone());
    }
    let beside = |adapter: &PathBuf| {
        let mut name = adapter.file_name()?.to_os_string();
        name.push("-merged");
        Some(adapter.with_file_name(name))
    };
    match args.adapter.as_slice() {
        [adapter] => beside(adapter),
        _ => None,
    }
    .ok_or_else(|| Error::Request("give --output_dir, the directory to write".to_string()))
}

/// Writes the model; Ctrl-C stops it between two tensors, so that nothing half done stays on the disk.
fn write(merge: &Merge, plan: ShardPlan, dir: &Path) -> Result<()> {
    catch_interrupts()?;
    let bar = progress_bar("merging");
    let written = merge.write(dir, plan, &mut |_, index, count| {
        bar.set_length(count as u64);
        bar.set_position(index as u64);
        match interrupted() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    bar.finish_and_clear();
    match written {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Interrupted("nothing was written".to_string())),
    }
}

/// What is noted in the result: the prompt mode and base model that the adapters were trained with. Nothing,
/// if no adapter has a note.
fn result_meta(args: &MergeArgs) -> Result<Option<AdapterMeta>> {
    let mut metas = Vec::new();
    for dir in &args.adapter {
        if let Some(meta) = AdapterMeta::read(dir)? {
            metas.push((dir, meta));
        }
    }
    let modes: Vec<_> = metas
        .iter()
        .filter_map(|(dir, meta)| Some((*dir, meta.mode.clone()?)))
        .collect();
    check_modes(&modes, expected_mode(args)?)?;
    if metas.is_empty() {
        return Ok(None);
    }
    let texts: Vec<_> = metas.iter().map(|(_, meta)| &meta.prompt_text).collect();
    // A model has one prompt; where its adapters had several, none is right for all of them.
    let is_shared = texts.windows(2).all(|pair| pair[0] == pair[1]);
    let prompt_text = texts.first().filter(|_| is_shared).copied().cloned();
    Ok(Some(AdapterMeta {
        prompt_text: prompt_text.flatten(),
        mode: modes.into_iter().next().map(|(_, mode)| mode),
        base_model: metas.into_iter().find_map(|(_, meta)| meta.base_model),
        ..AdapterMeta::default()
    }))
}

/// The mode of the flag, else of the base: its note, else its tokenizer. ChatGLM2 and 3 have the same
/// weights' names and shapes, so that nothing else would tell an adapter of the one from one of the other.
fn expected_mode(args: &MergeArgs) -> Result<Option<Mode>> {
    let base = &args.model_name_or_path;
    if let Some(mode) = args.mode.or(noted_mode(base)?) {
        return Ok(Some(mode));
    }
    Ok(Tokenizer::find(base, None)?.map(|tokenizer| tokenizer.mode()))
}

/// All adapters must speak one prompt format: the one expected, or where none is, each other's.
fn check_modes(modes: &[(&PathBuf, String)], expected: Option<Mode>) -> Result<()> {
    let expected = expected.map(|mode| mode.to_string());
    let Some(expected) = expected.or_else(|| modes.first().map(|(_, mode)| mode.clone())) else {
        return Ok(());
    };
    let others: Vec<_> = modes
        .iter()
        .filter(|(_, mode)| *mode != expected)
        .map(|(dir, mode)| format!("\n  {}: trained with --mode {mode}", dir.display()))
        .collect();
    match others.is_empty() {
        true => Ok(()),
        false => Err(Error::Request(format!(
            "adapters of another prompt mode than {expected} cannot be merged here (a model has one; give \
             --mode if another than {expected} is meant):{}",
            others.concat()
        ))),
    }
}

fn summary(output_dir: &Path, merge: &Merge, plan: &ShardPlan) -> String {
    format!(
        "{}: {} of {} tensors merged, {}, {} in {} file(s)",
        output_dir.display(),
        merge.changed(),
        plan.tensors().count(),
        merge.dtype(),
        human_bytes(plan.total_size() as f64),
        plan.shard_count()
    )
}
