//! A diff that the VM has drawn: its drawings come first, the question last, and nothing is waited for without end.

use super::*;
use crate::id::{BlobId, EffectSeq};
use crate::protocol::Drawing;
use crate::protocol::changed::{Beside, BesideKind, Change, ChangedFile, Content};

const DIFF_LINES: usize = 300;

fn drawn(files: ChangedFiles) -> VmEvent {
    let drawing = |name: &str, document| Drawing { name: name.into(), caption: "1 file, +300 −0".into(), document };
    finished(RunOutcome::Changes {
        summary: "Wrote it.".into(),
        tree: tree("aa11"),
        stat: DiffStat { files: 1, insertions: 300, deletions: 0 },
        diff: "+a line of code\n".repeat(DIFF_LINES),
        diff_cut: false,
        files,
        drawings: vec![drawing("a.png", false), drawing("a.pdf", true)],
        review: None,
    })
}

fn kept(number: u32) -> Outcome {
    Outcome::ImageKept { blob: BlobId::parse(format!("blob-{number}")).unwrap() }
}

fn lost() -> Outcome {
    Outcome::Refused { reason: None, message: "gone".into() }
}

/// On WhatsApp, at work, and then the report of a drawn diff.
fn reported() -> Talk {
    let mut talk = Talk::on(ChannelKind::Twilio);
    talk.hear("fix the bug");
    talk.settle(Outcome::Done);
    talk.forget();
    talk.report(drawn(ChangedFiles::default()));
    talk
}

#[test]
fn the_picture_and_the_document_come_before_the_question_and_stand_for_the_diff() {
    let mut talk = reported();
    assert_eq!(talk.says(), [], "nothing is said before the drawings are here");
    talk.settle(kept(1));
    assert_eq!(talk.says(), []);
    talk.settle(kept(2));
    let says = talk.says();
    let shown: Vec<_> = says.iter().map(|say| (say.picture.is_some(), say.document, say.choice.is_some())).collect();
    assert_eq!(shown, [(true, false, false), (true, true, false), (false, false, true)]);
    assert_eq!((says[0].text.as_str(), says[2].code.as_deref()), ("1 file, +300 −0", None));
    assert!(says[2].text.contains(text::DRAWN), "{}", says[2].text);
    let pictures = talk.outbox.clone();
    for part in &pictures {
        assert!(matches!(talk.phase(), Phase::AwaitingApproval(pending) if !pending.shown), "all of them count");
        talk.feed(Event::Performed { effect: part.clone(), outcome: Outcome::Done });
    }
    assert!(matches!(talk.phase(), Phase::AwaitingApproval(pending) if pending.shown));
}

#[test]
fn a_diff_whose_drawing_is_lost_is_shown_as_text() {
    let mut talk = reported();
    talk.settle(kept(1));
    talk.settle(lost());
    let says = talk.says();
    assert!(says[0].picture.is_some(), "what is here is shown");
    assert!(says.iter().any(|say| say.code.is_some()) && says.iter().all(|say| !say.text.contains(text::DRAWN)));
    assert!(says.last().unwrap().choice.is_some());
}

#[test]
fn a_diff_that_one_message_carries_is_shown_beside_its_drawings() {
    let mut talk = Talk::working();
    talk.report(drawn(ChangedFiles::default()));
    talk.settle(kept(1));
    talk.settle(kept(2));
    let says = talk.says();
    assert_eq!(says.len(), 3);
    assert!(says[2].code.as_deref().is_some_and(|code| code.lines().count() == DIFF_LINES), "the console has room");
}

#[test]
fn drawings_that_do_not_come_hold_the_diff_up_for_a_while_only() {
    let mut talk = reported();
    talk.wait(talk.rules.silence_timeout);
    let says = talk.says();
    assert!(says.last().unwrap().choice.is_some() && says.iter().all(|say| say.picture.is_none()), "{says:?}");
    assert!(talk.for_vm().is_none(), "they are no longer asked for");
}

