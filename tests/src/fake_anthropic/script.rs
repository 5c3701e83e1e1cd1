//! What the fake model says. A prompt names a scenario as `SCENARIO:name`, with an argument as `SCENARIO:name[[text]]`;
//! each tool result that comes back moves the scenario on by one step. The last name in the conversation counts, so a
//! resumed session can go on with another one.
//!
//! - `edit`: creates hello.txt, reads and edits README.md (which must hold `# scratch`), runs a command that prints its environment.
//! - `bash`: runs the argument as a command.
//! - `sleep`: starts commands that sleep for minutes, in the foreground, in the background and in a session of their
//!   own; all carry the argument in the environment variable [`MARK_VARIABLE`].
//! - `slow`: speaks for a long time and does nothing.
//! - `look`: writes a page, serves it, looks at it with the tool `screenshot`, and sends the argument, a file, with `send_image`.
//! - `looks`: the same page, as many times as the argument says, and sends nothing.
//! - `draw`: writes a picture and sends it with `send_image`.
//! - `ask`: asks the person a question with two answers.
//! - `err529`, `err401`: the API refuses, every time.
//! - anything else, or none: one line of text.

use serde_json::{Value, json};

use super::opencode;

/// The environment variable by which the processes of the `sleep` scenario are known from outside.
pub const MARK_VARIABLE: &str = "TEXTSLASH_TEST_MARK";

/// Writes a page and serves it until the run is over.
const SERVE_PAGE: &str = "printf '<h1>Hello</h1><p id=ready>of the page' > page.html; \
                          setsid python3 -m http.server 8123 --bind 127.0.0.1 > /dev/null 2>&1 & \
                          until (exec 3<>/dev/tcp/127.0.0.1/8123) 2> /dev/null; do sleep 0.1; done";

/// What the API answers to one request.
#[derive(Debug)]
pub(super) enum Turn {
    /// Content blocks, `slowly` word by word.
    Say { blocks: Vec<Value>, slowly: bool },
    /// An error of the API.
    Refuse { status: u16, kind: &'static str, message: &'static str },
}

/// The answer to a request for a message.
pub(super) fn next(request: &Value) -> Turn {
    let offers_tools = request["tools"].as_array().is_some_and(|tools| !tools.is_empty());
    let Some(place) = place(request) else { return say([text("Hello from the fake model. No scenario was named.")]) };
    match place.scenario.as_str() {
        "err529" => return Turn::Refuse { status: 529, kind: "overloaded_error", message: "Overloaded" },
        "err401" => return Turn::Refuse { status: 401, kind: "authentication_error", message: "invalid x-api-key" },
        _ => {}
    }
    // A request beside the conversation, such as one for a title.
    if !offers_tools {
        return say([text("A scripted conversation")]);
    }
    if place.scenario == "slow" {
        return Turn::Say { blocks: vec![text(&"tick ".repeat(600))], slowly: true };
    }
    let mut steps = steps(&place, &working_directory(request));
    if place.step >= steps.len() {
        return say([text("The scenario is over.")]);
    }
    let blocks = steps.swap_remove(place.step);
    say(if opencode::asks(request) { blocks.into_iter().map(opencode::translated).collect() } else { blocks })
}

struct Place {
    scenario: String,
    argument: String,
    step: usize,
}

/// The last scenario that the person named, and how many messages with tool results came after it.
fn place(request: &Value) -> Option<Place> {
    let mut place: Option<Place> = None;
    let messages = request["messages"].as_array()?;
    for message in messages.iter().filter(|message| message["role"] == "user") {
        for text in texts(&message["content"]) {
            if let Some((scenario, argument)) = named(text) {
                place = Some(Place { scenario, argument, step: 0 });
            }
        }
        let blocks = message["content"].as_array();
        let has_result = blocks.is_some_and(|blocks| blocks.iter().any(|block| block["type"] == "tool_result"));
        if let Some(place) = place.as_mut().filter(|_| has_result) {
            place.step += 1;
        }
    }
    place
}

fn named(text: &str) -> Option<(String, String)> {
    let (_, rest) = text.rsplit_once("SCENARIO:")?;
    let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (scenario, rest) = rest.split_at(length);
    let argument = rest.strip_prefix("[[").and_then(|rest| rest.split_once("]]")).map_or("", |(argument, _)| argument);
    (!scenario.is_empty()).then(|| (scenario.to_owned(), argument.to_owned()))
}

