//! Files that a person sent. A message waits until all of its files are in the store, and every task that comes after it waits
//! behind it, so that tasks keep their order. A message of which a file can't be used is left out as a whole, with a line.

use std::time::Duration;

use crate::id::MessageId;
use crate::machine::conversation::{Arriving, Coming};
use crate::machine::effect::Effect;
use crate::machine::event::Attachment;
use crate::machine::{Step, Timer, text};
use crate::protocol::{FILES_MAX, File, Task};

/// A voice note is written down within this time, or it is not.
const TRANSCRIPT_TIMEOUT: Duration = Duration::from_secs(90);

impl Step<'_> {
    /// A message with files.
    pub(super) fn files(&mut self, message: MessageId, text: String, files: Vec<Attachment>) {
        if files.len() > FILES_MAX {
            return self.say(text::file_refused(&format!("More than {FILES_MAX} files at once are too many.")));
        }
        let (listens, has_voice) = (self.rules.transcription, files.iter().any(|file| file.voice));
        if !listens && text.trim().is_empty() && files.iter().all(|file| file.voice) {
            return self.say(text::NO_TRANSCRIPTION);
        }
        if self.conversation.arriving.len() >= self.rules.queue_max {
            return self.say(text::queue_full(self.rules.queue_max));
        }
        if has_voice && !listens {
            self.say(text::VOICE_AS_FILE);
        }
        let coming = files.iter().map(|file| Coming::Fetching { voice: file.voice && listens }).collect();
        for (part, attachment) in files.into_iter().enumerate() {
            self.emit(Effect::FetchFile { message: message.clone(), part, attachment });
        }
        let task = Task::prompt(text);
        self.conversation.arriving.push_back(Arriving { message, task, files: coming });
        // One whose files are gone at the provider has none to wait for.
        self.take_on_arrived();
    }

    /// A task without files: it starts, or waits for what came before it.
    pub(super) fn take_on(&mut self, message: MessageId, task: Task) {
        if self.conversation.arriving.is_empty() {
            return self.task(task);
        }
        if self.conversation.arriving.len() >= self.rules.queue_max {
            return self.say(text::queue_full(self.rules.queue_max));
        }
        self.conversation.arriving.push_back(Arriving { message, task, files: Vec::new() });
    }

    /// A file is in the store.
    pub(super) fn file_kept(&mut self, message: MessageId, part: usize, file: File) {
        self.conversation.keeps(file.id.clone());
        let Some(coming) = self.coming(&message, part) else { return };
        if matches!(coming, Coming::Fetching { voice: true }) {
            *coming = Coming::Listening { file: file.clone() };
            self.emit(Effect::Transcribe { message, part, file });
        } else {
            *coming = Coming::Kept { file, transcript: None };
            self.take_on_arrived();
        }
    }

    /// Somebody has begun to write a voice note down.
    pub(super) fn listening(&mut self) {
        self.set(Timer::Transcript, TRANSCRIPT_TIMEOUT);
    }

    /// A voice note was written down, or could not be.
    pub(super) fn transcribed(&mut self, message: &MessageId, part: usize, said: Option<String>) {
        let Some(coming) = self.coming(message, part) else { return };
        let Coming::Listening { file } = coming else { return };
        match said.filter(|said| !said.trim().is_empty()) {
            Some(said) => {
                *coming = Coming::Kept { file: file.clone(), transcript: Some(said) };
                self.take_on_arrived();
            }
            None => self.leave_out(message, text::NOT_UNDERSTOOD.to_owned()),
        }
    }

    /// Voice notes were not written down in time: whoever was at it has died.
    pub(super) fn nothing_heard(&mut self) {
        let is_late = |arriving: &&Arriving| arriving.files.iter().any(|file| matches!(file, Coming::Listening { .. }));
        let late: Vec<MessageId> =
            self.conversation.arriving.iter().filter(is_late).map(|arriving| arriving.message.clone()).collect();
        for message in late {
            self.leave_out(&message, text::NOT_UNDERSTOOD.to_owned());
        }
    }

    /// A file can't be used.
    pub(super) fn file_refused(&mut self, message: &MessageId, why: &str) {
        self.leave_out(message, text::file_refused(why));
    }

    fn coming(&mut self, message: &MessageId, part: usize) -> Option<&mut Coming> {
        let arriving = self.conversation.arriving.iter_mut().find(|arriving| arriving.message == *message)?;
        arriving.files.get_mut(part)
    }

    fn leave_out(&mut self, message: &MessageId, line: String) {
        let before = self.conversation.arriving.len();
        self.conversation.arriving.retain(|arriving| arriving.message != *message);
        // Of several files that can't be used, the first is told.
        if self.conversation.arriving.len() < before {
            self.say(line);
            self.take_on_arrived();
        }
    }

    /// Take on, in order, every message that lacks nothing.
    fn take_on_arrived(&mut self) {
        let lacks = |arriving: &mut Arriving| arriving.files.iter().any(|file| !matches!(file, Coming::Kept { .. }));
        while let Some(Arriving { task, files, .. }) =
            self.conversation.arriving.pop_front_if(|arriving| !lacks(arriving))
        {
            self.task(with_files(task, files));
        }
        if !self
            .conversation
            .arriving
            .iter()
            .any(|arriving| arriving.files.iter().any(|file| matches!(file, Coming::Listening { .. })))
        {
            self.clear(&[Timer::Transcript]);
        }
    }
}

/// The task, with the files and with what was said in them before what was written.
fn with_files(task: Task, coming: Vec<Coming>) -> Task {
    let Task::Prompt { text, .. } = task else { return task };
    let (mut said, mut files) = (Vec::new(), Vec::new());
    for coming in coming {
        if let Coming::Kept { file, transcript } = coming {
            said.extend(transcript);
            files.push(file);
        }
    }
    said.extend((!text.trim().is_empty()).then_some(text));
    Task::Prompt { text: said.join("\n\n"), files }
}
