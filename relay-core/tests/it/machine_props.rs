//! The machine against what must be true of it after any sequence of events, however little sense the sequence makes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use relay_core::id::{Address, BlobId, ChannelKind, ConversationId, EffectSeq, MessageId, Nonce, RunId, TreeHash};
use relay_core::machine::drawings::Fetching;
use relay_core::machine::rules::ButtonLine;
use relay_core::machine::words::{Pressed, Word};
use relay_core::machine::{
    self, Capabilities, Content, Conversation, Effect, Event, Failure, Lane, Message, OperatorAction, Outcome, Phase,
    Queued, Receipt, Rules, Say, Timer, Transition, Verbosity, Verdict, text,
};
use relay_core::protocol::{
    Answer, ChangedFiles, Decision, DiffStat, Drawing, Review, RunOutcome, RunState, RunStatus, Task, VmEvent,
};
use relay_core::time::Timestamp;

mod inquiries;
mod log;
mod moves;

use inquiries::{Asks, Inquiries};
use log::Told;
use moves::{Move, Reported, moves};

const QUEUE_MAX: usize = 3;
/// What every report of progress says.
const PROGRESS: &str = "a step";

/// What is known from outside of the conversation: the reference that the machine is held against.
struct Model {
    rules: Rules,
    now: Timestamp,
    conversation: Conversation,
    outbox: Vec<Queued>,
    reported: BTreeMap<RunId, u64>,
    /// Tasks accepted and not yet begun, in order.
    waiting: Vec<Task>,
    /// What each run was started for.
    started: BTreeMap<RunId, Task>,
    /// What the agent is to go on with once that is parked.
    revision: Option<Task>,
    /// The diff whose message was handed over last.
    shown: Option<(RunId, TreeHash)>,
    /// Messages that the channel took, with the effects that asked for them.
    receipts: Vec<(EffectSeq, MessageId)>,
    sent: u64,
    inquiries: Inquiries,
    log: Told,
    /// The run of which progress was told last, by its number, and when.
    told: Option<(u64, Timestamp)>,
}

impl Model {
    /// With buttons on a line of their own, or below any text.
    fn new(button_line: Option<ButtonLine>) -> Self {
        let id = ConversationId::parse("c0ffee").expect("plain");
        Self {
            rules: Rules {
                queue_max: QUEUE_MAX,
                twilio: Capabilities { button_line, ..Capabilities::PAID },
                ..Rules::default()
            },
            now: Timestamp(1_800_000_000_000),
            conversation: Conversation::new(id),
            outbox: Vec::new(),
            reported: BTreeMap::new(),
            waiting: Vec::new(),
            started: BTreeMap::new(),
            revision: None,
            shown: None,
            receipts: Vec::new(),
            sent: 0,
            inquiries: Inquiries::default(),
            log: Told::default(),
            told: None,
        }
    }

    fn run(&self, runs_ago: u64) -> Option<RunId> {
        let number = self.conversation.runs.checked_sub(runs_ago).filter(|&number| number > 0)?;
        Some(self.conversation.run_id(number))
    }

