//! What may happen, in any order.

use std::time::Duration;

use proptest::prelude::*;
use relay_core::id::MessageId;
use relay_core::machine::{Failure, Outcome, Receipt, Verdict};
use relay_core::protocol::{Decision, DecisionResult, RefusalReason, RunOutcome, VmEvent};

use super::PROGRESS;
use super::inquiries::{self, Asks};

/// One thing that happens; what it refers to is looked up in the state at that moment.
#[derive(Clone, Debug)]
pub(super) enum Move {
    /// Something is written; late, if it was missed at first.
    Hear {
        text: String,
        late: bool,
    },
    /// A button of the run so many runs ago, with the tree of that run.
    Press {
        word: &'static str,
        runs_ago: u64,
    },
    /// Something pressed on the page of the run so many runs ago, which shows its tree or another.
    Review {
        verdict: Verdict,
        runs_ago: u64,
        is_of_tree: bool,
    },
    /// A button of an inquiry so many ago, of the run so many runs ago.
    Reply {
        runs_ago: u64,
        ago: u32,
        option: usize,
    },
    Wait(u64),
    /// An operator stops what goes on.
    OperatorCancels,
    /// A receipt of the message sent so many messages ago, with or without the effect that asked for it.
    Receipt {
        ago: usize,
        receipt: Receipt,
        named: bool,
    },
    /// A report of the run so many runs ago.
    Report {
        runs_ago: u64,
        event: Reported,
    },
    /// An outcome of the first effect of a lane.
    Perform {
        chat: bool,
        outcome: Outcome,
    },
}

#[derive(Clone, Debug)]
pub(super) enum Reported {
    Plain(VmEvent),
    Changes { is_drawn: bool, has_review: bool },
    Asks(Asks),
}

pub(super) fn moves() -> impl Strategy<Value = Vec<Move>> {
    let words =
        ["approve", "reject", "cancel", "status", "queue", "diff", "help", "clear", "drop 1", "resume 1", " ", "do it"];
    let hear = prop_oneof![
        4 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => proptest::sample::select(vec!["quiet", "normal", "verbose"]).prop_map(str::to_owned),
        4 => (0u32..1_000).prop_map(|number| format!("task {number}")),
        4 => proptest::sample::select(vec!["1", "2", "3", "1, 2", "red", "Approve"]).prop_map(str::to_owned),
    ];
    let press = (proptest::sample::select(vec!["approve", "reject"]), 0u64..3);
    let verdict = prop_oneof![
        Just(Verdict::Approve),
        Just(Verdict::Reject),
        (0u32..9).prop_map(|number| Verdict::Changes { text: format!("revision {number}") }),
    ];
    let decision = prop_oneof![Just(Decision::Approve), Just(Decision::Reject), Just(Decision::Park)];
    let result = prop_oneof![
        Just(DecisionResult::RolledBack),
        Just(DecisionResult::PullRequest { url: "u".into(), branch: "b".into() }),
        Just(DecisionResult::Parked { branch: "b".into() }),
        Just(DecisionResult::Failed { reason: "r".into() }),
    ];
    let finished = prop_oneof![
        Just(RunOutcome::Answered { text: "a".into() }),
        Just(RunOutcome::Failed { reason: "r".into(), kept: None }),
        Just(RunOutcome::Cancelled),
        Just(RunOutcome::Interrupted { kept: Some("k".into()) }),
    ];
    let event = prop_oneof![
        2 => Just(Reported::Plain(VmEvent::Beat)),
        6 => Just(Reported::Plain(VmEvent::Progress { text: PROGRESS.into() })),
        2 => Just(Reported::Plain(VmEvent::Started { driver: "d".into() })),
        6 => (proptest::bool::weighted(0.3), any::<bool>())
            .prop_map(|(is_drawn, has_review)| Reported::Changes { is_drawn, has_review }),
        2 => finished.prop_map(|outcome| Reported::Plain(VmEvent::Finished { outcome, spent: None })),
        8 => inquiries::asks().prop_map(Reported::Asks),
        4 => (decision, result).prop_map(|(decision, result)| Reported::Plain(VmEvent::Decided { decision, result })),
    ];
    let reason = prop_oneof![
        Just(None),
        Just(Some(RefusalReason::NotFound)),
        Just(Some(RefusalReason::StaleTree)),
        Just(Some(RefusalReason::Invalid)),
    ];
    let outcome = prop_oneof![
        3 => Just(Outcome::Done),
        4 => Just(Outcome::Sent { message: MessageId::parse("T").expect("plain") }),
        1 => failure().prop_map(|failure| Outcome::Undelivered { failure }),
        1 => Just(Outcome::Delayed { pause_ms: 500 }),
        2 => Just(Outcome::no_answer(Duration::from_millis(2_500))),
        1 => Just(Outcome::busy(Some(1_000))),
        1 => reason.prop_map(|reason| Outcome::Refused { reason, message: "no".into() }),
    ];
    let one = prop_oneof![
        4 => (hear, proptest::bool::weighted(0.1)).prop_map(|(text, late)| Move::Hear { text, late }),
        2 => (0u64..2, 0u32..2, 0usize..4).prop_map(|(runs_ago, ago, option)| Move::Reply { runs_ago, ago, option }),
        3 => press.prop_map(|(word, runs_ago)| Move::Press { word, runs_ago }),
        3 => (verdict, 0u64..2, proptest::bool::weighted(0.8))
            .prop_map(|(verdict, runs_ago, is_of_tree)| Move::Review { verdict, runs_ago, is_of_tree }),
        1 => Just(Move::OperatorCancels),
        2 => (0u64..400).prop_map(Move::Wait),
        3 => (0u64..30).prop_map(Move::Wait),
        5 => (prop_oneof![4 => Just(0u64), 1 => 1u64..3], event).prop_map(|(runs_ago, event)| Move::Report { runs_ago, event }),
        4 => (0usize..4, receipt(), any::<bool>())
            .prop_map(|(ago, receipt, named)| Move::Receipt { ago, receipt, named }),
        8 => (any::<bool>(), outcome).prop_map(|(chat, outcome)| Move::Perform { chat, outcome }),
    ];
    proptest::collection::vec(one, 1..120)
}

fn failure() -> impl Strategy<Value = Failure> {
    prop_oneof![
        Just(Failure::Passing),
        Just(Failure::Closed),
        any::<bool>().prop_map(|reachable| Failure::Final { reason: "gone".into(), reachable }),
    ]
}

fn receipt() -> impl Strategy<Value = Receipt> {
    prop_oneof![
        1 => Just(Receipt::Sent),
        2 => Just(Receipt::Delivered),
        1 => Just(Receipt::Read),
        2 => failure().prop_map(|failure| Receipt::Failed { failure }),
    ]
}
