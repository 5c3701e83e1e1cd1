//! The lines between vm-agent and an agent: JSON-RPC 2.0, one message on each. What they hold is the Agent Client Protocol's, whose
//! types are those of its own crate; a pure reading of each line, which no line can break.

use agent_client_protocol_schema::v1::{
    CLIENT_METHOD_NAMES, Error, RequestId, RequestPermissionRequest, SessionNotification,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an agent writes.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// The answer to a request of ours.
    Response {
        /// Which.
        id: i64,
        /// What came of it.
        result: Result<Value, Error>,
    },
    /// It tells something of a session.
    Update(Box<SessionNotification>),
    /// It asks whether it may do something, and waits.
    Permission {
        /// What the answer names.
        id: RequestId,
        /// What it asks.
        asked: Box<RequestPermissionRequest>,
    },
    /// It wants something else, and waits.
    Request {
        /// What the answer names.
        id: RequestId,
    },
    /// It tells something else, or something newer than this.
    Other,
    /// Anything else.
    Noise,
}

#[derive(Deserialize)]
struct Envelope {
    id: Option<RequestId>,
    method: Option<String>,
    #[serde(default)]
    params: Value,
    #[serde(default)]
    result: Value,
    error: Option<Value>,
}

/// Read one line.
pub fn parse(line: &str) -> Line {
    let Ok(Envelope { id, method, params, result, error }) = serde_json::from_str(line) else { return Line::Noise };
    match (id, method) {
        (Some(id), Some(method)) => request_of(id, &method, params),
        (None, Some(method)) if method == CLIENT_METHOD_NAMES.session_update => {
            SessionNotification::deserialize(params).map_or(Line::Other, |told| Line::Update(Box::new(told)))
        }
        (None, Some(_)) => Line::Other,
        (Some(RequestId::Number(id)), None) => {
            let result = match error {
                Some(error) => Err(Error::deserialize(error).unwrap_or_else(|_| Error::internal_error())),
                None => Ok(result),
            };
            Line::Response { id, result }
        }
        _ => Line::Noise,
    }
}

fn request_of(id: RequestId, method: &str, params: Value) -> Line {
    let asks = method == CLIENT_METHOD_NAMES.session_request_permission;
    match RequestPermissionRequest::deserialize(params) {
        Ok(asked) if asks => Line::Permission { id, asked: Box::new(asked) },
        Ok(_) | Err(_) => Line::Request { id },
    }
}

/// What is written to an agent.
#[derive(Serialize)]
#[serde(untagged)]
enum Message<'a, T> {
    Request { jsonrpc: &'a str, id: i64, method: &'a str, params: T },
    Notification { jsonrpc: &'a str, method: &'a str, params: T },
    Response { jsonrpc: &'a str, id: RequestId, result: T },
    Error { jsonrpc: &'a str, id: RequestId, error: T },
}

const VERSION: &str = "2.0";

/// A request, as a line.
pub(super) fn request(id: i64, method: &str, params: impl Serialize) -> serde_json::Result<String> {
    line(&Message::Request { jsonrpc: VERSION, id, method, params })
}

/// A notification, as a line.
pub(super) fn notification(method: &str, params: impl Serialize) -> serde_json::Result<String> {
    line(&Message::Notification { jsonrpc: VERSION, method, params })
}

/// The answer to a request of the agent's, as a line.
pub(super) fn response(id: RequestId, result: impl Serialize) -> serde_json::Result<String> {
    line(&Message::Response { jsonrpc: VERSION, id, result })
}

/// The refusal of a request of the agent's, as a line.
pub(super) fn refusal(id: RequestId, error: Error) -> serde_json::Result<String> {
    line(&Message::Error { jsonrpc: VERSION, id, error })
}

fn line(message: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(message).map(|text| text + "\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_line_is_something() {
        let response = |id, result| Line::Response { id, result };
        for (line, meant) in [
            (json!({"jsonrpc": "2.0", "id": 3, "result": {"a": 1}}), response(3, Ok(json!({"a": 1})))),
            (json!({"jsonrpc": "2.0", "id": 3, "result": null}), response(3, Ok(Value::Null))),
            (
                json!({"jsonrpc": "2.0", "id": 4, "error": Error::method_not_found()}),
                response(4, Err(Error::method_not_found())),
            ),
            (json!({"jsonrpc": "2.0", "id": 4, "error": "what"}), response(4, Err(Error::internal_error()))),
            (json!({"id": "x", "result": {}}), Line::Noise),
            (json!({"id": "x", "method": "m", "params": [1]}), Line::Request { id: RequestId::Str("x".into()) }),
            (json!({"id": 0, "method": "session/request_permission"}), Line::Request { id: RequestId::Number(0) }),
            (json!({"method": "session/update", "params": {"sessionId": "s", "update": {}}}), Line::Other),
            (json!({"method": "m"}), Line::Other),
            (json!([1]), Line::Noise),
            (json!({"method": 7}), Line::Noise),
        ] {
            assert_eq!(parse(&line.to_string()), meant, "{line}");
        }
        assert_eq!(parse("starting up…"), Line::Noise);
    }

    #[test]
    fn what_is_written_is_one_line() {
        let written = request(7, "session/prompt", json!({"text": "two\nlines"})).unwrap();
        assert_eq!(written.matches('\n').count(), 1);
        let read: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(read["jsonrpc"], "2.0");
        assert_eq!(read["params"]["text"], "two\nlines");
        assert_eq!(notification("m", json!({})).unwrap(), "{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":{}}\n");
    }
}
