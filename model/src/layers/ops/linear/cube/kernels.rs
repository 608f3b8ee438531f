//! The kernels that a product can be asked for, by name: those of CubeK that a matrix product of two axes can use,
//! in the settings in which Burn's own tuning tries them.

use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::matmul::init_matmul_output;
use burn_cubecl::tensor::CubeTensor;
use cubek::matmul::components::tile::TileMatmulKind::{self, Cmma, Mma};
use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems};
use cubek::matmul::launch::{Strategy, launch_ref};
use cubek::matmul::routines::BlueprintStrategy::Inferred;
use cubek::matmul::routines::TileSizeSelection::{MaxTileSize, MinTileSize};
use cubek::matmul::routines::double_buffering::DoubleBufferingArgs;
use cubek::matmul::routines::double_unit::DoubleUnitSelectionArgs;
use cubek::matmul::routines::ordered_double_buffering::OrderedSelectionArgs;
use cubek::matmul::routines::simple::SimpleArgs;
use cubek::matmul::routines::simple_unit::SimpleUnitSelectionArgs;
use cubek::std::InputBinding;

/// The kernel without tiles, which the others are checked against.
pub const PLAIN: &str = "naive";

/// A kernel's name, whether it is for one row alone, and its settings.
type Kernel = (&'static str, bool, fn() -> Strategy);

/// The most promising ones first: time may not suffice for all.
const KERNELS: [Kernel; 29] = [
    // Of one row: a weight is read once, nothing is reused.
    ("gemv_plane_parallel", true, || {
        Strategy::GemvPlaneParallel(Inferred(Default::default()))
    }),
    ("gemv_unit_perpendicular", true, || {
        Strategy::GemvUnitPerpendicular(Inferred(Default::default()))
    }),
    ("double_vecmat", true, || {
        Strategy::DoubleVecMat(Inferred(().into()))
    }),
    ("simple_vecmat", true, || {
        Strategy::SimpleVecMat(Inferred(().into()))
    }),
    // Loads by TMA (compute capability 9.0), which others do while they compute.
    ("specialized_tma_mma", false, || {
        Strategy::SpecializedTmaMma(Inferred(().into()))
    }),
    ("specialized_tma_cmma", false, || {
        Strategy::SpecializedTmaCmma(Inferred(().into()))
    }),
    ("double_tma_mma", false, || {
        Strategy::DoubleTmaMma(Inferred(double(Mma, false)))
    }),
    ("double_tma_cmma", false, || {
        Strategy::DoubleTmaCmma(Inferred(double(Cmma, false)))
    }),
    ("simple_tma_mma", false, || {
        Strategy::SimpleTmaMma(Inferred(simple(Mma, false)))
    }),
    ("simple_tma_cmma", false, || {
        Strategy::SimpleTmaCmma(Inferred(simple(Cmma, false)))
    }),
    ("simple_tma_rows_mma", false, || {
        Strategy::SimpleTmaMma(Inferred(simple(Mma, true)))
    }),
    ("simple_tma_rows_cmma", false, || {
        Strategy::SimpleTmaCmma(Inferred(simple(Cmma, true)))
    }),
    // Several stages.
    ("ordered_double_8_mma", false, || {
        Strategy::OrderedDoubleMma(Inferred(ordered(Mma, 8)))
    }),
    ("ordered_double_8_cmma", false, || {
        Strategy::OrderedDoubleCmma(Inferred(ordered(Cmma, 8)))
    }),
    ("double_cyclic_mma", false, || {
        Strategy::DoubleCyclicMma(Inferred(double(Mma, false)))
    }),
    ("double_cyclic_cmma", false, || {
        Strategy::DoubleCyclicCmma(Inferred(double(Cmma, false)))
    }),
    ("specialized_cyclic_mma", false, || {
        Strategy::SpecializedCyclicMma(Inferred(().into()))
    }),
    ("specialized_cyclic_cmma", false, || {
        Strategy::SpecializedCyclicCmma(Inferred(().into()))
    }),
    ("ordered_double_4_mma", false, || {
        Strategy::OrderedDoubleMma(Inferred(ordered(Mma, 4)))
    }),
    ("ordered_double_4_cmma", false, || {
        Strategy::OrderedDoubleCmma(Inferred(ordered(Cmma, 4)))
    }),
    ("double_cyclic_specialized_mma", false, || {
        Strategy::DoubleCyclicMma(Inferred(double(Mma, true)))
    }),
    ("double_cyclic_specialized_cmma", false, || {
        Strategy::DoubleCyclicCmma(Inferred(double(Cmma, true)))
    }),
    // One stage.
    ("simple_cyclic_mma", false, || {
        Strategy::SimpleCyclicMma(Inferred(simple(Mma, false)))
    }),
    ("simple_cyclic_rows_mma", false, || {
        Strategy::SimpleCyclicMma(Inferred(simple(Mma, true)))
    }),
    ("simple_cyclic_rows_cmma", false, || {
        Strategy::SimpleCyclicCmma(Inferred(simple(Cmma, true)))
    }),
    // Without matrix units.
    ("double_unit", false, || {
        Strategy::DoubleUnit(Inferred(DoubleUnitSelectionArgs {
            tile_size: MaxTileSize,
        }))
    }),
    ("simple_unit", false, || {
        Strategy::SimpleUnit(Inferred(SimpleUnitSelectionArgs {
            tile_size: MaxTileSize,
        }))
    }),
    ("simple_unit_small", false, || {
        Strategy::SimpleUnit(Inferred(SimpleUnitSelectionArgs {
            tile_size: MinTileSize,
        }))
    }),
    (PLAIN, false, || Strategy::Naive),
];

fn simple(tile_matmul: TileMatmulKind, multi_rows: bool) -> SimpleArgs {
    SimpleArgs {
        tile_matmul,
        multi_rows,
    }
}

fn double(tile_matmul: TileMatmulKind, specialized: bool) -> DoubleBufferingArgs {
    DoubleBufferingArgs {
        tile_matmul,
        specialized,
    }
}

fn ordered(tile_matmul: TileMatmulKind, rows: u32) -> OrderedSelectionArgs {
    OrderedSelectionArgs {
        tile_matmul,
        partition_k: Some(2),
        row_count: Some(rows),
        rows_per_plane: Some(2),
    }
}

/// The names of the kernels that may compute a product with so many rows of its result.
pub fn names(rows: usize) -> Vec<&'static str> {
    let suits = KERNELS
        .iter()
        .filter(|(_, for_one_row, _)| !for_one_row || rows == 1);
    suits.map(|(name, _, _)| *name).collect()
}

/// `lhs · rhs` by the kernel of a name; nothing if there is none, or it cannot compute it on this device.
///
/// # Shapes
/// - `lhs`: `[m, k]`, `rhs`: `[k, n]`, of one type; result: `[m, n]`
pub fn product<R: CubeRuntime>(
    name: &str,
    lhs: CubeTensor<R>,
    rhs: CubeTensor<R>,
) -> Option<CubeTensor<R>> {
    let (_, _, strategy) = KERNELS.iter().find(|(known, _, _)| *known == name)?;
    let dtype = lhs.dtype;
    let out = init_matmul_output(&lhs, &rhs, dtype);
    let client = out.client.clone();
    let [lhs, rhs] = [lhs, rhs].map(|side| InputBinding::new(side.binding(), dtype.into()));
    let mut types = MatmulElems::from_globals(&MatmulGlobalElems {
        lhs: dtype.into(),
        rhs: dtype.into(),
        out: dtype.into(),
    });
    let binding = out.clone().binding();
    // What is refused is refused before anything is launched.
    launch_ref(&strategy(), &client, lhs, rhs, binding, &mut types).ok()?;
    Some(out)
}
