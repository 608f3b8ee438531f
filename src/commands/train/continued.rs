//! A training that starts from an adapter goes on in its form, such as its rank and its modules. A flag that
//! says otherwise is refused, since nothing could come of it.

use glmtune_model::adapters::{AdapterDir, AdapterKind, Contradiction, GivenSettings};

use crate::cli::{TrainArgs, TrainType};
use crate::commands::error::{Error, Result};

/// The flags with what the adapter says in place of those that were not given.
///
/// # Errors
/// If a flag that was given contradicts the adapter; all such flags are named together.
pub fn resolve(args: &TrainArgs) -> Result<TrainArgs> {
    let mut resolved = args.clone();
    let Some(dir) = args.model.adapter.first() else {
        return Ok(resolved);
    };
    let kind = AdapterKind::detect(dir)?;
    if args.method.train_type != TrainType::Adapter(kind) {
        // Another method cannot start from it, which is told where it is attached.
        return Ok(resolved);
    }
    let mut given = GivenSettings {
        values: args.method.values(),
        contradictions: Vec::new(),
    };
    AdapterDir::open(dir)?.settle(&mut given);
    if !given.contradictions.is_empty() {
        let faults: Vec<String> = given.contradictions.iter().map(fault).collect();
        return Err(Error::Request(format!(
            "{}: the training goes on with this adapter as it is, and {}; leave the flag out, or --adapter to \
             start anew",
            dir.display(),
            faults.join(", and ")
        )));
    }
    resolved.method = args
        .method
        .with(given.values)
        .map_err(|error| Error::Request(format!("{}: {error}", dir.display())))?;
    Ok(resolved)
}

fn fault(found: &Contradiction) -> String {
    let Contradiction {
        setting,
        has,
        given,
    } = found;
    format!("{has} where --{setting} asks for {given}")
}
