//! What a training will need of the memory of device and host, before anything is loaded.
//!
//! Memory is counted at the moments at which it can be highest: while the model is loaded, at the head,
//! at each block of the backward pass, and at the update. Gradients come as activations go, so that the
//! highest moment lies at either end, and a sum over everything would be too much.
//!
//! What a pass holds in a segment, operations and adapters say themselves ([`glmtune_model::memory`]); here is
//! only what a training holds around the segments, and the order of its moments.

mod pages;
mod segments;
mod shares;
mod workload;

use glmtune_model::memory::{Held, SegmentMemory};
use glmtune_model::parameters::ParameterInfo;
use serde::Serialize;

use crate::error::Result;
use segments::Segments;
use shares::{Elements, Shares};

pub use workload::{Saving, Workload};

/// What the program takes with a tokenizer and no model, as measured.
const PROGRAM: u64 = 55 << 20;

/// Bytes, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Parts {
    /// Weights in the compute type.
    pub weights: u64,
    /// Float32 weights of what is trained.
    pub masters: u64,
    /// AdamW's two moments.
    pub moments: u64,
    /// Gradients of what is trained.
    pub gradients: u64,
    /// What the backward pass needs of the blocks, and what they compute with.
    pub activations: u64,
    /// A chunk of logits, and the gradients of the head.
    pub logits: u64,
    /// Pages of a GPU's pools, as far as they are not full.
    pub pages: u64,
}

impl Parts {
    /// All together.
    pub fn total(&self) -> u64 {
        let stays = self.weights + self.masters + self.moments + self.gradients;
        stays + self.activations + self.logits + self.pages
    }

    /// What a GPU's memory holds in the pools' pages.
    fn pooled(self) -> Self {
        Self {
            activations: self.activations,
            logits: self.logits,
            ..Self::default()
        }
    }

    /// What it holds apart from them: weights, and what has the sizes of weights.
    fn apart(self) -> Self {
        Self {
            activations: 0,
            logits: 0,
            ..self
        }
    }

    /// The sums of the parts.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            weights: self.weights + other.weights,
            masters: self.masters + other.masters,
            moments: self.moments + other.moments,
            gradients: self.gradients + other.gradients,
            activations: self.activations + other.activations,
            logits: self.logits + other.logits,
            pages: self.pages + other.pages,
        }
    }
}

/// The memory of a training at its highest moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct MemoryPlan {
    /// On the device.
    pub device: Parts,
    /// In the host's memory, beside the program itself.
    pub host: Parts,
    /// What the program takes beside it of the host's memory: code, tokenizer, and on the CPU freed
    /// memory that its allocator keeps for a while, which is about that of the largest operations.
    pub program: u64,
    /// Parameters that are trained.
    pub trained: u64,
    /// All parameters, those of adapters included.
    pub parameters: u64,
}

impl MemoryPlan {
    /// Both memories together, without the program: what a training on the CPU takes.
    pub fn total(&self) -> u64 {
        self.device.total() + self.host.total()
    }
}

/// Plans a training.
///
/// # Errors
/// If the parameters are not those of the configuration's architecture.
pub fn plan(workload: &Workload<'_>) -> Result<MemoryPlan> {
    Ok(Planner::new(workload)?.plan())
}

/// What device and host hold at a moment.
#[derive(Debug, Clone, Copy, Default)]
struct Moment {
    device: Parts,
    host: Parts,
}

/// The highest of some moments.
fn highest(moments: impl Iterator<Item = Parts>) -> Parts {
    moments.max_by_key(Parts::total).unwrap_or_default()
}

/// What the segments of a training hold.
struct Passes {
    /// Bytes of a hidden state.
    hidden: u64,
    /// What all blocks share.
    prefix: SegmentMemory,
    embeddings: SegmentMemory,
    blocks: Vec<SegmentMemory>,
    head: SegmentMemory,
}

impl Passes {
    /// The largest tensor that comes and goes.
    fn largest(&self) -> u64 {
        let blocks = self.blocks.iter().map(|memory| memory.largest);
        let others = [self.prefix, self.embeddings, self.head].map(|memory| memory.largest);
        blocks.chain(others).max().unwrap_or(0)
    }