/// The probe left before the diff was reported, or the start was asked for again; the answer comes after it.
#[test]
fn what_a_vm_says_of_a_run_too_late_ends_no_diff_that_waits_for_its_drawings() {
    let late = [
        (Effect::Probe { run: run(1) }, Outcome::Probed { status: None }),
        (start(1, "fix the bug"), Outcome::Refused { reason: None, message: "no".into() }),
    ];
    for (effect, outcome) in late {
        let mut talk = reported();
        talk.feed(Event::Performed { effect: Queued::new(EffectSeq(1), effect), outcome });
        assert!(talk.conversation.drawn.is_some() && talk.texts().is_empty(), "{:?}", talk.phase());
        talk.settle(kept(1));
        talk.settle(kept(2));
        assert!(matches!(talk.phase(), Phase::AwaitingApproval(_)));
    }
}

#[test]
fn a_run_that_is_cancelled_meanwhile_shows_nothing() {
    let mut talk = reported();
    let fetching: Vec<Queued> = talk.outbox.clone();
    talk.hear("cancel");
    for effect in fetching {
        talk.feed(Event::Performed { effect, outcome: kept(1) });
    }
    assert!(talk.says().iter().all(|say| say.picture.is_none() && say.choice.is_none()));
    talk.report(finished(RunOutcome::Cancelled));
    assert_eq!((talk.phase(), talk.conversation.drawn.as_ref()), (&Phase::Idle, None));
}

#[test]
fn a_diff_that_is_reported_again_meanwhile_is_shown_once() {
    let mut talk = reported();
    let first: Vec<EffectSeq> = talk.outbox.iter().map(|queued| queued.seq).collect();
    talk.report(drawn(ChangedFiles::default()));
    assert!(talk.outbox.iter().all(|queued| !first.contains(&queued.seq)), "the first is forgotten");
    talk.settle(kept(1));
    talk.settle(kept(2));
    assert_eq!(talk.says().iter().filter(|say| say.choice.is_some()).count(), 1);
}

#[test]
fn the_files_stand_under_the_stat_as_far_as_there_is_room() {
    let file = |number: usize| ChangedFile {
        path: format!("src/{}/file-{number}.rs", "deep/".repeat(8)),
        change: Change::Changed,
        content: Content::Text { insertions: 1, deletions: 0, utf8: true },
        became: None,
        cut: false,
    };
    let beside = vec![Beside { path: "vendor/lib".into(), kind: BesideKind::Submodule, files: 2 }];
    let files = ChangedFiles { shown: (0..50).map(file).collect(), more: 150, beside };
    let stat = DiffStat { files: 200, insertions: 200, deletions: 0 };
    let told = text::changes(&run(1), "Done.", &stat, &files, None, None, Duration::from_secs(1_800));
    assert!(split::units(&told) < 1_100, "{told}");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[2..4], ["*200 files, +200 −0* (run 1)".to_owned(), format!("• {}", file(0))]);
    let (more, beside, last) = (lines[lines.len() - 3], lines[lines.len() - 2], lines[lines.len() - 1]);
    assert_eq!((more, beside), ("… and 191 more", "⚠️ `vendor/lib` (submodule): 2 files changed, which no diff shows"));
    assert!(last.starts_with("*approve* opens"));
}

#[test]
fn no_name_hides_what_no_diff_shows() {
    let hostile = "`".repeat(100);
    let renamed = Change::Renamed { from: hostile.clone() };
    let content = Content::Text { insertions: 1, deletions: 0, utf8: true };
    let file = ChangedFile { path: hostile.clone(), change: renamed, content, became: None, cut: false };
    let beside = vec![Beside { path: hostile, kind: BesideKind::Submodule, files: 2 }];
    let files = ChangedFiles { shown: vec![file], more: 0, beside };
    let stat = DiffStat { files: 1, insertions: 1, deletions: 0 };
    let told = text::changes(&run(1), "Done.", &stat, &files, None, None, Duration::from_secs(1_800));
    assert!(told.contains("which no diff shows") && split::units(&told) < 1_100, "{told}");
}
