//! The tools of the scripts as opencode names them, where Claude Code's names are unknown.

use serde_json::{Value, json};

/// What opencode calls a tool of Claude Code, and its parameters where they are named differently.
const TOOLS: [(&str, &str); 6] = [
    ("Write", "write"),
    ("Edit", "edit"),
    ("Read", "read"),
    ("Bash", "bash"),
    ("mcp__vm__screenshot", "vm_screenshot"),
    ("mcp__vm__send_image", "vm_send_image"),
];
const PARAMETERS: [(&str, &str); 4] = [
    ("file_path", "filePath"),
    ("old_string", "oldString"),
    ("new_string", "newString"),
    ("replace_all", "replaceAll"),
];

/// Whether a request comes from opencode: by a tool that it offers.
pub(super) fn asks(request: &Value) -> bool {
    request["tools"].as_array().is_some_and(|tools| tools.iter().any(|tool| tool["name"] == "bash"))
}

/// The same content block in opencode's words.
pub(super) fn translated(mut block: Value) -> Value {
    let name = TOOLS.iter().find(|(claude, _)| block["name"] == *claude);
    if let (Some((_, name)), Some(input)) = (name, block["input"].as_object()) {
        let parameter = |name: &String| match PARAMETERS.iter().find(|(claude, _)| name == claude) {
            Some((_, opencode)) => (*opencode).to_owned(),
            None => name.clone(),
        };
        block["input"] = input.iter().map(|(name, value)| (parameter(name), value.clone())).collect();
        block["name"] = json!(name);
    }
    block
}
