//! Tensors that stay on a device as long as the model or its optimizer does.
//!
//! CubeCL cuts what is allocated out of pages that are shares of the device's memory: a table of 500 MB opens a
//! page of a quarter of the card. What stays is allocated apart from them, each tensor for itself.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Shape, Tensor, TensorData};

/// Makes what stays on a device.
pub fn staying<B: Backend, I: Send, T: Send>(
    device: &B::Device,
    input: I,
    make: impl Fn(I) -> T + Send,
) -> T {
    B::memory_persistent_allocations(device, input, make)
}

/// Makes room on a device for a tensor that will visit it now and then: CubeCL allocates what has the size of
/// something that stays apart from its pages too, for ever.
pub fn make_room<B: Backend, const D: usize>(shape: Shape, device: &B::Device, dtype: DType) {
    drop(staying::<B, _, _>(device, shape, |shape| {
        Tensor::<B, D>::empty(shape, (device, dtype))
    }));
}

/// Brings a tensor to a device, where it stays.
pub fn upload<B: Backend, const D: usize>(
    data: TensorData,
    device: &B::Device,
    dtype: DType,
) -> Tensor<B, D> {
    let tensor = staying::<B, _, _>(device, data, |data| {
        Tensor::from_data(data, (device, dtype))
    });
    // CubeCL 0.10 lets go of the host's copies of what it has brought to a device at the next launch that finds
    // many of them: without one, a model that is loaded is in the host's memory as well.
    drop(Tensor::<B, 1>::zeros([1], device));
    tensor
}
