use std::time::Duration;

use clap::Parser;
use relay_core::id::{EffectSeq, Fence, MessageId, NodeId, TreeHash};
use relay_core::machine::{Content, Conversation, Dead, Effect, Event, Message, Phase, Say, review};
use relay_core::protocol::Task;
use relay_core::store::redis::check::Finding;
use relay_core::store::sqlite::SqliteStore;
use relay_core::store::{Blob, Commit, Ingest, Ingested};
use relay_core::telemetry::Identity;
use relay_core::telemetry::metrics::Metrics;
use relay_core::time::Timestamp;

use super::*;
use crate::app::Kept;
use crate::config::StoreConfig;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NUMBER: &str = "+15551230000";
const LATER: Duration = Duration::from_secs(3600);
const BODY: &str = "make the button blue";

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    admin: Admin,
}

fn parse(line: &str) -> Result<Admin, clap::Error> {
    let words = std::iter::once("admin").chain(line.split(' '));
    Line::try_parse_from(words).map(|line| line.admin)
}

fn config(state_store: StateStore) -> AdminConfig {
    let store = StoreConfig { state_store, namespace: "textslash".into() };
    AdminConfig {
        store,
        relay_secret: Some(SECRET.into()),
        public_url: None,
        link_keys: Vec::new(),
        twilio: None,
        fly: None,
    }
}

fn person() -> Address {
    Address { channel: ChannelKind::Twilio, name: format!("whatsapp:{NUMBER}") }
}

/// A file with one conversation, and a message to its person that was given up.
async fn with_a_dead_letter(folder: &std::path::Path) -> AdminConfig {
    let path = folder.join("relay.db");
    let store = SqliteStore::open(&path).unwrap();
    let id = person().conversation(SECRET.as_bytes());
    let content = Content::Text { text: BODY.into() };
    let event = Event::Message(Message::new(MessageId::parse("SM1").unwrap(), person(), content));
    let (node, now) = (NodeId::parse("node").unwrap(), clock::now());
    let ingest = Ingest { conversation: id.clone(), id: event.id().unwrap(), event, node, nonce: clock::nonce(), now };
    let Ingested::Held(held) = store.ingest(ingest).await.unwrap() else { panic!("nobody else holds it") };
    let effect = Effect::Say(Say { text: BODY.into(), ..Say::default() });
    let run = held.conversation.run_id(1);
    let reviews = [review::Kept { run: run.clone(), tree: tree(), parts: 2, expires_at: now + LATER }].into();
    let task = Task::prompt(BODY);
    let phase = Phase::Starting { run, task, effect: EffectSeq(1) };
    let commit = Commit {
        fence: held.fence,
        nonce: clock::nonce(),
        previous: held.nonce,
        now,
        consumed: 1,
        acked: Vec::new(),
        effects: Vec::new(),
        dead: vec![Dead { effect, reason: "Twilio error 63016".into() }],
        log: Vec::new(),
        conversation: Conversation { phase, address: Some(person()), reviews, ..held.conversation },
        activity: None,
        deadline: None,
        release: true,
    };
    store.commit(commit).await.unwrap();
    config(StateStore::SqliteFile(path))
}

fn tree() -> TreeHash {
    TreeHash::parse("aa11").unwrap()
}

async fn answer(line: &str, config: &AdminConfig) -> String {
    let report = run(parse(line).unwrap(), config).await.unwrap();
    assert!(report.is_well, "{}", report.text);
    report.text
}

