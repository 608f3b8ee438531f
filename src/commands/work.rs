//! What a pass computes: the multiplications with additions of its products with weights. Products between
//! activations (attention's scores) are left out.

use glmtune_model::causal_lm::segment_paths;
use glmtune_model::parameters::ParameterInfo;
use glmtune_model::{ModelConfig, Segment};

/// Elements of the matrices that a token meets on its way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matrices {
    /// Those of the blocks.
    pub blocks: f64,
    /// That of the output layer.
    pub head: f64,
}

impl Matrices {
    /// The matrices of a model.
    pub fn of(config: &ModelConfig, infos: &[ParameterInfo]) -> Self {
        Self {
            blocks: elements(config, infos, |segment| {
                matches!(segment, Segment::Block(_))
            }),
            head: elements(config, infos, |segment| segment == Segment::Head),
        }
    }

    /// A step of a training on so many tokens, some of them with a target: forward, backward through inputs, gradients
    /// of what is trained, and the forward pass again where blocks run twice.
    pub fn training(&self, tokens: f64, targets: f64, trained: f64, recomputes: bool) -> f64 {
        let passes = if recomputes { 3.0 } else { 2.0 };
        tokens * (passes * self.blocks + trained) + targets * 2.0 * self.head
    }

    /// A pass over so many tokens that asks for the logits of some of them.
    pub fn forward(&self, tokens: f64, logits: f64) -> f64 {
        tokens * self.blocks + logits * self.head
    }

    /// Elements that a pass reads, however few tokens it has.
    pub fn elements(&self) -> f64 {
        self.blocks + self.head
    }
}

/// Elements of the matrices of some segments.
fn elements(
    config: &ModelConfig,
    infos: &[ParameterInfo],
    is_meant: impl Fn(Segment) -> bool,
) -> f64 {
    let segments = segment_paths(config);
    let matrices = infos
        .iter()
        .filter(|info| info.shape.len() == 2 && segments.of(&info.path).is_ok_and(&is_meant));
    matrices.map(ParameterInfo::elements).sum::<usize>() as f64
}
