//! The driver for agents that speak the Agent Client Protocol, before programs that do: what it does when the agent misbehaves.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use relay_core::id::RunId;
use relay_core::protocol::{Health, RunOutcome, VmEvent};

use crate::support::vm::{Vm, run};

const KEY: &str = "sk-ant-the-real-one";
const HELLO: &str = r#"read -r line; echo "$line" >> "$NOTES"; echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":1,"agentInfo":{"name":"Sheep","version":"7.1"},"agentCapabilities":{"loadSession":true,"mcpCapabilities":{"http":true}}}}'"#;
const NEW: &str =
    r#"read -r line; echo "$line" >> "$NOTES"; echo '{"jsonrpc":"2.0","id":2,"result":{"sessionId":"s-1"}}'"#;
const PROMPT: &str = r#"read -r line; echo "$line" >> "$NOTES""#;
const ASK: &str = r#"echo '{"jsonrpc":"2.0","id":"p","method":"session/request_permission","params":{"sessionId":"s-1","toolCall":{"toolCallId":"t1","kind":"edit","title":"x"},"options":[{"optionId":"yes","name":"Allow","kind":"allow_once"},{"optionId":"no","name":"Reject","kind":"reject_once"}]}}'"#;
const TOOL: &str = r#"echo '{"method":"session/update","params":{"sessionId":"s-1","update":{"sessionUpdate":"tool_call","toolCallId":"t1","title":"Counting sheep","kind":"other","status":"in_progress"}}}'"#;
const TOOL_OVER: &str = r#"echo '{"method":"session/update","params":{"sessionId":"s-1","update":{"sessionUpdate":"tool_call_update","toolCallId":"t1","status":"completed"}}}'"#;
const WORDS: &str = r#"echo '{"method":"session/update","params":{"sessionId":"s-1","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"All done."}}}}'"#;