#[test]
fn commands_are_read_and_wrong_ones_refused() {
    assert!(matches!(parse("conversations --limit 3 --json"), Ok(Admin::Conversations { limit: 3, json: true })));
    assert!(matches!(parse("redrive 7"), Ok(Admin::Redrive(Redrive { letter: Some(7), all: false }))));
    assert!(matches!(parse("redrive --all"), Ok(Admin::Redrive(Redrive { letter: None, all: true }))));
    assert!(
        matches!(parse("vm-acl --name vm-7 +1555"), Ok(Admin::VmAcl { name, users }) if name == "vm-7" && users == ["+1555"])
    );
    for wrong in
        ["redrive", "redrive 7 --all", "redrive seven", "show", "vm-acl --name default", "vm-acl --name a=b", "drop"]
    {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_person_is_found_by_address_and_only_with_the_secret() {
    let secret = SecretString::from(SECRET);
    let id = person().conversation(SECRET.as_bytes());
    for name in [format!("whatsapp:{NUMBER}"), NUMBER.to_owned(), id.to_string()] {
        assert_eq!(conversation(&name, Some(&secret)).unwrap(), id, "{name}");
    }
    assert_eq!(conversation(id.as_str(), None).unwrap(), id);
    assert!(conversation("console:main", Some(&secret)).is_ok());
    let refused = conversation(NUMBER, None).unwrap_err().to_string();
    assert!(refused.contains("RELAY_SECRET"), "{refused}");
    for wrong in ["telegram:7", "not an id", ""] {
        assert!(conversation(wrong, Some(&secret)).is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn conversations_and_letters_are_shown_without_what_is_said_unless_asked() {
    let folder = tempfile::tempdir().unwrap();
    let config = with_a_dead_letter(folder.path()).await;
    let id = person().conversation(SECRET.as_bytes());

    let listed = answer("conversations", &config).await;
    assert!(listed.starts_with("1 conversations, 0 held") && listed.contains(id.as_str()), "{listed}");
    let json: serde_json::Value = serde_json::from_str(&answer("conversations --json", &config).await).unwrap();
    assert_eq!(json["stats"]["dead_letters"], 1);
    assert_eq!(json["conversations"][0]["phase"], "starting");
    assert_eq!(json["conversations"][0]["conversation"], id.as_str());

    for line in [format!("show {NUMBER}"), "dead-letters".into(), "dead-letters --json".into()] {
        let said_nothing = answer(&line, &config).await;
        assert!(!said_nothing.contains(BODY) && !said_nothing.contains(&NUMBER[1..]), "{said_nothing}");
        let said_all = answer(&format!("{line} --bodies"), &config).await;
        assert!(said_all.contains(BODY), "{said_all}");
    }
    assert!(answer("dead-letters", &config).await.contains("Twilio error 63016"));
}

#[tokio::test]
async fn a_letter_is_put_back_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = with_a_dead_letter(folder.path()).await;
    assert_eq!(answer("redrive 1", &config).await, "1 put back\n");
    let refused = run(parse("redrive 1").unwrap(), &config).await.unwrap_err().to_string();
    assert!(refused.contains("no dead letter 1"), "{refused}");
    assert_eq!(answer("redrive --all", &config).await, "0 put back\n");
    assert_eq!(answer("dead-letters", &config).await, "no dead letters\n");
    assert!(answer("conversations", &config).await.contains("1 due; 1 events"));
}

#[tokio::test]
async fn looking_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let config = config(StateStore::SqliteFile(path.clone()));
    assert!(run(parse("conversations").unwrap(), &config).await.is_err());
    let report = run(Admin::Check, &config).await.unwrap();
    assert!(!report.is_well && report.text.contains("✗ there is no file"), "{}", report.text);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_is_checked_with_its_lock() {
    let folder = tempfile::tempdir().unwrap();
    let config = with_a_dead_letter(folder.path()).await;
    assert!(answer("check", &config).await.contains("✓ no relay works on it now"));
    let relay = crate::store::open(&config.store, &Metrics::new(&Identity::default())).unwrap();
    assert!(answer("check", &config).await.contains("✓ one relay works on it"));
    drop(relay);
}

#[test]
fn a_finding_says_how_to_mend_it() {
    let bad = Finding { ok: false, what: "eviction".into(), mend: Some("CONFIG SET".into()) };
    let good = Finding { ok: true, what: "reached".into(), mend: None };
    let report = check::report(&[good, bad]);
    assert_eq!(report.text, "✓ reached\n✗ eviction\n  → CONFIG SET\n");
    assert!(!report.is_well);
}

#[test]
fn the_rule_of_a_vm_holds_a_hash_and_the_password_stands_beside_it() {
    let config = config(StateStore::Redis("redis://relay:hunter2@redis.internal:6379/2".into()));
    let id = ConversationId::parse("c0ffee").unwrap();
    let Report { text, aside, is_well } = access::report(&config.store, "vm-7", &[id], "password");
    // SHA-256 of "password".
    let hash = "#5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
    assert!(text.starts_with("user vm-7 ") && text.contains(hash) && text.contains("c0ffee"), "{text}");
    assert!(!text.contains("password") && text.lines().count() == 1);
    assert!(aside.contains("EVENTS_URL=redis://vm-7:password@redis.internal:6379/2\n"), "{aside}");
    assert!(!aside.contains("hunter2") && is_well);
    assert_ne!(clock::password(), clock::password());
}

#[test]
fn a_conversation_that_nobody_committed_yet_can_be_shown() {
    let conversation = ConversationId::parse("c0ffee").unwrap();
    let due_at = Some(Timestamp(61_000));
    let holder = NodeId::parse("node").ok();
    let overview = relay_core::store::Overview { conversation, fence: Fence(7), holder, due_at, inbox: 2, outbox: 0 };
    let shown = conversations::show(&overview, None, true, Timestamp(1_000));
    assert!(shown.contains("phase         new\n") && shown.contains("lease ends    in 1 min\n"), "{shown}");
}

#[tokio::test]
async fn who_is_forgotten_leaves_no_review() {
    let folder = tempfile::tempdir().unwrap();
    let config = with_a_dead_letter(folder.path()).await;
    let store = open(&config).await.unwrap();
    let id = person().conversation(SECRET.as_bytes());
    let run = store.conversation(&id).await.unwrap().expect("the conversation").run_id(1);
    let part = |part| Kept::Review { run: &run, tree: &tree(), part }.id(&SECRET.into());
    for number in 0..2 {
        let blob = Blob { content_type: "image/png".into(), bytes: BODY.into() };
        store.put_blob(&part(number), blob, clock::now() + LATER).await.unwrap();
    }
    assert!(answer(&format!("forget {NUMBER}"), &config).await.contains("is erased"));
    for number in 0..2 {
        assert!(store.blob(&part(number), clock::now()).await.unwrap().is_none(), "part {number}");
    }
}

#[tokio::test]
async fn a_guest_is_invited_listed_uninvited_and_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = with_a_dead_letter(folder.path()).await;
    assert_eq!(answer("guests", &config).await, "nobody is invited\n");
    let error = run(parse("invite anna").unwrap(), &config).await.unwrap_err();
    assert!(error.to_string().starts_with("PUBLIC_URL is needed"), "{error}");
    let settings = std::collections::HashMap::from([("PUBLIC_URL", "https://relay.example/")]);
    config.public_url = AdminConfig::read(&settings).unwrap().public_url;
    let report = run(parse("invite anna").unwrap(), &config).await.unwrap();
    assert!(report.aside.contains("the same files as everybody else"), "{}", report.aside);
    let signed = report.text.trim().strip_prefix("https://relay.example/console/invited/").expect("a link alone");
    let links = crate::links::Links::configured(&[], &SECRET.into());
    assert!(crate::guests::Invited::of_link(&links, signed).is_ok());
    let row = |listed: String| listed.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(row(answer("guests", &config).await), "anna 0 s ago no yes 1");
    for _ in 0..2 {
        answer("uninvite anna", &config).await;
    }
    assert_eq!(row(answer("guests", &config).await), "anna 0 s ago no no 1");
    assert!(answer("forget console:guest/anna", &config).await.contains("nobody is a guest of that name any more"));
    assert_eq!(answer("guests", &config).await, "nobody is invited\n");
    for gone in ["uninvite anna", "forget console:guest/anna", "forget console:main"] {
        assert!(run(parse(gone).unwrap(), &config).await.is_err(), "{gone}");
    }
    for wrong in ["invite", "invite Anna", "invite a/b", "uninvite a.b"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}
