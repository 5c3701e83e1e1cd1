//! What the users of `deploy/redis/users.acl` can do: the relay its work, a VM nothing but to report.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;

use relay_core::id::ConversationId;
use relay_core::store::redis::publish::Publisher;
use relay_core::store::redis::{RedisStore, acl, keys};
use relay_core::testing::conformance;
use sha2::{Digest, Sha256};

use super::{Server, answers, report};

const USERS: &str = include_str!("../../../../deploy/redis/users.acl");
const RELAY_PASSWORD: &str = "the-relays-p%ssw@rd";
const VM_PASSWORD: &str = "the-vms-p:ssw/rd";
/// All that a VM's user may do at all, as `ACL CAT` and `COMMAND LIST` call it; what needs no rule is listed by Redis itself.
const VM_MAY: [&str; 6] = ["rpush", "llen", "publish", "ping", "select", "client|id"];
/// Open to whoever has a connection, whatever the rules say.
const ANYBODY_MAY: [&str; 4] = ["auth", "hello", "quit", "reset"];

fn hash(password: &str) -> String {
    hex::encode(Sha256::digest(password))
}

/// A server with the users of the file, and one VM for a single conversation beside them.
fn server(folder: &tempfile::TempDir, conversation: &ConversationId) -> Server {
    let users =
        USERS.replace("RELAY_PASSWORD_SHA256", &hash(RELAY_PASSWORD)).replace("VM_PASSWORD_SHA256", &hash(VM_PASSWORD));
    let own =
        acl::vm_line(keys::NAMESPACE, "own", &format!("#{}", hash(VM_PASSWORD)), std::slice::from_ref(conversation));
    let path = folder.path().join("users.acl");
    fs::write(&path, format!("{users}{own}\n")).unwrap();
    Server::start_with(&["--aclfile", path.to_str().unwrap()])
}

fn as_user(server: &Server, user: &str, args: &[&str]) -> String {
    let password = if user == "relay" { RELAY_PASSWORD } else { VM_PASSWORD };
    let output = Command::new("redis-cli")
        .args(["-p", &server.port.to_string(), "--user", user, "--pass", password, "--no-auth-warning"])
        .args(args)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The first line of the answer, on a connection of its own: some commands mean something to `redis-cli` itself.
fn answer(server: &Server, user: &str, args: &[&str]) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    connection.set_read_timeout(Some(super::BOUND)).unwrap();
    for words in [&["auth", user, VM_PASSWORD][..], args] {
        let packed: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        write!(connection, "*{}\r\n{packed}", words.len()).unwrap();
    }
    let mut lines = BufReader::new(connection).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "+OK");
    lines.next().unwrap().unwrap()
}

fn url(server: &Server, user: &str, password: &str) -> String {
    let mut url = url::Url::parse(&server.url()).unwrap();
    url.set_username(user).unwrap();
    url.set_password(Some(password)).unwrap();
    url.to_string()
}

#[tokio::test]
async fn the_relays_user_can_do_all_that_the_contract_asks() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, &"c".to_owned().try_into().unwrap());
    let url = url(&server, "relay", RELAY_PASSWORD);
    let first = RedisStore::open(&url, keys::NAMESPACE).unwrap();
    answers(&first).await;
    let _hints = super::watching(&first).await;
    assert!(
        first.check().await.iter().all(|finding| finding.ok || finding.what.contains("appendonly")),
        "{:?}",
        first.check().await
    );
    conformance::the_first_event_takes_the_lease(&first).await;
    assert!(super::concerns_of_notifications(&first).await.is_empty());
    assert!(as_user(&server, "relay", &["flushall"]).starts_with("NOPERM"));
    assert!(as_user(&server, "relay", &["get", "somebody else's"]).starts_with("NOPERM"));
}

#[tokio::test]
async fn a_vm_reports_about_its_own_conversation_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (own, other) = ("own1".to_owned().try_into().unwrap(), "other1".to_owned().try_into().unwrap());
    let server = server(&folder, &own);
    let vm = Publisher::open(&url(&server, "own", VM_PASSWORD), keys::NAMESPACE).unwrap();
    let published = async { while vm.publish(&report(&own, 1)).await.is_err() {} };
    tokio::time::timeout(super::BOUND, published).await.expect("its own");
    assert!(!vm.taken(&own).await.unwrap());
    let refused = vm.publish(&report(&other, 1)).await.unwrap_err();
    let cause = std::error::Error::source(&refused).map(ToString::to_string).unwrap_or_default();
    assert!(cause.contains("NOPERM") || cause.contains("No permissions"), "{cause}");
    assert!(vm.taken(&other).await.is_err());
}

