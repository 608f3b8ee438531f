//! Sections and keys about reporting, and about how gradients travel: neither changes what is computed.

use glmtune_model::json_settings::{COUNT, FLAG, OBJECT, POSITIVE, Section};

use super::notes::NO_EFFECT;

pub(super) fn read(top: &mut Section<'_>) {
    let flags = [
        "prescale_gradients",
        "wall_clock_breakdown",
        "memory_breakdown",
        "dump_state",
        "disable_allgather",
        "zero_allow_untested_optimizer",
        "zero_force_ds_cpu_optimizer",
    ];
    let sections = [
        "activation_checkpointing",
        "aio",
        "comms_logger",
        "csv_monitor",
        "flops_profiler",
        "tensorboard",
    ];
    top.inert(&["steps_per_print"], &COUNT, NO_EFFECT);
    top.inert(&["gradient_predivide_factor"], &POSITIVE, NO_EFFECT);
    top.inert(&flags, &FLAG, NO_EFFECT);
    top.inert(&sections, &OBJECT, NO_EFFECT);
}
