//! From the engine's thread to the task of a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use glmtune_model::engine::{Event, Listener};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Passes on what one of the engine's requests is told. The channel holds no more than the tokens that the request may
/// have, so that it needs no other bound and the engine never waits.
#[derive(Debug)]
struct Teller {
    number: usize,
    sender: UnboundedSender<(usize, Event)>,
    is_done: Arc<AtomicBool>,
}

impl Listener for Teller {
    fn tell(&mut self, event: Event) {
        // Whoever listened may have left.
        let _ = self.sender.send((self.number, event));
    }

    fn is_gone(&self) -> bool {
        self.sender.is_closed() || self.is_done.load(Ordering::Relaxed)
    }
}

/// The engine's requests that one request of a client makes. When it is dropped, all of them end.
#[derive(Debug)]
pub struct Events {
    receiver: UnboundedReceiver<(usize, Event)>,
    done: Vec<Arc<AtomicBool>>,
}

impl Events {
    /// The listeners of `count` requests, and what they hear.
    pub fn new(count: usize) -> (Self, Vec<Box<dyn Listener>>) {
        let (sender, receiver) = unbounded_channel();
        let done: Vec<Arc<AtomicBool>> = (0..count).map(|_| Arc::default()).collect();
        let listeners = done.iter().enumerate().map(|(number, is_done)| {
            let teller = Teller {
                number,
                sender: sender.clone(),
                is_done: is_done.clone(),
            };
            Box::new(teller) as Box<dyn Listener>
        });
        let listeners = listeners.collect();
        (Self { receiver, done }, listeners)
    }

    /// What happens next, and to which of the requests; `None` when all have been dropped by the engine.
    pub async fn next(&mut self) -> Option<(usize, Event)> {
        self.receiver.recv().await
    }

    /// Ends one of the requests.
    pub fn end(&self, number: usize) {
        if let Some(is_done) = self.done.get(number) {
            is_done.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn who_has_left_is_gone() {
        let (mut events, mut listeners) = Events::new(2);
        listeners[1].tell(Event::Started { cached: 4 });
        let (number, event) = events.receiver.try_recv().unwrap();
        assert!(number == 1 && matches!(event, Event::Started { cached: 4 }));
        events.end(0);
        assert!(listeners[0].is_gone() && !listeners[1].is_gone());
        drop(events);
        assert!(listeners[1].is_gone());
        listeners[1].tell(Event::Started { cached: 0 });
    }
}
