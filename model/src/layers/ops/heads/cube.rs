//! Heads in one launch, and their gradient in another one: every unit turns a vector of a head.

use burn::tensor::backend::Backend;
use burn::tensor::{Shape, TensorMetadata};
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::LinearView;

use super::{HeadAngles, HeadCut, HeadsOps, default};
use crate::layers::ops::cube::{empty, fused, units, vector_size};
use crate::layers::ops::parts::PartsOps;
use crate::layers::ops::rotary::cube::{Turn, TurnLaunch, lanes, turned};
use crate::layers::ops::rotary::{Direction, RotaryPairs};

impl<R, F, I, BT> HeadsOps for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn glm_heads(
        joint: CubeTensor<R>,
        cut: HeadCut,
        angles: HeadAngles<Self>,
    ) -> [CubeTensor<R>; 3] {
        let places = Places::of(&joint.shape(), cut);
        match places.filter(|_| fused(&[&joint, &angles.cos, &angles.sin])) {
            Some(places) => {
                let (axis, sizes) = cut.along(joint.shape()[3]);
                let [_, _, value] = Self::glm_parts(joint.clone(), axis, sizes);
                let [query, key] = heads(joint, &places, angles);
                [query, key, value]
            }
            None => default::heads::<Self>(joint, cut, angles),
        }
    }

    fn glm_heads_backward(
        grads: [Option<CubeTensor<R>>; 3],
        shape: Shape,
        cut: HeadCut,
        angles: HeadAngles<Self>,
    ) -> Option<CubeTensor<R>> {
        let all = match &grads {
            [Some(query), Some(key), Some(value)] => fused(&[query, key, value, &angles.cos]),
            _ => false,
        };
        match (grads, Places::of(&shape, cut).filter(|_| all)) {
            ([Some(query), Some(key), Some(value)], Some(places)) => {
                Some(heads_backward([query, key, value], shape, &places, angles))
            }
            (grads, _) => default::heads_backward::<Self>(grads, shape, cut, angles),
        }
    }
}

/// Where the heads of a joint projection lie in the line of a token, in elements.
struct Places {
    counts: [usize; 3],
    head_dim: usize,
    /// From one head of a part to the next.
    pitch: usize,
    starts: [usize; 3],
}

impl Places {
    /// None where the parts are not the whole.
    fn of(shape: &[usize], cut: HeadCut) -> Option<Self> {
        let (heads, width) = (shape[2], shape[3]);
        match cut {
            HeadCut::Joint(counts) => {
                let [queries, keys, values] = counts;
                (queries + keys + values == heads).then_some(Self {
                    counts,
                    head_dim: width,
                    pitch: width,
                    starts: [0, queries, queries + keys].map(|heads| heads * width),
                })
            }
            HeadCut::WithinHeads => width.is_multiple_of(3).then_some(Self {
                counts: [heads; 3],
                head_dim: width / 3,
                pitch: width,
                starts: [0, width / 3, 2 * (width / 3)],
            }),
        }
    }

    fn launch<R: CubeRuntime>(&self, line: usize) -> PlaceLaunch<R> {
        let [queries, keys, values] = self.counts;
        let [_, key_start, value_start] = self.starts;
        PlaceLaunch::new(
            queries,
            keys,
            values,
            self.head_dim,
            line,
            self.pitch,
            key_start,
            value_start,
        )
    }
}

fn heads<B, R>(joint: CubeTensor<R>, places: &Places, angles: HeadAngles<B>) -> [CubeTensor<R>; 2]
where
    B: Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    let (client, dtype, shape) = (joint.client.clone(), joint.dtype, joint.shape());
    let [batch, tokens] = [shape[0], shape[1]];
    let [queries, keys, _] = places.counts;
    let like = |heads| {
        empty(
            &joint,
            Shape::new([batch, tokens, heads, places.head_dim]),
            dtype,
        )
    };
    let (query, key) = (like(queries), like(keys));
    let vector = vector_size(
        &[&joint, &query, &key],
        lanes(angles.pairs, places.head_dim),
    );
    let elements = batch * tokens * (queries + keys) * places.head_dim;
    let (count, dim) = units(&client, elements / vector);
    let turn = TurnLaunch::of(&angles.cos.shape(), batch, Direction::Forward);
    // SAFETY: no unit reads or writes beyond the elements.
    unsafe {
        heads_kernel::launch_unchecked(
            &client,
            count,
            dim,
            vector,
            joint.into_linear_view(),
            angles.cos.into_linear_view(),
            angles.sin.into_linear_view(),
            query.clone().into_linear_view(),
            key.clone().into_linear_view(),
            places.launch(shape[2] * shape[3]),
            turn,
            elements / vector,
            angles.pairs == RotaryPairs::Interleaved,
            dtype.into(),
        );
    }
    [query, key]
}

