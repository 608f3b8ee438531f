//! The segments of a training that is planned, each run through as the model declares it.

use burn::tensor::DType;
use glmtune_model::architecture::memory::TracedPass;
use glmtune_model::causal_lm::memory::{block, embed, head};
use glmtune_model::memory::{Compute, Kernels, SegmentInput, SegmentMemory, Trace, TracedModules};
use glmtune_model::parameters::ParameterInfo;

use super::workload::Workload;

/// Elements of all activations of a model together are counted up to here: what flags ask for beyond that is then as
/// much too much, and every sum stays within 64 bits.
const LARGEST: u64 = 1 << 44;

/// A training, as far as its segments depend on it.
#[derive(Debug)]
pub(super) struct Segments<'a> {
    workload: &'a Workload<'a>,
    modules: TracedModules<'a>,
    compute: Compute,
    /// Rows of the batch, tokens of a row, and those of all rows that have a target.
    sizes: [u64; 3],
    /// Positions before those of every row.
    prefix: u64,
    /// Whether a segment runs again in the backward pass.
    checkpointed: bool,
}

impl<'a> Segments<'a> {
    /// `on_host`: whether the masters of what is trained are in the host's memory.
    pub fn new(workload: &'a Workload<'a>, on_host: bool, checkpointed: bool) -> Self {
        let method = workload.method;
        let trained = |path: &str| method.trains(path);
        let parameters = workload.parameters.iter();
        let prefix = method.adapter().map_or(0, |settings| settings.positions()) as u64;
        let kernels = match workload.on_cpu {
            true => Kernels::of_this_cpu(),
            false => Kernels::Gpu,
        };
        Self {
            modules: TracedModules::new(
                parameters.map(|info| (info, trained(&info.path))),
                method.adapter(),
            ),
            compute: Compute {
                dtype: workload.dtype,
                trained_size: match on_host {
                    true => workload.dtype.size() as u64,
                    false => DType::F32.size() as u64,
                },
                kernels,
            },
            sizes: bounded_sizes(workload, prefix),
            prefix,
            checkpointed,
            workload,
        }
    }

    /// Bytes of a hidden state.
    pub fn hidden(&self) -> u64 {
        self.compute.bytes(self.hidden_elements())
    }

    fn hidden_elements(&self) -> u64 {
        let [batch, length, _] = self.sizes;
        batch * length * self.workload.config.common().hidden_size as u64
    }

    fn pass(&self) -> TracedPass<'_> {
        let [batch, length, targets] = self.sizes;
        TracedPass {
            modules: &self.modules,
            batch,
            length,
            targets,
            prefix: self.prefix,
            trains_prefix: self.prefix > 0,
        }
    }

    fn input(&self, is_tracked: bool) -> SegmentInput {
        SegmentInput {
            elements: self.hidden_elements(),
            // Where it runs again, its input begins a graph.
            is_tracked: is_tracked || self.checkpointed,
            gradient_waits: self.checkpointed,
        }
    }

    /// A block that no gradient passes.
    pub fn forward(&self, index: usize) -> SegmentMemory {
        let (config, pass) = (self.workload.config, self.pass());
        SegmentMemory::forward(self.compute, self.hidden_elements(), |trace, hidden| {
            block(config, index, &pass, trace, hidden)
        })
    }

    /// A block whose graph is kept, or that runs again.
    pub fn block(&self, index: usize, is_tracked: bool) -> SegmentMemory {
        let (config, pass) = (self.workload.config, self.pass());
        SegmentMemory::both_ways(self.compute, self.input(is_tracked), |trace, hidden| {
            block(config, index, &pass, trace, hidden)
        })
    }

    /// Norm, output layer and loss.
    pub fn head(&self, is_tracked: bool) -> SegmentMemory {
        let (config, pass) = (self.workload.config, self.pass());
        let input = SegmentInput {
            gradient_waits: false,
            ..self.input(is_tracked)
        };
        SegmentMemory::both_ways(self.compute, input, |trace, hidden| {
            head(config, &pass, trace, hidden)
        })
    }

    /// The embeddings.
    pub fn embeddings(&self) -> SegmentMemory {
        let (config, pass) = (self.workload.config, self.pass());
        let input = SegmentInput {
            elements: 0,
            is_tracked: false,
            gradient_waits: self.checkpointed,
        };
        SegmentMemory::both_ways(self.compute, input, |trace, _| embed(config, &pass, trace))
    }

    /// What the adapter computes once for all blocks: kept from beginning to end.
    pub fn prefix(&self) -> SegmentMemory {
        let (config, [rows, ..]) = (self.workload.config, self.sizes);
        let input = SegmentInput {
            elements: 0,
            is_tracked: false,
            gradient_waits: false,
        };
        let run = |trace: &Trace| {
            let adapter = self.workload.method.adapter()?;
            adapter.traced_prefix(trace, config, rows)
        };
        SegmentMemory::both_ways(self.compute, input, |trace, nothing| {
            run(trace).unwrap_or(nothing)
        })
    }
}

/// Rows of a micro-batch, tokens of each, and those of all rows that have a target.
fn bounded_sizes(workload: &Workload<'_>, prefix: u64) -> [u64; 3] {
    let widest = |info: &ParameterInfo| match info.shape.as_slice() {
        [output, input] => output.saturating_add(*input) as u64,
        _ => 0,
    };
    let widths = workload.parameters.iter().map(widest);
    let width = widths.fold(1, u64::saturating_add);
    let most = (LARGEST / width).max(1);
    let length = (workload.length as u64).min(most);
    let per_row = (length + prefix).max(1);
    let batch = (workload.batch as u64).min((most / per_row).max(1));
    let targets = (workload.targets as u64).min(length);
    [batch, length, batch * targets]
}
