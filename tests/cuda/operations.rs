//! Operations other than products, float32.

use burn::tensor::activation::{gelu, log_softmax, sigmoid, softmax};
use burn::tensor::backend::Backend;
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use crate::common::software_cuda::{capability, is_there, run_there};
use crate::common::test_name;
use crate::tensors::{Cpu, Cuda, assert_near, tensor, values};

/// Libraries of mathematics differ in the last bits, and sums in their order.
const TOLERANCE: f32 = 2e-6;

/// A test that compares named expressions of both backends.
macro_rules! operations {
    ($test:ident: $($name:literal => |$backend:ident| $expression:expr;)*) => {
        #[test]
        fn $test() {
            if !is_there() {
                let name = test_name(module_path!(), stringify!($test));
                return run_there(&name, capability::WITHOUT_TF32);
            }
            $({
                fn result<$backend: Backend>() -> Vec<f32> {
                    values($expression)
                }
                assert_near($name, &result::<Cuda>(), &result::<Cpu>(), TOLERANCE);
            })*
        }
    };
}

fn indices<B: Backend>() -> Tensor<B, 1, Int> {
    Tensor::from_data(TensorData::from([3i32, 0, 5, 3]), &Default::default())
}

operations!(element_by_element:
    "add" => |B| tensor::<B, 2>([7, 64], 1) + tensor([7, 64], 2);
    "broadcast" => |B| tensor::<B, 3>([2, 7, 64], 1) + tensor([1, 7, 1], 2);
    "exp, odd" => |B| tensor::<B, 2>([7, 63], 1).exp();
    "powf" => |B| tensor::<B, 2>([7, 64], 1).powf_scalar(2.0);
    "sqrt" => |B| (tensor::<B, 2>([7, 64], 1) + 1.0).sqrt();
    "recip" => |B| (tensor::<B, 2>([7, 64], 1) + 1.0).recip();
    "tanh" => |B| tensor::<B, 2>([7, 64], 1).tanh();
    "gelu" => |B| gelu(tensor::<B, 2>([7, 64], 1));
    "sigmoid" => |B| sigmoid(tensor::<B, 2>([7, 64], 1));
    "sine of large numbers" => |B| (tensor::<B, 2>([7, 64], 1) * 100.0).sin();
);

operations!(reductions:
    "sum of rows" => |B| tensor::<B, 2>([7, 64], 1).sum_dim(1);
    "sum of columns" => |B| tensor::<B, 2>([7, 64], 1).sum_dim(0);
    "sum of the middle" => |B| tensor::<B, 3>([2, 7, 65], 1).sum_dim(1);
    "sum of all" => |B| tensor::<B, 3>([2, 70, 65], 1).sum();
    "mean" => |B| tensor::<B, 3>([2, 7, 65], 1).mean_dim(2);
    "maximum" => |B| tensor::<B, 3>([2, 7, 65], 1).max_dim(2);
    "place of the maximum" => |B| tensor::<B, 2>([4, 65], 1).argmax(1).float();
    "softmax" => |B| softmax(tensor::<B, 3>([4, 9, 65], 1), 2);
    "log softmax" => |B| log_softmax(tensor::<B, 3>([4, 9, 65], 1), 2);
);

operations!(shapes:
    "slice" => |B| tensor::<B, 3>([2, 7, 64], 1).slice([0..2, 1..5, 8..40]);
    "slice, odd" => |B| tensor::<B, 3>([2, 7, 65], 1).slice([0..2, 1..5, 9..42]);
    "assigned slice" => |B|
        tensor::<B, 3>([2, 7, 64], 1).slice_assign([0..2, 1..5, 8..40], tensor([2, 4, 32], 9));
    "assigned slice, odd" => |B|
        tensor::<B, 3>([2, 7, 64], 1).slice_assign([0..2, 1..5, 9..40], tensor([2, 4, 31], 9));
    "swapped" => |B| tensor::<B, 4>([2, 7, 4, 16], 1).swap_dims(1, 2);
    "swapped, added" => |B| tensor::<B, 4>([2, 7, 4, 16], 1).swap_dims(1, 2) + 1.0;
    "swapped, reshaped" => |B| tensor::<B, 4>([2, 7, 4, 16], 1).swap_dims(1, 2).reshape([8, 7, 16]);
    "repeated" => |B| tensor::<B, 4>([2, 1, 4, 16], 1).repeat_dim(1, 3);
    "expanded" => |B| tensor::<B, 4>([2, 1, 4, 16], 1).expand([2, 5, 4, 16]) * 2.0;
    "joined" => |B| Tensor::cat(vec![tensor::<B, 3>([2, 3, 16], 1), tensor([2, 5, 16], 2)], 1);
    "joined, last" => |B| Tensor::cat(vec![tensor::<B, 3>([2, 3, 16], 1), tensor([2, 3, 7], 2)], 2);
);

operations!(choices:
    "filled by a mask" => |B| {
        let mask = tensor::<B, 4>([2, 1, 7, 7], 3).greater_elem(0.0);
        tensor::<B, 4>([2, 4, 7, 7], 1).mask_fill(mask.expand([2, 4, 7, 7]), -5.0)
    };
    "chosen by a mask" => |B| {
        let mask = tensor::<B, 2>([7, 8], 3).greater_elem(0.0);
        tensor::<B, 2>([7, 8], 1).mask_where(mask, tensor([7, 8], 5))
    };
    "selected" => |B| tensor::<B, 2>([7, 64], 1).select(0, indices());
    "added to what is selected twice" => |B|
        tensor::<B, 2>([7, 64], 1).select_assign(0, indices(), tensor([4, 64], 8), IndexingUpdateOp::Add);
    "gathered" => |B| tensor::<B, 2>([4, 64], 1).gather(1, indices().reshape([4, 1]));
);