    fn new(segments: &Segments<'_>, shares: &Shares) -> Self {
        let (lowest, count) = (shares.blocks_below(), shares.blocks.len());
        // A graph begins at the lowest segment that is trained; its own input has no gradient.
        let has_graph_below = |block: usize| shares.embeddings.learned() > 0 || lowest < block;
        let block = |index: usize| match index < lowest {
            true => segments.forward(index),
            false => segments.block(index, has_graph_below(index)),
        };
        let mut head = segments.head(has_graph_below(count));
        if shares.head.learned() > 0 {
            // Its gradient, the largest there, is allocated apart from the pools, as the weight of its size is.
            head.largest = 0;
        }
        Self {
            hidden: segments.hidden(),
            prefix: segments.prefix(),
            embeddings: segments.embeddings(),
            blocks: (0..count).map(block).collect(),
            head,
        }
    }
}

struct Planner<'a> {
    workload: &'a Workload<'a>,
    shares: Shares,
    total: Elements,
    passes: Passes,
    /// Bytes of an element in the compute type.
    size: u64,
    /// Weights that are trained in the host's memory: their gradients and state are there.
    on_host: bool,
    checkpointed: bool,
    /// Whether the base model's matrices are elsewhere and visit the device.
    visits: bool,
    /// Processes that share out masters and moments.
    processes: u64,
    /// Processes, or devices, that share out the matrices that visit.
    holders: u64,
    /// Whether these are devices, which keep their parts and update them.
    on_devices: bool,
}

impl<'a> Planner<'a> {
    fn new(workload: &'a Workload<'a>) -> Result<Self> {
        let shares = Shares::new(workload.config, workload.parameters, workload.method)?;
        let saving = workload.saving;
        let processes = workload.processes.max(1) as u64;
        let on_devices = saving.shard_param && processes == 1 && !saving.offload_param;
        let holders = match (saving.shard_param, on_devices) {
            (true, true) => workload.devices.max(1) as u64,
            (true, false) => processes,
            (false, _) => 1,
        };
        let on_devices = on_devices && holders > 1;
        let visits = saving.offload_param || holders > 1;
        let trains_in_host = saving.offload_param && !workload.method.is_adapter();
        let on_host = saving.offload_optimizer || processes > 1 || trains_in_host;
        let checkpointed = saving.gradient_checkpointing || visits;
        let segments = Segments::new(workload, on_host || on_devices, checkpointed);
        Ok(Self {
            total: shares.total(),
            passes: Passes::new(&segments, &shares),
            shares,
            size: workload.dtype.size() as u64,
            on_host,
            checkpointed,
            visits,
            processes,
            holders,
            on_devices,
            workload,
        })
    }

    fn plan(&self) -> MemoryPlan {
        let mut moments = vec![
            self.at_loading(),
            self.at_head(),
            self.at_update(),
            self.at_saving(),
        ];
        for block in 0..self.shares.blocks.len() {
            moments.extend([self.at_block(block), self.after_block(block)]);
        }
        moments.push(self.at_embeddings());
        let mut plan = MemoryPlan {
            trained: self.total.learned(),
            parameters: self.total.frozen + self.total.trained + self.total.adapters,
            program: PROGRAM + self.retained(),
            ..MemoryPlan::default()
        };
        if self.workload.on_cpu {
            let together = |moment: &Moment| moment.device.plus(moment.host).total();
            if let Some(highest) = moments.into_iter().max_by_key(together) {
                (plan.device, plan.host) = (highest.device, highest.host);
            }
            return plan;
        }
        // Neither pools nor what is apart from them give back what they have: each counts at its own highest moment.
        let device = || moments.iter().map(|moment| moment.device);
        let [apart, pooled] = [
            highest(device().map(Parts::apart)),
            highest(device().map(Parts::pooled)),
        ];
        plan.device = apart.plus(pooled);
        plan.device.weights += self.other_rooms();
        plan.device.pages = pages::partly_filled(plan.device.total(), self.passes.largest());
        plan.host = highest(moments.iter().map(|moment| moment.host));
        plan
    }

    /// Memory that the allocator keeps after the largest operations.
    fn retained(&self) -> u64 {
        if !self.workload.on_cpu {
            return 0;
        }
        let work = |memory: &SegmentMemory| memory.highest.activations.saturating_sub(memory.kept);
        let block = self.passes.blocks.last().map_or(0, work);
        block + work(&self.passes.head)
    }