    fn event(&mut self, one: Move) -> Option<Event> {
        Some(match one {
            Move::Hear { text, late } => match self.message(Content::Text { text }) {
                Event::Message(message) if late => Event::Message(Message { sent_at: Some(self.now), ..message }),
                event => event,
            },
            Move::Reply { runs_ago, ago, option } => {
                let run = self.run(runs_ago)?;
                let number = self.inquiries.number(&run, ago)?;
                self.message(Content::Button { payload: format!("reply:{run}:{number}:{option}") })
            }
            Move::Press { word, runs_ago } => {
                let run = self.run(runs_ago)?;
                self.message(Content::Button { payload: format!("{word}:{run}:{}", tree(&run)) })
            }
            Move::Review { verdict, runs_ago, is_of_tree } => {
                let run = self.run(runs_ago)?;
                let tree = if is_of_tree { tree(&run) } else { TreeHash::parse("bb").expect("digits") };
                Event::Reviewed { run, tree, verdict, cause: None }
            }
            Move::Wait(seconds) => {
                self.now = self.now + Duration::from_secs(seconds);
                self.conversation.is_due(self.now).then_some(Event::Due)?
            }
            Move::OperatorCancels => {
                let id = Nonce::parse(format!("op-{}", self.now.as_millis())).expect("plain");
                Event::Operator { id, action: OperatorAction::Cancel }
            }
            Move::Receipt { ago, receipt, named } => {
                let at = self.receipts.len().checked_sub(ago + 1)?;
                let (effect, message) = self.receipts[at].clone();
                Event::Receipt { effect: named.then_some(effect), message, receipt }
            }
            Move::Report { runs_ago, event } => {
                let run = self.run(runs_ago)?;
                let seq = self.reported.entry(run.clone()).or_default();
                *seq += 1;
                let event = match event {
                    Reported::Plain(event) => event,
                    Reported::Changes { is_drawn, has_review } => changes(&run, is_drawn, has_review),
                    Reported::Asks(asks) => self.inquiries.report(&run, asks)?,
                };
                Event::Report { run, seq: *seq, event }
            }
            Move::Perform { chat, outcome } => {
                let is_chat = |queued: &&Queued| matches!(queued.effect, Effect::Say(_)) == chat;
                let effect = self.outbox.iter().find(is_chat)?.clone();
                let outcome = match (fitting(&effect.effect, outcome, self.now), &effect.effect) {
                    (Outcome::Sent { .. }, Effect::Say(_)) => {
                        self.sent += 1;
                        let message = MessageId::parse(format!("T{}", self.sent)).expect("plain");
                        self.receipts.push((effect.seq, message.clone()));
                        Outcome::Sent { message }
                    }
                    (Outcome::Sent { .. } | Outcome::Undelivered { .. } | Outcome::Delayed { .. }, effect)
                        if said(effect).is_none() =>
                    {
                        fitting(effect, Outcome::Done, self.now)
                    }
                    (outcome, _) => outcome,
                };
                Event::Performed { effect, outcome }
            }
        })
    }

    fn message(&self, content: Content) -> Event {
        let from = Address { channel: ChannelKind::Twilio, name: "someone".into() };
        Event::Message(Message::new(MessageId::parse("M1").expect("plain"), from, content))
    }

    fn step(&mut self, event: &Event) -> Result<(), TestCaseError> {
        let before = self.conversation.clone();
        let transition = machine::step(&self.rules, before.clone(), event.clone(), self.now);
        let (again, new): (Vec<u64>, Vec<u64>) =
            transition.effects.iter().map(|queued| queued.seq.0).partition(|seq| *seq <= before.effects);
        let expected: Vec<u64> = (before.effects + 1..=transition.conversation.effects).collect();
        prop_assert_eq!(&new, &expected, "numbered without a gap");
        let was_sent = |seq: &u64| before.delivery.sent.iter().any(|sent| sent.effect.0 == *seq);
        prop_assert!(again.iter().all(was_sent), "only what was sent is sent again: {:?}", again);
        self.take_in(event, &before, &self.newly_said(&transition))?;
        for queued in &transition.effects {
            self.judge(event, &before, queued)?;
        }
        self.judge_talk(event, &before, &transition.effects, transition.conversation.verbosity)?;
        self.inquiries.judge(event, &before, &transition)?;
        self.log.judge(event, &before, &transition)?;
        for say in transition.effects.iter().filter_map(|queued| said(&queued.effect)) {
            self.log.judge_link(say, &transition.conversation, self.now, &self.rules)?;
        }
        self.conversation = transition.conversation;
        self.outbox.extend(transition.effects);
        self.outbox.retain(|queued| !transition.acked.contains(&queued.seq));
        self.outbox.sort_by_key(|queued| queued.seq);
        let places: BTreeSet<EffectSeq> = self.outbox.iter().map(|queued| queued.seq).collect();
        prop_assert_eq!(places.len(), self.outbox.len(), "no place is taken twice");
        self.judge_state()
    }

    /// What people are told in this step, without what waited already and is now part of the same message.
    fn newly_said(&self, transition: &Transition) -> Vec<String> {
        let texts = transition.effects.iter().filter_map(|queued| said(&queued.effect));
        let joined: Vec<&Say> = self
            .outbox
            .iter()
            .filter(|queued| transition.acked.contains(&queued.seq))
            .filter_map(|queued| said(&queued.effect))
            .collect();
        texts
            .map(|say| {
                let before = joined.iter().find(|before| say.text.starts_with(&before.text) && say.text != before.text);
                say.text[before.map_or(0, |before| before.text.len())..].to_owned()
            })
            .collect()
    }

