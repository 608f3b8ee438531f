//! `scheduler`: how the learning rate rises and falls.

use glmtune_model::json_settings::{COUNT, Form, NUMBER, SIZE, STRING, Section};

use crate::schedule::{Decay, Warmup};

/// `scheduler`, but for the highest rate.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Scheduler {
    /// `type`: `WarmupDecayLR` or, without decay, `WarmupLR`.
    pub decay: Decay,
    /// `warmup_type`.
    pub warmup: Warmup,
    /// `warmup_min_lr`: the rate of the first step.
    pub min_learning_rate: Option<f64>,
    /// `warmup_num_steps`: optimizer steps of the warmup.
    pub warmup_steps: Option<u64>,
    /// `total_num_steps`: optimizer steps until the rate is at its least; of no use without decay.
    pub total_steps: Option<u64>,
}

const DECAY: Form<Decay> = Form {
    expected: "\"WarmupDecayLR\" or \"WarmupLR\"",
    read: |value| match value.as_str()? {
        "WarmupDecayLR" => Some(Decay::Linear),
        "WarmupLR" => Some(Decay::None),
        _ => None,
    },
};

const BEFORE_FIRST: Form<()> = Form {
    expected: "-1 (a run is continued by `--resume`)",
    read: |value| (value.as_f64()? == -1.0).then_some(()),
};

/// The schedule, and the rate at the end of its warmup.
pub(super) fn read(section: &mut Section<'_>) -> (Scheduler, Option<f64>) {
    let decay = section.require("type", &DECAY).unwrap_or_default();
    let params = section.section("params", |params| read_params(params, decay));
    let undecided = Scheduler {
        decay,
        ..Scheduler::default()
    };
    params.unwrap_or((undecided, None))
}

fn read_params(params: &mut Section<'_>, decay: Decay) -> (Scheduler, Option<f64>) {
    params.read("last_batch_iteration", &BEFORE_FIRST);
    let total_steps = params.read_or_auto("total_num_steps", &COUNT);
    if decay == Decay::None && params.has("total_num_steps") {
        params.note("total_num_steps", "has no effect on WarmupLR");
    }
    let scheduler = Scheduler {
        decay,
        min_learning_rate: params.read_or_auto("warmup_min_lr", &NUMBER),
        warmup_steps: params.read_or_auto("warmup_num_steps", &SIZE),
        total_steps,
        warmup: read_warmup(params),
    };
    (scheduler, params.read_or_auto("warmup_max_lr", &NUMBER))
}

fn read_warmup(params: &mut Section<'_>) -> Warmup {
    match params.read("warmup_type", &STRING).as_deref() {
        Some("linear") => Warmup::Linear,
        Some("log") | None => Warmup::Log,
        Some(other) => {
            let note = format!("DeepSpeed does not know \"{other}\" and falls back to \"log\"");
            params.note("warmup_type", &note);
            Warmup::Log
        }
    }
}
