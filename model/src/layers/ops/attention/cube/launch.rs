//! What the launches of one attention have in common.

use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl::ir::features::{MmaConfig, Plane};
use burn_cubecl::cubecl::prelude::CubeCount;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};

use super::tile::{ExtentLaunch, PLANE, SIDE, Tile};
use crate::layers::ops::attention::AttentionInput;
use crate::layers::ops::attention::sizes::Sizes;
use crate::layers::ops::cube::{empty, fused, vector_size};

/// Buffers of the kernel that has most, metadata included.
const BINDINGS: u32 = 12;

/// Cubes for each processor of a device, so that one computes while another waits.
const CUBES_EACH: usize = 2;

/// Processors of a device that does not say how many it has.
const USUAL_PROCESSORS: u32 = 32;

/// An attention that the kernels compute.
pub struct Launch<R: CubeRuntime> {
    pub sizes: Sizes,
    pub scale: f32,
    /// Whether the intervals hide anything; they are not read otherwise.
    pub masked: bool,
    pub intervals: CubeTensor<R>,
    /// Elements that a unit can read at once.
    lanes: usize,
    tensor_cores: bool,
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
        let (spec, intervals) = (input.mask.spec(), input.mask.intervals());
        let masked = intervals.is_some();
        let processors = hardware.num_streaming_multiprocessors;
        let (x, y, z) = hardware.max_cube_count;
        Some(Self {
            sizes,
            lanes: vector_size(&tensors, sizes.head_dim),
            tensor_cores: tensor_cores(query),
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

    /// The best tile whose cube fits the device, if there is one. `bytes`: the shared memory that a tile takes.
    pub fn tile(&self, bytes: fn(&Tile) -> usize) -> Option<Tile> {
        let sizes = &self.sizes;
        let hardware = &self.intervals.client.properties().hardware;
        let tiles = Tile::candidates(sizes.head_dim, self.lanes, self.tensor_cores);
        let tile = tiles
            .into_iter()
            .find(|tile| tile.fits(hardware, [sizes.rows(), sizes.keys], bytes(tile)))?;
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

/// Whether tensor cores multiply what the tensor holds, in planes of a known size that can wait for one another.
fn tensor_cores<R: CubeRuntime>(tensor: &CubeTensor<R>) -> bool {
    let properties = tensor.client.properties();
    let (hardware, features) = (&properties.hardware, &properties.features);
    let side = SIDE as u32;
    let product = MmaConfig {
        a_type: tensor.dtype.into(),
        b_type: tensor.dtype.into(),
        cd_type: DType::F32.into(),
        m: side,
        n: side,
        k: side,
    };
    matches!(tensor.dtype, DType::F16 | DType::BF16)
        && [hardware.plane_size_min, hardware.plane_size_max] == [PLANE; 2]
        && features.plane.contains(Plane::Sync)
        && features.matmul.cmma.contains(&product)
}