    /// Keep the model's own account of tasks and of what was shown.
    fn take_in(&mut self, event: &Event, before: &Conversation, newly_said: &[String]) -> Result<(), TestCaseError> {
        if let Event::Performed {
            effect: Queued { effect: Effect::Say(say), .. },
            outcome: Outcome::Done | Outcome::Sent { .. },
        } = event
            && let Some(choice) = &say.choice
        {
            self.shown = Some((choice.run.clone(), choice.tree.clone()));
        }
        if let (Event::Reviewed { run, tree, verdict: Verdict::Changes { text }, .. }, Phase::AwaitingApproval(pending)) =
            (event, &before.phase)
            && (&pending.run, &pending.tree) == (run, tree)
        {
            self.revision = Some(Task::Revise { parked: run.clone(), text: text.clone() });
        }
        let said = |part: &str| newly_said.iter().any(|text| text.contains(part));
        if matches!(event, Event::Operator { .. }) && said("dropped as well") {
            self.waiting.clear();
        }
        let Event::Message(message) = event else { return Ok(()) };
        match self.task(before, message) {
            Some(Task::Resume { .. }) if said("bring back") => {}
            Some(task) if said("*not* kept") => prop_assert_eq!(before.queue.len(), QUEUE_MAX, "{:?}", task),
            Some(task) => self.waiting.push(task),
            None if said("waiting also dropped") => self.waiting.clear(),
            None if said("Taken out of the queue: 1.") => {
                self.waiting.remove(0);
            }
            None => {}
        }
        Ok(())
    }

    fn judge(&mut self, event: &Event, before: &Conversation, queued: &Queued) -> Result<(), TestCaseError> {
        match &queued.effect {
            Effect::StartRun { run, task } => {
                if let Some(known) = self.started.get(run) {
                    prop_assert_eq!(known, task, "the same run is started for the same task only");
                } else if let Task::Revise { .. } = task {
                    prop_assert_eq!(self.revision.take(), Some(task.clone()), "only what was asked for on a page");
                    self.started.insert(run.clone(), task.clone());
                } else {
                    prop_assert!(!self.waiting.is_empty(), "{:?} was never accepted", task);
                    prop_assert_eq!(&self.waiting.remove(0), task, "tasks begin in the order of their acceptance");
                    self.started.insert(run.clone(), task.clone());
                }
                if let Task::Prompt { text, .. } = task {
                    prop_assert!(Word::parse(text).is_none() && !text.trim().is_empty(), "{:?} is for the relay", text);
                }
            }
            Effect::Decide { run, tree, decision } if !matches!(before.phase, Phase::Deciding { .. }) => {
                let Phase::AwaitingApproval(pending) = &before.phase else {
                    return Err(TestCaseError::fail(format!("{decision:?} while {:?}", before.phase)));
                };
                prop_assert_eq!((run, tree), (&pending.run, &pending.tree));
                let asked = match (event, decision) {
                    (Event::Due, Decision::Park) => true,
                    (Event::Message(message), _) => self.answers(message, run, tree, *decision),
                    (Event::Reviewed { run: read, tree: shown, verdict, .. }, decision) => {
                        let means = match verdict {
                            Verdict::Approve => Decision::Approve,
                            Verdict::Reject => Decision::Reject,
                            Verdict::Changes { .. } => Decision::Park,
                        };
                        (read, shown, means) == (run, tree, *decision)
                    }
                    _ => false,
                };
                prop_assert!(asked, "{:?} of {} after {:?}", decision, run, event);
            }
            Effect::Decide { .. } => prop_assert_eq!(event, &Event::Due, "only silence asks again"),
            _ => {}
        }
        Ok(())
    }

