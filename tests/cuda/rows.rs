//! Rows of tensors, as several devices sum them.

use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use burn::tensor::{DType, Shape, Tensor, TensorMetadata, TensorPrimitive};
use glmtune::training::parallel::devices::ops::CollectiveOps;

use crate::common::software_cuda::{capability, is_there, run_there};
use crate::common::test_name;
use crate::tensors::{Cuda, tensor, values};

/// Widths that lie in memory without gaps and with, alone and in groups larger than a launch takes.
const SHAPES: [[usize; 2]; 5] = [[3, 128], [7, 3], [1, 1], [130, 5], [64, 256]];

fn flat(tensor: FloatTensor<Cuda>) -> Vec<f32> {
    let elements = tensor.shape().num_elements();
    let row = Cuda::float_reshape(tensor, Shape::new([elements]));
    values(Tensor::<Cuda, 1>::from_primitive(TensorPrimitive::Float(
        row,
    )))
}

/// Tensors of some shapes come out of a row as they went in, but for the rounding of its type.
fn comes_back(shapes: &[[usize; 2]], given: DType, dtype: DType) {
    let tensors = shapes.iter().enumerate().map(|(seed, &shape)| {
        let tensor = tensor::<Cuda, 2>(shape, seed as u64).cast(given);
        tensor.into_primitive().tensor()
    });
    let tensors: Vec<_> = tensors.collect();
    let expected: Vec<Vec<f32>> = tensors.iter().cloned().map(flat).collect();
    let packed = Cuda::glm_pack(tensors, dtype);
    assert_eq!(packed.dtype(), dtype);
    let shapes: Vec<Shape> = shapes.iter().map(|&shape| Shape::new(shape)).collect();
    let row = flat(packed.clone());
    let places = Cuda::glm_places(&packed, &shapes);
    let found = Cuda::glm_unpack(packed, &shapes);
    assert_eq!(found.len(), shapes.len());
    for (((found, shape), begin), expected) in
        found.into_iter().zip(&shapes).zip(places).zip(&expected)
    {
        assert_eq!(found.shape(), *shape);
        let found = flat(found);
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= b.abs() / 256.0;
        match dtype == given {
            true => assert_eq!(found, *expected),
            false => assert!(found.iter().zip(expected).all(near), "{shape:?}"),
        }
        assert_eq!(row[begin..begin + expected.len()], found);
    }
}

#[test]
fn tensors_come_back_out_of_a_row() {
    if !is_there() {
        let name = test_name(module_path!(), "tensors_come_back_out_of_a_row");
        return run_there(&name, capability::WITH_TF32);
    }
    let many = SHAPES.repeat(15);
    for (given, dtype) in [
        (DType::F32, DType::F32),
        (DType::F32, DType::BF16),
        (DType::BF16, DType::F32),
        (DType::BF16, DType::BF16),
    ] {
        comes_back(&many, given, dtype);
        for shape in SHAPES {
            comes_back(&[shape], given, dtype);
        }
    }
}
