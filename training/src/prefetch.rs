//! Copies of a model in which one segment's weights are on the device, for weights that live in the host's
//! memory; a model whose weights are all on the device is lent as it is.

use std::borrow::Cow;
use std::sync::mpsc::sync_channel;
use std::thread;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use glmtune_model::host_weights::is_offloaded;
use glmtune_model::parameters::{PathVisitor, visit_by_path};
use glmtune_model::segment::SegmentPaths;
use glmtune_model::{CausalLm, GlmBackend, Segment};

use crate::error::Result;
use crate::threads::spawn;

/// A model for one segment.
pub(crate) type Resident<'a, B> = Cow<'a, CausalLm<B>>;

/// The model with a segment's weights on the device, until it is dropped.
///
/// # Errors
/// If no segment has one of the model's weights.
pub(crate) fn fetch<B: GlmBackend>(
    model: &CausalLm<B>,
    segment: Segment,
) -> Result<Resident<'_, B>> {
    if !has_offloaded(model) {
        return Ok(Cow::Borrowed(model));
    }
    let copy = model.clone();
    let mut reader = Reader {
        segments: model.segments(),
        segment,
        fault: None,
    };
    visit_by_path(&copy, &mut reader);
    match reader.fault {
        Some(fault) => Err(fault.into()),
        None => Ok(Cow::Owned(copy)),
    }
}

/// Lends the model for one block after the other; while one is at work, the next one's weights are on their
/// way to the device. Never more than two blocks' weights are there.
pub(crate) fn prefetch_each<B: GlmBackend>(
    model: &CausalLm<B>,
    blocks: impl Iterator<Item = usize> + Send,
    mut work: impl FnMut(usize, &CausalLm<B>) -> Result<()>,
) -> Result<()> {
    if !has_offloaded(model) {
        let mut blocks = blocks;
        return blocks.try_for_each(|block| work(block, model));
    }
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(0);
        spawn(scope, move || {
            for block in blocks {
                let lent = fetch(model, Segment::Block(block));
                // The other side is gone if the work has failed.
                if sender.send((block, lent)).is_err() {
                    return;
                }
            }
        });
        for (block, lent) in receiver {
            work(block, lent?.as_ref())?;
        }
        Ok(())
    })
}

/// Brings all of a model's weights to the device, where they stay as long as the model does.
pub(crate) fn fetch_all<B: GlmBackend>(model: &CausalLm<B>) {
    model.visit(&mut ReadAll);
}

struct ReadAll;

impl<B: Backend> ModuleVisitor<B> for ReadAll {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        drop(param.val());
    }
}

fn has_offloaded<B: GlmBackend>(model: &CausalLm<B>) -> bool {
    let mut search = Search { found: false };
    model.visit(&mut search);
    search.found
}

struct Search {
    found: bool,
}

impl<B: Backend> ModuleVisitor<B> for Search {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.found |= is_offloaded(param);
    }
}

/// Reads a segment's weights, which brings them to the device.
struct Reader {
    segments: &'static SegmentPaths,
    segment: Segment,
    /// A weight of no segment would never be read.
    fault: Option<glmtune_model::Error>,
}

impl<B: Backend> PathVisitor<B> for Reader {
    fn visit<const D: usize>(&mut self, path: &str, param: &Param<Tensor<B, D>>) {
        if !is_offloaded(param) {
            return;
        }
        match self.segments.of(path) {
            Ok(segment) if segment == self.segment => drop(param.val()),
            Ok(_) => {}
            Err(fault) => self.fault = Some(fault),
        }
    }
}
