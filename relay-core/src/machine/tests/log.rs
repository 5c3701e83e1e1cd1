//! What whoever looks on is told.

use super::delivery::{failed, phone};
use super::*;
use crate::id::BlobId;
use crate::protocol::InquiryOption;
use crate::store::LOG_KEEP;

impl Talk {
    /// The entries since the last look: the number of the run, or `-`, and what happened.
    fn told(&mut self) -> Vec<String> {
        let told = |entry: LogEntry| {
            let run = entry.run.as_ref().map_or("-", |run| run.number()).to_owned();
            let what = match entry.what {
                LogWhat::Asked { text } => format!("asked {text}"),
                LogWhat::Said { .. } => "said".to_owned(),
                LogWhat::Begun { task } => format!("begun {task}"),
                LogWhat::Started { driver } => format!("started {driver}"),
                LogWhat::Progress { text } => format!("progress {text}"),
                LogWhat::Picture { caption, .. } => format!("picture {caption}"),
                LogWhat::Inquiry { text } => format!("inquiry {}", text.lines().next().unwrap_or_default()),
                LogWhat::Changes { stat, tree } => format!("changes {} {}", stat.files, tree.short()),
                LogWhat::Decided { decision } => format!("decided {decision:?}"),
                LogWhat::Ended { ending } => format!("ended {ending:?}"),
                other => panic!("{other:?}"),
            };
            format!("{run} {what}")
        };
        std::mem::take(&mut self.log).into_iter().map(told).collect()
    }
}

fn progress(text: &str) -> VmEvent {
    VmEvent::Progress { text: text.into() }
}

#[test]
fn a_run_is_told_from_its_task_to_its_pull_request() {
    let mut talk = Talk::new();
    talk.hear("fix the bug");
    assert_eq!(talk.told(), ["- asked fix the bug", "1 begun fix the bug"]);
    talk.settle(Outcome::Done);
    talk.report(VmEvent::Started { driver: "demo".into() });
    talk.report(VmEvent::Beat);
    talk.report_all([progress("one"), progress("**two**")]);
    assert_eq!(talk.told(), ["1 started demo", "1 said", "1 progress one", "1 progress *two*"]);
    talk.hear("and then make it blue");
    assert_eq!(talk.told(), ["1 asked and then make it blue", "1 said"]);
    talk.report(changes("aa11"));
    talk.deliver();
    assert_eq!(talk.told(), ["1 changes 1 aa11", "1 said"]);
    talk.press(&format!("approve:{}:aa11", run(1)));
    assert_eq!(talk.told(), ["1 asked approve", "1 decided Approve", "1 said"]);
    talk.settle(Outcome::Done);
    talk.report(decided(Decision::Approve, pull_request()));
    let told = talk.told();
    assert_eq!(told[0], "1 said");
    assert!(told[1].starts_with("1 ended PullRequest"), "{told:?}");
    assert_eq!(told[2..], ["2 begun and then make it blue"], "nothing of a run is told after its end");
}

#[test]
fn what_is_answered_on_the_page_of_a_diff_is_told_before_what_comes_of_it() {
    let reviewed = |verdict| Event::Reviewed { run: run(1), tree: tree("aa11"), verdict, cause: None };
    let changes = || Verdict::Changes { text: "make it blue".into() };
    for (verdict, asked, decision) in [
        (Verdict::Approve, "approve", "Approve"),
        (Verdict::Reject, "reject", "Reject"),
        (changes(), "make it blue", "Park"),
    ] {
        let mut talk = Talk::awaiting();
        talk.told();
        talk.feed(reviewed(verdict));
        assert_eq!(talk.told(), [format!("1 asked {asked}"), format!("1 decided {decision}"), "1 said".to_owned()]);
        talk.feed(reviewed(changes()));
        assert_eq!(talk.told(), ["1 asked make it blue", "1 said"], "too late, and asked for all the same");
    }
}

#[test]
fn what_is_said_in_several_messages_or_said_again_is_told_once() {
    let mut talk = phone();
    talk.hear("help");
    talk.hear("status");
    let told = talk.told();
    assert_eq!(told.len(), 4, "{told:?}");
    let seq = talk.sent("SM1");
    talk.receipt(seq, "SM1", failed(Failure::Passing));
    talk.wait_s(60);
    talk.sent("SM2");
    assert!(talk.told().is_empty(), "it is sent again");
    talk.hear("a question");
    talk.settle(Outcome::Done);
    talk.told();
    talk.report(answered(&"many words ".repeat(400)));
    assert!(talk.says().len() > 1, "it takes several messages");
    assert_eq!(talk.told(), ["1 said", "1 ended Answered"]);
    let effect = Effect::Say(Say { text: "lost".into(), ..Say::default() });
    talk.feed(Event::Redriven { effect });
    assert!(talk.told().is_empty(), "a dead letter was told when it was asked for");
}

#[test]
fn what_a_quiet_person_does_not_hear_is_told_all_the_same() {
    let mut talk = Talk::working();
    talk.hear("quiet");
    talk.told();
    talk.report(progress("a step"));
    assert_eq!((talk.told(), talk.texts().len()), (vec!["1 progress a step".to_owned()], 1));
    talk.hear("cancel");
    talk.report(finished(RunOutcome::Cancelled));
    assert_eq!(talk.told(), ["1 asked cancel", "1 said", "1 ended Cancelled"]);
    talk.report_of(&run(1), progress("late"));
    assert!(talk.told().is_empty());
}

