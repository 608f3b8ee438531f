//! A pass with tensors that hold nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use burn::tensor::DType;

use super::ledger::{Buffer, Held, Ledger};
use super::operation::{Compute, Copied, Gradient, Operation, Stage};

/// A tensor of a trace. Clones share their memory, as those of tensors do.
#[derive(Debug, Clone)]
pub struct Traced {
    buffer: Rc<Buffer>,
    /// Elements that it shows.
    elements: u64,
    /// Bytes of an element.
    size: u64,
    /// Whether it shows a part of its memory only.
    is_view: bool,
    node: Option<NodeId>,
}

type NodeId = usize;

/// Where a backward pass begins.
#[derive(Debug, Clone, Copy)]
pub struct Root(NodeId);

impl Traced {
    /// Elements that it shows.
    pub fn elements(&self) -> u64 {
        self.elements
    }

    /// Bytes of an element.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that it shows.
    pub fn bytes(&self) -> u64 {
        self.elements.saturating_mul(self.size)
    }

    /// Whether a gradient is wanted.
    pub fn is_tracked(&self) -> bool {
        self.node.is_some()
    }

    /// Whether it shows a part of its memory only.
    pub fn is_view(&self) -> bool {
        self.is_view
    }

    /// Where a backward pass begins that is one of this tensor; none if it is not tracked.
    pub fn root(&self) -> Option<Root> {
        self.node.map(Root)
    }

    fn can_be_written_over(&self) -> bool {
        !self.is_view && Rc::strong_count(&self.buffer) == 1
    }
}

/// A step of the backward pass.
#[derive(Debug)]
struct Node {
    id: NodeId,
    /// Its distance from the leaves: later ones come first.
    order: usize,
    parents: Vec<Option<Parent>>,
    /// Inputs that are kept, by their places.
    inputs: BTreeMap<usize, Rc<Buffer>>,
    /// The result, if it is kept.
    output: Option<Rc<Buffer>>,
    /// Tensors of its own.
    own: Vec<Rc<Buffer>>,
    stages: Vec<Stage>,
}

/// An input that is tracked.
#[derive(Debug, Clone, Copy)]
struct Parent {
    node: NodeId,
    elements: u64,
    size: u64,
    is_parameter: bool,
}

/// The gradients of what has been tracked from its beginning; while they are held, they count.
#[derive(Debug, Default)]
pub struct LeafGradients {
    by_node: BTreeMap<NodeId, Traced>,
}

/// Counts what a pass holds.
#[derive(Debug, Clone)]
pub struct Trace {
    compute: Compute,
    /// Whether parameters that are trained are tracked.
    tracks: bool,
    ledger: Rc<Ledger>,
    graph: Rc<Graph>,
}

#[derive(Debug, Default)]
struct Graph {
    /// Order of each node, and whether it is a parameter's.
    known: RefCell<Vec<(usize, bool)>>,
    nodes: RefCell<Vec<Node>>,
}

impl Trace {
    /// A pass that has not begun; unless it `tracks`, it has no graph, whatever is trained.
    pub fn new(compute: Compute, tracks: bool) -> Self {
        Self {
            compute,
            tracks,
            ledger: Rc::default(),
            graph: Rc::default(),
        }
    }

    /// The same pass, where it computes in another type.
    #[must_use]
    pub fn of_type(&self, dtype: DType) -> Self {
        let compute = Compute {
            dtype,
            ..self.compute
        };
        Self {
            compute,
            ..self.clone()
        }
    }

    /// How it computes.
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// What is held now.
    pub fn live(&self) -> Held {
        self.ledger.live()
    }

    /// What was held at the highest moment since the beginning or the last [`restart`](Self::restart).
    pub fn peak(&self) -> Held {
        self.ledger.peak()
    }

    /// Bytes of the largest tensor that has come and gone, gradients of parameters left out.
    pub fn largest(&self) -> u64 {
        self.ledger.largest()
    }

    /// Forgets the highest moment so far.
    pub fn restart(&self) {
        self.ledger.restart();
    }

    /// An activation that is there, in the compute type.
    pub fn activation(&self, elements: u64, is_tracked: bool) -> Traced {
        let size = self.compute.size();
        let buffer = Buffer::new(&self.ledger, elements.saturating_mul(size));
        self.leaf(buffer, elements, size, is_tracked.then_some(false))
    }

