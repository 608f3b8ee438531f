//! `optimizer`: AdamW, the only one, whichever of its names the file uses.

use glmtune_model::json_settings::{FLAG, Form, NUMBER, Section};
use serde_json::Value;

use super::notes::NO_EFFECT;
use crate::optim::AdamWSettings;

/// Whether the optimizer is called Adam, which leaves the kind of its weight decay open.
const OPTIMIZER: Form<bool> = Form {
    expected: "\"AdamW\" or \"Adam\"",
    read: |value| match value.as_str()?.to_ascii_lowercase().as_str() {
        "adam" => Some(true),
        "adamw" => Some(false),
        _ => None,
    },
};

const BETAS: Form<(f64, f64)> = Form {
    expected: "two numbers from 0 to below 1",
    read: |value| {
        let beta = |value: &Value| value.as_f64().filter(|beta| (0.0..1.0).contains(beta));
        match value.as_array()?.as_slice() {
            [first, second] => Some((beta(first)?, beta(second)?)),
            _ => None,
        }
    },
};

/// The optimizer, and its learning rate.
pub(super) fn read(section: &mut Section<'_>) -> (AdamWSettings, Option<f64>) {
    let is_adam = section.require("type", &OPTIMIZER).unwrap_or(false);
    if is_adam {
        section.note("type", "Adam means AdamW, as it does to DeepSpeed");
    }
    section.inert(&["legacy_fusion"], &FLAG, NO_EFFECT);
    let params = section.section("params", |params| read_params(params, is_adam));
    params.unwrap_or_default()
}

fn read_params(params: &mut Section<'_>, is_adam: bool) -> (AdamWSettings, Option<f64>) {
    params.inert(&["torch_adam"], &FLAG, NO_EFFECT);
    match is_adam {
        // With false, Adam would add its weight decay to the gradients.
        true => params.only("adam_w_mode", true),
        false => params.inert(&["adam_w_mode"], &FLAG, "has no effect on AdamW"),
    }
    let default = AdamWSettings::default();
    let rate = params.read_or_auto("lr", &NUMBER);
    let betas = params.read_or_auto("betas", &BETAS);
    let (beta1, beta2) = betas.unwrap_or((default.beta1, default.beta2));
    let mut number =
        |key: &'static str, default: f64| params.read_or_auto(key, &NUMBER).unwrap_or(default);
    let settings = AdamWSettings {
        beta1,
        beta2,
        epsilon: number("eps", default.epsilon),
        weight_decay: number("weight_decay", default.weight_decay),
    };
    (settings, rate)
}
