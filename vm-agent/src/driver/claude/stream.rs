//! What Claude Code writes with `--output-format stream-json`, line by line: a pure reading of each line, which no line can
//! break. Unknown types and fields are for a newer version than this was written for, and are passed over.
//!
//! Whether a run failed is read from `is_error`, never from `subtype`: a failed call to the API ends with the subtype
//! `success`.

use serde::Deserialize;
use serde_json::Value;
use tracing::Span;

/// One line of output.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// A session begins (at every turn).
    Init {
        /// Its id, a UUID.
        session: String,
    },
    /// The agent said or does something.
    Assistant(Vec<Block>),
    /// A call to the API failed and will be tried again.
    ApiRetry {
        /// The HTTP status, when there was an answer.
        status: Option<u16>,
    },
    /// A tool may not be used before somebody has said so.
    Request {
        /// What the answer names.
        id: String,
        /// The tool.
        tool: String,
        /// What it is to be used with.
        input: Value,
    },
    /// Tools have ended; their ids.
    ToolResults(Vec<String>),
    /// The turn is over.
    Result(TurnResult),
    /// Anything else: JSON of another type.
    Other,
    /// Not JSON.
    Noise,
}

/// A part of what the agent says.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// Words for people.
    Text(String),
    /// A tool at work.
    Tool {
        /// What its result is known by.
        id: String,
        /// Its name.
        name: String,
        /// What it was called with.
        input: Value,
    },
}

/// How a turn ended.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TurnResult {
    /// Whether it failed.
    pub is_error: bool,
    /// The agent's last words, or the API's error.
    pub result: Option<String>,
    /// What went wrong, when it was not the API.
    pub errors: Vec<String>,
    /// Why it ended: `completed`, `api_error`, `max_turns`, `aborted_tools`, …
    pub terminal_reason: Option<String>,
    /// The API's HTTP status, when that was the reason.
    pub api_error_status: Option<u16>,
    /// Calls to the model.
    pub num_turns: u64,
    /// Cost of the session so far, in US dollars.
    pub total_cost_usd: f64,
    /// Tokens of this turn.
    pub usage: Usage,
}

/// Tokens that the model read and wrote.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Read, and not in its cache.
    pub input_tokens: u64,
    /// Written.
    pub output_tokens: u64,
    /// Read from its cache.
    pub cache_read_input_tokens: u64,
    /// Read, and put into its cache.
    pub cache_creation_input_tokens: u64,
}

impl Usage {
    /// New, written, from the cache, into the cache.
    pub fn counts(&self) -> [u64; 4] {
        [self.input_tokens, self.output_tokens, self.cache_read_input_tokens, self.cache_creation_input_tokens]
    }

    /// Tell it in the run's span, where everything that was read is its input, from the cache or not.
    pub fn record(&self, span: &Span) {
        let (from_cache, into_cache) = (self.cache_read_input_tokens, self.cache_creation_input_tokens);
        span.record(
            "gen_ai.usage.input_tokens",
            self.input_tokens.saturating_add(from_cache).saturating_add(into_cache),
        );
        span.record("gen_ai.usage.output_tokens", self.output_tokens);
        span.record("gen_ai.usage.cache_read.input_tokens", from_cache);
        span.record("gen_ai.usage.cache_creation.input_tokens", into_cache);
    }
}

/// What a turn's end means for the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done, with these last words.
    Done(String),
    /// The session to go on with is not known here.
    UnknownSession,
    /// Failed, for this reason, in words for people.
    Failed(String),
}

/// What people read when the API does not accept the key.
pub const KEY_REFUSED: &str =
    "The API key was refused by the Anthropic API. Check ANTHROPIC_API_KEY on the VM, then send the task again.";

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    subtype: Option<String>,
    session_id: Option<String>,
    parent_tool_use_id: Option<String>,
    error_status: Option<u16>,
    message: Option<Value>,
}

