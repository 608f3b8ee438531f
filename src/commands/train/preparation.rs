//! What is shown while a training is prepared.

use glmtune_model::adapters::AdapterKind;
use glmtune_model::parameters::ParameterInfo;
use glmtune_training::parallel::processes::ranks::ProcessGroup;
use glmtune_training::run::Preparation;

use crate::commands::console::{grouped, progress_bar, say};

/// Shows each part of a preparation, lines once for all processes.
pub fn shown(group: &ProcessGroup) -> impl FnMut(Preparation<'_>) {
    let (is_first, mut loading) = (group.is_first(), loading());
    move |part| match part {
        Preparation::Loading(index, count) => loading(index, count),
        part if is_first => say(line(&part)),
        _ => {}
    }
}

/// A bar for the tensors that are loaded; it goes with the last.
pub fn loading() -> impl FnMut(usize, usize) {
    let bar = progress_bar("loading");
    move |done, count| {
        bar.set_length(count as u64);
        bar.set_position(done as u64);
        if done == count {
            bar.finish_and_clear();
        }
    }
}

fn line(part: &Preparation<'_>) -> String {
    match part {
        Preparation::EarlierRunSetAside(earlier) => format!(
            "an earlier run's files are now in {} (to go on with a run, use --resume)",
            earlier.display()
        ),
        Preparation::LinksSetAside(earlier) => format!(
            "links in the place of the run's files are now in {}",
            earlier.display()
        ),
        Preparation::NoCheckpoint => "no checkpoint yet: starting from the beginning".to_string(),
        Preparation::Loading(done, count) => format!("loading {done}/{count}"),
        Preparation::Prepared { trainable, total } => trained(trainable, *total),
        Preparation::Resumed(step) => format!("going on after step {step}"),
        Preparation::BestForgotten => {
            "it was validated otherwise before: which model is the best is found out anew"
                .to_string()
        }
    }
}

/// As the Python ancestor prints them.
pub fn trained(trainable: &[ParameterInfo], total: usize) -> String {
    let mut text = String::new();
    for ParameterInfo { path, shape } in trainable {
        text.push_str(&format!(
            "{} {shape:?}\n",
            AdapterKind::published_name(path)
        ));
    }
    let trained: usize = trainable.iter().map(ParameterInfo::elements).sum();
    text.push_str(&format!(
        "trainable params: {} || all params: {} || trainable%: {:.4}",
        grouped(trained),
        grouped(total),
        100.0 * trained as f64 / total as f64
    ));
    text
}
