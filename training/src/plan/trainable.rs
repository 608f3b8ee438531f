//! How many parameters a method trains, segment by segment, without a model.

use glmtune_model::causal_lm::{prefix_shape, segment_paths};
use glmtune_model::parameters::ParameterInfo;
use glmtune_model::pretrained::may_leave;
use glmtune_model::{ModelConfig, Segment};

use crate::error::Result;
use crate::method::targets;
use crate::settings::Method;

/// Elements of a segment's parameters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Elements {
    /// Of the base model, frozen.
    pub frozen: u64,
    /// Of the base model, trained.
    pub trained: u64,
    /// Of adapters, all trained.
    pub adapters: u64,
    /// Those of the base model that may leave the device.
    pub mobile: u64,
    /// The largest trained parameter.
    pub largest_trained: u64,
}

impl Elements {
    /// All that is trained.
    pub fn learned(&self) -> u64 {
        self.trained + self.adapters
    }

    fn plus(self, other: Self) -> Self {
        Self {
            frozen: self.frozen + other.frozen,
            trained: self.trained + other.trained,
            adapters: self.adapters + other.adapters,
            mobile: self.mobile + other.mobile,
            largest_trained: self.largest_trained.max(other.largest_trained),
        }
    }
}

/// The parameters of a model under a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shares {
    pub embeddings: Elements,
    pub blocks: Vec<Elements>,
    pub head: Elements,
    pub prefix: Elements,
}

impl Shares {
    /// Deals parameters out to segments.
    ///
    /// # Errors
    /// If they are not those of the configuration's architecture.
    pub fn new(
        config: &ModelConfig,
        parameters: &[ParameterInfo],
        method: &Method,
    ) -> Result<Self> {
        let segments = segment_paths(config);
        let mut shares = Self {
            embeddings: Elements::default(),
            blocks: vec![Elements::default(); config.common().num_layers],
            head: Elements::default(),
            prefix: Elements::default(),
        };
        for info in parameters {
            let segment = segments.of(&info.path)?;
            let own = elements(info, segment, method);
            let share = match segment {
                Segment::Embeddings => &mut shares.embeddings,
                Segment::Head => &mut shares.head,
                Segment::Prefix => &mut shares.prefix,
                Segment::Block(block) => match shares.blocks.get_mut(block) {
                    Some(block) => block,
                    None => continue,
                },
            };
            *share = share.plus(own);
        }
        if let Method::Ptuning {
            pre_seq_len,
            prefix_projection,
            ..
        } = method
        {
            shares.prefix = prefix(config, *pre_seq_len, *prefix_projection);
        }
        Ok(shares)
    }

    /// All segments together.
    pub fn total(&self) -> Elements {
        let blocks = self.blocks.iter().copied();
        blocks.fold(
            self.embeddings.plus(self.head).plus(self.prefix),
            Elements::plus,
        )
    }

    /// The lowest segment with something to train: none for the embeddings, else the number of blocks
    /// below it.
    pub fn blocks_below(&self) -> usize {
        if self.embeddings.learned() + self.prefix.learned() > 0 {
            return 0;
        }
        let lowest = self.blocks.iter().position(|block| block.learned() > 0);
        lowest.unwrap_or(self.blocks.len())
    }
}

fn elements(info: &ParameterInfo, segment: Segment, method: &Method) -> Elements {
    let count = info.elements() as u64;
    let is_trained = match method {
        Method::All => true,
        Method::Freeze { freeze_module_name } => {
            let mut parts = freeze_module_name.iter();
            parts.any(|part| info.path.contains(part.as_str()))
        }
        Method::Lora { .. } | Method::Ptuning { .. } => false,
    };
    let adapters = match method {
        Method::Lora {
            lora_dim,
            lora_module_name,
            ..
        } if is_adapted(info, segment, lora_module_name) => {
            (bounded(*lora_dim) * info.shape.iter().sum::<usize>()) as u64
        }
        _ => 0,
    };
    Elements {
        frozen: if is_trained { 0 } else { count },
        trained: if is_trained { count } else { 0 },
        adapters,
        mobile: if may_leave(&info.path, &info.shape) {
            count
        } else {
            0
        },
        largest_trained: if is_trained { count } else { adapters },
    }
}

/// Whether LoRA goes to the linear layer that this is the weight of.
fn is_adapted(info: &ParameterInfo, segment: Segment, names: &[String]) -> bool {
    if !matches!(segment, Segment::Block(_) | Segment::Head) {
        return false;
    }
    let Some(path) = info.path.strip_suffix(".weight") else {
        return false;
    };
    info.shape.len() == 2 && targets(names).matches(path)
}

/// A rank or a number of positions that a flag asks for; beyond this it is as much too much.
pub(super) fn bounded(size: usize) -> usize {
    size.min(1 << 20)
}

fn prefix(config: &ModelConfig, pre_seq_len: usize, projection: bool) -> Elements {
    let pre_seq_len = bounded(pre_seq_len);
    let shape = prefix_shape(config, pre_seq_len, projection);
    let linear = |input: usize, output: usize| input * output + output;
    let parts = match projection {
        false => vec![pre_seq_len * shape.kv_width()],
        true => vec![
            pre_seq_len * shape.embedding_width,
            linear(shape.embedding_width, shape.hidden),
            linear(shape.hidden, shape.kv_width()),
        ],
    };
    Elements {
        adapters: parts.iter().sum::<usize>() as u64,
        largest_trained: parts.into_iter().max().unwrap_or(0) as u64,
        ..Elements::default()
    }
}
