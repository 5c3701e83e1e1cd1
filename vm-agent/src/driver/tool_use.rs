//! A tool that the agent uses, from its beginning to its end: as a span of the run's trace, and measured.

use std::collections::HashMap;
use std::time::Instant;

use tracing::Span;

use crate::metrics::metrics;

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
        let span = tracing::info_span!(
            "execute_tool",
            otel.name = format!("execute_tool {name}"),
            gen_ai.operation.name = "execute_tool",
            gen_ai.tool.name = name,
            gen_ai.tool.call.id = id,
        );
        let tool = ToolUse { name: name.to_owned(), began: Instant::now(), _span: span };
        self.0.insert(id.to_owned(), tool);
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