    /// An activation that is there already and counted elsewhere.
    pub fn elsewhere(&self, elements: u64, is_tracked: bool) -> Traced {
        let buffer = Buffer::new(&self.ledger, 0);
        let size = self.compute.size();
        self.leaf(buffer, elements, size, is_tracked.then_some(false))
    }

    /// A parameter; it is counted elsewhere, its gradient is not.
    pub fn parameter(&self, elements: u64, is_trained: bool) -> Traced {
        let buffer = Buffer::new(&self.ledger, 0);
        let size = match is_trained {
            true => self.compute.trained_size,
            false => self.compute.size(),
        };
        let tracked = (is_trained && self.tracks).then_some(true);
        self.leaf(buffer, elements, size, tracked)
    }

    /// What stands for a tensor that is gone.
    fn elsewhere_as(&self, gone: &Traced) -> Traced {
        let buffer = Buffer::new(&self.ledger, 0);
        self.leaf(buffer, gone.elements, gone.size, None)
    }

    fn leaf(&self, buffer: Rc<Buffer>, elements: u64, size: u64, tracked: Option<bool>) -> Traced {
        let node = tracked.map(|is_parameter| self.node(0, is_parameter));
        Traced {
            buffer,
            elements,
            size,
            is_view: false,
            node,
        }
    }

    fn node(&self, order: usize, is_parameter: bool) -> NodeId {
        let mut known = self.graph.known.borrow_mut();
        known.push((order, is_parameter));
        known.len() - 1
    }

    /// A tensor that is there, of so many elements of so many bytes, and never tracked.
    pub fn hold(&self, elements: u64, size: u64) -> Traced {
        let buffer = Buffer::new(&self.ledger, elements.saturating_mul(size));
        self.leaf(buffer, elements, size, None)
    }

    /// A call of an operation, whose result has so many elements of so many bytes.
    pub fn call(
        &self,
        mut inputs: Vec<Traced>,
        (elements, size): (u64, u64),
        operation: Operation,
    ) -> Traced {
        for &(place, copy) in &operation.copied {
            self.ledger.touch(copy);
            inputs[place].buffer = Buffer::new(&self.ledger, 0);
        }
        let written_over = operation
            .in_place
            .filter(|&place| inputs[place].can_be_written_over());
        let buffer = match written_over {
            Some(place) => Rc::clone(&inputs[place].buffer),
            None => {
                self.ledger.touch(operation.work);
                Buffer::new(&self.ledger, operation.output)
            }
        };
        let node = self.record(&inputs, &buffer, operation);
        Traced {
            buffer,
            elements,
            size,
            is_view: false,
            node,
        }
    }

    /// A part of a tensor, which shares its memory; its gradient becomes one of the whole as `backward` says.
    pub fn view(&self, input: Traced, elements: u64, backward: Vec<Stage>) -> Traced {
        let operation = Operation {
            backward,
            ..Operation::default()
        };
        let (buffer, size) = (Rc::clone(&input.buffer), input.size);
        let is_view = input.is_view || elements != input.elements;
        let node = self.record(&[input], &buffer, operation);
        Traced {
            buffer,
            elements,
            size,
            is_view,
            node,
        }
    }

    /// Keeps what a call's backward pass reads; nothing if nothing is tracked.
    fn record(
        &self,
        inputs: &[Traced],
        output: &Rc<Buffer>,
        operation: Operation,
    ) -> Option<NodeId> {
        let parent = |input: &Traced| {
            let node = input.node?;
            Some(Parent {
                node,
                elements: input.elements,
                size: input.size,
                is_parameter: self.graph.known.borrow()[node].1,
            })
        };
        let parents: Vec<Option<Parent>> = inputs.iter().map(parent).collect();
        let orders = parents.iter().flatten();
        let order = orders
            .map(|parent| self.graph.known.borrow()[parent.node].0)
            .max()?
            + 1;
        let id = self.node(order, false);
        let kept = operation.kept;
        let own = kept.own.into_iter();
        self.graph.nodes.borrow_mut().push(Node {
            id,
            order,
            parents,
            inputs: kept
                .inputs
                .into_iter()
                .map(|place| (place, Rc::clone(&inputs[place].buffer)))
                .collect(),
            output: kept.output.then(|| Rc::clone(output)),
            own: own.map(|bytes| Buffer::new(&self.ledger, bytes)).collect(),
            stages: operation.backward,
        });
        Some(id)
    }