    /// Nobody hears more of what is going on than they asked for, and nobody writes a task and hears nothing.
    fn judge_talk(
        &mut self,
        event: &Event,
        before: &Conversation,
        effects: &[Queued],
        verbosity: Verbosity,
    ) -> Result<(), TestCaseError> {
        // What is sent again, at its old place, tells nothing new.
        let new = effects.iter().filter(|queued| queued.seq.0 > before.effects);
        let says: Vec<&Say> = new.filter_map(|queued| said(&queued.effect)).collect();
        for say in says.iter().filter(|say| say.passing) {
            let is_progress = say.text.lines().all(|line| line == PROGRESS);
            let is_needed = [text::WAKING, "I keep trying", "Taken on as", "also dropped", "could not be delivered"]
                .iter()
                .any(|needed| say.text.contains(needed));
            prop_assert!(verbosity != Verbosity::Quiet || is_needed, "{:?} said to a quiet person", say.text);
            if is_progress {
                let told = self.told.replace((before.runs, self.now));
                let too_soon = told
                    .is_some_and(|(run, at)| run == before.runs && self.now.since(at) < self.rules.progress_interval);
                prop_assert!(verbosity == Verbosity::Verbose || !too_soon, "progress told at {:?} and now", told);
            }
        }
        let is_task = matches!(event, Event::Message(message) if self.task(before, message).is_some());
        let is_quiet = verbosity == Verbosity::Quiet;
        prop_assert!(!is_task || !is_quiet || !says.is_empty(), "{:?} got no answer", event);
        Ok(())
    }

    /// The task that a message is, if the machine accepts it.
    fn task(&self, conversation: &Conversation, message: &Message) -> Option<Task> {
        let Content::Text { text } = &message.content else { return None };
        match Word::parse(text) {
            None if text.trim().is_empty() => None,
            _ if self.inquiries.takes(text, message.sent_at.is_some()) => None,
            None => Some(Task::prompt(text)),
            Some(Word::Resume(number)) => Some(Task::Resume { parked: conversation.run_id(number) }),
            Some(_) => None,
        }
    }

    /// Whether a message decides so on that diff: by its very button, or in words once it was shown.
    fn answers(&self, message: &Message, run: &RunId, tree: &TreeHash, decision: Decision) -> bool {
        match &message.content {
            Content::Button { payload } => {
                Pressed::parse(payload) == Some(Pressed::Decision { decision, run: run.clone(), tree: tree.clone() })
            }
            Content::Text { text } => {
                let word = if decision == Decision::Approve { Word::Approve } else { Word::Reject };
                let shown = self.shown.as_ref() == Some(&(run.clone(), tree.clone())) && message.sent_at.is_none();
                Word::parse(text) == Some(word) && shown && decision != Decision::Park
            }
            Content::Unsupported { .. } | Content::Files { .. } => false,
        }
    }

    fn judge_state(&self) -> Result<(), TestCaseError> {
        let state = &self.conversation;
        prop_assert!(state.queue.len() <= QUEUE_MAX);
        prop_assert!(state.queue.iter().eq(&self.waiting), "{:?} but accepted {:?}", state.queue, self.waiting);
        prop_assert!(state.phase != Phase::Idle || state.queue.is_empty(), "nothing waits for nothing");
        let instants = state.timers.values().copied().chain(state.retries.values().map(|retry| retry.next_at));
        let chat = state.retries.get(&Lane::Chat).map(|retry| retry.next_at);
        prop_assert!(state.deadline().into_iter().chain(chat).min() <= instants.min());
        prop_assert!(
            state.delivery.sent.len() <= 8 && state.delivery.sent.iter().filter(|sent| sent.say.is_some()).count() <= 4
        );
        let retried = |seq: EffectSeq| self.outbox.iter().any(|queued| queued.seq == seq);
        prop_assert!(state.retries.values().all(|retry| retried(retry.effect)), "what is retried is in the outbox");
        for timer in state.timers.keys() {
            let allowed = match timer {
                Timer::Approval | Timer::ApprovalWarning => matches!(state.phase, Phase::AwaitingApproval(_)),
                Timer::Progress => matches!(state.phase, Phase::Working { .. }),
                Timer::Silence => {
                    matches!(state.phase, Phase::Working { .. } | Phase::Deciding { .. } | Phase::Cancelling { .. })
                }
                Timer::Transcript => !state.arriving.is_empty(),
                Timer::WakingNotice => state.waking.as_ref().is_some_and(|waking| !waking.told),
            };
            prop_assert!(allowed, "{:?} in {:?}", timer, state.phase);
        }
        let progress_waits = !state.progress.lines.is_empty();
        prop_assert_eq!(progress_waits, state.timers.contains_key(&Timer::Progress), "what waits has its deadline");
        prop_assert!(!progress_waits || state.verbosity != Verbosity::Quiet, "nothing is gathered in vain");
        let fetches = |drawing| self.outbox.iter().any(|queued| queued.seq == drawing);
        let mut fetching = state.drawn.iter().flat_map(|drawn| &drawn.fetching);
        let waits_for_nothing = |drawing: &Fetching| drawing.fetched.is_none() && !fetches(drawing.effect);
        prop_assert!(!fetching.any(waits_for_nothing), "a diff waits for a drawing that nobody fetches");
        let mut copying = state.drawn.iter().flat_map(|drawn| &drawn.review).filter(|review| review.kept.is_none());
        prop_assert!(copying.all(|review| fetches(review.effect)), "a diff waits for a review that nobody fetches");
        let may_wait = matches!(state.phase, Phase::Working { .. } | Phase::Cancelling { .. });
        prop_assert!(state.drawn.is_none() || may_wait, "a diff waits for drawings in {:?}", state.phase);
        let waits = matches!(state.phase, Phase::AwaitingApproval(_));
        prop_assert!(!waits || state.timers.contains_key(&Timer::Approval), "no diff waits for ever");
        let stored = serde_json::to_string(state).expect("plain data");
        let read = serde_json::from_str::<Conversation>(&stored).expect("as it was written");
        prop_assert_eq!(&read, state, "stored and read back whole");
        Ok(())
    }
}

