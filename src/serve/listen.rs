//! From a socket to the service: bounded connections, slow clients, and an orderly end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::patient::Patient;

/// Time between two tries to accept a connection when the system has no more.
const PAUSE: Duration = Duration::from_millis(100);
/// Most bytes of a request's head.
const HEAD: usize = 64 << 10;

/// What bounds connections.
#[derive(Debug, Clone, Copy)]
pub struct Connections {
    /// Most at a time; others wait until one ends.
    pub most: usize,
    /// How long the head of a request may take to arrive, and how long a connection may be idle.
    pub head_timeout: Duration,
    /// How long a client may leave unread what it was sent.
    pub write_timeout: Duration,
    /// How long answers that are under way may take once the server ends.
    pub drain_timeout: Duration,
    /// How long they may take after they were told to end.
    pub end_timeout: Duration,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            most: 512,
            head_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
            end_timeout: Duration::from_secs(2),
        }
    }
}

/// What happens when a server ends.
pub trait Ending: Sync {
    /// From here on, no connection is accepted.
    fn drain(&self);

    /// Answers that are under way must end.
    fn end(&self);
}

/// Serves until `stop` is there, then lets answers that are under way come to their end, as long as that takes no
/// longer than the bounds allow. Gives how many connections were cut off.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Connections,
    stop: impl Future<Output = ()>,
    ending: &dyn Ending,
) -> usize {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(bounds.most));
    tokio::select! {
        () = accept(&listener, &router, bounds, &graceful, &places) => {}
        () = stop => {}
    }
    ending.drain();
    drop(listener);
    let mut ended = std::pin::pin!(graceful.shutdown());
    if timeout(bounds.drain_timeout, &mut ended).await.is_err() {
        ending.end();
        // What cannot be told to end, because its client does not read, is cut off.
        let _ = timeout(bounds.end_timeout, &mut ended).await;
    }
    bounds.most - places.available_permits()
}

async fn accept(
    listener: &TcpListener,
    router: &Router,
    bounds: Connections,
    graceful: &GracefulShutdown,
    places: &Arc<Semaphore>,
) {
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Of one connection, or because there are too many: neither is a reason to end.
                tracing::warn!("a connection was not accepted: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        let connection = graceful.watch(connection(stream, router.clone(), bounds));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection broke off: {error}");
            }
            drop(place);
        });
    }
}

type Connection = http1::Connection<TokioIo<Patient<TcpStream>>, TowerToHyperService<Router>>;

fn connection(stream: TcpStream, router: Router, bounds: Connections) -> Connection {
    // Tokens are small and should not wait for each other.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Patient::new(stream, bounds.write_timeout));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_timeout)
        .max_buf_size(HEAD)
        .serve_connection(io, TowerToHyperService::new(router))
}
