//! The bytes that a replayed pass holds, now and at its highest moment.

use std::cell::Cell;
use std::rc::Rc;

/// Bytes that are held, by what they are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Activations, their gradients, and what operations compute with.
    pub activations: u64,
    /// Gradients of parameters.
    pub gradients: u64,
}

impl Held {
    /// All together.
    pub fn total(&self) -> u64 {
        self.activations.saturating_add(self.gradients)
    }

    /// The one of two moments at which more is held.
    #[must_use]
    pub fn highest(self, other: Self) -> Self {
        match other.total() > self.total() {
            true => other,
            false => self,
        }
    }
}

/// What is held.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    live: Cell<Held>,
    peak: Cell<Held>,
    largest: Cell<u64>,
}

impl Ledger {
    /// Bytes of the largest tensor that has come and gone.
    pub fn largest(&self) -> u64 {
        self.largest.get()
    }

    pub fn live(&self) -> Held {
        self.live.get()
    }

    pub fn peak(&self) -> Held {
        self.peak.get()
    }

    /// The highest moment is from now on.
    pub fn restart(&self) {
        self.peak.set(self.live());
    }

    /// Bytes that are held for the moment.
    pub fn touch(&self, bytes: u64) {
        let mut held = self.live();
        held.activations = held.activations.saturating_add(bytes);
        self.peak.set(self.peak().highest(held));
    }

    fn change(&self, change: impl Fn(&mut Held)) {
        let mut held = self.live();
        change(&mut held);
        self.live.set(held);
        self.peak.set(self.peak().highest(held));
    }
}

/// Memory that is held until the last of those that share it lets go of it.
#[derive(Debug)]
pub(super) struct Buffer {
    ledger: Rc<Ledger>,
    bytes: u64,
    /// Whether it holds the gradient of a parameter.
    is_gradient: Cell<bool>,
}

impl Buffer {
    pub fn new(ledger: &Rc<Ledger>, bytes: u64) -> Rc<Self> {
        ledger.change(|held| held.activations = held.activations.saturating_add(bytes));
        Rc::new(Self {
            ledger: Rc::clone(ledger),
            bytes,
            is_gradient: Cell::new(false),
        })
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// From now on it counts as the gradient of a parameter.
    pub fn becomes_gradient(&self) {
        if !self.is_gradient.replace(true) {
            self.ledger.change(|held| {
                held.activations = held.activations.saturating_sub(self.bytes);
                held.gradients = held.gradients.saturating_add(self.bytes);
            });
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !self.is_gradient.get() {
            let largest = self.ledger.largest().max(self.bytes);
            self.ledger.largest.set(largest);
        }
        self.ledger.change(|held| {
            let part = match self.is_gradient.get() {
                true => &mut held.gradients,
                false => &mut held.activations,
            };
            *part = part.saturating_sub(self.bytes);
        });
    }
}
