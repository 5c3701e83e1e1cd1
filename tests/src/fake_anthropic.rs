//! A stand-in for the Messages API that the real Claude Code CLI and opencode work with: streaming, with tools, and no model. What
//! the "model" does is chosen by the prompt, see [`script`]. It shows how the CLI and everything around it behave; it
//! says nothing about how well a model works.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};

use crate::server::{self, Received, Server};

mod opencode;
pub mod script;

use script::Turn;

/// The pause before each word of a slow answer.
const SLOW_PAUSE: Duration = Duration::from_millis(100);

/// The fake, until dropped.
#[derive(Debug)]
pub struct FakeAnthropic {
    server: Server,
}

impl FakeAnthropic {
    /// Start it on a port of its own.
    pub async fn start() -> Self {
        let turns = Arc::new(AtomicUsize::new(1));
        let server = Server::start(move |request| {
            let turn = turns.fetch_add(1, Ordering::Relaxed);
            async move { answer(&request, turn) }
        })
        .await;
        Self { server }
    }

    /// What `ANTHROPIC_BASE_URL` is to be.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Every request so far, in order: whose key came, what was sent to the model.
    pub fn requests(&self) -> Vec<Received> {
        self.server.requests()
    }

    /// The requests for an answer of the model.
    pub fn messages(&self) -> Vec<Received> {
        self.requests().into_iter().filter(|request| request.path == "/v1/messages").collect()
    }
}

fn answer(request: &Received, turn: usize) -> Response {
    match (&request.method, request.path.as_str()) {
        (&Method::HEAD, _) => server::empty(200),
        (&Method::POST, "/v1/messages/count_tokens") => server::json(200, json!({"input_tokens": 1234})),
        (&Method::POST, "/v1/messages") => message(&request.json(), turn),
        (_, path) => error(404, "not_found_error", &format!("the fake does not know {path}")),
    }
}

fn message(request: &Value, turn: usize) -> Response {
    let streamed = request["stream"] == true;
    match script::next(request) {
        Turn::Refuse { status, kind, message } => error(status, kind, message),
        Turn::Say { blocks, slowly } => {
            let blocks = with_ids(blocks, turn);
            let id = format!("msg_fake{turn:05}");
            let model = request["model"].as_str().unwrap_or("claude-fake");
            if streamed {
                stream_of(events(&id, model, &blocks), slowly)
            } else {
                server::json(200, whole(&id, model, &blocks))
            }
        }
    }
}

fn error(status: u16, kind: &str, message: &str) -> Response {
    server::json(status, json!({"type": "error", "error": {"type": kind, "message": message}}))
}

fn with_ids(mut blocks: Vec<Value>, turn: usize) -> Vec<Value> {
    for (index, block) in blocks.iter_mut().enumerate().filter(|(_, block)| block["type"] == "tool_use") {
        block["id"] = json!(format!("toolu_fake{turn:05}_{index}"));
    }
    blocks
}

fn stop_reason(blocks: &[Value]) -> &'static str {
    if blocks.iter().any(|block| block["type"] == "tool_use") { "tool_use" } else { "end_turn" }
}

fn usage(output_tokens: u32) -> Value {
    json!({"input_tokens": 100, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 50, "output_tokens": output_tokens})
}

/// The answer in one piece, for a request that does not stream.
fn whole(id: &str, model: &str, blocks: &[Value]) -> Value {
    json!({
        "id": id, "type": "message", "role": "assistant", "model": model, "content": blocks,
        "stop_reason": stop_reason(blocks), "stop_sequence": null, "usage": usage(42),
    })
}

/// The same answer as the events of the streaming API: text word by word, tool input in small pieces.
fn events(id: &str, model: &str, blocks: &[Value]) -> Vec<Value> {
    let mut start = whole(id, model, &[]);
    start["stop_reason"] = Value::Null;
    start["usage"] = usage(1);
    let mut events = vec![json!({"type": "message_start", "message": start})];
    for (index, block) in blocks.iter().enumerate() {
        let mut empty = block.clone();
        let deltas: Vec<Value> = if block["type"] == "text" {
            empty["text"] = json!("");
            let text = block["text"].as_str().unwrap_or_default();
            text.split_inclusive(' ').map(|word| json!({"type": "text_delta", "text": word})).collect()
        } else {
            empty["input"] = json!({});
            let input: Vec<char> = block["input"].to_string().chars().collect();
            let pieces = input.chunks(40).map(|piece| piece.iter().collect::<String>());
            pieces.map(|piece| json!({"type": "input_json_delta", "partial_json": piece})).collect()
        };
        events.push(json!({"type": "content_block_start", "index": index, "content_block": empty}));
        let deltas =
            deltas.into_iter().map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta}));
        events.extend(deltas);
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    let end = json!({"stop_reason": stop_reason(blocks), "stop_sequence": null});
    events.push(json!({"type": "message_delta", "delta": end, "usage": {"output_tokens": 42}}));
    events.push(json!({"type": "message_stop"}));
    events
}

fn stream_of(events: Vec<Value>, slowly: bool) -> Response {
    let chunks = stream::iter(events).then(move |event| async move {
        if slowly && event["type"] == "content_block_delta" {
            tokio::time::sleep(SLOW_PAUSE).await;
        }
        let kind = event["type"].as_str().unwrap_or_default();
        Ok::<_, std::convert::Infallible>(Bytes::from(format!("event: {kind}\ndata: {event}\n\n")))
    });
    (StatusCode::OK, [(CONTENT_TYPE, "text/event-stream")], Body::from_stream(chunks)).into_response()
}
