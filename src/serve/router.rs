//! Which path leads where, and what every request passes through on its way.

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::error::ApiError;
use super::generating::complete;
use super::state::State;
use super::{access_log, auth, endpoints, headers, page};

/// The server as one service.
pub fn router(state: Arc<State>) -> Router {
    let cors = cors(&state.settings.cors_origins);
    Router::new()
        .merge(api(&state))
        .merge(page::routes())
        .route("/health", get(endpoints::health::health))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(state.clone(), auth::require_local))
        .layer(cors)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(headers::add))
        .layer(from_fn_with_state(state.clone(), access_log::log))
        .with_state(state)
}

/// What needs the key.
fn api(state: &Arc<State>) -> Router<Arc<State>> {
    use endpoints::chat::Chat;
    use endpoints::completions::Completion;
    use endpoints::{adapters, embeddings, metrics, models, tokens};
    Router::new()
        .route("/v1/models", get(models::list))
        // Names may have slashes, as those of hubs do.
        .route("/v1/models/{*name}", get(models::get))
        .route("/v1/chat/completions", post(complete::<Chat>))
        .route("/v1/completions", post(complete::<Completion>))
        .route("/v1/embeddings", post(embeddings::embed))
        .route("/v1/adapters", post(adapters::load))
        .route("/v1/adapters/{name}", delete(adapters::unload))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/metrics", get(metrics::metrics))
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(state.clone(), auth::require_key))
}

/// Pages of other origins may use the server only if they are named.
fn cors(origins: &[String]) -> CorsLayer {
    if origins.is_empty() {
        return CorsLayer::new();
    }
    let origin = match origins.iter().any(|origin| origin == "*") {
        true => AllowOrigin::any(),
        false => {
            let origins = origins
                .iter()
                .filter_map(|origin| HeaderValue::from_str(origin).ok());
            AllowOrigin::list(origins)
        }
    };
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
}

async fn no_such_path() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "no such path; the API is below /v1, for example /v1/chat/completions",
    )
    .with_code("not_found")
}

async fn wrong_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path is not for this method; the header Allow says for which it is",
    )
    .with_code("method_not_allowed")
}

/// A panic ends its request and nothing else. What it said may be of the request, and is not repeated.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a request ended in a panic: this is a fault of the program");
    ApiError::internal().into_response()
}