/// The texts of a content field, which is a text itself or a list of blocks.
fn texts(content: &Value) -> impl Iterator<Item = &str> {
    let blocks = content.as_array().into_iter().flatten();
    content.as_str().into_iter().chain(blocks.filter_map(|block| block["text"].as_str()))
}

/// Where the CLI says that it works: tools want absolute paths.
fn working_directory(request: &Value) -> String {
    let messages = request["messages"].as_array().into_iter().flatten();
    texts(&request["system"])
        .chain(messages.flat_map(|message| texts(&message["content"])))
        .find_map(|text| text.split_once("orking directory: "))
        .and_then(|(_, rest)| rest.lines().next())
        .map_or_else(|| "/the-request-names-no-working-directory".to_owned(), |line| line.trim().to_owned())
}

fn steps(place: &Place, directory: &str) -> Vec<Vec<Value>> {
    let argument = place.argument.as_str();
    match place.scenario.as_str() {
        "edit" => vec![
            vec![
                text("I'll create the file."),
                tool(
                    "Write",
                    json!({"file_path": format!("{directory}/hello.txt"), "content": "hello from the fake model\n"}),
                ),
            ],
            vec![text("Now reading README."), tool("Read", json!({"file_path": format!("{directory}/README.md")}))],
            vec![
                text("Editing README."),
                tool(
                    "Edit",
                    json!({"file_path": format!("{directory}/README.md"), "old_string": "# scratch",
                           "new_string": "# scratch edited", "replace_all": false}),
                ),
            ],
            vec![text("Running a command."), bash("cat hello.txt && git status --short && env")],
            vec![text("Done: created hello.txt and edited README.md.")],
        ],
        "bash" => vec![vec![bash(argument)], vec![text("The command has run.")]],
        "sleep" => {
            let command =
                format!("export {MARK_VARIABLE}='{argument}'; sleep 300 & setsid sleep 302 & sleep 301; wait");
            vec![vec![text("Sleeping."), bash(&command)], vec![text("Slept.")]]
        }
        "look" => {
            let draw = "printf '\\211PNG\\r\\n\\032\\n0000' > drawing.png";
            vec![
                vec![bash(&format!("{SERVE_PAGE}; {draw}"))],
                vec![screenshot()],
                vec![tool("mcp__vm__send_image", json!({"path": argument, "caption": "My drawing"}))],
                vec![text("That is how it looks.")],
            ]
        }
        "looks" => {
            let pictures = std::iter::repeat_n(vec![screenshot()], argument.parse().unwrap_or_default());
            let serve = vec![bash(SERVE_PAGE)];
            std::iter::once(serve).chain(pictures).chain([vec![text("That is how it looks.")]]).collect()
        }
        "draw" => vec![
            vec![bash("printf '\\211PNG\\r\\n\\032\\n0000' > drawing.png")],
            vec![tool("mcp__vm__send_image", json!({"path": "drawing.png", "caption": "My drawing"}))],
            vec![text("That is my drawing.")],
        ],
        "ask" => {
            let options = json!([{"label": "Red", "description": "warm"}, {"label": "Blue", "description": "cold"}]);
            let question =
                json!({"question": "Which colour?", "header": "Colour", "multiSelect": false, "options": options});
            vec![
                vec![tool("AskUserQuestion", json!({"questions": [question]}))],
                vec![text("Thank you for the answer.")],
            ]
        }
        _ => vec![vec![text("Hello from the fake model.")]],
    }
}

fn say(blocks: impl Into<Vec<Value>>) -> Turn {
    Turn::Say { blocks: blocks.into(), slowly: false }
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn tool(name: &str, input: Value) -> Value {
    json!({"type": "tool_use", "name": name, "input": input})
}

fn screenshot() -> Value {
    let page = json!({"url": "http://127.0.0.1:8123/page.html", "wait_for": "#ready", "caption": "My page"});
    tool("mcp__vm__screenshot", page)
}

fn bash(command: &str) -> Value {
    tool("Bash", json!({"command": command, "description": "Run a command", "timeout": 600_000}))
}