/// Every command that this server knows, with every key and channel that is not the VM's own.
#[tokio::test]
async fn a_vm_is_refused_every_other_command_key_and_channel() {
    let folder = tempfile::tempdir().unwrap();
    let own: ConversationId = "own1".to_owned().try_into().unwrap();
    let server = server(&folder, &own);
    answers(&RedisStore::open(&url(&server, "relay", RELAY_PASSWORD), keys::NAMESPACE).unwrap()).await;
    let other: ConversationId = "other1".to_owned().try_into().unwrap();
    let keys = keys::Keys::new(keys::NAMESPACE);

    let commands = all_commands(&server);
    assert!(commands.len() > 300, "only {} commands", commands.len());
    let tried: BTreeSet<&str> = commands.iter().map(|(name, _)| name.as_str()).collect();
    assert!(VM_MAY.iter().all(|name| tried.contains(name)), "{tried:?}");
    for (name, arity) in &commands {
        let words: Vec<&str> = name.split('|').collect();
        let arguments = usize::try_from(arity.abs()).unwrap().saturating_sub(words.len());
        // Its own key everywhere: that alone must not be enough.
        let own_key = keys.reports(&own);
        let args: Vec<&str> = words.into_iter().chain(std::iter::repeat_n(own_key.as_str(), arguments)).collect();
        let answer = answer(&server, "own", &args);
        // DEBUG and MODULE are closed to everybody unless the server was started otherwise.
        let refused = answer.contains("NOPERM") || answer.contains("command not allowed");
        let may = VM_MAY.contains(&name.as_str()) || ANYBODY_MAY.contains(&name.as_str());
        assert!(refused || may, "{name}: {answer}");
    }

    let foreign = [
        keys.reports(&other),
        keys.conversation(&own),
        keys.conversation(&other),
        keys.due(),
        keys.seen(),
        keys.alarm(&own),
        keys.dead(),
        keys.letters(),
        keys.blobs(),
        keys.feed(&own),
        keys.feed_keys(&own),
        keys.layout().to_owned(),
        "elsewhere".to_owned(),
    ];
    for key in &foreign {
        assert!(as_user(&server, "own", &["rpush", key, "x"]).contains("NOPERM"), "rpush {key}");
        assert!(as_user(&server, "own", &["llen", key]).contains("NOPERM"), "llen {key}");
    }
    for channel in [keys.live(&other), keys.fed(), "__keyevent@0__:expired".to_owned()] {
        assert!(as_user(&server, "own", &["publish", &channel, "x"]).contains("NOPERM"), "publish {channel}");
    }
    assert_eq!(as_user(&server, "relay", &["zcard", &keys.due()]), "0", "nothing came of it");
}

#[test]
fn the_file_and_the_printed_line_are_the_same() {
    let line = acl::vm_line(keys::NAMESPACE, "vm", "#VM_PASSWORD_SHA256", &[]);
    assert!(USERS.lines().any(|in_file| in_file == line), "{line}");
}

/// Names and arities, subcommands with a bar as Redis writes them.
fn all_commands(server: &Server) -> Vec<(String, i64)> {
    let names = as_user(server, "relay", &["command", "list"]);
    let mut commands = Vec::new();
    for name in names.lines() {
        let info = as_user(server, "relay", &["--json", "command", "info", name]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        collect(&info[0], &mut commands);
    }
    commands
}

fn collect(info: &serde_json::Value, commands: &mut Vec<(String, i64)>) {
    let (name, arity) = (info[0].as_str().unwrap().to_owned(), info[1].as_i64().unwrap());
    match info[9].as_array() {
        Some(subcommands) if !subcommands.is_empty() => {
            for subcommand in subcommands {
                collect(subcommand, commands);
            }
        }
        _ => commands.push((name, arity)),
    }
}
