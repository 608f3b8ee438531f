//! `rope_ratio`, which ChatGLM2 divides positions by and ChatGLM3 multiplies the base with.

use burn::tensor::DType;
use glmtune::model::pretrained::Pretrained;
use glmtune::model::tokenizer::Mode;
use glmtune::model::{GlmBackend, Padding, TokenBatch};

use crate::backends::TestBackend;
use crate::common::rope_ratio::LongContext;
use crate::fixtures::assert_close;

fn logits<B: GlmBackend>(case: &LongContext, mode: Option<Mode>, device: &B::Device) -> Vec<f32> {
    let dir = case.model.path();
    let loaded = Pretrained::<B>::load(dir, mode, DType::F32, device, &mut |_, _, _| ()).unwrap();
    let batch = TokenBatch::new(vec![case.input_ids.clone()], Padding::Right, 0);
    let logits = loaded.model.forward(&batch).unwrap();
    logits.into_data().to_vec().unwrap()
}

fn each_family_in_its_way<B: GlmBackend>(backend: TestBackend<B>) {
    let families = [
        ("chatglm2", Some(Mode::Glm2), Mode::Glm3),
        ("chatglm3", Some(Mode::Glm3), Mode::Glm2),
        ("chatglm3", Some(Mode::Glm4), Mode::Glm2),
        ("chatglm3", None, Mode::Glm2),
    ];
    for (family, mode, other) in families {
        let case = LongContext::of(family);
        let found = logits::<B>(&case, mode, &backend.device);
        assert_close(family, &found, &case.logits, backend.tolerance.logits);
        let wrong = logits::<B>(&case, Some(other), &backend.device);
        let largest = case.logits.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        let differs = |(a, b): (&f32, &f32)| (a - b).abs() > 0.01 * largest;
        assert!(wrong.iter().zip(&case.logits).any(differs), "{family}");
    }
}

#[cfg(feature = "flex")]
#[test]
fn flex() {
    crate::backends::flex("rope_ratio::flex")
        .into_iter()
        .for_each(each_family_in_its_way);
}

#[cfg(feature = "wgpu")]
#[test]
fn wgpu() {
    crate::backends::wgpu("rope_ratio::wgpu")
        .into_iter()
        .for_each(each_family_in_its_way);
}

#[cfg(feature = "cuda")]
#[test]
fn cuda() {
    crate::backends::cuda("rope_ratio::cuda")
        .into_iter()
        .for_each(each_family_in_its_way);
}
