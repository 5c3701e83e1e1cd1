//! A tool that the agent uses, from its beginning to its end: as a span of the run's trace, and measured.

use std::collections::HashMap;
use std::time::Instant;

use tracing::Span;

use crate::metrics::metrics;
use crate::text::clip;

/// Tools at work at once at most; of more nothing is noted.
const AT_ONCE_MAX: usize = 256;
const NAME_CHARS_MAX: usize = 64;

/// Tools at work, by what their results are known by. What is still there when the agent ends ends with it.
#[derive(Debug, Default)]
pub(super) struct ToolUses(HashMap<String, ToolUse>);

#[derive(Debug)]
struct ToolUse {
    name: String,
    began: Instant,
    _span: Span,
}

impl ToolUses {
    /// A tool begins.
    pub(super) fn begin(&mut self, id: &str, name: &str) {
        // What the agent writes is anybody's.
        let (name, id) = (clip(name, NAME_CHARS_MAX), id.to_owned());
        if self.0.len() >= AT_ONCE_MAX {
            return;
        }
        let span = tracing::info_span!(
            "execute_tool",
            otel.name = format!("execute_tool {name}"),
            gen_ai.operation.name = "execute_tool",
            gen_ai.tool.name = name,
            gen_ai.tool.call.id = clip(&id, NAME_CHARS_MAX),
        );
        self.0.insert(id, ToolUse { name, began: Instant::now(), _span: span });
    }

    /// It has ended.
    pub(super) fn end(&mut self, id: &str) {
        if let Some(ToolUse { name, began, .. }) = self.0.remove(id) {
            metrics().tool_used(&name, began.elapsed());
        }
    }

    /// Whether none is at work.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
