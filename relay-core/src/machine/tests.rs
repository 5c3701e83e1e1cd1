//! The machine by example: a small language to talk to it, and the conversation told in sentences.

use std::time::Duration;

use super::*;
use crate::id::{Address, ChannelKind, ConversationId, MessageId, TreeHash};
use crate::protocol::{ChangedFiles, Decision, DecisionResult, DiffStat, Review, RunOutcome, VmEvent};

mod approval;
mod buttons;
mod chat;
mod delivery;
mod drawings;
mod files;
mod inquiry;
mod log;
mod long;
mod operator;
mod progress;
mod queue;
mod review;
mod vm;

const T0: Timestamp = Timestamp(1_800_000_000_000);

/// A conversation with its outbox and a clock: events go in by sentence, what it asks for comes out.
struct Talk {
    rules: Rules,
    channel: ChannelKind,
    now: Timestamp,
    conversation: Conversation,
    outbox: Vec<Queued>,
    dead: Vec<Dead>,
    log: Vec<LogEntry>,
    fresh: Vec<Queued>,
    /// Whether the channel takes every message as soon as it is there.
    prompt: bool,
    reported: u64,
}

impl Talk {
    fn on(channel: ChannelKind) -> Self {
        Self {
            rules: Rules::default(),
            channel,
            now: T0,
            conversation: Conversation::new(ConversationId::parse("c0ffee").unwrap()),
            outbox: Vec::new(),
            dead: Vec::new(),
            log: Vec::new(),
            fresh: Vec::new(),
            prompt: false,
            reported: 0,
        }
    }

    fn new() -> Self {
        Self::on(ChannelKind::Console)
    }

    /// A run is at work.
    fn working() -> Self {
        let mut talk = Self::new();
        talk.hear("fix the bug");
        talk.settle(Outcome::Done);
        talk.forget();
        talk
    }

    /// A diff was shown and waits.
    fn awaiting() -> Self {
        let mut talk = Self::working();
        talk.report(changes("aa11"));
        talk.deliver();
        talk.forget();
        talk
    }

    fn feed(&mut self, event: Event) {
        self.feed_all([event]);
    }

    /// Events that wait together, and then the deadlines that have passed: as in a turn.
    fn feed_all(&mut self, inbox: impl IntoIterator<Item = Event>) {
        for event in inbox {
            self.step(event);
        }
        if self.conversation.is_due(self.now) {
            self.step(Event::Due);
        }
        if self.prompt {
            self.deliver();
        }
    }

    fn step(&mut self, event: Event) {
        let before = self.conversation.effects;
        let performed = match &event {
            Event::Performed { effect, .. } => Some(effect.seq),
            _ => None,
        };
        let transition = step(&self.rules, self.conversation.clone(), event, self.now);
        let seqs: Vec<u64> = transition.effects.iter().map(|queued| queued.seq.0).collect();
        let new: Vec<u64> = seqs.iter().copied().filter(|seq| *seq > before).collect();
        assert!(new.iter().copied().eq(before + 1..=before + new.len() as u64), "numbered without a gap: {seqs:?}");
        self.conversation = transition.conversation;
        // What was withdrawn, because more joined it, nobody hears by itself.
        self.fresh.extend(transition.effects.iter().cloned());
        self.fresh.retain(|queued| performed == Some(queued.seq) || !transition.acked.contains(&queued.seq));
        self.outbox.extend(transition.effects);
        self.outbox.retain(|queued| !transition.acked.contains(&queued.seq));
        self.outbox.sort_by_key(|queued| queued.seq);
        self.dead.extend(transition.dead);
        self.log.extend(transition.log);
    }

    fn message(&self, content: Content) -> Event {
        let from = Address { channel: self.channel, name: "someone".into() };
        Event::Message(Message::new(MessageId::parse("M1").unwrap(), from, content))
    }

    fn hear_content(&mut self, content: Content) {
        self.feed(self.message(content));
    }

    fn hear(&mut self, text: &str) {
        self.hear_content(Content::Text { text: text.into() });
    }

    fn press(&mut self, payload: &str) {
        self.hear_content(Content::Button { payload: payload.into() });
    }

    /// A report of the current run.
    fn report(&mut self, event: VmEvent) {
        let run = self.conversation.run().expect("a run is on").clone();
        self.report_of(&run, event);
    }

    fn report_of(&mut self, run: &RunId, event: VmEvent) {
        let report = self.next_report(run, event);
        self.feed(report);
    }

    /// Reports of the current run that wait together.
    fn report_all(&mut self, events: impl IntoIterator<Item = VmEvent>) {
        let run = self.conversation.run().expect("a run is on").clone();
        let inbox: Vec<Event> = events.into_iter().map(|event| self.next_report(&run, event)).collect();
        self.feed_all(inbox);
    }

    fn next_report(&mut self, run: &RunId, event: VmEvent) -> Event {
        self.reported += 1;
        Event::Report { run: run.clone(), seq: self.reported, event }
    }

