//! What people see of the agent's work, from what it tells of its session: its words as they are, its tools as one short line each.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use agent_client_protocol_schema::v1::{
    ContentBlock, MessageId, SessionUpdate, ToolCallId, ToolCallLocation, ToolCallStatus, ToolCallUpdate, ToolKind,
    UsageUpdate,
};
use relay_core::protocol::{ANSWER_CHARS_MAX, PROGRESS_CHARS_MAX};
use serde_json::Value;

use crate::driver::AgentEvent;
use crate::driver::claude::progress::{DETAIL_CHARS_MAX, command_from, path_from};
use crate::driver::inquirer::Detail;
use crate::text::{clip, first_line};

/// Bytes of one message that are kept; people are shown less.
const WORDS_BYTES_MAX: usize = 4 * ANSWER_CHARS_MAX;
/// Tools that are known at the same time at most.
const TOOLS_MAX: usize = 256;
/// Characters of what a tool is used with.
const INPUT_CHARS_MAX: usize = 400;

/// Turns what an agent tells into events. The newest words are held back until something follows them, because the last ones
/// are the run's result.
#[derive(Debug)]
pub struct Progress<'a> {
    worktree: &'a Path,
    words: String,
    message: Option<MessageId>,
    tools: HashMap<ToolCallId, Tool>,
}

/// What is known of a tool by now.
#[derive(Debug, Default)]
struct Tool {
    kind: ToolKind,
    title: String,
    path: Option<PathBuf>,
    input: Input,
    is_told: bool,
    is_over: bool,
}

/// What a tool is used with, as far as people are shown it.
#[derive(Debug, Default)]
struct Input {
    command: Option<Detail>,
    pattern: Option<String>,
    url: Option<String>,
    all: Detail,
}

impl<'a> Progress<'a> {
    /// Paths inside `worktree` are shown relative to it.
    pub fn new(worktree: &'a Path) -> Self {
        Self { worktree, words: String::new(), message: None, tools: HashMap::new() }
    }

    /// What to tell now that this has come.
    pub fn next(&mut self, update: SessionUpdate) -> Vec<AgentEvent> {
        match update {
            SessionUpdate::AgentMessageChunk(chunk) => match chunk.content {
                ContentBlock::Text(text) => self.say(chunk.message_id, &text.text),
                _ => Vec::new(),
            },
            SessionUpdate::ToolCall(call) => {
                let status = call.status;
                self.tool(call.into(), Some(status))
            }
            SessionUpdate::ToolCallUpdate(call) => {
                let status = call.fields.status;
                self.tool(call, status)
            }
            SessionUpdate::UsageUpdate(usage) => cost(&usage).map(AgentEvent::Cost).into_iter().collect(),
            // Thoughts, plans, commands and modes; and what is newer than this.
            _ => Vec::new(),
        }
    }

    /// What to tell before the person is asked whether this may be done, and the question.
    pub fn ask(&mut self, call: ToolCallUpdate) -> (Vec<AgentEvent>, String) {
        let id = call.tool_call_id.clone();
        let told = self.take_words();
        let worktree = self.worktree;
        let mut unknown = Tool::default();
        unknown.learn(&call);
        let tool = match self.known(id) {
            Some(known) => {
                known.learn(&call);
                known
            }
            None => &mut unknown,
        };
        // The question says it.
        tool.is_told = true;
        (told, tool.question(worktree))
    }

    /// The person did not allow it, so it does not begin.
    pub fn refused(&mut self, id: &ToolCallId) {
        if let Some(tool) = self.tools.get_mut(id) {
            tool.is_over = true;
        }
    }

    /// Whether a tool is at work.
    pub fn is_at_work(&self) -> bool {
        self.tools.values().any(|tool| !tool.is_over)
    }

    /// What was said last, and not told.
    pub fn last_words(self) -> String {
        self.words.trim().to_owned()
    }

    fn say(&mut self, message: Option<MessageId>, text: &str) -> Vec<AgentEvent> {
        let is_another = message.is_some() && self.message.is_some() && message != self.message;
        let told = if is_another { self.take_words() } else { Vec::new() };
        self.message = message.or_else(|| self.message.take());
        let room = WORDS_BYTES_MAX.saturating_sub(self.words.len());
        self.words.push_str(crate::text::head(text, room));
        told
    }

    fn take_words(&mut self) -> Vec<AgentEvent> {
        let words = std::mem::take(&mut self.words);
        let words = clip(&words, PROGRESS_CHARS_MAX);
        if words.is_empty() { Vec::new() } else { vec![AgentEvent::Progress(words)] }
    }

