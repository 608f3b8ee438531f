//! What an operation says of its memory.

use burn::tensor::DType;

/// Whose kernels compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// Those of the CPU, on so many threads: they work on float32 copies of 16-bit tensors, and on contiguous
    /// copies of views.
    Cpu {
        /// Threads that share a kernel's work.
        threads: usize,
    },
    /// Those of a GPU, which are taken to work in registers.
    Gpu,
}

impl Kernels {
    /// Those of this machine's CPU.
    pub fn of_this_cpu() -> Self {
        Self::Cpu {
            threads: rayon::current_num_threads(),
        }
    }
}

/// How a pass computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compute {
    /// Type of the activations.
    pub dtype: DType,
    /// Bytes of an element of what is trained, which is a float32 master unless the optimizer has that.
    pub trained_size: u64,
    /// Whose kernels compute.
    pub kernels: Kernels,
}

impl Compute {
    /// Bytes of an activation's element.
    pub fn size(&self) -> u64 {
        self.dtype.size() as u64
    }

    /// Bytes of an activation.
    pub fn bytes(&self, elements: u64) -> u64 {
        elements.saturating_mul(self.size())
    }

    /// Whether kernels widen tensors to float32.
    pub fn widens(&self) -> bool {
        self.size() < 4 && self.kernels != Kernels::Gpu
    }

    /// Bytes of a float32 copy that a kernel makes of a tensor in the compute type; none of one in float32.
    pub fn widened(&self, elements: u64) -> u64 {
        match self.widens() {
            true => elements.saturating_mul(4),
            false => 0,
        }
    }

    /// Bytes of a tensor in float32.
    pub fn float32(&self, elements: u64) -> u64 {
        elements.saturating_mul(4)
    }

    /// Bytes of a copy as kernels read it: widened, or of a view in one piece.
    pub fn read(&self, elements: u64, is_view: bool) -> u64 {
        match self.kernels {
            Kernels::Cpu { .. } if is_view && !self.widens() => self.bytes(elements),
            _ => self.widened(elements),
        }
    }

    /// What a kernel has copies of that reads tensors widened: nothing where it reads them as they are.
    pub fn copied<T>(&self, of: Vec<T>) -> Vec<T> {
        match self.widens() {
            true => of,
            false => Vec::new(),
        }
    }

    /// Bytes of what `scratch` says of each thread, for no more threads than there are tasks; none on a GPU.
    pub fn scratch(&self, tasks: u64, scratch: u64) -> u64 {
        match self.kernels {
            Kernels::Cpu { threads } => scratch.saturating_mul(tasks.min(threads as u64)),
            Kernels::Gpu => 0,
        }
    }
}

/// What the graph keeps of a call until its backward pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Those of its inputs that it shares, by their places.
    pub inputs: Vec<usize>,
    /// Whether it shares its result.
    pub output: bool,
    /// Tensors of its own, in bytes.
    pub own: Vec<u64>,
}

/// The gradient of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gradient {
    /// In memory of its own, so many bytes.
    New(u64),
    /// The gradient that came.
    Same,
    /// Written over the gradient that came, unless another holds it.
    InPlace(u64),
    /// Written over the kept tensor of the call's own at a place.
    Kept(usize),
    /// Written to its place in the input's gradient, so many bytes, which the first such part makes.
    Part(u64),
}

/// What a kernel reads a copy of, and lets go of before it makes anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// The gradient that came.
    Gradient,
    /// The call's result, which was kept.
    Output,
    /// A kept input.
    Input(usize),
}

/// A part of a call's backward pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stage {
    /// The gradients that it gives, each with the place of its input; a stage none of whose inputs is tracked
    /// is left out.
    pub gradients: Vec<(usize, Gradient)>,
    /// The most bytes that it holds, its new gradients included, beside what is there when it begins.
    pub work: u64,
    /// What it has copies of.
    pub copied: Vec<Copied>,
    /// Those of the kept inputs that it is the last to read.
    pub releases: Vec<usize>,
}

/// What one call of an operation holds, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operation {
    /// Its result.
    pub output: u64,
    /// The most that it holds while it computes, its result included, beside its inputs.
    pub work: u64,
    /// Inputs that it copies, by their places and in bytes, and lets go of before it makes anything else.
    pub copied: Vec<(usize, u64)>,
    /// The input that the result is written over, if no other holds it.
    pub in_place: Option<usize>,
    /// What the backward pass keeps.
    pub kept: Kept,
    /// The backward pass, in its order.
    pub backward: Vec<Stage>,
}

impl Operation {
    /// An operation on each of some elements whose backward pass reads the gradient alone.
    pub fn elementwise(compute: &Compute, elements: u64, is_view: bool) -> Self {
        let bytes = compute.bytes(elements);
        let read = compute.read(elements, is_view);
        Self {
            output: bytes,
            work: read + compute.widened(elements) + bytes,
            copied: match read {
                0 => Vec::new(),
                _ => vec![(0, read)],
            },
            backward: vec![Stage {
                gradients: vec![(0, Gradient::New(bytes))],
                work: compute.widened(2 * elements) + bytes,
                copied: compute.copied(vec![Copied::Gradient]),
                ..Stage::default()
            }],
            ..Self::default()
        }
    }
}
