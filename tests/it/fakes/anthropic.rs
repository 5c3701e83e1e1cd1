use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use system_tests::fake_anthropic::FakeAnthropic;
use system_tests::fake_anthropic::script::MARK_VARIABLE;
use system_tests::peers::claude_path;
use system_tests::process::{Process, descendants_alive, kill_descendants};
use system_tests::wait::wait_for;
use tokio::time::timeout;

use super::{BOUND, client};

const KEY: &str = "sk-ant-not-a-real-key";

async fn ask(fake: &FakeAnthropic, request: &Value) -> reqwest::Response {
    let url = format!("{}/v1/messages?beta=true", fake.url());
    client().post(url).header("x-api-key", KEY).json(request).send().await.expect("the fake answers")
}

fn request(messages: Value) -> Value {
    let system = [json!({"type": "text", "text": "Environment\nPrimary working directory: /repo\nPlatform: linux"})];
    json!({"model": "claude-x", "stream": false, "tools": [{"name": "Write"}], "system": system, "messages": messages})
}

#[tokio::test]
async fn a_tool_result_moves_the_scenario_on() {
    let fake = FakeAnthropic::start().await;
    let prompt = json!({"role": "user", "content": "please SCENARIO:edit now"});
    let first: Value = ask(&fake, &request(json!([prompt]))).await.json().await.expect("JSON");
    assert_eq!(first["stop_reason"], "tool_use");
    assert_eq!(first["content"][1]["name"], "Write");
    assert_eq!(first["content"][1]["input"]["file_path"], "/repo/hello.txt");

    let result = json!({"type": "tool_result", "tool_use_id": first["content"][1]["id"], "content": "ok"});
    let going_on =
        json!([prompt, {"role": "assistant", "content": first["content"]}, {"role": "user", "content": [result]}]);
    let second: Value = ask(&fake, &request(going_on)).await.json().await.expect("JSON");
    assert_eq!(second["content"][1]["name"], "Read");
}

#[tokio::test]
async fn the_last_named_scenario_counts() {
    let fake = FakeAnthropic::start().await;
    let messages = json!([
        {"role": "user", "content": [{"type": "text", "text": "SCENARIO:edit"}]},
        {"role": "assistant", "content": "done"},
        {"role": "user", "content": [{"type": "text", "text": "and SCENARIO:bash[[uname -a && id]]"}]},
    ]);
    let answer: Value = ask(&fake, &request(messages)).await.json().await.expect("JSON");
    assert_eq!(answer["content"][0]["input"]["command"], "uname -a && id");
}

#[tokio::test]
async fn errors_have_the_status_they_are_named_for() {
    let fake = FakeAnthropic::start().await;
    for (scenario, status, kind) in [("err529", 529, "overloaded_error"), ("err401", 401, "authentication_error")] {
        let answer = ask(&fake, &request(json!([{"role": "user", "content": format!("SCENARIO:{scenario}")}]))).await;
        assert_eq!(answer.status().as_u16(), status);
        assert_eq!(answer.json::<Value>().await.expect("JSON")["error"]["type"], kind);
    }
}

/// The real CLI at work on `prompt` in a repository that holds README.md, both in `place`.
fn real_cli(fake: &FakeAnthropic, place: &Path, prompt: &str) -> Process {
    let text = |path: &Path| path.to_str().expect("a temporary path is UTF-8").to_owned();
    let (home, repo, claude) = (text(&place.join("home")), text(&place.join("repo")), text(&claude_path()));
    fs::create_dir_all(&home).expect("a home");
    fs::create_dir_all(&repo).expect("a repository");
    fs::write(place.join("repo/README.md"), "# scratch\n").expect("a README");
    let args = ["-C", &repo, &claude, "-p", prompt, "--output-format", "stream-json", "--verbose"];
    let args = [&args[..], &["--permission-mode", "bypassPermissions", "--setting-sources", "user"]].concat();
    let url = fake.url();
    let vars = [
        ("PATH", "/usr/bin:/bin"),
        ("HOME", &home),
        ("IS_SANDBOX", "1"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("ANTHROPIC_BASE_URL", &url),
        ("ANTHROPIC_API_KEY", KEY),
    ];
    Process::start(Path::new("/usr/bin/env"), &args, &vars)
}

#[tokio::test]
async fn the_real_cli_edits_files_and_runs_a_command_with_it() {
    let fake = FakeAnthropic::start().await;
    let place = tempfile::tempdir().expect("a temporary directory");
    let mut cli = real_cli(&fake, place.path(), "SCENARIO:edit");
    let result = cli.wait_for_line("\"type\":\"result\"", BOUND).await;
    assert!(result.contains("Done: created hello.txt and edited README.md."), "{result}");
    assert!(cli.exited(BOUND).await.success());

    let read = |name: &str| fs::read_to_string(place.path().join("repo").join(name)).expect("the file is there");
    assert_eq!(read("hello.txt"), "hello from the fake model\n");
    assert_eq!(read("README.md"), "# scratch edited\n");
    let messages = fake.messages();
    assert_eq!(messages.len(), 5, "one request for each step");
    assert!(messages.iter().all(|message| message.header("x-api-key") == Some(KEY)));
    let last = messages.last().expect("there are five");
    assert!(last.mentions("hello from the fake model"), "the command's output goes back to the model");
}

#[tokio::test]
async fn the_sleep_scenario_leaves_processes_when_the_real_cli_is_killed() {
    let fake = FakeAnthropic::start().await;
    let place = tempfile::tempdir().expect("a temporary directory");
    let mark = format!("sleep-scenario-{}", std::process::id());
    let carry = format!("{MARK_VARIABLE}={mark}");
    let mut cli = real_cli(&fake, place.path(), &format!("SCENARIO:sleep[[{mark}]]"));
    let sleeps =
        || descendants_alive(&carry).into_iter().filter(|process| process.contains("sleep 30")).collect::<Vec<_>>();
    wait_for("three sleeps", BOUND, async || Some(sleeps()).filter(|found| found.len() == 3).ok_or_else(sleeps)).await;
    cli.kill().await;
    let left = sleeps();
    kill_descendants(&carry);
    assert_eq!(left.len(), 3, "without a sweep they live on: {left:?}");
    wait_for("none", BOUND, async || if sleeps().is_empty() { Ok(()) } else { Err(sleeps()) }).await;
}

#[tokio::test]
async fn the_slow_scenario_speaks_at_once_and_goes_on() {
    let fake = FakeAnthropic::start().await;
    let mut slow = request(json!([{"role": "user", "content": "SCENARIO:slow"}]));
    slow["stream"] = json!(true);
    let mut answer = ask(&fake, &slow).await;
    let mut heard = String::new();
    while !heard.contains("tick ") {
        let chunk = answer.chunk().await.expect("the stream holds").expect("it has not ended");
        heard.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(heard.starts_with("event: message_start\n"), "{heard}");
    let rest = timeout(Duration::from_secs(1), answer.bytes()).await;
    assert!(rest.is_err(), "it still speaks after a second");
}
