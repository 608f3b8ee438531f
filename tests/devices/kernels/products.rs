//! The kernels that a product can be asked for by name, and the table by which linear layers ask for them.

use burn::tensor::DType;
use glmtune::model::layers::ops::linear::default;
use glmtune::model::layers::ops::linear::kernels::{
    KernelTable, Pass, ProductClass, kernel, set_kernels,
};
use glmtune::training::TrainingBackend;

use super::{Trial, assert_close, kernel_tests};

kernel_tests!(kernels_by_name, layers_by_table);

/// Rows, input and output: one row, and such that fill no tile. Every kernel is compiled anew for each.
const SIZES: [[usize; 3]; 2] = [[1, 64, 96], [33, 17, 130]];
/// Those that need nothing of a device.
const EVERYWHERE: [&str; 3] = ["naive", "simple_unit", "double_unit"];

fn kernels_by_name<B: TrainingBackend>(mut trial: Trial<B>) {
    for dtype in trial.types() {
        for [rows, input, output] in SIZES {
            let x = trial.random([rows, input], dtype);
            let weight = trial.random([output, input], dtype);
            let expected = default::linear::<B>(x.clone(), weight.clone(), None);
            let by =
                |name: &str| B::glm_product_by(name, x.clone(), B::float_transpose(weight.clone()));
            let known = B::glm_product_kernels(rows);
            for name in EVERYWHERE {
                assert!(known.contains(&name), "{name}: {known:?}");
                let what = format!("{name}, {rows}×{input}→{output}");
                let found = by(name).unwrap_or_else(|| panic!("{what} refused"));
                assert_close::<B, 2>(&what, dtype, found, expected.clone());
            }
            assert!(by("no such kernel").is_none());
            assert_eq!(known.contains(&"gemv_plane_parallel"), rows == 1);
        }
    }
}

/// Sizes that no other test has: the table is the process's.
fn layers_by_table<B: TrainingBackend>(mut trial: Trial<B>) {
    const SIZES: [usize; 3] = [71, 107, 61];
    let [rows, input, output] = SIZES;
    let table = |dtype: DType, name: &str| -> KernelTable {
        let class = |pass| ProductClass::of(pass, rows, input, output);
        let all = Pass::ALL.into_iter();
        all.map(|pass| ((dtype, class(pass)), name.to_string()))
            .collect()
    };
    for dtype in trial.types() {
        let x = trial.random([rows, input], dtype);
        let weight = trial.random([output, input], dtype);
        let bias = trial.random([output], dtype);
        let grad = trial.random([rows, output], dtype);
        // The second one is of another release, or for other sizes: the product is computed all the same.
        for name in ["double_unit", "gone"] {
            set_kernels(table(dtype, name));
            let class = ProductClass::of(Pass::Input, rows, input, output);
            assert_eq!(kernel(dtype, class).as_deref(), Some(name));
            let [(x, weight), (grad, bias)] = [(&x, &weight), (&grad, &bias)];
            let (x, weight) = (|| x.clone(), || weight.clone());
            let (grad, bias) = (|| grad.clone(), || Some(bias.clone()));
            assert_close::<B, 2>(
                name,
                dtype,
                B::glm_linear(x(), weight(), bias()),
                default::linear::<B>(x(), weight(), bias()),
            );
            assert_close::<B, 2>(
                name,
                dtype,
                B::glm_linear_backward_input(grad(), weight()),
                default::linear_backward_input::<B>(grad(), weight()),
            );
            assert_close::<B, 2>(
                name,
                dtype,
                B::glm_linear_backward_weight(grad(), x()),
                default::linear_backward_weight::<B>(grad(), x()),
            );
        }
        set_kernels(KernelTable::new());
    }
}
