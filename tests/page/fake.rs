//! A server with the API that the page speaks, and scripted answers behind it.
//!
//! What the last message says decides the answer; anything else is answered with the model's name, how often this
//! model was asked this, and the question.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Barrier, Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;

/// The names that the server serves, the base first.
pub const BASE: &str = "chatglm3-6b";
pub const TUNED: &str = "support-lora";

/// Markdown with one of everything.
const SHOWCASE: &str = include_str!("units/showcase.md");

/// What a hostile model could write.
pub const ATTACK: &str = "<img src=x onerror=\"window.attacked=1\"><script>window.attacked=2</script>\n\n\
    [click](javascript:window.attacked=3) **<b onclick=alert(1)>bold</b>** `<i>code</i>`\n\n\
    | <svg onload=alert(1)> | b |\n|---|---|\n| ![x](data:text/html,<script>alert(1)</script>) | d |\n\n\
    ```html\n<script>window.attacked=4</script>\n```\n\n[web](https://example.com/?q=\"><script>)";

/// A server in this process, gone with the runtime that it was started in.
#[derive(Clone)]
pub struct Fake {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    /// What `Authorization: Bearer` must carry.
    key: Option<&'static str>,
    models: Vec<&'static str>,
    requests: Mutex<Vec<Value>>,
    asked: Mutex<HashMap<String, usize>>,
    /// Streams that the page left before their end.
    left: AtomicUsize,
    /// Two answers to "together" go on only once both have begun.
    both: Barrier,
    /// An answer to "break" breaks only when told to.
    go_on: Notify,
}

impl Fake {
    /// A base and one tuned model, for everybody.
    pub async fn start() -> Self {
        Self::serve(None, vec![BASE, TUNED]).await
    }

    pub async fn serve(key: Option<&'static str>, models: Vec<&'static str>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            key,
            models,
            requests: Mutex::default(),
            asked: Mutex::default(),
            left: AtomicUsize::new(0),
            both: Barrier::new(2),
            go_on: Notify::new(),
        });
        let api = Router::new()
            .route("/v1/models", get(models_of))
            .route("/v1/chat/completions", post(complete))
            .route(
                "/units",
                get(|| async { Html(include_str!("units/units.html")) }),
            )
            .route(
                "/units.js",
                get(|| async { script(include_str!("units/units.js")) }),
            )
            .merge(glmtune::serve::page::routes())
            .with_state(shared.clone());
        // Pieces of an answer are small, and none waits for the next.
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
        tokio::spawn(async move { axum::serve(listener, api).await });
        Self { port, shared }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// The bodies of the questions so far.
    pub fn requests(&self) -> Vec<Value> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Breaks the connection of an answer to "break".
    pub fn cut(&self) {
        self.shared.go_on.notify_one();
    }

    /// How many streams the page left before their end.
    pub fn left(&self) -> usize {
        self.shared.left.load(Ordering::SeqCst)
    }
}

fn script(body: &'static str) -> Response {
    ([(CONTENT_TYPE, "text/javascript")], body).into_response()
}

async fn models_of(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if !shared.is_allowed(&headers) {
        return refusal(StatusCode::UNAUTHORIZED, "no such key");
    }
    let base = shared.models[0];
    let model = |id: &&str| {
        let parent = (*id != base).then_some(base);
        json!({"id": id, "object": "model", "created": 0, "owned_by": "glmtune", "parent": parent})
    };
    let data: Vec<Value> = shared.models.iter().map(model).collect();
    Json(json!({"object": "list", "data": data})).into_response()
}

fn refusal(status: StatusCode, message: &str) -> Response {
    let error =
        json!({"message": message, "type": "invalid_request_error", "param": null, "code": null});
    (status, Json(json!({ "error": error }))).into_response()
}

