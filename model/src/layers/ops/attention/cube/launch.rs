//! What the launches of one attention have in common.

use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl::prelude::CubeCount;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};

use super::tile::{ExtentLaunch, Tile};
use crate::layers::ops::attention::AttentionInput;
use crate::layers::ops::attention::sizes::Sizes;
use crate::layers::ops::cube::{empty, fused, vector_size};

/// Most elements that a unit reads at once: shared memory holds them in float32, of which it reads four.
const MOST_LANES: usize = 4;

/// Buffers of the kernel that has most, metadata included.
const BINDINGS: u32 = 12;

/// Cubes for each processor of a device, so that one computes while another waits.
const CUBES_EACH: usize = 2;

/// Processors of a device that does not say how many it has.
const USUAL_PROCESSORS: u32 = 32;

/// An attention that the kernels compute.
pub struct Launch<R: CubeRuntime> {
    pub sizes: Sizes,
    /// Elements that a unit reads at once.
    pub vector: usize,
    pub scale: f32,
    /// Whether the intervals hide anything; they are not read otherwise.
    pub masked: bool,
    pub intervals: CubeTensor<R>,
    prefix: usize,
    mask_stride: usize,
    wanted_cubes: usize,
    most_cubes: [u32; 3],
}

impl<R: CubeRuntime> Launch<R> {
    /// `others`: further tensors of the shape and type of the queries.
    pub fn of<F, I, BT>(
        input: &AttentionInput<CubeBackend<R, F, I, BT>>,
        others: &[&CubeTensor<R>],
    ) -> Option<Self>
    where
        F: FloatElement,
        I: IntElement,
        BT: BoolElement,
    {
        let (query, key, value) = (&input.query, &input.key, &input.value);
        let tensors = [&[query, key, value][..], others].concat();
        let alike = tensors.iter().all(|tensor| tensor.dtype == query.dtype);
        let hardware = &query.client.properties().hardware;
        if !fused(&tensors) || !alike || hardware.max_bindings < BINDINGS {
            return None;
        }
        let sizes = Sizes::of(input);
        let candidates = [MOST_LANES, 2, 1].into_iter();
        let widest = vector_size(&tensors, sizes.head_dim);
        let vector = candidates
            .clone()
            .find(|&lanes| lanes <= widest)
            .unwrap_or(1);
        let (spec, intervals) = (input.mask.spec(), input.mask.intervals());
        let masked = intervals.is_some();
        let processors = hardware.num_streaming_multiprocessors;
        let (x, y, z) = hardware.max_cube_count;
        Some(Self {
            sizes,
            vector,
            scale: input.scale.total() as f32,
            masked,
            intervals: match intervals {
                Some(intervals) => intervals.into_primitive(),
                None => empty(query, Shape::new([2]), DType::I32),
            },
            prefix: spec.prefix,
            mask_stride: if spec.rows() == 1 { 0 } else { sizes.queries },
            wanted_cubes: CUBES_EACH * processors.unwrap_or(USUAL_PROCESSORS) as usize,
            most_cubes: [x, y, z],
        })
    }

    /// The largest tile whose cube fits the device, if there is one. `bytes`: the shared memory that a tile takes,
    /// of vectors of so many elements.
    pub fn tile(&self, bytes: fn(&Tile, usize) -> usize) -> Option<Tile> {
        let (sizes, vector) = (&self.sizes, self.vector);
        let most = [sizes.rows(), sizes.keys];
        let client = &self.intervals.client;
        let tile = Tile::choose(client, most, sizes.head_dim / vector, |tile| {
            bytes(tile, vector)
        })?;
        let across = sizes.rows().div_ceil(tile.rows());
        let along = sizes.keys.div_ceil(tile.keys());
        let [x, y, z] = self.most_cubes.map(|most| most as usize);
        let fits = across.max(along) <= x && sizes.batch * sizes.groups <= y;
        (fits && self.wanted_cubes <= z).then_some(tile)
    }

    /// Into how many parts to split the `inner` tiles that each of the `outer` ones of a group goes through, so that
    /// the device is occupied.
    pub fn splits(&self, outer: usize, inner: usize) -> usize {
        let cubes = self.sizes.batch * self.sizes.groups * outer;
        let splits = (self.wanted_cubes / cubes.max(1)).clamp(1, inner.max(1));
        // As few as have that many tiles each.
        inner.div_ceil(inner.div_ceil(splits))
    }

    /// The cubes of a kernel with so many along `x` and `z`.
    pub fn cubes(&self, x: usize, z: usize) -> CubeCount {
        let groups = self.sizes.batch * self.sizes.groups;
        CubeCount::Static(x as u32, groups as u32, z as u32)
    }

    /// The sizes for a kernel whose cubes go through `span` tiles.
    pub fn extent(&self, span: usize) -> ExtentLaunch<R> {
        let sizes = &self.sizes;
        ExtentLaunch::new(
            sizes.batch,
            sizes.rows(),
            sizes.queries,
            sizes.keys,
            sizes.groups,
            self.prefix,
            self.mask_stride,
            span,
        )
    }
}