    /// Time passes; deadlines fire as they come.
    fn wait(&mut self, timeout: Duration) {
        let until = self.now + timeout;
        while let Some(at) = self.conversation.timers.values().copied().min().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.feed(Event::Due);
        }
        self.now = until;
    }

    fn wait_s(&mut self, seconds: u64) {
        self.wait(Duration::from_secs(seconds));
    }

    /// The first effect for the VM that waits in the outbox.
    fn for_vm(&self) -> Option<&Queued> {
        self.outbox.iter().find(|queued| queued.effect.lane() != Lane::Chat)
    }

    /// What came of the first effect for the VM.
    fn settle(&mut self, outcome: Outcome) {
        let effect = self.for_vm().expect("an effect for the VM waits").clone();
        self.feed(Event::Performed { effect, outcome });
    }

    /// The VM is called until it is given up or `timeout` is over; it never answers.
    fn call_in_vain(&mut self, timeout: Duration) {
        let until = self.now + timeout;
        while self.now < until {
            let Some(queued) = self.for_vm() else { return };
            let seq = queued.seq;
            self.wait_s(5);
            self.settle(Outcome::no_answer(Duration::from_millis(5_000)));
            match self.conversation.retries.values().find(|retry| retry.effect == seq) {
                Some(retry) => self.wait(retry.next_at.since(self.now)),
                None => return,
            }
        }
    }

    /// All chat messages that wait are handed over.
    fn deliver(&mut self) {
        while let Some(effect) = self.outbox.iter().find(|queued| queued.effect.lane() == Lane::Chat).cloned() {
            self.step(Event::Performed { effect, outcome: Outcome::Done });
        }
    }

    /// The messages asked for since the last look.
    fn says(&mut self) -> Vec<Say> {
        self.take(|effect| match effect {
            Effect::Say(say) => Some(say.clone()),
            _ => None,
        })
    }

    /// Their texts.
    fn texts(&mut self) -> Vec<String> {
        self.says().into_iter().map(|say| say.text).collect()
    }

    /// The one text said since the last look.
    fn text(&mut self) -> String {
        let texts = self.texts();
        assert_eq!(texts.len(), 1, "{texts:?}");
        texts.into_iter().next().unwrap()
    }

    /// What was asked of the VM since the last look.
    fn calls(&mut self) -> Vec<Effect> {
        self.take(|effect| (effect.lane() != Lane::Chat).then(|| effect.clone()))
    }

    fn take<T>(&mut self, pick: impl Fn(&Effect) -> Option<T>) -> Vec<T> {
        let taken = self.fresh.iter().filter_map(|queued| pick(&queued.effect)).collect();
        self.fresh.retain(|queued| pick(&queued.effect).is_none());
        taken
    }

    /// Look away.
    fn forget(&mut self) {
        self.fresh.clear();
    }

    fn phase(&self) -> &Phase {
        &self.conversation.phase
    }

    fn has(&self, timer: Timer) -> bool {
        self.conversation.timers.contains_key(&timer)
    }
}

fn run(number: u64) -> RunId {
    RunId::of(&ConversationId::parse("c0ffee").unwrap(), T0, number)
}

fn tree(hash: &str) -> TreeHash {
    TreeHash::parse(hash).unwrap()
}

fn prompt(text: &str) -> Task {
    Task::prompt(text)
}

fn start(number: u64, text: &str) -> Effect {
    Effect::StartRun { run: run(number), task: prompt(text) }
}

fn decide(number: u64, hash: &str, decision: Decision) -> Effect {
    Effect::Decide { run: run(number), tree: tree(hash), decision }
}

fn finished(outcome: RunOutcome) -> VmEvent {
    VmEvent::Finished { outcome, spent: None }
}

fn changes(hash: &str) -> VmEvent {
    let stat = DiffStat { files: 1, insertions: 2, deletions: 3 };
    let (summary, diff) = ("Fixed it.".into(), "-old\n+new".into());
    let (files, drawings) = (ChangedFiles::default(), Vec::new());
    let (tree, review) = (tree(hash), None);
    finished(RunOutcome::Changes { summary, tree, stat, diff, diff_cut: false, files, drawings, review })
}

fn answered(text: &str) -> VmEvent {
    finished(RunOutcome::Answered { text: text.into() })
}

fn decided(decision: Decision, result: DecisionResult) -> VmEvent {
    VmEvent::Decided { decision, result }
}

fn pull_request() -> DecisionResult {
    DecisionResult::PullRequest { url: "https://example.org/pull/1".into(), branch: "textslash/c0ffee-1".into() }
}

fn parked() -> DecisionResult {
    DecisionResult::Parked { branch: "parked/c0ffee-1".into() }
}

fn no_answer() -> Outcome {
    Outcome::no_answer(Duration::from_millis(2_500))
}