/// Read one line.
pub fn parse(line: &str) -> Line {
    let Ok(value) = serde_json::from_str::<Value>(line) else { return Line::Noise };
    let Ok(envelope) = Envelope::deserialize(&value) else { return Line::Other };
    match (envelope.kind.as_str(), envelope.subtype.as_deref()) {
        ("system", Some("init")) => {
            envelope.session_id.filter(|id| is_uuid(id)).map_or(Line::Other, |session| Line::Init { session })
        }
        ("system", Some("api_retry")) => Line::ApiRetry { status: envelope.error_status },
        // What a sub-agent says is for the agent that asked it.
        ("assistant", _) if envelope.parent_tool_use_id.is_none() => {
            Line::Assistant(blocks(envelope.message.as_ref().unwrap_or(&Value::Null)))
        }
        ("user", _) => {
            let ended = tool_results(envelope.message.as_ref().unwrap_or(&Value::Null));
            if ended.is_empty() { Line::Other } else { Line::ToolResults(ended) }
        }
        ("control_request", _) => request(&value).unwrap_or(Line::Other),
        ("result", _) => TurnResult::deserialize(&value).map_or_else(|_| unreadable_result(&value), Line::Result),
        _ => Line::Other,
    }
}

/// `{"type": "control_request", "request_id": …, "request": {"subtype": "can_use_tool", "tool_name": …, "input": …}}`
fn request(value: &Value) -> Option<Line> {
    let (id, request) = (value.get("request_id")?.as_str()?, value.get("request")?);
    let tool = request.get("tool_name")?.as_str()?.to_owned();
    let is_use = request.get("subtype")?.as_str()? == "can_use_tool";
    is_use.then(|| Line::Request { id: id.to_owned(), tool, input: request.get("input").cloned().unwrap_or_default() })
}

/// Whether `text` is a UUID as RFC 9562 writes it. The id of a session becomes an argument of the program, and a line of
/// output may be anyone's: whatever the agent started can write to it.
pub(super) fn is_uuid(text: &str) -> bool {
    let is_hex = |group: &str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(|group| is_hex(group))
}

/// A result whose fields have changed their types is still the end of the turn.
fn unreadable_result(value: &Value) -> Line {
    let is_error = value.get("is_error").and_then(Value::as_bool).unwrap_or(true);
    let result = value.get("result").and_then(Value::as_str).map(str::to_owned);
    Line::Result(TurnResult { is_error, result, ..TurnResult::default() })
}

fn tool_results(message: &Value) -> Vec<String> {
    let content = message.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let ids = content.iter().filter_map(|block| block.get("tool_use_id")?.as_str());
    ids.map(str::to_owned).collect()
}

fn blocks(message: &Value) -> Vec<Block> {
    let content = message.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    content.iter().filter_map(block).collect()
}

fn block(value: &Value) -> Option<Block> {
    let text = |field| value.get(field).and_then(Value::as_str).map(str::to_owned);
    match value.get("type")?.as_str()? {
        "text" => Some(Block::Text(text("text")?)),
        "tool_use" => Some(Block::Tool {
            id: text("id").unwrap_or_default(),
            name: text("name")?,
            input: value.get("input").cloned().unwrap_or_default(),
        }),
        _ => None,
    }
}

/// Whether the API's answer means that trying again is of no use.
pub fn is_refusal(status: Option<u16>) -> bool {
    matches!(status, Some(401 | 403))
}

impl TurnResult {
    /// Cost of the session so far, in millionths of a US dollar.
    pub fn cost_microusd(&self) -> u64 {
        // No cost is that large; what is no number of dollars becomes zero or the largest there is.
        (self.total_cost_usd * 1e6).round() as u64
    }

    /// What this end means.
    pub fn verdict(&self) -> Verdict {
        if !self.is_error {
            return Verdict::Done(self.result.clone().unwrap_or_default());
        }
        if self.errors.iter().any(|error| error.starts_with("No conversation found")) {
            return Verdict::UnknownSession;
        }
        Verdict::Failed(self.reason())
    }

    fn reason(&self) -> String {
        let said = self.result.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| self.errors.join("; "));
        let said = if said.is_empty() { "it gave no reason".to_owned() } else { said };
        match self.terminal_reason.as_deref() {
            _ if is_refusal(self.api_error_status) => KEY_REFUSED.to_owned(),
            Some("max_turns") => {
                "The agent reached the limit of turns (MAX_TURNS) before it was done. Send a smaller task, or raise the limit."
                    .to_owned()
            }
            Some("budget_exhausted") => {
                "The agent reached the limit of cost (MAX_BUDGET_USD) before it was done. Send a smaller task, or raise the limit."
                    .to_owned()
            }
            Some("api_error") if said.starts_with("Not logged in") => KEY_REFUSED.to_owned(),
            Some("api_error") => format!("The Anthropic API did not answer the agent: {said}"),
            Some(reason) if reason.starts_with("aborted") => "The agent was interrupted before it was done.".to_owned(),
            _ => format!("The agent stopped before it was done: {said}"),
        }
    }
}

#[cfg(test)]
mod tests;
