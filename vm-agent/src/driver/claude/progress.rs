//! What people see of the agent's work: its words as they are, its tools as one short line each.

use std::path::Path;

use relay_core::protocol::PROGRESS_CHARS_MAX;
use serde_json::Value;

use super::stream::Block;
use crate::text::{clip, first_line};

/// Characters of a command, a path or a pattern in one line.
pub(in crate::driver) const DETAIL_CHARS_MAX: usize = 120;

/// Turns blocks into lines for the chat. The newest words are held back until something follows them, because the last
/// ones come again as the run's result.
#[derive(Debug)]
pub struct Progress<'a> {
    worktree: &'a Path,
    held: Option<String>,
}

impl<'a> Progress<'a> {
    /// Paths inside `worktree` are shown relative to it.
    pub fn new(worktree: &'a Path) -> Self {
        Self { worktree, held: None }
    }

    /// What to tell now that `block` has come.
    pub fn next(&mut self, block: &Block) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        match block {
            Block::Text(text) if text.trim().is_empty() => {}
            Block::Text(text) => lines.extend(self.held.replace(clip(text, PROGRESS_CHARS_MAX))),
            Block::Tool { name, input, .. } => {
                if let Some(line) = self.tool(name, input) {
                    lines.extend(self.held.take());
                    lines.push(line);
                }
            }
        }
        lines
    }

    fn tool(&self, name: &str, input: &Value) -> Option<String> {
        let field = |field| input.get(field).and_then(Value::as_str).unwrap_or_default();
        let detail = |field_name| first_line(field(field_name), DETAIL_CHARS_MAX);
        Some(match name {
            "Write" => format!("📝 Writing {}", self.path(field("file_path"))),
            "Edit" | "MultiEdit" => format!("✏️ Editing {}", self.path(field("file_path"))),
            "NotebookEdit" => format!("✏️ Editing {}", self.path(field("notebook_path"))),
            "Read" => format!("📖 Reading {}", self.path(field("file_path"))),
            "Bash" => format!("▶️ {}", command_from(self.worktree, field("command"))),
            "Grep" | "Glob" => format!("🔎 Searching {}", detail("pattern")),
            "WebFetch" => format!("🌐 {}", detail("url")),
            "WebSearch" => format!("🌐 {}", detail("query")),
            "Task" | "Agent" => format!("🤖 {}", detail("description")),
            "mcp__vm__screenshot" => format!("📸 {}", detail("url")),
            // The question and the picture say it.
            "TodoWrite" | "ToolSearch" | "AskUserQuestion" | "mcp__vm__send_image" => return None,
            other => format!("🔧 {}", clip(other, DETAIL_CHARS_MAX)),
        })
    }

    fn path(&self, path: &str) -> String {
        path_from(self.worktree, Path::new(path))
    }
}

/// A path as people see it from the worktree.
pub(in crate::driver) fn path_from(worktree: &Path, path: &Path) -> String {
    clip(&path.strip_prefix(worktree).unwrap_or(path).to_string_lossy(), DETAIL_CHARS_MAX)
}

/// The first line of a command as people see it from the worktree.
pub(in crate::driver) fn command_from(worktree: &Path, command: &str) -> String {
    let worktree = worktree.to_string_lossy();
    first_line(command, DETAIL_CHARS_MAX).replace(&format!("{worktree}/"), "").replace(&*worktree, ".")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(name: &str, input: Value) -> Block {
        Block::Tool { id: String::new(), name: name.to_owned(), input }
    }

    #[test]
    fn tools_read_as_one_short_line() {
        let mut progress = Progress::new(Path::new("/data/w"));
        for (block, line) in [
            (tool("Edit", json!({"file_path": "/data/w/src/a.rs"})), "✏️ Editing src/a.rs"),
            (tool("Write", json!({"file_path": "/etc/passwd"})), "📝 Writing /etc/passwd"),
            (tool("Bash", json!({"command": "\ncd /data/w && ls /data/w/x\nrm y"})), "▶️ cd . && ls x"),
            (tool("mcp__vm__screenshot", json!({"url": "http://localhost:3000"})), "📸 http://localhost:3000"),
            (tool("mcp__other__tool", json!({})), "🔧 mcp__other__tool"),
            (tool("Read", json!({"file_path": 7})), "📖 Reading "),
        ] {
            assert_eq!(progress.next(&block), [line]);
        }
        assert!(progress.next(&tool("TodoWrite", json!({}))).is_empty());
    }

    #[test]
    fn the_last_words_are_held_back_for_the_result() {
        let mut progress = Progress::new(Path::new("/w"));
        let text = |text: &str| Block::Text(text.to_owned());
        assert!(progress.next(&text("I will look.")).is_empty());
        assert_eq!(progress.next(&tool("Bash", json!({"command": "ls"}))), ["I will look.", "▶️ ls"]);
        assert!(progress.next(&text("First.")).is_empty());
        assert_eq!(progress.next(&text("Done.")), ["First."]);
        assert!(progress.next(&text("  ")).is_empty());
    }
}