#[test]
fn an_inquiry_and_a_picture_are_told_and_a_late_picture_is_of_no_run() {
    let mut talk = Talk::working();
    talk.told();
    let options = vec![InquiryOption { label: "Red".into(), description: String::new() }];
    let inquiry = VmEvent::Inquiry { number: 1, text: "Which?".into(), options, several: false, timeout_ms: 60_000 };
    talk.report(inquiry);
    talk.deliver();
    talk.press(&format!("reply:{}:1:1", run(1)));
    assert_eq!(talk.told(), ["1 inquiry ❓ Which?", "1 asked 1"]);
    talk.settle(Outcome::Done);
    for caption in ["in time", "late"] {
        talk.report(VmEvent::Image { name: "shot.png".into(), caption: caption.into() });
    }
    talk.settle(Outcome::ImageKept { blob: BlobId::parse("b1").unwrap() });
    talk.report(answered("done"));
    talk.hear("the next one");
    talk.settle(Outcome::ImageKept { blob: BlobId::parse("b2").unwrap() });
    let told = talk.told();
    let pictures: Vec<&String> = told.iter().filter(|line| line.contains("picture")).collect();
    assert_eq!(pictures, ["1 picture in time", "- picture late"], "{told:?}");
}

/// The run that each message since the last look leads to, by its number.
fn links(talk: &mut Talk) -> Vec<Option<String>> {
    talk.says().into_iter().map(|say| say.follow.map(|link| link.run.number().to_owned())).collect()
}

#[test]
fn the_first_word_of_a_run_and_every_status_lead_to_it() {
    for channel in [ChannelKind::Console, ChannelKind::Twilio] {
        let mut talk = Talk::on(channel);
        talk.prompt = true;
        talk.hear("status");
        assert_eq!(links(&mut talk), [None], "nothing goes on");
        talk.hear("fix the bug");
        talk.settle(Outcome::Done);
        talk.forget();
        talk.report(VmEvent::Started { driver: "demo".into() });
        let [say] = &talk.says()[..] else { panic!("one message") };
        assert_eq!(say.follow, Some(RunLink { run: run(1), expires_at: talk.now + LOG_KEEP }));
        assert_eq!(say.text, text::started(&run(1), "demo"), "the address is no part of the words");
        talk.report(progress("one"));
        assert_eq!(links(&mut talk), [None]);
        talk.report(changes("aa11"));
        talk.deliver();
        talk.forget();
        talk.hear("status");
        assert_eq!(links(&mut talk), [Some("1".to_owned())]);
        talk.hear("quiet");
        talk.hear("reject");
        talk.report(decided(Decision::Reject, DecisionResult::RolledBack));
        talk.forget();
        talk.hear("another");
        assert_eq!(links(&mut talk), [Some("2".to_owned())], "all that a quiet person hears at first");
    }
}

#[test]
fn a_link_costs_no_message() {
    let mut talk = Talk::on(ChannelKind::Twilio);
    talk.hear("fix the bug");
    talk.settle(Outcome::Done);
    talk.report(VmEvent::Started { driver: "demo".into() });
    talk.hear("status");
    let waiting = |talk: &Talk| -> Vec<Say> {
        let says = talk.outbox.iter().filter_map(|queued| match &queued.effect {
            Effect::Say(say) => Some(say.clone()),
            _ => None,
        });
        says.collect()
    };
    let [say] = &waiting(&talk)[..] else { panic!("they have become one") };
    assert!(say.text.contains("Working on it") && say.text.contains("is at work"), "{}", say.text);
    assert!(say.follow.is_some());
    // Where there is room for the words alone, they go without it.
    let rest = talk.rules.twilio.text_units_max - split::units(&say.text);
    talk.report(finished(RunOutcome::Failed { reason: "w".repeat(rest - 60), kept: None }));
    let [say] = &waiting(&talk)[..] else { panic!("still one") };
    assert!(say.follow.is_none() && split::units(&say.text) + shape::LINK_UNITS_MAX > talk.rules.twilio.text_units_max);
}

#[test]
fn of_two_runs_a_message_leads_to_the_later() {
    let said = |text: &str, run: Option<RunId>| {
        let follow = run.map(|run| RunLink { run, expires_at: T0 });
        Say { text: text.into(), follow, ..Say::default() }
    };
    let joined = |one: Option<RunId>, two| said("a", one).joined(&said("b", two), 1_600).unwrap();
    assert_eq!(joined(Some(run(1)), Some(run(2))), said("a\nb", Some(run(2))));
    assert_eq!(joined(Some(run(1)), None), said("a\nb", Some(run(1))));
    assert_eq!(joined(None, None), said("a\nb", None));
}

#[test]
fn a_message_of_an_older_relay_leads_nowhere() {
    let say: Say = serde_json::from_str(r#"{"text": "hi", "passing": true}"#).unwrap();
    assert_eq!(say, Say { text: "hi".into(), passing: true, ..Say::default() });
    assert_eq!(serde_json::to_string(&say).unwrap(), r#"{"text":"hi","passing":true}"#, "and is written as before");
}
