//! Answers as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::wrappers::ReceiverStream;

use super::error::ApiError;

/// Events that may wait for the client to read them.
const WAITING: usize = 64;

/// Nobody reads the stream any more, or too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// Where the events of a stream go.
#[derive(Debug, Clone)]
pub struct Sink {
    sender: Sender<Result<Event, Infallible>>,
    stall: Duration,
}

impl Sink {
    /// Sends one event.
    ///
    /// # Errors
    /// If the client has left, or has left unread what was sent for too long.
    pub async fn send(&self, value: &Value) -> Result<(), Gone> {
        self.event(Event::default().data(value.to_string())).await
    }

    /// Ends the stream as clients expect it.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn done(&self) -> Result<(), Gone> {
        self.event(Event::default().data("[DONE]")).await
    }

    async fn event(&self, event: Event) -> Result<(), Gone> {
        let sent = self.sender.send_timeout(Ok(event), self.stall).await;
        sent.map_err(|_| Gone)
    }

    /// Waits until the client has left.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }
}

/// Why a stream ends before its end.
#[derive(Debug)]
pub enum Broken {
    /// Nobody reads it.
    Gone,
    /// What it should hold has failed.
    Failed(ApiError),
}

impl From<Gone> for Broken {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<ApiError> for Broken {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

/// Answers with the events that `produce` sends. A failure is an event of its own, for the status has been sent.
pub fn respond<F, P>(produce: P, stall: Duration, keep_alive: Duration) -> Response
where
    F: Future<Output = Result<(), Broken>> + Send + 'static,
    P: FnOnce(Sink) -> F,
{
    let (sender, receiver) = channel(WAITING);
    let sink = Sink { sender, stall };
    let work = tokio::spawn(produce(sink.clone()));
    tokio::spawn(async move {
        let error = match work.await {
            Ok(Ok(()) | Err(Broken::Gone)) => return,
            Ok(Err(Broken::Failed(error))) => error,
            // A panic ends this answer and nothing else.
            Err(_) => ApiError::internal(),
        };
        // Whoever has left need not know.
        let _ = sink.send(&error.body()).await;
    });
    let sign = KeepAlive::new().interval(keep_alive).text("keep-alive");
    let stream = Sse::new(ReceiverStream::new(receiver)).keep_alive(sign);
    let mut response = stream.into_response();
    // Proxies that collect answers would take the streaming away.
    response.headers_mut().insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}
