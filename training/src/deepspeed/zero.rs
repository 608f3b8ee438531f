//! `zero_optimization`: what devices share out, and what is offloaded.

use glmtune_model::json_settings::{FLAG, Form, NUMBER, SIZE, STRING, Section};

use super::notes::NO_EFFECT;

/// `zero_optimization`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Zero {
    /// `stage`: what several devices share out: nothing (0), the optimizer's state (1), gradients too (2),
    /// weights too (3). Here processes share out the optimizer's state and gradients at every stage, and the devices of one
    /// process weights with their part of the state at stage 3 alone.
    pub stage: u8,
    /// `offload_param`: the weights are kept in the host's memory.
    pub offload_param: bool,
    /// `offload_optimizer`: the optimizer's state is kept in the host's memory.
    pub offload_optimizer: bool,
}

const STAGE: Form<u8> = Form {
    expected: "0, 1, 2 or 3",
    read: |value| (SIZE.read)(value).and_then(|stage| (stage <= 3).then_some(stage as u8)),
};

pub(super) fn read(zero: &mut Section<'_>) -> Zero {
    let found = Zero {
        stage: zero.read_or("stage", &STAGE, 0),
        offload_param: read_offload(zero, "offload_param"),
        offload_optimizer: read_offload(zero, "offload_optimizer"),
    };
    read_inert(zero);
    found
}

/// Keys about how weights and gradients travel.
fn read_inert(zero: &mut Section<'_>) {
    let gather = [
        "stage3_gather_16bit_weights_on_model_save",
        "stage3_gather_fp16_weights_on_model_save",
    ];
    let flags = [
        "allgather_partitions",
        "contiguous_gradients",
        "ignore_unused_parameters",
        "load_from_fp32_weights",
        "memory_efficient_linear",
        "overlap_comm",
        "reduce_scatter",
        "round_robin_gradients",
        "stage3_use_all_reduce_for_fetch_params",
        "use_multi_rank_bucket_allreduce",
    ];
    let sizes = [
        "allgather_bucket_size",
        "reduce_bucket_size",
        "stage3_max_live_parameters",
        "stage3_max_reuse_distance",
        "stage3_model_persistence_threshold",
        "stage3_module_granularity_threshold",
        "stage3_param_persistence_threshold",
        "stage3_prefetch_bucket_size",
        "sub_group_size",
    ];
    zero.inert(
        &gather,
        &FLAG,
        "has no effect here, where weights are always saved whole",
    );
    zero.inert(&flags, &FLAG, NO_EFFECT);
    zero.inert(&sizes, &SIZE, NO_EFFECT);
}

/// Where something is kept.
enum Device {
    Cpu,
    Accelerator,
    Auto,
}

const DEVICE: Form<Device> = Form {
    expected: "\"cpu\", \"none\" or \"auto\" (nothing is offloaded to disks)",
    read: |value| match value.as_str()? {
        "cpu" => Some(Device::Cpu),
        "none" => Some(Device::Accelerator),
        "auto" => Some(Device::Auto),
        _ => None,
    },
};

/// Whether `offload_param` or `offload_optimizer` asks for the host's memory.
fn read_offload(zero: &mut Section<'_>, key: &'static str) -> bool {
    let device = zero.section(key, |offload| {
        let device = offload.read("device", &DEVICE);
        if let Some(Device::Auto) = device {
            // The ancestor never replaces this "auto" by anything.
            offload.note("device", "\"auto\" means no offloading");
        }
        let flags = ["pin_memory", "pipeline_read", "pipeline_write", "fast_init"];
        let sizes = ["buffer_count", "buffer_size", "max_in_cpu"];
        offload.inert(&flags, &FLAG, NO_EFFECT);
        offload.inert(&sizes, &SIZE, NO_EFFECT);
        offload.inert(&["nvme_path"], &STRING, NO_EFFECT);
        offload.inert(&["ratio"], &NUMBER, NO_EFFECT);
        device
    });
    matches!(device, Some(Some(Device::Cpu)))
}
