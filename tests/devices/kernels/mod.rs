//! The kernels of GPUs against the defaults made of Burn's operations, on every device that there is, in every type
//! that it has: sizes that are and are not a multiple of what a unit reads at once, and inputs of other strides.

mod attention;
mod layers;
mod lora;
mod products;
mod update;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Tensor, TensorData, TensorPrimitive};
use glmtune::training::TrainingBackend;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A device, and values for it.
struct Trial<B: Backend> {
    device: B::Device,
    generator: ChaCha8Rng,
}

impl<B: TrainingBackend> Trial<B> {
    fn new(device: B::Device) -> Self {
        let generator = ChaCha8Rng::seed_from_u64(1);
        Self { device, generator }
    }

    /// The types that the device computes in.
    fn types(&self) -> Vec<DType> {
        let all = [DType::F32, DType::F16, DType::BF16].into_iter();
        all.filter(|&dtype| B::supports_dtype(&self.device, dtype))
            .collect()
    }

    fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count)
            .map(|_| self.generator.random_range(-2.0..2.0))
            .collect()
    }

    fn tensor<const D: usize>(&mut self, shape: [usize; D], dtype: DType) -> Tensor<B, D> {
        let values = TensorData::new(self.values(shape.iter().product()), shape);
        Tensor::<B, D>::from_data(values, (&self.device, DType::F32)).cast(dtype)
    }

    fn random<const D: usize>(&mut self, shape: [usize; D], dtype: DType) -> FloatTensor<B> {
        primitive(self.tensor(shape, dtype))
    }

    /// A matrix whose columns lie one after another in memory.
    fn columns(&mut self, [rows, columns]: [usize; 2], dtype: DType) -> FloatTensor<B> {
        primitive(self.tensor([columns, rows], dtype).transpose())
    }
}

fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

fn floats<B: Backend, const D: usize>(tensor: FloatTensor<B>) -> Vec<f32> {
    let tensor = Tensor::<B, D>::from_primitive(TensorPrimitive::Float(tensor));
    tensor.cast(DType::F32).into_data().to_vec().unwrap()
}

/// Float32 differs by the order of sums; a 16-bit result by a rounding of the last place.
fn assert_close<B: Backend, const D: usize>(
    what: &str,
    dtype: DType,
    found: FloatTensor<B>,
    expected: FloatTensor<B>,
) {
    let (found, expected) = (floats::<B, D>(found), floats::<B, D>(expected));
    assert_eq!(found.len(), expected.len(), "{what}");
    let tolerance = match dtype {
        DType::F32 => 1e-5,
        DType::F16 => 2e-3,
        _ => 2e-2,
    };
    let largest = expected.iter().fold(1e-3f32, |max, x| max.max(x.abs()));
    for (index, (a, b)) in found.iter().zip(&expected).enumerate() {
        let error = (a - b).abs() / largest;
        assert!(
            error <= tolerance,
            "{what}, {dtype:?}, element {index}: {a} and {b}"
        );
    }
}

/// Makes a test of each generic body `fn body<B: TrainingBackend>(Trial<B>)`, for each backend.
macro_rules! kernel_tests {
    ($($body:ident),* $(,)?) => {
        #[cfg(feature = "wgpu")]
        mod wgpu {
            $(
                #[test]
                fn $body() {
                    if crate::wgpu::available() {
                        super::$body(crate::kernels::Trial::<burn_wgpu::Wgpu>::new(Default::default()));
                    }
                }
            )*
        }

        #[cfg(feature = "cuda")]
        mod cuda {
            $(
                #[test]
                fn $body() {
                    if glmtune::backend::cuda_devices() > 0 {
                        super::$body(crate::kernels::Trial::<burn_cuda::Cuda>::new(Default::default()));
                    }
                }
            )*
        }
    };
}
use kernel_tests;
