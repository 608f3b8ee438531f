//! One line of the log for each request, when its answer has ended.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State as Shared};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

use super::record::Record;
use super::state::State;

/// Counts and logs a request.
pub async fn log(Shared(state): Shared<Arc<State>>, mut request: Request, next: Next) -> Response {
    let record = Arc::new(Record::begin());
    request.extensions_mut().insert(record.clone());
    let mut line = Line {
        method: request.method().clone(),
        path: known(request.uri().path()),
        // What a client that left while its request was worked on never saw.
        status: 499,
        record,
        state,
    };
    let response = next.run(request).await;
    line.status = response.status().as_u16();
    response.map(|body| Body::new(Logged { body, _line: line }))
}

/// The paths that are told apart: what else clients ask for has no end.
const PATHS: [&str; 11] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/models",
    "/v1/adapters",
    "/tokenize",
    "/detokenize",
    "/health",
    "/metrics",
    "/page",
    "/",
];

/// The path under which a request is counted and logged.
fn known(path: &str) -> &'static str {
    let leads_to = |known: &&str| {
        let rest = path.strip_prefix(*known);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    PATHS.into_iter().find(leads_to).unwrap_or("other")
}

/// What is said of a request, as soon as nobody waits for its answer any more.
struct Line {
    method: Method,
    path: &'static str,
    status: u16,
    record: Arc<Record>,
    state: Arc<State>,
}

impl Drop for Line {
    fn drop(&mut self) {
        let time = self.record.began().elapsed();
        let usage = self.record.usage();
        self.state
            .metrics
            .count_request(self.path, self.status, time);
        tracing::info!(
            method = %self.method,
            path = self.path,
            status = self.status,
            prompt_tokens = usage.prompt,
            cached_tokens = usage.cached,
            completion_tokens = usage.completion,
            ms = time.as_millis() as u64,
            "request"
        );
    }
}

/// A body that says so when it has ended.
struct Logged {
    body: Body,
    /// Dropped with the body.
    _line: Line,
}

impl HttpBody for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