    /// What is there all the time: weights, masters, moments, and gradients that are added up.
    fn standing(&self) -> Moment {
        let total = self.total;
        let learned = total.learned();
        // Of weights in parts on devices each has state of its part.
        let in_parts = match self.on_devices && !self.on_host {
            true => total.mobile_trained,
            false => 0,
        };
        let part = |elements: u64| elements.div_ceil(self.parts());
        let kept = (learned - in_parts).div_ceil(self.processes) + part(in_parts);
        let mut moment = Moment::default();
        // Trained weights are float32 where they are updated, else in the compute type.
        let trained_size = if self.on_host { self.size } else { 4 };
        let whole = total.trained - in_parts;
        let base = (total.frozen + in_parts) * self.size + whole * trained_size;
        let mobile = total.mobile * self.size;
        (moment.device.weights, moment.host.weights) = match (self.visits, self.on_devices) {
            (true, true) => (base - mobile + part(mobile), 0),
            (true, false) => (base - mobile, mobile.div_ceil(self.holders)),
            (false, _) => (base, 0),
        };
        moment.device.weights += total.adapters * trained_size;
        let state = match self.on_host {
            true => &mut moment.host,
            false => &mut moment.device,
        };
        state.moments = 8 * kept;
        if self.on_host {
            state.masters = 4 * kept;
        } else if self.size < 4 {
            // Shown apart: they stand in the place of the weights, but for those of parts, which are beside them.
            let whole = learned - in_parts;
            state.masters = 4 * (whole + part(in_parts));
            state.weights -= 4 * whole;
        }
        if self.workload.accumulates {
            state.gradients = 4 * learned;
        }
        moment
    }

    /// Parts of a weight that lie in different memories: the devices of a CPU are one.
    fn parts(&self) -> u64 {
        match self.workload.on_cpu {
            true => 1,
            false => self.holders,
        }
    }

    fn is_tracked(&self, block: usize) -> bool {
        block >= self.shares.blocks_below()
    }

    /// Bytes that the graph keeps of a block between forward and backward pass.
    fn kept(&self, block: usize) -> u64 {
        match (self.is_tracked(block), self.checkpointed) {
            (false, _) => 0,
            (true, true) => self.passes.hidden,
            (true, false) => self.passes.blocks[block].kept,
        }
    }

    /// A segment's matrices that are on a visit, and those of the next on their way.
    fn visitors(&self, segments: &[Elements]) -> u64 {
        // On the CPU a weight is taken where it lies, unless its parts are brought together.
        match self.visits && (!self.workload.on_cpu || self.holders > 1) {
            true => segments.iter().map(|own| own.mobile * self.size).sum(),
            false => 0,
        }
    }

    /// Room of visitors that is empty where the most is: a matrix of another size does not fit into it.
    fn other_rooms(&self) -> u64 {
        let shares = &self.shares;
        let ends = [shares.embeddings, shares.head].map(|segment| self.visitors(&[segment]));
        let pairs = (0..shares.blocks.len()).map(|block| self.visitors_at(block));
        let (ends, blocks) = (ends[0].max(ends[1]), pairs.max().unwrap_or(0));
        ends.min(blocks)
    }

    /// The gradients of a segment at its turn, in bytes, and those of what is trained above it, which has had its.
    fn arrived(&self, moment: &mut Moment, segment: u64, above: u64) {
        // A checkpointed pass adds each segment's gradients to those of earlier micro-batches at once.
        let above = match self.checkpointed && self.workload.accumulates {
            true => 0,
            // Of those that have left, a process gets its part of the sums.
            false if self.checkpointed => above.div_ceil(self.processes),
            false => above,
        };
        moment.device.gradients += segment;
        match self.on_host && self.checkpointed {
            true => moment.host.gradients += 4 * above + segment,
            false => moment.device.gradients += 4 * above,
        }
    }

    /// The last and largest tensor is read: it exists as in the file and as in the model.
    fn at_loading(&self) -> Moment {
        let standing = self.standing();
        let weights = |parts: Parts| Parts {
            weights: parts.weights,
            ..Parts::default()
        };
        let mut moment = Moment {
            device: weights(standing.device),
            host: weights(standing.host),
        };
        if !self.on_host {
            // Masters take the place of the weights after they are read.
            moment.device.masters = standing.device.masters;
        }
        moment.host.weights += self.largest() * self.size;
        moment
    }

    /// A parameter is copied out to be written; gradients are gone.
    fn at_saving(&self) -> Moment {
        let mut moment = self.standing();
        moment.device.gradients = 0;
        moment.host.gradients = 0;
        let written = match self.total.trained {
            0 => self.total.largest_trained,
            _ => self.largest(),
        };
        moment.host.weights += 2 * written * 4;
        moment
    }