    /// The backward pass of what was called so far, from a gradient of the result that `root` is of.
    pub fn backward(&self, root: Root, gradient: Traced) -> LeafGradients {
        let mut grads = LeafGradients::default();
        grads.by_node.insert(root.0, gradient);
        let mut nodes = self.graph.nodes.take();
        // Where two are as far from the leaves, the later one comes first.
        nodes.sort_by_key(|node| std::cmp::Reverse((node.order, node.id)));
        for node in nodes {
            // What does not lead to the output is dropped with its graph.
            if let Some(gradient) = grads.by_node.remove(&node.id) {
                self.step(node, gradient, &mut grads);
            }
        }
        grads
    }

    fn step(&self, mut node: Node, gradient: Traced, grads: &mut LeafGradients) {
        let is_wanted = |stage: &Stage| {
            let mut places = stage.gradients.iter().map(|(place, _)| *place);
            places.any(|place| node.parents[place].is_some())
        };
        let wanted: Vec<bool> = node.stages.iter().map(is_wanted).collect();
        let last = wanted.iter().rposition(|wanted| *wanted);
        let mut coming = Some(gradient);
        for (index, stage) in std::mem::take(&mut node.stages).into_iter().enumerate() {
            let Some(gradient) = coming.clone().filter(|_| wanted[index]) else {
                continue;
            };
            if last == Some(index) {
                coming = None;
            }
            self.stage(&mut node, stage, gradient, grads);
        }
    }

    fn stage(
        &self,
        node: &mut Node,
        mut stage: Stage,
        gradient: Traced,
        grads: &mut LeafGradients,
    ) {
        let mut gradient = Some(gradient);
        for copied in stage.copied {
            match copied {
                Copied::Gradient => {
                    gradient = gradient.map(|gradient| self.elsewhere_as(&gradient))
                }
                Copied::Output => node.output = None,
                Copied::Input(place) => drop(node.inputs.remove(&place)),
            }
        }
        let is_there = |(place, kind): &(usize, Gradient)| {
            let is_part = matches!(kind, Gradient::Part(_));
            let made = node.parents[*place].map(|parent| grads.by_node.contains_key(&parent.node));
            is_part && made == Some(true)
        };
        // Other parts are written to what the first has made.
        stage.gradients.retain(|gradient| !is_there(gradient));
        if !stage.gradients.is_empty() {
            self.ledger.touch(stage.work);
        }
        let count = stage.gradients.len();
        let mut given = Vec::new();
        for (index, (place, kind)) in stage.gradients.into_iter().enumerate() {
            // The last one takes the gradient that came.
            let coming = match index + 1 == count {
                true => gradient.take(),
                false => gradient.clone(),
            };
            if let (Some(parent), Some(coming)) = (node.parents[place], coming) {
                given.push((parent, self.gradient(&node.own, parent, kind, coming)));
            }
        }
        drop(gradient);
        for place in stage.releases {
            node.inputs.remove(&place);
        }
        for (parent, value) in given {
            self.register(grads, parent, value);
        }
    }

    fn gradient(
        &self,
        own: &[Rc<Buffer>],
        parent: Parent,
        kind: Gradient,
        coming: Traced,
    ) -> Traced {
        let buffer = match kind {
            Gradient::Same => Rc::clone(&coming.buffer),
            Gradient::Kept(place) => Rc::clone(&own[place]),
            Gradient::InPlace(_) if coming.can_be_written_over() => Rc::clone(&coming.buffer),
            Gradient::New(bytes) | Gradient::InPlace(bytes) | Gradient::Part(bytes) => {
                Buffer::new(&self.ledger, bytes)
            }
        };
        let is_view = kind == Gradient::Same && buffer.bytes() > parent.elements * parent.size;
        Traced {
            buffer,
            elements: parent.elements,
            size: parent.size,
            is_view,
            node: None,
        }
    }

    /// Adds a gradient to those of a node.
    fn register(&self, grads: &mut LeafGradients, parent: Parent, value: Traced) {
        let sum = match grads.by_node.remove(&parent.node) {
            None => value,
            Some(_) if value.can_be_written_over() => value,
            Some(_) => Traced {
                buffer: Buffer::new(&self.ledger, value.bytes()),
                is_view: false,
                ..value
            },
        };
        if parent.is_parameter {
            sum.buffer.becomes_gradient();
        }
        grads.by_node.insert(parent.node, sum);
    }
}
