//! How much is heard of what is going on: quiet, normal, verbose; on channels that cost money and on those that do not.

use super::*;
use crate::id::BlobId;
use crate::protocol::{RunState, RunStatus};

fn progress(text: &str) -> VmEvent {
    VmEvent::Progress { text: text.into() }
}

fn image() -> VmEvent {
    VmEvent::Image { name: "shot.png".into(), caption: String::new() }
}

/// A run is at work on a channel where each message costs money, after the person wrote `word`.
fn paid(word: &str) -> Talk {
    let mut talk = Talk::on(ChannelKind::Twilio);
    talk.prompt = true;
    talk.hear(word);
    talk.hear("fix the bug");
    talk.settle(Outcome::Done);
    talk.forget();
    talk
}

#[test]
fn progress_is_immediate_where_it_is_free_and_gathered_where_it_costs() {
    let mut free = Talk::working();
    let mut paid = paid("normal");
    for line in ["one", "two", "three"] {
        free.report(progress(line));
        paid.report(progress(line));
    }
    assert_eq!(free.texts(), ["one", "two", "three"]);
    assert_eq!(paid.texts(), ["one"], "the first is news");
    paid.wait(paid.rules.progress_interval);
    assert_eq!(paid.texts(), ["two\nthree"]);
    paid.wait(paid.rules.progress_interval);
    paid.report(progress("four"));
    assert!(paid.texts().is_empty(), "the longer it takes, the less often");
    paid.wait(paid.rules.progress_interval);
    assert_eq!(paid.texts(), ["four"]);
}

#[test]
fn gathered_progress_is_bounded_and_keeps_the_latest() {
    let mut talk = paid("normal");
    for number in 0..50 {
        talk.report(progress(&format!("line {number}")));
    }
    talk.wait(talk.rules.progress_interval);
    let texts = talk.texts();
    assert_eq!(texts.len(), 2);
    assert!(texts[1].starts_with("line 38\n") && texts[1].ends_with("line 49"), "{}", texts[1]);
}

#[test]
fn progress_that_waits_together_is_one_message_from_the_first_time_on() {
    for mut talk in [Talk::working(), paid("normal"), paid("verbose")] {
        talk.report_all(["one", "two", "three"].map(progress));
        assert_eq!(talk.texts(), ["one\ntwo\nthree"]);
        talk.wait(talk.rules.progress_interval);
        talk.report_all([progress("four"), image(), VmEvent::Beat, progress("five")]);
        assert_eq!(talk.texts(), ["four\nfive"]);
    }
}

#[test]
fn a_burst_loses_no_line_where_nothing_is_gathered() {
    for mut talk in [Talk::working(), paid("verbose")] {
        talk.report_all((0..50).map(|number| progress(&format!("line {number}"))));
        assert_eq!(talk.text().lines().filter(|line| line.starts_with("line ")).count(), 50);
    }
}

#[test]
fn a_result_does_not_overtake_the_progress_that_came_with_it() {
    let mut talk = Talk::working();
    talk.report_all([progress("one"), progress("two"), answered("All is well.")]);
    assert_eq!(talk.texts(), ["one\ntwo", "All is well."]);
    for mut talk in [paid("normal"), paid("verbose")] {
        talk.report_all([progress("one"), progress("two"), answered("All is well.")]);
        assert_eq!(talk.texts(), ["one\ntwo\nAll is well."], "one message where each costs money");
    }
    let mut talk = paid("normal");
    talk.report(progress("one"));
    talk.report_all([progress("two"), answered("All is well.")]);
    assert_eq!(talk.texts(), ["one", "All is well."], "and does not wait for what is not due");
    talk.wait(talk.rules.progress_interval);
    assert!(talk.texts().is_empty(), "which is forgotten");
}

#[test]
fn verbose_brings_every_line_at_once_on_a_paid_channel_too() {
    let mut talk = paid("verbose");
    for line in ["one", "two", "three"] {
        talk.report(progress(line));
        assert_eq!(talk.text(), line);
    }
}

#[test]
fn quiet_brings_one_line_for_a_task_and_then_its_result() {
    for channel in [ChannelKind::Console, ChannelKind::Twilio] {
        let mut talk = Talk::on(channel);
        talk.prompt = true;
        talk.hear("quiet");
        talk.forget();
        talk.hear("fix the bug");
        assert_eq!(talk.text(), "📥 Taken on as run 1.");
        talk.settle(Outcome::Done);
        talk.report(VmEvent::Started { driver: "demo".into() });
        talk.report_all([progress("one"), progress("two")]);
        talk.hear("and then this");
        assert_eq!(talk.text(), "📥 Queued at position 1.");
        talk.report(changes("aa11"));
        talk.deliver();
        assert!(talk.says().iter().any(|say| say.choice.is_some()), "a diff is a question");
        talk.hear("approve");
        assert!(talk.texts().is_empty(), "the answer is what becomes of it");
        talk.report(decided(Decision::Approve, pull_request()));
        assert_eq!(talk.text(), text::pull_request(&run(1), "https://example.org/pull/1"));
        talk.report(VmEvent::Started { driver: "demo".into() });
        talk.wait(talk.rules.progress_interval);
        assert!(talk.texts().is_empty(), "it was said to be queued");
        talk.report(answered("Done."));
        assert_eq!(talk.text(), "Done.");
    }
}

