//! What a training will need of the memory of device and host, before anything is loaded.
//!
//! Memory is counted at the moments at which it can be highest: while the model is loaded, at the head,
//! at each block of the backward pass, and at the update. Gradients come as activations go, so that the
//! highest moment lies at either end, and a sum over everything would be too much.

mod block;
mod trainable;

use burn::tensor::DType;
use glmtune_model::ModelConfig;
use glmtune_model::layers::ops::head_loss::head_rows;
use glmtune_model::parameters::ParameterInfo;
use serde::Serialize;

use crate::error::Result;
use crate::settings::Method;
use block::{Block, Kept, Widths};
use trainable::{Elements, Shares};

/// Elements of a 16-bit weight that the CPU's products widen at once.
const PANEL: u64 = 1 << 20;

/// What the program takes with a tokenizer and no model, as measured.
const PROGRAM: u64 = 55 << 20;

/// What is to be trained, and how.
#[derive(Debug, Clone, Copy)]
pub struct Workload<'a> {
    /// The model.
    pub config: &'a ModelConfig,
    /// Its parameters.
    pub parameters: &'a [ParameterInfo],
    /// What is trained.
    pub method: &'a Method,
    /// Rows of a micro-batch.
    pub batch: usize,
    /// Tokens of the longest row.
    pub length: usize,
    /// Tokens of that row that have a target.
    pub targets: usize,
    /// Type of the frozen weights and of the activations.
    pub dtype: DType,
    /// Whether a step has several micro-batches.
    pub accumulates: bool,
    /// Whether the device is the CPU, so that both memories are one.
    pub on_cpu: bool,
    /// What saves memory.
    pub saving: Saving,
}

/// Flags that save memory on the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Saving {
    /// `--gradient_checkpointing`
    pub gradient_checkpointing: bool,
    /// `--offload_optimizer`
    pub offload_optimizer: bool,
    /// `--offload_param`
    pub offload_param: bool,
}

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
}

