//! The models of the golden runs.

use std::path::Path;

use burn::tensor::DType;
use glmtune::model::GlmBackend;
use glmtune::model::pretrained::Pretrained;

use crate::common::fixtures::prefix_directory;
use crate::common::golden;

pub use crate::common::fixtures::{Fixtures, assert_close};

/// The model of a family in float32.
pub fn model<B: GlmBackend>(dir: &Path, device: &B::Device) -> Pretrained<B> {
    Pretrained::load(dir, None, DType::F32, device, &mut |_, _, _| ()).unwrap()
}

/// The runs that attach an adapter.
pub const ADAPTERS: [&str; 4] = ["lora", "lora_all", "prefix", "prefix_projection"];

/// The model of a family with the adapter of a run attached; `base` attaches none.
pub fn model_of_run<B: GlmBackend>(family: &str, run: &str, device: &B::Device) -> Pretrained<B> {
    let dir = golden(family);
    let mut pretrained = model::<B>(&dir, device);
    match run {
        "base" => {}
        "prefix" | "prefix_projection" => {
            let adapter = prefix_directory(&dir, run);
            pretrained
                .attach(adapter.path(), DType::F32, device)
                .unwrap();
        }
        _ => pretrained
            .attach(&dir.join(run), DType::F32, device)
            .unwrap(),
    }
    pretrained
}
