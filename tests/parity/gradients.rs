//! The hand-written backward passes: gradients of every parameter.

use burn::backend::Autodiff;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use glmtune::model::GlmBackend;
use glmtune::training::loss::{Targets, cross_entropy};

use crate::backends::{TestBackend, parity_tests};
use crate::fixtures::{ADAPTERS, Fixtures, assert_close, model_of_run};

parity_tests!(gradients);

/// Tracks the parameters whose path contains a part.
struct Track<'a> {
    part: &'a str,
    path: Vec<String>,
}

impl<B: AutodiffBackend> ModuleMapper<B> for Track<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let tracked = self.path.join(".").contains(self.part);
        param.set_require_grad(tracked)
    }
}

/// Gradients by the keys of the fixtures.
struct Collect<'a, B: AutodiffBackend> {
    grads: &'a B::Gradients,
    path: Vec<String>,
    found: Vec<(String, Vec<f32>)>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Collect<'_, B> {
    fn enter_module(&mut self, name: &str, container: &str) {
        let name = if container.starts_with("Enum:") {
            ""
        } else {
            name
        };
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = param.val().grad(self.grads) {
            let parts = self
                .path
                .iter()
                .filter(|part| !part.is_empty() && *part != "lora");
            let path: Vec<&str> = parts.map(String::as_str).collect();
            self.found
                .push((path.join("."), grad.into_data().to_vec().unwrap()));
        }
    }
}

fn gradients<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let fixtures = Fixtures::of(family);
    for run in ["base"].into_iter().chain(ADAPTERS) {
        let part = match run {
            "base" => "",
            "lora" | "lora_all" => ".lora.",
            _ => "prefix_encoder",
        };
        let found = gradients_of_run::<Autodiff<B>>(family, run, part, &fixtures, &backend.device);
        let expected = fixtures.names().into_iter();
        let prefix = format!("{run}.grad.");
        let expected: Vec<String> = expected.filter(|name| name.starts_with(&prefix)).collect();
        assert_eq!(found.len(), expected.len(), "{run}: number of gradients");
        for (path, grad) in found {
            let name = expected
                .iter()
                .find(|name| name.replace(".default.", ".").ends_with(&path))
                .unwrap_or_else(|| panic!("{run}: no fixture for {path}"));
            assert_close(
                name,
                &grad,
                &fixtures.floats(name),
                backend.tolerance.gradients,
            );
        }
    }
}

fn gradients_of_run<B: GlmBackend + AutodiffBackend>(
    family: &str,
    run: &str,
    part: &str,
    fixtures: &Fixtures,
    device: &B::Device,
) -> Vec<(String, Vec<f32>)> {
    let batch = fixtures.batch();
    let targets = Targets::<B>::new(&fixtures.rows("labels"), batch.width(), device).unwrap();
    let model = model_of_run::<B>(family, run, device).model;
    let model = model.map(&mut Track { part, path: vec![] });
    let grads = cross_entropy(model.forward(&batch).unwrap(), &targets).backward();
    let mut collect = Collect::<B> {
        grads: &grads,
        path: vec![],
        found: vec![],
    };
    model.visit(&mut collect);
    collect.found
}
