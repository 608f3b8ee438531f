//! `bf16` and `fp16`: the type that is computed in, and its loss scale.

use glmtune_model::json_settings::{COUNT, FLAG, Form, NUMBER, POSITIVE, SIZE, Section};

use super::notes::NO_EFFECT;
use crate::precision::LossScaleSettings;

/// Whether bf16 is enabled, and the loss scale of an fp16 that is: never both.
pub(super) fn read(top: &mut Section<'_>) -> (bool, Option<LossScaleSettings>) {
    let bf16 = top.section("bf16", |bf16| bf16.read_or("enabled", &FLAG, false));
    let bf16 = bf16.unwrap_or(false);
    let fp16 = top.section("fp16", read_fp16).flatten();
    if bf16 && fp16.is_some() {
        top.wrong("bf16.enabled", true, "false beside an enabled fp16");
    }
    (bf16, fp16)
}

/// Scales are float32 on the device.
const SCALE_POWER: Form<u32> = Form {
    expected: "a whole number from 0 to 126",
    read: |value| (SIZE.read)(value).and_then(|power| (power <= 126).then_some(power as u32)),
};

const SCALE: Form<f64> = Form {
    expected: "0 (for a dynamic scale) or a number up to 1e38",
    read: |value| (NUMBER.read)(value).filter(|&scale| scale <= 1e38),
};

fn read_fp16(fp16: &mut Section<'_>) -> Option<LossScaleSettings> {
    let default = LossScaleSettings::default();
    fp16.inert(&["auto_cast"], &FLAG, NO_EFFECT);
    fp16.only("consecutive_hysteresis", false);
    // Trainable weights have float32 masters.
    fp16.only("fp16_master_weights_and_grads", false);
    let is_enabled = fp16.read_or("enabled", &FLAG, false);
    let loss_scale = LossScaleSettings {
        fixed: fp16.read("loss_scale", &SCALE).filter(|&scale| scale > 0.0),
        loss_scale_window: fp16.read_or("loss_scale_window", &COUNT, default.loss_scale_window),
        initial_scale_power: fp16.read_or(
            "initial_scale_power",
            &SCALE_POWER,
            default.initial_scale_power,
        ),
        hysteresis: fp16.read_or("hysteresis", &COUNT, default.hysteresis),
        min_loss_scale: fp16.read_or("min_loss_scale", &POSITIVE, default.min_loss_scale),
    };
    is_enabled.then_some(loss_scale)
}
