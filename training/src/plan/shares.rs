//! How many parameters a method trains, segment by segment, without a model.

use glmtune_model::attach::outline;
use glmtune_model::causal_lm::segment_paths;
use glmtune_model::parameters::ParameterInfo;
use glmtune_model::pretrained::may_leave;
use glmtune_model::{ModelConfig, Segment};

use crate::error::Result;
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
    /// Those of them that are trained.
    pub mobile_trained: u64,
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
            mobile_trained: self.mobile_trained + other.mobile_trained,
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
        let adapter = match method.adapter() {
            Some(settings) => settings.parameters(&outline(config, parameters)?),
            None => Vec::new(),
        };
        for info in parameters.iter().chain(&adapter) {
            shares.add(segments.of(&info.path)?, elements(info, method));
        }
        Ok(shares)
    }

    fn add(&mut self, segment: Segment, own: Elements) {
        let share = match segment {
            Segment::Embeddings => &mut self.embeddings,
            Segment::Head => &mut self.head,
            Segment::Prefix => &mut self.prefix,
            Segment::Block(block) => match self.blocks.get_mut(block) {
                Some(block) => block,
                None => return,
            },
        };
        *share = share.plus(own);
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

fn elements(info: &ParameterInfo, method: &Method) -> Elements {
    let count = info.elements() as u64;
    let if_so = |holds: bool| if holds { count } else { 0 };
    let is_trained = method.trains(&info.path);
    let is_adapter = is_trained && method.is_adapter();
    let is_mobile = !is_adapter && may_leave(&info.path, &info.shape);
    Elements {
        frozen: if_so(!is_trained),
        trained: if_so(is_trained && !is_adapter),
        adapters: if_so(is_adapter),
        mobile: if_so(is_mobile),
        mobile_trained: if_so(is_mobile && is_trained),
        largest_trained: if_so(is_trained),
    }
}
