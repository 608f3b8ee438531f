//! Dropout of the prefix: a mask of its own for every row, as PyTorch has it.

use glmtune::model::layers::DropoutSource;
use glmtune::model::{GlmBackend, Padding, TokenBatch};

use crate::backends::{TestBackend, parity_tests};
use crate::fixtures::{Fixtures, model_of_run};

parity_tests!(rows_that_are_alike_have_different_masks);

const RATE: f64 = 0.5;

fn rows_that_are_alike_have_different_masks<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let mut model = model_of_run::<B>(family, "prefix", &backend.device).model;
    let row = Fixtures::of(family).batch().sequences()[0].clone();
    let batch = TokenBatch::new(vec![row; 3], Padding::Right, 0);
    let positions = model.positions(&batch).unwrap();
    let key = |model: &glmtune::model::CausalLm<B>, dropout| {
        let shared = model.shared_inputs(&positions, 0..batch.width(), dropout);
        let (key, _) = shared.prefix.unwrap().layer(0, 3);
        let rows = key.dims()[0];
        let key: Vec<f32> = key.into_data().to_vec().unwrap();
        let row = key.len() / rows;
        key.chunks(row).map(<[f32]>::to_vec).collect::<Vec<_>>()
    };
    let whole = key(&model, None);
    model.prefix_slot().as_mut().unwrap().dropout = RATE;
    let dropped = key(&model, Some(DropoutSource::new(1, 1)));
    let mask = |row: &[f32]| -> Vec<bool> { row.iter().map(|&x| x == 0.0).collect() };
    for (row, whole) in dropped.iter().zip(&whole) {
        let kept = row.iter().zip(whole).filter(|(x, _)| **x != 0.0);
        kept.for_each(|(x, whole)| assert!((x - 2.0 * whole).abs() <= 1e-5 * x.abs()));
        let zeros = mask(row).iter().filter(|&&zero| zero).count();
        assert!((1..row.len()).contains(&zeros), "{zeros} of {}", row.len());
    }
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        assert_ne!(mask(&dropped[a]), mask(&dropped[b]), "rows {a} and {b}");
    }
}
