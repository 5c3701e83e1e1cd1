//! Runs made by hand, and put where the relay keeps their log.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use relay_core::id::{BlobId, ConversationId, EventId, NodeId, Nonce, RunId, TreeHash};
use relay_core::machine::{Ending, Event, LogEntry, LogWhat, Phase};
use relay_core::protocol::{Decision, DiffStat, Task};
use relay_core::store::sqlite::SqliteStore;
use relay_core::store::{Blob, Commit, Committed, Ingest, Ingested, Store};
use relay_core::time::Timestamp;

/// A run: what happened in it, and its picture.
pub(super) struct Made {
    log: Vec<LogWhat>,
    picture: Option<Vec<u8>>,
}

/// Every kind of entry, with things in it that want to act or to hide.
pub(super) fn everything(picture: Vec<u8>, evil: &str) -> Made {
    let text = |text: &str| text.to_owned();
    let picture_of = |blob: &str, caption: &str, document| LogWhat::Picture {
        blob: BlobId::parse(blob).expect("a name"),
        caption: text(caption),
        document,
    };
    let log = vec![
        LogWhat::Begun { task: text("Make the greeting friendlier and show me the page") },
        LogWhat::Started { driver: text("claude") },
        LogWhat::Said { text: text("🔧 Working on it: run 1 (claude).") },
        LogWhat::Progress { text: text("I'll look at how the page greets people first.") },
        LogWhat::Progress { text: text("📖 Read `src/page.rs`") },
        LogWhat::Progress { text: text("✏️ Edit `src/page.rs`: *greeting* takes a name") },
        LogWhat::Asked { text: text("and please keep the old one for _guests_") },
        LogWhat::Said { text: text("📥 Queued at position 1.") },
        picture_of("picture", "The new greeting", false),
        LogWhat::Inquiry { text: text("❓ Which colour should the button have?\n1. *Teal*\n2. *Orange*") },
        LogWhat::Asked { text: text("1") },
        LogWhat::Progress { text: format!("{evil} \u{202e}txt.exe \x1b[31mred") },
        picture_of("gone", "An older picture", false),
        picture_of("document", "The diff", true),
        LogWhat::Operator { action: text("looked") },
        LogWhat::Changes {
            stat: DiffStat { files: 3, insertions: 48, deletions: 7 },
            tree: TreeHash::parse("4b825dc642cb6eb9a060e54bf8d69288fbee4904").expect("a tree"),
        },
        LogWhat::Said {
            text: text(
                "✅ The greeting names whoever is signed in:\n```\nfn greeting(name: Option<&str>) -> String {\n    \
                 name.map_or(\"Hello\".into(), |name| format!(\"Hello, {name}\"))\n}\n```\n*3 files changed, +48 −7* \
                 (run 1, 3 min, $0.12)\n*approve* opens a pull request with exactly this diff, *reject* rolls it back.",
            ),
        },
        LogWhat::Asked { text: text("approve") },
        LogWhat::Decided { decision: Decision::Approve },
        LogWhat::Said { text: text("🎉 Run 1 is a pull request: https://github.com/owner/name/pull/42") },
        LogWhat::Ended { ending: Ending::PullRequest { url: text("https://github.com/owner/name/pull/42") } },
    ];
    Made { log, picture: Some(picture) }
}

/// So many steps, and more to come.
pub(super) fn going_on(steps: usize) -> Made {
    let step = |number| LogWhat::Progress { text: format!("Step {number} of a long way") };
    let begun = LogWhat::Begun { task: "Take many steps".to_owned() };
    Made { log: std::iter::once(begun).chain((1..=steps).map(step)).collect(), picture: None }
}

impl Made {
    /// Put it into the store of a relay that is up; its name.
    pub(super) async fn keep(self, database: &Path) -> RunId {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let now = Timestamp(u64::try_from(since.as_millis()).expect("within the next million years"));
        let store = SqliteStore::open(database).expect("the relay's store opens");
        if let Some(bytes) = self.picture {
            let blob = Blob { content_type: "image/png".to_owned(), bytes };
            let id = BlobId::parse("picture").expect("a name");
            store.put_blob(&id, blob, now + Duration::from_secs(3600)).await.expect("the store takes it");
        }
        let nonce = |name: &str| Nonce::parse(name).expect("a name");
        let ingest = Ingest {
            conversation: ConversationId::parse("c0ffee").expect("a name"),
            id: EventId::parse("made").expect("a name"),
            event: Event::Garbled,
            node: NodeId::parse("by-hand").expect("a name"),
            nonce: nonce("first"),
            now,
        };
        let Ingested::Held(held) = store.ingest(ingest).await.expect("the store takes it") else { panic!("it is new") };
        let mut conversation = held.conversation;
        (conversation.runs, conversation.origin) = (1, now);
        let run = conversation.run_id(1);
        let is_over = self.log.iter().any(|what| matches!(what, LogWhat::Ended { .. }));
        if !is_over {
            let task = Task::prompt("by hand");
            conversation.phase = Phase::Working { run: run.clone(), task, since: now, quiet: false };
        }
        let log = self.log.into_iter().map(|what| LogEntry::new(Some(run.clone()), what)).collect();
        let commit = Commit {
            fence: held.fence,
            nonce: nonce("second"),
            previous: held.nonce,
            now,
            consumed: 1,
            acked: Vec::new(),
            effects: Vec::new(),
            dead: Vec::new(),
            log,
            conversation,
            activity: None,
            deadline: None,
            release: true,
        };
        assert!(matches!(store.commit(commit).await.expect("the store takes it"), Committed::Released));
        run
    }
}