fn said(effect: &Effect) -> Option<&Say> {
    match effect {
        Effect::Say(say) => Some(say),
        _ => None,
    }
}

fn tree(run: &RunId) -> TreeHash {
    TreeHash::parse(format!("aa{}", run.number())).expect("digits")
}

fn changes(run: &RunId, is_drawn: bool, has_review: bool) -> VmEvent {
    let drawing = Drawing { name: "diff.png".into(), caption: "1 file".into(), document: false };
    let outcome = RunOutcome::Changes {
        summary: "s".into(),
        tree: tree(run),
        stat: DiffStat::default(),
        diff: "+x".into(),
        diff_cut: false,
        files: ChangedFiles::default(),
        drawings: if is_drawn { vec![drawing] } else { Vec::new() },
        review: has_review.then_some(Review { parts: 2 }),
    };
    VmEvent::Finished { outcome, spent: None }
}

/// The outcome in the form that this effect can have.
fn fitting(effect: &Effect, outcome: Outcome, now: Timestamp) -> Outcome {
    match (effect, outcome) {
        (Effect::Ask { .. }, Outcome::Done) => Outcome::Answered { answer: Answer { text: "a".into(), code: None } },
        (Effect::Probe { run }, Outcome::Done) => {
            let status = RunStatus { run: run.clone(), state: RunState::Running, started_at: now, last_output_at: now };
            Outcome::Probed { status: Some(status) }
        }
        (Effect::KeepImage { .. }, Outcome::Done) => {
            Outcome::ImageKept { blob: BlobId::parse("picture").expect("plain") }
        }
        (Effect::KeepReview { .. }, Outcome::Done) => Outcome::ReviewKept,
        (Effect::Probe { .. }, Outcome::Refused { .. }) => Outcome::Probed { status: None },
        (_, outcome) => outcome,
    }
}

fn play(moves: impl IntoIterator<Item = Move>, on_line: bool) -> Result<(), TestCaseError> {
    let buttons = ButtonLine { units_max: 255, choice: true, options: &[2] };
    let mut model = Model::new(on_line.then_some(buttons));
    for one in moves {
        if let Some(event) = model.event(one) {
            model.step(&event)?;
        }
    }
    Ok(())
}

#[test]
fn what_becomes_of_a_message_that_asked_before_tells_nothing_of_the_inquiry_that_is_asked_again() {
    let perform = |outcome| Move::Perform { chat: true, outcome };
    let sent = || perform(Outcome::Sent { message: MessageId::parse("T").expect("an id") });
    let gone = Failure::Final { reason: "gone".into(), reachable: false };
    let moves = [
        Move::Hear { text: "task 0".into(), late: false },
        Move::Report { runs_ago: 0, event: Reported::Asks(Asks::Next { several: false }) },
        sent(),
        perform(Outcome::Refused { reason: None, message: "no".into() }),
        Move::Press { word: "approve", runs_ago: 0 },
        sent(),
        Move::Receipt { ago: 1, receipt: Receipt::Failed { failure: gone }, named: false },
        perform(Outcome::Done),
    ];
    play(moves, true).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_machine_keeps_its_promises(moves in moves(), on_line in any::<bool>()) {
        play(moves, on_line)?;
    }
}