fn heads_backward<B, R>(
    [query, key, value]: [CubeTensor<R>; 3],
    shape: Shape,
    places: &Places,
    angles: HeadAngles<B>,
) -> CubeTensor<R>
where
    B: Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    let client = query.client.clone();
    let joint = empty(&query, shape.clone(), query.dtype);
    let vector = vector_size(
        &[&query, &key, &value, &joint],
        lanes(angles.pairs, places.head_dim),
    );
    let (count, dim) = units(&client, shape.num_elements() / vector);
    let turn = TurnLaunch::of(&angles.cos.shape(), shape[0], Direction::Inverse);
    let dtypes = [query.dtype, key.dtype, value.dtype].map(Into::into);
    // SAFETY: no unit reads or writes beyond the elements.
    unsafe {
        heads_backward_kernel::launch_unchecked(
            &client,
            count,
            dim,
            vector,
            query.into_linear_view(),
            key.into_linear_view(),
            value.into_linear_view(),
            angles.cos.into_linear_view(),
            angles.sin.into_linear_view(),
            joint.clone().into_linear_view(),
            places.launch(shape[2] * shape[3]),
            turn,
            angles.pairs == RotaryPairs::Interleaved,
            dtypes,
        );
    }
    joint
}

/// Heads of each part, and where they lie in the line of a token, in elements.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct Place {
    queries: usize,
    keys: usize,
    values: usize,
    head_dim: usize,
    /// Elements of a line.
    line: usize,
    /// From one head of a part to the next.
    pitch: usize,
    key_start: usize,
    value_start: usize,
}

/// `vectors`: those of queries and keys together.
#[cube(launch_unchecked)]
fn heads_kernel<F: Float, N: Size>(
    joint: &LinearView<Vector<F, N>>,
    cos: &LinearView<f32>,
    sin: &LinearView<f32>,
    query: &mut LinearView<Vector<F, N>, ReadWrite>,
    key: &mut LinearView<Vector<F, N>, ReadWrite>,
    place: Place,
    turn: Turn,
    vectors: usize,
    #[comptime] interleaved: bool,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= vectors {
        terminate!();
    }
    let line = ABSOLUTE_POS * N::value() / place.head_dim;
    let first = ABSOLUTE_POS * N::value() % place.head_dim;
    let heads = place.queries + place.keys;
    let (token, head) = (line / heads, line % heads);
    if head < place.queries {
        let from = (token * place.line + head * place.pitch + first) / N::value();
        let to = ((token * place.queries + head) * place.head_dim + first) / N::value();
        query[to] = Vector::cast_from(turned::<F, N>(
            joint,
            from,
            first,
            token,
            place.head_dim,
            cos,
            sin,
            &turn,
            interleaved,
        ));
    } else {
        let own = head - place.queries;
        let start = token * place.line + place.key_start;
        let from = (start + own * place.pitch + first) / N::value();
        let to = ((token * place.keys + own) * place.head_dim + first) / N::value();
        key[to] = Vector::cast_from(turned::<F, N>(
            joint,
            from,
            first,
            token,
            place.head_dim,
            cos,
            sin,
            &turn,
            interleaved,
        ));
    }
}

#[cube(launch_unchecked)]
fn heads_backward_kernel<Q: Float, K: Float, V: Float, N: Size>(
    query: &LinearView<Vector<Q, N>>,
    key: &LinearView<Vector<K, N>>,
    value: &LinearView<Vector<V, N>>,
    cos: &LinearView<f32>,
    sin: &LinearView<f32>,
    joint: &mut LinearView<Vector<Q, N>, ReadWrite>,
    place: Place,
    turn: Turn,
    #[comptime] interleaved: bool,
    #[define(Q, K, V)] _dtypes: [StorageType; 3],
) {
    if !joint.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let line = ABSOLUTE_POS * N::value() / place.head_dim;
    let first = ABSOLUTE_POS * N::value() % place.head_dim;
    let heads = place.queries + place.keys + place.values;
    let (token, head) = (line / heads, line % heads);
    let start = token * place.line + first;
    if head < place.queries {
        let from = ((token * place.queries + head) * place.head_dim + first) / N::value();
        let to = (start + head * place.pitch) / N::value();
        joint[to] = Vector::cast_from(turned::<Q, N>(
            query,
            from,
            first,
            token,
            place.head_dim,
            cos,
            sin,
            &turn,
            interleaved,
        ));
    } else if head < place.queries + place.keys {
        let own = head - place.queries;
        let from = ((token * place.keys + own) * place.head_dim + first) / N::value();
        let to = (start + place.key_start + own * place.pitch) / N::value();
        joint[to] = Vector::cast_from(turned::<K, N>(
            key,
            from,
            first,
            token,
            place.head_dim,
            cos,
            sin,
            &turn,
            interleaved,
        ));
    } else {
        let own = head - place.queries - place.keys;
        let from = ((token * place.values + own) * place.head_dim + first) / N::value();
        let to = (start + place.value_start + own * place.pitch) / N::value();
        joint[to] = Vector::cast_from(Vector::<f32, N>::cast_from(value[from]));
    }
}