    /// Elements of the largest parameter.
    fn largest(&self) -> u64 {
        let parameters = self.workload.parameters.iter();
        parameters.map(ParameterInfo::elements).max().unwrap_or(0) as u64
    }

    /// Forward pass done, the head at work.
    fn at_head(&self) -> Moment {
        let mut moment = self.standing();
        let hidden = self.passes.hidden;
        moment.device.activations += self.below(self.shares.blocks.len()) + hidden;
        moment.device.logits += self.passes.head.highest.total().saturating_sub(hidden);
        moment.device.weights += self.visitors(&[self.shares.head]);
        moment
    }

    /// The backward pass in a block, where it holds the most; or the forward pass, where no gradient comes.
    fn at_block(&self, block: usize) -> Moment {
        let mut moment = self.standing();
        let Held {
            activations,
            gradients,
        } = self.passes.blocks[block].highest;
        if !self.is_tracked(block) {
            moment.device.activations += self.prefix() + activations;
            return moment;
        }
        moment.device.activations += self.below(block) + self.left_above(block) + activations;
        self.arrived(&mut moment, gradients, self.learned_above(block));
        moment.device.weights += self.visitors_at(block);
        moment
    }

    /// A block is done: its gradients are there, its activations are gone.
    fn after_block(&self, block: usize) -> Moment {
        let mut moment = self.standing();
        let left = self.left_above(block) + self.passes.blocks[block].left;
        moment.device.activations += self.below(block) + left + 2 * self.passes.hidden;
        let own = self.gradient_size() * self.shares.blocks[block].learned();
        self.arrived(&mut moment, own, self.learned_above(block));
        moment.device.weights += self.visitors_at(block);
        moment
    }

    /// Bytes of an element of a gradient on the device. On a CPU, whose gradients become float32 in the same memory,
    /// both are counted as such.
    fn gradient_size(&self) -> u64 {
        match self.on_host && !self.workload.on_cpu {
            true => self.size,
            false => 4,
        }
    }

    /// A block's matrices on their visit, and those of the block that comes after it in the backward pass.
    fn visitors_at(&self, block: usize) -> u64 {
        let blocks = &self.shares.blocks;
        match block {
            0 => self.visitors(&blocks[..1]),
            _ => self.visitors(&blocks[block - 1..=block]),
        }
    }

    /// What the graph keeps of the blocks below one, and of what all share.
    fn below(&self, block: usize) -> u64 {
        let blocks = (0..block).map(|index| self.kept(index)).sum::<u64>();
        blocks + self.prefix()
    }

    /// What the adapter has computed for all blocks; where they run again, once more without a graph.
    fn prefix(&self) -> u64 {
        let SegmentMemory { kept, output, .. } = self.passes.prefix;
        kept + if self.checkpointed {
            2 * output
        } else {
            output
        }
    }

    /// What stays of the blocks above one, whose backward passes are done.
    fn left_above(&self, block: usize) -> u64 {
        let above = self.passes.blocks[block + 1..].iter();
        above.map(|memory| memory.left).sum()
    }

    /// What is trained above a block.
    fn learned_above(&self, block: usize) -> u64 {
        let above = self.shares.blocks[block + 1..].iter();
        above.map(Elements::learned).sum::<u64>() + self.shares.head.learned()
    }

    /// The end of the backward pass: embeddings and prefix.
    fn at_embeddings(&self) -> Moment {
        let mut moment = self.standing();
        let embeddings = self.shares.embeddings;
        let (own, prefix) = (self.passes.embeddings.highest, self.passes.prefix.highest);
        let left: u64 = self.passes.blocks.iter().map(|memory| memory.left).sum();
        let highest = own.highest(prefix);
        moment.device.activations += left + self.passes.hidden + highest.activations;
        let above = self.total.learned() - embeddings.learned() - self.shares.prefix.learned();
        self.arrived(&mut moment, highest.gradients, above);
        moment.device.weights += self.visitors(&[embeddings]);
        moment
    }

    /// The update: all gradients, and on the host a parameter on its way back.
    fn at_update(&self) -> Moment {
        let mut moment = self.standing();
        if self.on_host {
            moment.host.gradients += 2 * 4 * self.total.largest_trained;
        }
        if !self.workload.accumulates {
            let place = match self.on_host {
                true => &mut moment.host,
                false => &mut moment.device,
            };
            place.gradients += 4 * self.total.learned().div_ceil(self.processes);
        }
        moment
    }
}