#[test]
fn quiet_holds_back_neither_pictures_nor_trouble() {
    let mut talk = Talk::new();
    talk.hear("quiet");
    talk.hear("fix the bug");
    talk.forget();
    talk.settle(Outcome::Busy { retry_after_ms: None, message: Some("The disk is full.".into()), in_use: false });
    assert_eq!(talk.text(), "⏳ The disk is full. I keep trying.");
    talk.settle(no_answer());
    talk.wait(effect::FIRST_TRY_TIMEOUT);
    assert_eq!(talk.text(), text::WAKING);
    talk.settle(Outcome::Done);
    talk.report(image());
    let blob = BlobId::parse("blob-1").unwrap();
    talk.settle(Outcome::ImageKept { blob: blob.clone() });
    assert_eq!(talk.says()[0].picture, Some(blob));
    talk.wait(talk.rules.silence_timeout);
    let status = RunStatus { run: run(1), state: RunState::Running, started_at: T0, last_output_at: T0 };
    talk.settle(Outcome::Probed { status: Some(status) });
    assert_eq!(talk.text(), text::quiet(&run(1), talk.rules.silence_timeout));
}

#[test]
fn quiet_does_not_hide_what_a_cancel_drops() {
    for (waiting, lines) in [(0, vec![]), (2, vec!["Stopping run 1… 2 waiting also dropped."])] {
        let mut talk = paid("quiet");
        for _ in 0..waiting {
            talk.hear("one more");
        }
        talk.forget();
        talk.hear("cancel");
        assert_eq!(talk.texts(), lines);
        talk.report(finished(RunOutcome::Cancelled));
        assert_eq!(talk.text(), text::cancelled(&run(1)));
    }
}

#[test]
fn a_switch_decides_what_becomes_of_gathered_progress() {
    let gathered: [(&str, &[&str], &[&str]); 3] =
        [("quiet", &[], &[]), ("normal", &[], &["two\nthree"]), ("VERBOSE", &["two\nthree"], &[])];
    for (word, at_once, later) in gathered {
        let mut talk = paid("normal");
        for line in ["one", "two", "three"] {
            talk.report(progress(line));
        }
        talk.forget();
        talk.hear(word);
        let texts = talk.texts().join("\n\n");
        let told = texts.strip_prefix(text::verbosity(talk.conversation.verbosity)).expect("it is answered");
        assert_eq!(told.trim_start(), at_once.concat(), "{word}");
        talk.wait(talk.rules.progress_interval);
        assert_eq!(talk.texts(), later, "{word}");
    }
}

#[test]
fn what_was_not_to_be_heard_is_not_told_later() {
    let mut talk = paid("normal");
    talk.report(progress("one"));
    talk.report(progress("gathered"));
    talk.hear("quiet");
    talk.report(progress("in the quiet"));
    talk.forget();
    talk.hear("verbose");
    assert_eq!(talk.text(), text::verbosity(Verbosity::Verbose));
    talk.report(progress("two"));
    assert_eq!(talk.text(), "two");
}

#[test]
fn after_a_switch_back_to_normal_the_interval_counts_from_the_last_message() {
    let mut talk = paid("verbose");
    talk.report(progress("one"));
    talk.forget();
    let run = talk.conversation.run().unwrap().clone();
    let inbox = [talk.next_report(&run, progress("two")), talk.message(Content::Text { text: "normal".into() })];
    talk.feed_all(inbox);
    assert_eq!(talk.text(), text::verbosity(Verbosity::Normal));
    talk.wait(talk.rules.progress_interval);
    assert_eq!(talk.text(), "two");
}

#[test]
fn a_switch_lasts_and_is_told_by_status() {
    for (word, part) in [("quiet", "(*quiet*)"), ("verbose", "(*verbose*)")] {
        let mut talk = paid(word);
        talk.report(answered("Done."));
        talk.forget();
        talk.hear("status");
        assert!(talk.text().contains(part));
        talk.hear("normal");
        talk.forget();
        talk.hear("status");
        assert_eq!(talk.text(), "Nothing is running.");
    }
    for word in ["quiet", "normal", "verbose"] {
        assert!(text::HELP.contains(&format!("*{word}*")));
    }
}

#[test]
fn a_conversation_stored_before_there_was_a_choice_is_normal() {
    let mut stored = serde_json::to_value(&paid("quiet").conversation).unwrap();
    stored.as_object_mut().unwrap().remove("verbosity").expect("it is stored");
    let read: Conversation = serde_json::from_value(stored).unwrap();
    assert_eq!(read.verbosity, Verbosity::Normal);
}
