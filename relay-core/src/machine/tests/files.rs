//! Files that people send: their message waits for them, and what comes after waits behind it.

use super::*;
use crate::id::BlobId;
use crate::protocol::File;

fn attachment(voice: bool) -> Attachment {
    Attachment { source: "somewhere".into(), voice }
}

fn file(name: &str) -> File {
    File { id: BlobId::parse(name).unwrap(), name: format!("{name}.png"), content_type: "image/png".into(), bytes: 3 }
}

impl Talk {
    fn sends(&mut self, id: &str, text: &str, files: Vec<Attachment>) {
        let from = Address { channel: self.channel, name: "someone".into() };
        self.feed(Event::Message(Message::new(
            MessageId::parse(id).unwrap(),
            from,
            Content::Files { text: text.into(), files },
        )));
    }

    fn prompts(&mut self) -> Vec<Task> {
        self.take(|effect| match effect {
            Effect::StartRun { task, .. } => Some(task.clone()),
            _ => None,
        })
    }
}

#[test]
fn a_task_starts_once_its_files_are_there() {
    let mut talk = Talk::new();
    talk.sends("F1", "like this", vec![attachment(false), attachment(false)]);
    talk.settle(Outcome::FileKept { file: file("a") });
    assert!(talk.prompts().is_empty());
    talk.settle(Outcome::FileKept { file: file("b") });
    assert_eq!(talk.prompts(), [Task::Prompt { text: "like this".into(), files: vec![file("a"), file("b")] }]);
}

#[test]
fn what_comes_after_waits_behind_and_words_do_not() {
    let mut talk = Talk::new();
    talk.sends("F1", "like this", vec![attachment(false)]);
    talk.hear("and then that");
    talk.hear("status");
    assert!(talk.prompts().is_empty() && talk.text() == "Nothing is running.");
    talk.settle(Outcome::FileKept { file: file("a") });
    assert_eq!(talk.prompts(), [Task::Prompt { text: "like this".into(), files: vec![file("a")] }]);
    assert_eq!(talk.conversation.queue.len(), 1);
}

#[test]
fn a_file_that_cannot_be_used_takes_its_message_with_it_and_nothing_else() {
    let mut talk = Talk::new();
    talk.sends("F1", "like this", vec![attachment(false), attachment(false)]);
    talk.hear("and then that");
    talk.settle(Outcome::Refused { reason: None, message: "Too large.".into() });
    assert_eq!(talk.text(), "⚠️ Too large. Nothing of that message was taken on.");
    assert_eq!(talk.prompts(), [prompt("and then that")]);
    talk.settle(Outcome::FileKept { file: file("b") });
    assert!(talk.prompts().is_empty() && talk.texts().is_empty(), "the other file comes too late");
}

#[test]
fn cancel_forgets_what_is_on_its_way() {
    let mut talk = Talk::new();
    talk.sends("F1", "like this", vec![attachment(false)]);
    talk.hear("cancel");
    assert_eq!(talk.text(), "Your message is forgotten.");
    talk.settle(Outcome::FileKept { file: file("a") });
    assert!(talk.prompts().is_empty());
}

#[test]
fn a_voice_note_is_written_down_or_gets_one_line() {
    let mut talk = Talk::new();
    talk.sends("F1", "", vec![attachment(true)]);
    assert_eq!(talk.text(), text::NO_TRANSCRIPTION);

    let mut talk = Talk::new();
    talk.sends("F1", "like this", vec![attachment(true)]);
    assert_eq!(talk.text(), text::VOICE_AS_FILE);
    talk.settle(Outcome::FileKept { file: file("a") });
    assert_eq!(
        talk.prompts(),
        [Task::Prompt { text: "like this".into(), files: vec![file("a")] }],
        "what else there is counts"
    );

    let heard = |said: Option<&str>| {
        let mut talk = Talk::new();
        talk.rules.transcription = true;
        talk.sends("F1", "", vec![attachment(true)]);
        talk.settle(Outcome::FileKept { file: file("a") });
        talk.settle(Outcome::Done);
        match said {
            Some(said) => {
                let (message, text) = (MessageId::parse("F1").unwrap(), Some(said.to_owned()));
                talk.feed(Event::Transcript { message, part: 0, text });
            }
            None => talk.wait_s(600),
        }
        assert!(!talk.has(Timer::Transcript));
        talk
    };
    let mut talk = heard(Some("fix the bug"));
    assert_eq!(talk.prompts(), [Task::Prompt { text: "fix the bug".into(), files: vec![file("a")] }]);
    for silent in [None, Some("  ")] {
        assert_eq!(heard(silent).texts(), [text::NOT_UNDERSTOOD]);
    }
}

#[test]
fn a_file_waits_for_credentials_for_as_long_as_it_takes() {
    let mut talk = Talk::new();
    talk.sends("F1", "like this", vec![attachment(false)]);
    for _ in 0..100 {
        talk.settle(Outcome::Delayed { pause_ms: 30_000 });
        talk.wait_s(30);
    }
    assert!(talk.texts().is_empty(), "nothing is given up, and answers are not held up");
    talk.settle(Outcome::FileKept { file: file("a") });
    assert_eq!(talk.prompts().len(), 1);
}

#[test]
fn a_file_is_asked_for_after_the_pause_that_its_provider_asks_for() {
    let mut talk = Talk::new();
    talk.sends("F1", "like this", vec![attachment(false)]);
    talk.settle(Outcome::NoAnswer { waited_ms: 0, retry_after_ms: Some(60_000) });
    let waits = talk.conversation.ready_at(Lane::Files, &talk.rules).unwrap().since(talk.now);
    assert_eq!(waits, Duration::from_secs(60));
}

#[test]
fn what_is_said_aloud_is_never_a_word_of_the_chat() {
    let mut talk = Talk::awaiting();
    talk.rules.transcription = true;
    talk.sends("M9", "", vec![attachment(true)]);
    talk.settle(Outcome::FileKept { file: file("a") });
    talk.settle(Outcome::Done);
    talk.feed(Event::Transcript { message: MessageId::parse("M9").unwrap(), part: 0, text: Some("approve".into()) });
    assert!(matches!(talk.phase(), Phase::AwaitingApproval(_)));
}

#[test]
fn a_cancel_that_cancels_nothing_forgets_no_file() {
    let mut talk = Talk::awaiting();
    talk.hear("approve");
    talk.sends("F1", "like this", vec![attachment(false)]);
    talk.hear("cancel");
    assert!(matches!(talk.phase(), Phase::Deciding { .. }) && talk.conversation.arriving.len() == 1);

    let mut talk = Talk::working();
    talk.hear("cancel");
    talk.sends("F1", "like this", vec![attachment(false)]);
    talk.hear("cancel");
    assert!(matches!(talk.phase(), Phase::Cancelling { .. }) && talk.conversation.arriving.len() == 1);
    let mut idle = Talk::new();
    idle.sends("F1", "like this", vec![attachment(false)]);
    idle.hear("cancel");
    assert!(idle.conversation.arriving.is_empty() && idle.text() == "Your message is forgotten.");
}