impl Parts {
    /// All together.
    pub fn total(&self) -> u64 {
        self.weights + self.masters + self.moments + self.gradients + self.activations + self.logits
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

/// Tokens of a micro-batch; no more than keeps every sum over a model's activations within 64 bits: what
/// flags ask for beyond that is then as much too much.
fn bounded_tokens(workload: &Workload<'_>) -> u64 {
    let widths = Widths::of(workload.config);
    let adapter = Kept::of(workload.method, false).adapter_width();
    let width = widths.hidden + widths.query + widths.kv + widths.first + widths.inner + adapter;
    let layers = workload.config.common().num_layers as u64;
    let most = (1u64 << 56) / width.saturating_mul(layers).max(1);
    (workload.batch as u64)
        .saturating_mul(workload.length as u64)
        .min(most.max(1))
}

/// What device and host hold at a moment.
#[derive(Debug, Clone, Copy, Default)]
struct Moment {
    device: Parts,
    host: Parts,
}

struct Planner<'a> {
    workload: &'a Workload<'a>,
    shares: Shares,
    total: Elements,
    block: Block,
    /// Bytes of an element in the compute type.
    size: u64,
    /// Weights that are trained in the host's memory: their gradients and state are there.
    on_host: bool,
    checkpointed: bool,
}

impl<'a> Planner<'a> {
    fn new(workload: &'a Workload<'a>) -> Result<Self> {
        let shares = Shares::new(workload.config, workload.parameters, workload.method)?;
        let saving = workload.saving;
        let tokens = bounded_tokens(workload);
        Ok(Self {
            total: shares.total(),
            shares,
            block: Block::new(workload.config, tokens, workload.dtype, workload.on_cpu),
            size: workload.dtype.size() as u64,
            on_host: saving.offload_optimizer
                || (saving.offload_param && !workload.method.is_adapter()),
            checkpointed: saving.gradient_checkpointing || saving.offload_param,
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
        for moment in moments {
            if moment.device.total() > plan.device.total() {
                plan.device = moment.device;
            }
            if moment.host.total() > plan.host.total() {
                plan.host = moment.host;
            }
        }
        plan
    }

    /// Memory that the allocator keeps after the largest operations.
    fn retained(&self) -> u64 {
        if !self.workload.on_cpu {
            return 0;
        }
        let vocabulary = self.workload.config.common().vocab_size as u64;
        let block = self.shares.blocks.len().saturating_sub(1);
        let work = match self.shares.blocks.is_empty() {
            true => 0,
            false => self.block.backward_work(self.kept_of(block)),
        };
        self.chunk() * vocabulary * 4 + work
    }

    /// Rows of logits that exist at once.
    fn chunk(&self) -> u64 {
        let vocabulary = self.workload.config.common().vocab_size;
        self.head_rows().min(head_rows(vocabulary) as u64)
    }

    /// What is there all the time: weights, masters, moments, and gradients that are added up.
    fn standing(&self) -> Moment {
        let (total, saving) = (self.total, self.workload.saving);
        let learned = total.learned();
        let mut moment = Moment::default();
        // Trained weights are float32 where they are updated, else in the compute type.
        let trained_size = if self.on_host { self.size } else { 4 };
        let base = total.frozen * self.size + total.trained * trained_size;
        let mobile = total.mobile * self.size;
        (moment.device.weights, moment.host.weights) = match saving.offload_param {
            true => (base - mobile, mobile),
            false => (base, 0),
        };
        moment.device.weights += total.adapters * trained_size;
        let state = match self.on_host {
            true => &mut moment.host,
            false => &mut moment.device,
        };
        state.moments = 8 * learned;
        if self.on_host {
            state.masters = 4 * learned;
        } else if self.size < 4 {
            // Shown apart: they stand in the place of the weights.
            state.masters = 4 * learned;
            state.weights -= 4 * learned;
        }
        if self.workload.accumulates {
            state.gradients = 4 * learned;
        }
        moment
    }

    fn kept_of(&self, block: usize) -> Kept {
        let own = self.shares.blocks[block];
        Kept::of(self.workload.method, own.trained > 0)
    }

    fn is_tracked(&self, block: usize) -> bool {
        block >= self.shares.blocks_below()
    }

    /// Bytes that the graph keeps of a block between forward and backward pass.
    fn kept(&self, block: usize) -> u64 {
        if !self.is_tracked(block) {
            return 0;
        }
        if self.checkpointed {
            return self.block.tensor(self.block.widths.hidden);
        }
        self.block.kept(self.kept_of(block)) + self.casts(self.shares.blocks[block])
    }

    /// Trained float32 weights are cast to the compute type, and the graph keeps what it reads.
    fn casts(&self, elements: Elements) -> u64 {
        match self.size < 4 && !self.on_host {
            true => elements.learned() * self.size,
            false => 0,
        }
    }

    /// A segment's matrices that are on a visit, and those of the next on their way.
    fn visitors(&self, segments: &[Elements]) -> u64 {
        match self.workload.saving.offload_param && !self.workload.on_cpu {
            true => segments.iter().map(|own| own.mobile * self.size).sum(),
            false => 0,
        }
    }

    /// The gradients of a segment at its turn, and of those above it, which have had theirs.
    fn arrived(&self, moment: &mut Moment, segment: Elements, above: u64) {
        // A checkpointed pass adds each segment's gradients to those of earlier micro-batches at once.
        let above = match self.checkpointed && self.workload.accumulates {
            true => 0,
            false => above,
        };
        moment.device.gradients += 4 * segment.learned();
        match self.on_host && self.checkpointed {
            true => moment.host.gradients += 4 * (above + segment.learned()),
            false => moment.device.gradients += 4 * above,
        }
    }

    /// Rows of the head: the hidden states that have a target.
    fn head_rows(&self) -> u64 {
        let targets = self.workload.targets.min(self.workload.length) as u64;
        (self.workload.batch as u64)
            .saturating_mul(targets)
            .min(self.block.tokens)
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
        let hidden = self.block.tensor(self.block.widths.hidden);
        moment.device.activations += self.kept_below(self.shares.blocks.len()) + hidden;
        moment.device.logits += self.head_work();
        moment.device.weights += self.visitors(&[self.shares.head]);
        moment
    }

    fn head_work(&self) -> u64 {
        let vocabulary = self.workload.config.common().vocab_size as u64;
        let (rows, hidden) = (self.head_rows(), self.block.widths.hidden);
        let chunk = self.chunk();
        let logits = match self.block.widens {
            // The product in both types and the copy that becomes the gradient; or the gradient in both
            // types and a panel of the weight.
            true => {
                let gradient = chunk * vocabulary * (4 + self.size);
                gradient + 4 * (chunk * vocabulary).max(PANEL.min(vocabulary * hidden))
            }
            false => chunk * vocabulary * 4,
        };
        // What an adapter adds to the logits stands beside them.
        let added = match self.shares.head.adapters {
            0 => 0,
            _ => chunk * vocabulary * self.size,
        };
        // Selected, normalised, and their gradients.
        let states = 4 * rows * hidden * self.size;
        // Summed in float32.
        let trained = self.shares.head.trained.saturating_sub(hidden);
        logits
            + added
            + states
            + 4 * (trained + self.shares.head.adapters)
            + self.casts(self.shares.head)
    }

    /// The backward pass at the activation of a block: of its weights, only the second layer of the MLP
    /// has its gradient.
    fn at_block(&self, block: usize) -> Moment {
        let mut moment = self.standing();
        if !self.is_tracked(block) {
            moment.device.activations +=
                self.block.tensor(self.block.widths.hidden) + self.block.forward_work();
            return moment;
        }
        let (kept, own) = (self.kept_of(block), self.shares.blocks[block]);
        let again = match self.checkpointed {
            true => self.block.kept(kept) + self.casts(own),
            false => 0,
        };
        moment.device.activations +=
            self.kept_below(block + 1) + again + self.block.backward_work(kept);
        let has_gradient = Elements {
            trained: own.trained.min(self.block.widths.second_layer()),
            ..own
        };
        self.arrived(&mut moment, has_gradient, self.learned_above(block));
        let next = self.shares.blocks[block.saturating_sub(1)];
        moment.device.weights += self.visitors(&[own, next]);
        moment
    }

    /// A block is done: its gradients are there, its activations are gone.
    fn after_block(&self, block: usize) -> Moment {
        let mut moment = self.standing();
        let hidden = self.block.tensor(self.block.widths.hidden);
        moment.device.activations += self.kept_below(block) + 2 * hidden;
        self.arrived(
            &mut moment,
            self.shares.blocks[block],
            self.learned_above(block),
        );
        moment
    }

    /// What the graph keeps of the blocks below one.
    fn kept_below(&self, block: usize) -> u64 {
        (0..block).map(|index| self.kept(index)).sum()
    }

    /// What is trained above a block.
    fn learned_above(&self, block: usize) -> u64 {
        let above = self.shares.blocks[block + 1..].iter();
        above.map(Elements::learned).sum::<u64>() + self.shares.head.learned()
    }

    /// The end of the backward pass.
    fn at_embeddings(&self) -> Moment {
        let mut moment = self.standing();
        let hidden = self.block.tensor(self.block.widths.hidden);
        let embeddings = self.shares.embeddings;
        moment.device.activations += 2 * hidden;
        if embeddings.trained > 0 {
            // Zeros, and the table that the rows are added to.
            moment.device.gradients += embeddings.trained * 4;
        }
        let above = self.total.learned() - embeddings.learned();
        self.arrived(&mut moment, embeddings, above);
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
            place.gradients += 4 * self.total.learned();
        }
        moment
    }
}
