//! Named sets of measurements.

use glmtune_model::adapters::AdapterKind;
use glmtune_model::presets::Preset;

use super::case::{Case, TrainCase, Work};
use super::flags::{dropouts, training};
use super::models::ModelChoice;
use crate::cli::{BenchArgs, ProfileName, TrainType};

/// What the Python project's README says that a training takes on a card of 48 GB.
struct Published {
    preset: Preset,
    method: TrainType,
    is_checkpointed: bool,
    is_offloaded: bool,
    max_len: usize,
    gb: f64,
}

const GLM: Preset = Preset::ChatGlm6b;
const GLM2: Preset = Preset::ChatGlm2_6b;
const FREEZE: TrainType = TrainType::Freeze;
const PTUNING: TrainType = TrainType::Adapter(AdapterKind::Prefix);
const LORA: TrainType = TrainType::Adapter(AdapterKind::Lora);

/// The rows of one card, and full tuning, which the README shows on four.
const PYTHON_README: [Published; 14] = [
    of(GLM, LORA, true, 1560, 20.0),
    of(GLM, LORA, false, 1560, 45.0),
    of(GLM, PTUNING, true, 768, 43.0),
    of(GLM, PTUNING, false, 300, 44.0),
    of(GLM, FREEZE, true, 1560, 36.0),
    of(GLM, FREEZE, false, 1560, 38.0),
    offloaded(of(GLM, TrainType::All, true, 1560, 33.0)),
    of(GLM2, LORA, true, 1560, 20.0),
    of(GLM2, LORA, false, 1560, 43.0),
    of(GLM2, PTUNING, true, 1560, 20.0),
    of(GLM2, PTUNING, false, 1560, 40.0),
    of(GLM2, FREEZE, true, 1560, 35.0),
    of(GLM2, FREEZE, false, 1560, 36.0),
    offloaded(of(GLM2, TrainType::All, true, 1560, 26.0)),
];

const fn of(
    preset: Preset,
    method: TrainType,
    is_checkpointed: bool,
    max_len: usize,
    gb: f64,
) -> Published {
    Published {
        preset,
        method,
        is_checkpointed,
        is_offloaded: false,
        max_len,
        gb,
    }
}

const fn offloaded(published: Published) -> Published {
    Published {
        is_offloaded: true,
        ..published
    }
}

/// The measurements of a profile. A model of the flags takes the place of the profile's, and what is then the same is
/// measured once.
pub fn cases(name: ProfileName, args: &BenchArgs) -> Vec<Case> {
    let rows = match name {
        ProfileName::PythonReadme => &PYTHON_README,
    };
    let mut cases: Vec<Case> = Vec::new();
    for row in rows {
        let dropouts = match row.method.is_adapter() {
            true => dropouts(args),
            false => vec![0.0],
        };
        for dropout in dropouts {
            let case = case(row, args, dropout);
            if !cases
                .iter()
                .any(|other| other.work == case.work && other.model == case.model)
            {
                cases.push(case);
            }
        }
    }
    cases
}

fn case(row: &Published, args: &BenchArgs, dropout: f64) -> Case {
    let model = ModelChoice::of(args, row.preset);
    let bound = args.max_len.unwrap_or(usize::MAX);
    let training = TrainCase {
        max_len: row.max_len.min(bound),
        gradient_checkpointing: row.is_checkpointed,
        offload_optimizer: row.is_offloaded,
        offload_param: row.is_offloaded,
        ..training(args, row.method, dropout)
    };
    // A figure of another model, or of shorter rows, says nothing.
    let is_same = model == ModelChoice::Random(row.preset) && training.max_len == row.max_len;
    Case {
        name: training.name(),
        model,
        work: Work::Train(training),
        published_gb: is_same.then_some(row.gb),
    }
}