    fn tool(&mut self, call: ToolCallUpdate, status: Option<ToolCallStatus>) -> Vec<AgentEvent> {
        let worktree = self.worktree;
        let Some(tool) = self.known(call.tool_call_id.clone()) else { return Vec::new() };
        tool.learn(&call);
        match status {
            Some(ToolCallStatus::Completed | ToolCallStatus::Failed) => tool.is_over = true,
            // What was refused may be done in another way.
            Some(ToolCallStatus::InProgress) => tool.is_over = false,
            _ => {}
        }
        // One word is the tool's name; what it will be used with is still to come.
        let is_vague = matches!(status, None | Some(ToolCallStatus::Pending)) && !tool.title.trim().contains(' ');
        if tool.is_told || is_vague {
            return Vec::new();
        }
        tool.is_told = true;
        let line = tool.line(worktree);
        let mut told = if line.is_some() { self.take_words() } else { Vec::new() };
        told.extend(line.map(AgentEvent::Progress));
        told
    }

    /// One that was over is forgotten where there is no room for a new one.
    fn known(&mut self, id: ToolCallId) -> Option<&mut Tool> {
        if self.tools.len() >= TOOLS_MAX && !self.tools.contains_key(&id) {
            self.tools.retain(|_, tool| !tool.is_over);
        }
        let has_room = self.tools.len() < TOOLS_MAX || self.tools.contains_key(&id);
        has_room.then(|| self.tools.entry(id).or_default())
    }
}

impl Tool {
    fn learn(&mut self, call: &ToolCallUpdate) {
        let fields = &call.fields;
        if let Some(kind) = fields.kind {
            self.kind = kind;
        }
        if let Some(title) = &fields.title {
            self.title = first_line(title, DETAIL_CHARS_MAX);
        }
        if let Some(ToolCallLocation { path, .. }) = fields.locations.as_ref().and_then(|locations| locations.first()) {
            self.path = Some(path.clone());
        }
        if let Some(input) = &fields.raw_input {
            self.input = Input::of(input);
        }
    }

    fn line(&self, worktree: &Path) -> Option<String> {
        let path = || self.path.as_ref().map_or_else(|| self.title.clone(), |path| path_from(worktree, path));
        let or_title = |field: &Option<String>| command_from(worktree, field.as_deref().unwrap_or(&self.title));
        Some(match self.kind {
            ToolKind::Read => format!("📖 Reading {}", path()),
            ToolKind::Edit => format!("✏️ Editing {}", path()),
            ToolKind::Delete => format!("🗑️ Deleting {}", path()),
            ToolKind::Move => format!("🚚 Moving {}", path()),
            ToolKind::Search => format!("🔎 Searching {}", or_title(&self.input.pattern)),
            ToolKind::Execute => {
                format!("▶️ {}", or_title(&self.input.command.as_ref().map(|command| command.text.clone())))
            }
            ToolKind::Fetch => format!("🌐 {}", or_title(&self.input.url)),
            // The picture says it.
            _ if self.title.ends_with("send_image") => return None,
            _ if self.title.ends_with("screenshot") => format!("📸 {}", or_title(&self.input.url)),
            ToolKind::Think | ToolKind::SwitchMode => return None,
            _ => format!("🔧 {}", self.title),
        })
    }

    fn question(&self, worktree: &Path) -> String {
        let what = self.line(worktree).unwrap_or_else(|| self.title.clone());
        // All of a command, of which the line shows the beginning.
        let detail = self.input.command.as_ref().or(match self.kind {
            ToolKind::Read | ToolKind::Edit | ToolKind::Delete | ToolKind::Move => None,
            _ => Some(&self.input.all),
        });
        match detail {
            Some(detail) if !what.ends_with(&detail.text) => format!("May the agent do this?\n{what}\n{detail}"),
            _ => format!("May the agent do this?\n{what}"),
        }
    }
}

impl Input {
    fn of(input: &Value) -> Self {
        let text = |name: &str| input.get(name).and_then(Value::as_str).map(|text| clip(text, INPUT_CHARS_MAX));
        let command = input.get("command").and_then(Value::as_str);
        let command = command.map(|command| Detail::of(command, INPUT_CHARS_MAX));
        let all = if input.is_null() { Detail::default() } else { Detail::of(&input.to_string(), INPUT_CHARS_MAX) };
        Self { command, pattern: text("pattern"), url: text("url"), all }
    }
}

/// Cost of the session so far, in millionths of a US dollar. What an agent that has not counted yet calls nothing is not told.
fn cost(usage: &UsageUpdate) -> Option<u64> {
    let cost = usage.cost.as_ref().filter(|cost| cost.currency == "USD" && cost.amount > 0.0)?;
    // No cost is that large; what is no number of dollars becomes the largest there is.
    Some((cost.amount * 1e6).round() as u64)
}

#[cfg(test)]
mod tests;