async fn complete(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(request): Json<Value>,
) -> Response {
    if !shared.is_allowed(&headers) {
        return refusal(StatusCode::UNAUTHORIZED, "no such key");
    }
    let model = request["model"].as_str().unwrap_or_default().to_string();
    let messages = request["messages"].as_array().cloned().unwrap_or_default();
    let question = messages.last().and_then(|last| last["content"].as_str());
    let question = question.unwrap_or_default().to_string();
    shared.requests.lock().unwrap().push(request);
    if !shared.models.contains(&model.as_str()) {
        return refusal(StatusCode::NOT_FOUND, "The model does not exist.");
    }
    let time = shared.count(&model, &question);
    if question == "busy" && time == 1 {
        let answer = refusal(StatusCode::TOO_MANY_REQUESTS, "The queue is full.");
        return ([(RETRY_AFTER, "2")], answer).into_response();
    }
    let (sender, receiver) = mpsc::channel::<Result<String, std::io::Error>>(1);
    let writer = Writer {
        shared,
        model,
        sender,
    };
    tokio::spawn(async move {
        // An error means that the page has gone.
        if writer.write(&question, time).await.is_none() {
            writer.shared.left.fetch_add(1, Ordering::SeqCst);
        }
    });
    let body = Body::from_stream(ReceiverStream::new(receiver));
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

impl Shared {
    fn is_allowed(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        self.key
            .is_none_or(|key| given == Some(format!("Bearer {key}").as_bytes()))
    }

    /// How often a model was asked this, with this time.
    fn count(&self, model: &str, question: &str) -> usize {
        let mut asked = self.asked.lock().unwrap();
        let count = asked.entry(format!("{model}\n{question}")).or_default();
        *count += 1;
        *count
    }
}

struct Writer {
    shared: Arc<Shared>,
    model: String,
    sender: mpsc::Sender<Result<String, std::io::Error>>,
}

impl Writer {
    /// The whole answer; None as soon as nobody listens.
    async fn write(&self, question: &str, time: usize) -> Option<()> {
        match question {
            "for ever" => loop {
                self.text("word ").await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            },
            "together" => {
                self.text("begun, ").await?;
                self.shared.both.wait().await;
                self.text("ended").await?;
            }
            "break" if time == 1 => {
                self.text("half of ").await?;
                // What was not read yet is lost with the connection.
                self.shared.go_on.notified().await;
                let lost = std::io::Error::other("the connection is cut");
                self.sender.send(Err(lost)).await.ok()?;
                return Some(());
            }
            "error" => {
                self.text("so far ").await?;
                let error = json!({"error": {"message": "The device failed.", "type": "server_error", "code": 500}});
                return self.event(&error.to_string()).await;
            }
            "showcase" => self.pieces(SHOWCASE).await?,
            "attack" => self.pieces(ATTACK).await?,
            _ if question.starts_with("say: ") => self.pieces(&question[5..]).await?,
            _ if question.contains("refund") => self.pieces(self.on_refunds()).await?,
            _ if question.contains("退") => self.pieces(self.in_chinese()).await?,
            _ => {
                let answer = format!("{} answers {time}: {question}", self.model);
                self.pieces(&answer).await?;
            }
        }
        self.end(question).await
    }

    fn on_refunds(&self) -> &'static str {
        match self.model.as_str() {
            BASE => include_str!("units/base_answer.md"),
            _ => include_str!("units/tuned_answer.md"),
        }
    }

    fn in_chinese(&self) -> &'static str {
        match self.model.as_str() {
            BASE => {
                "您好！关于退款，一般来说需要您联系商家客服，提供**订单号**，说明原因，然后等待处理。不同平台的规定有所不同，建议您查看平台的帮助页面。"
            }
            _ => {
                "可以退。签收后 **7 天内**，商品未拆封即可全额退款：\n\n1. 打开“我的订单”，选择 `申请退款`；\n2. 上传商品照片；\n3. 退款在 **3 个工作日**内原路退回。"
            }
        }
    }

    async fn pieces(&self, text: &str) -> Option<()> {
        let letters: Vec<char> = text.chars().collect();
        for piece in letters.chunks(7) {
            self.text(&piece.iter().collect::<String>()).await?;
        }
        Some(())
    }

    async fn text(&self, text: &str) -> Option<()> {
        self.chunk(
            json!([{"index": 0, "delta": {"content": text}, "finish_reason": null}]),
            Value::Null,
        )
        .await
    }

    async fn end(&self, question: &str) -> Option<()> {
        let reason = if question == "long" { "length" } else { "stop" };
        self.chunk(
            json!([{"index": 0, "delta": {}, "finish_reason": reason}]),
            Value::Null,
        )
        .await?;
        let usage = json!({"prompt_tokens": 11, "completion_tokens": 42, "total_tokens": 53});
        self.chunk(json!([]), usage).await?;
        self.event("[DONE]").await
    }

    async fn chunk(&self, choices: Value, usage: Value) -> Option<()> {
        let chunk = json!({"id": "chat-1", "object": "chat.completion.chunk", "created": 0, "model": self.model,
            "choices": choices, "usage": usage});
        self.event(&chunk.to_string()).await
    }

    async fn event(&self, data: &str) -> Option<()> {
        self.sender.send(Ok(format!("data: {data}\n\n"))).await.ok()
    }
}
