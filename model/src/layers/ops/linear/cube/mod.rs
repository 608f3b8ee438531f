//! Products on GPUs: by the kernel that was measured to be the fastest for device, type and sizes, and by Burn's own
//! choice where none was.

mod kernels;

use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use burn::tensor::{Shape, TensorMetadata};
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};

use super::LinearOps;
use super::default::add_bias;
use super::kernels::{Pass, ProductClass, kernel};
use crate::layers::ops::cube::{empty, fused};

impl<R, F, I, BT> LinearOps for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn glm_linear(
        x: CubeTensor<R>,
        weight: CubeTensor<R>,
        bias: Option<CubeTensor<R>>,
    ) -> CubeTensor<R> {
        let class = class(Pass::Forward, &x, &weight);
        let output = product::<R, F, I, BT>(class, x, Self::float_transpose(weight));
        add_bias::<Self>(output, bias)
    }

    fn glm_linear_backward_input(grad: CubeTensor<R>, weight: CubeTensor<R>) -> CubeTensor<R> {
        let class = class(Pass::Input, &grad, &weight);
        product::<R, F, I, BT>(class, grad, weight)
    }

    fn glm_linear_backward_weight(grad: CubeTensor<R>, x: CubeTensor<R>) -> CubeTensor<R> {
        let class = ProductClass::of(Pass::Weight, x.shape()[0], x.shape()[1], grad.shape()[1]);
        product::<R, F, I, BT>(class, Self::float_transpose(grad), x)
    }

    fn glm_product_kernels(rows: usize) -> Vec<&'static str> {
        kernels::names(rows)
    }

    fn glm_product_by(
        name: &str,
        lhs: FloatTensor<Self>,
        rhs: FloatTensor<Self>,
    ) -> Option<FloatTensor<Self>> {
        kernels::product(name, lhs, rhs)
    }
}

/// The class of a product of rows with a weight of `[out, in]`.
fn class<R: CubeRuntime>(pass: Pass, rows: &CubeTensor<R>, weight: &CubeTensor<R>) -> ProductClass {
    let [output, input] = [weight.shape()[0], weight.shape()[1]];
    ProductClass::of(pass, rows.shape()[0], input, output)
}

fn product<R, F, I, BT>(
    class: ProductClass,
    lhs: CubeTensor<R>,
    rhs: CubeTensor<R>,
) -> CubeTensor<R>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    let measured = kernel(lhs.dtype, class).filter(|_| fused(&[&lhs, &rhs]));
    let by_kernel = measured.and_then(|name| kernels::product(&name, lhs.clone(), rhs.clone()));
    // The gradient of a weight lies as the weight does, whose room it may take when a visiting weight has left: CubeCL
    // keeps that for tensors of the same size alone.
    let without_gaps = || match class.pass {
        Pass::Weight => None,
        Pass::Forward | Pass::Input => product_without_gaps(lhs.clone(), rhs.clone()),
    };
    let found = by_kernel.or_else(without_gaps);
    found.unwrap_or_else(|| CubeBackend::<R, F, I, BT>::float_matmul(lhs, rhs))
}

/// A product by Burn's choice whose rows follow one another in memory: the gaps that Burn leaves between rows cost a
/// copy where the result is seen in another shape.
fn product_without_gaps<R: CubeRuntime>(
    lhs: CubeTensor<R>,
    rhs: CubeTensor<R>,
) -> Option<CubeTensor<R>> {
    if !fused(&[&lhs, &rhs]) {
        return None;
    }
    let (dtype, shape) = (lhs.dtype, Shape::new([lhs.shape()[0], rhs.shape()[1]]));
    let out = empty(&lhs, shape, dtype);
    matmul(lhs, rhs, Some(out), MatmulStrategy::default(), dtype).ok()
}