/// The end of the turn, as the answer to a request of this number.
fn end(id: u32, reason: &str) -> String {
    format!(r#"echo '{{"jsonrpc":"2.0","id":{id},"result":{{"stopReason":"{reason}"}}}}'"#)
}

/// A VM whose agent is this shell script, and the file that the script may write notes to.
async fn vm_with(script: &str, settings: &[(&str, &str)]) -> (Vm, tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (program, notes) = (directory.path().join("agent"), directory.path().join("notes"));
    std::fs::write(&program, format!("#!/bin/sh\nNOTES={}\n{script}\n", notes.display())).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let driver = format!("acp:FLOCK='of sheep' {} --acp", program.display());
    // The notes lie outside of what a sandbox shows.
    let mut all = vec![("AGENT_DRIVER", driver.as_str()), ("AGENT_SANDBOX", "off")];
    all.extend(settings);
    (Vm::start(&all).await, directory, notes)
}

async fn failure(vm: &Vm, number: u64) -> String {
    let run = vm.prompt(number, "do it").await;
    match vm.relay.outcome(&run).await {
        RunOutcome::Failed { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

async fn answered(vm: &Vm, run: &RunId) {
    assert_eq!(vm.relay.outcome(run).await, RunOutcome::Answered { text: "All done.".to_owned() });
}

fn progress(event: VmEvent) -> Option<String> {
    match event {
        VmEvent::Progress { text } => Some(text),
        _ => None,
    }
}

#[tokio::test]
async fn another_agent_gets_the_task_a_token_and_an_address_but_no_secret() {
    let script = format!(
        "env >> \"$NOTES\"; echo \"$@\" >> \"$NOTES\"\n{HELLO}\n{NEW}\n{PROMPT}\n{WORDS}\n{}",
        end(3, "end_turn")
    );
    let (vm, _directory, notes) = vm_with(&script, &[("ANTHROPIC_API_KEY", KEY)]).await;
    let run = vm.prompt(1, "say \"hi\"").await;
    answered(&vm, &run).await;
    let notes = std::fs::read_to_string(notes).unwrap();
    for given in [
        r#"say \"hi\""#,
        "ANTHROPIC_API_KEY=run-",
        "ANTHROPIC_BASE_URL=http://127.0.0.1:",
        "FLOCK=of sheep",
        "\n--acp\n",
    ] {
        assert!(notes.contains(given), "{given} in {notes}");
    }
    // The tools are told with the session.
    assert!(notes.contains(r#""name":"vm","url":"http://127.0.0.1:"#), "{notes}");
    for secret in [KEY, "VM_SECRET", "a secret of the tests, long enough for one"] {
        assert!(!notes.contains(secret), "{secret} in {notes}");
    }
    let health: Health = vm.send("GET", "/health", Vec::new()).await.json().await.unwrap();
    assert_eq!((health.driver.as_str(), health.driver_version.as_deref()), ("acp", Some("Sheep 7.1")));
}

#[tokio::test]
async fn without_a_key_there_is_no_way_to_the_api_and_the_agent_works() {
    let script = format!("env >> \"$NOTES\"\n{HELLO}\n{NEW}\n{PROMPT}\n{WORDS}\n{}", end(3, "end_turn"));
    let (vm, _directory, notes) = vm_with(&script, &[]).await;
    let run = vm.prompt(1, "do it").await;
    answered(&vm, &run).await;
    assert!(!std::fs::read_to_string(notes).unwrap().contains("ANTHROPIC"));
}

/// What the agent tells of an earlier task while it loads the session is not told again.
#[tokio::test]
async fn the_session_is_loaded_and_a_lost_one_starts_anew() {
    let (old, unknown) =
        (WORDS.replace("All done.", "Old words."), r#"echo '{"id":2,"error":{"code":-32603,"message":"what?"}}'"#);
    let new = NEW.replace("\"id\":2", "\"id\":3");
    let script = format!(
        "{HELLO}\nread -r line; echo \"$line\" >> \"$NOTES\"\ncase $line in\n\
         *session/load*) if [ -e \"$NOTES.lost\" ]; then {unknown}; {new}; LAST=4; else {old}; echo '{{\"id\":2,\"result\":{{}}}}'; LAST=3; fi ;;\n\
         *) echo '{{\"id\":2,\"result\":{{\"sessionId\":\"s-1\"}}}}'; LAST=3 ;;\nesac\n\
         {PROMPT}\n{WORDS}\necho '{{\"id\":'$LAST',\"result\":{{\"stopReason\":\"end_turn\"}}}}'"
    );
    let (vm, directory, notes) = vm_with(&script, &[]).await;
    for number in [1, 2] {
        let run = vm.prompt(number, "do it").await;
        answered(&vm, &run).await;
    }
    std::fs::write(directory.path().join("notes.lost"), "").unwrap();
    let third = vm.prompt(3, "third").await;
    answered(&vm, &third).await;
    assert!(vm.relay.event(&third, 0, progress).await.contains("session is gone"));
    let notes = std::fs::read_to_string(notes).unwrap();
    let methods: Vec<&str> = notes
        .lines()
        .filter_map(|line| ["session/new", "session/load"].into_iter().find(|method| line.contains(method)))
        .collect();
    assert_eq!(methods, ["session/new", "session/load", "session/load", "session/new"]);
}

#[tokio::test]
async fn another_agent_that_does_not_listen_is_cancelled_all_the_same() {
    let script = format!("trap '' TERM INT\n{HELLO}\n{NEW}\n{PROMPT}\n{TOOL}\nwhile :; do sleep 1; done");
    let (vm, _directory, _) = vm_with(&script, &[]).await;
    let run = vm.prompt(1, "do it").await;
    assert_eq!(vm.relay.event(&run, 0, progress).await, "🔧 Counting sheep");
    vm.cancel(&run).await;
    assert_eq!(vm.relay.outcome(&run).await, RunOutcome::Cancelled);
    assert_eq!(vm.processes(&run), Vec::<String>::new());
}

#[tokio::test]
async fn another_agent_is_asked_to_cancel_before_it_is_made_to() {
    let script = format!("{HELLO}\n{NEW}\n{PROMPT}\n{TOOL}\n{PROMPT}\n{}\n{PROMPT}", end(3, "cancelled"));
    let (vm, _directory, notes) = vm_with(&script, &[]).await;
    let run = vm.prompt(1, "do it").await;
    vm.relay.event(&run, 0, progress).await;
    vm.cancel(&run).await;
    assert_eq!(vm.relay.outcome(&run).await, RunOutcome::Cancelled);
    assert!(std::fs::read_to_string(notes).unwrap().contains("session/cancel"));
}

#[tokio::test]
async fn noise_giants_and_wishes_do_not_confuse_the_driver_of_another_agent() {
    let giant = "head -c 20000000 /dev/zero | tr '\\0' x; echo";
    let wish = r#"echo '{"jsonrpc":"2.0","id":"w","method":"fs/read_text_file","params":{"path":"/etc/passwd"}}'"#;
    let news =
        r#"echo '{"method":"session/update","params":{"sessionId":"s-1","update":{"sessionUpdate":"telepathy"}}}'"#;
    let script = format!(
        "echo starting\n{HELLO}\n{NEW}\n{PROMPT}\necho '[1]'\n{giant}\n{news}\n{wish}\n{PROMPT}\n{WORDS}\n{}",
        end(3, "end_turn")
    );
    let (vm, _directory, notes) = vm_with(&script, &[]).await;
    let run = vm.prompt(1, "do it").await;
    answered(&vm, &run).await;
    let notes = std::fs::read_to_string(notes).unwrap();
    let refusal = notes.lines().last().unwrap();
    assert!(refusal.contains(r#""id":"w""#) && refusal.contains("-32601"), "{refusal}");
}

#[tokio::test]
async fn what_is_wrong_with_another_agent_is_told_in_words() {
    let version = r#"read -r line; echo '{"id":1,"result":{"protocolVersion":9}}'"#;
    let login = r#"read -r line; echo '{"id":2,"error":{"code":-32000,"message":"Authentication required"}}'"#;
    let refused = format!("{HELLO}\n{NEW}\n{PROMPT}\n{}", end(3, "refusal"));
    for (script, words) in [
        ("echo broken pipe dream >&2; exit 3", "broken pipe dream"),
        (version, "speaks version 9"),
        (&format!("{HELLO}\n{login}"), "not logged in"),
        (&refused, "refuses to do that"),
    ] {
        let (vm, _directory, _) = vm_with(script, &[]).await;
        let reason = failure(&vm, 1).await;
        assert!(reason.contains(words), "{reason}");
        assert_eq!(vm.processes(&run(1)), Vec::<String>::new());
    }
    let vm = Vm::start(&[("AGENT_DRIVER", "acp:no-such-agent acp")]).await;
    let reason = failure(&vm, 1).await;
    assert!(reason.contains("no-such-agent") && reason.contains("AGENT_DRIVER"), "{reason}");
}

#[tokio::test]
async fn another_agent_that_hangs_is_stopped_and_one_whose_tool_takes_long_is_not() {
    let settings = [("AGENT_SILENCE_TIMEOUT_MS", "700")];
    let (vm, _directory, _) = vm_with(&format!("{HELLO}\n{NEW}\n{PROMPT}\nsleep 600"), &settings).await;
    assert!(failure(&vm, 1).await.contains("said nothing for"));
    assert_eq!(vm.processes(&run(1)), Vec::<String>::new());
    let script = format!("{HELLO}\n{NEW}\n{PROMPT}\n{TOOL}\nsleep 1.5\n{TOOL_OVER}\n{WORDS}\n{}", end(3, "end_turn"));
    let (vm, _directory, _) = vm_with(&script, &settings).await;
    let run = vm.prompt(1, "do it").await;
    answered(&vm, &run).await;
}

#[tokio::test]
async fn what_nobody_allows_is_rejected() {
    let script = format!("{HELLO}\n{NEW}\n{PROMPT}\n{ASK}\n{PROMPT}\n{WORDS}\n{}", end(3, "end_turn"));
    let (vm, _directory, notes) = vm_with(&script, &[("INQUIRY_TIMEOUT_MS", "200")]).await;
    let run = vm.prompt(1, "do it").await;
    answered(&vm, &run).await;
    let notes = std::fs::read_to_string(notes).unwrap();
    let answer = notes.lines().last().unwrap();
    assert!(answer.contains(r#""outcome":"selected","optionId":"no""#), "{answer}");
}

/// A tool that was announced and then refused is not at work: silence after that is silence.
#[tokio::test]
async fn another_agent_that_hangs_after_a_no_is_stopped() {
    let script = format!("{HELLO}\n{NEW}\n{PROMPT}\n{TOOL}\n{ASK}\n{PROMPT}\nsleep 600");
    let settings = [("AGENT_SILENCE_TIMEOUT_MS", "700"), ("INQUIRY_TIMEOUT_MS", "200")];
    let (vm, _directory, _) = vm_with(&script, &settings).await;
    assert!(failure(&vm, 1).await.contains("said nothing for"));
}
