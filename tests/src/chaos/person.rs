//! One person: writes tasks, reads what comes, decides, and notes all of it down.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::plan::{Assignment, Ending};
use super::{Curtain, Twilio};
use crate::fleet::{Fleet, Post, person};

/// A webhook without an answer is given up after this long, and sent again.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a person looks at the phone.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// A typed answer came before the relay knew that the diff was shown.
const TOO_EARLY: &str = "The diff is still on its way to you";

/// Runs with such numbers there are none; `resume` says so, with the number.
pub(super) const SMALL_TALK: usize = 1_000_000;
pub(super) const SMALL_TALK_ANSWER: &str = "I don't remember run ";

/// What a person did, and how long it took until it was answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Diary {
    pub number: usize,
    pub address: String,
    /// Tasks that a relay has accepted, in that order.
    pub accepted: Vec<Assignment>,
    /// The tree that was read in the diff of a task's run, by the task's place among the accepted.
    pub shown: Vec<(usize, String)>,
    /// Tasks that came to their end.
    pub finished: usize,
    /// Small talk that a relay has accepted; the answer to each names its number, from 1.
    pub small_talk: usize,
    /// Tasks that must have been told to be queued.
    pub queued: usize,
    /// What was waited for in vain, if anything was.
    pub silent: Option<String>,
    /// Webhooks that were refused for good.
    pub refused: Vec<String>,
    /// Webhooks posted, repeats included.
    pub posted: usize,
    /// Of those accepted, different ones.
    pub webhooks: usize,
    /// Of those posted, repeats on purpose.
    pub duplicates: usize,
    /// Answers that had to be given again.
    pub too_early: usize,
    /// From the first try of a webhook to its acceptance, and from there to what was waited for.
    pub waits: Vec<(Instant, Instant)>,
}

/// What a message says, one after the other: lines that waited together are one message. A diff belongs together.
fn pieces(body: &str) -> Vec<String> {
    if body.contains("+tree ") { vec![body.to_owned()] } else { body.lines().map(str::to_owned).collect() }
}

/// The time for waiting is over.
struct Silent;

pub(super) struct Person {
    dice: StdRng,
    post: Post,
    relays: usize,
    twilio: Twilio,
    curtain: Curtain,
    /// How much of everything that was ever sent has been looked through.
    looked: usize,
    read: Vec<String>,
    /// How much of what was read has been thought about.
    thought: usize,
    repeats: JoinSet<()>,
    diary: Diary,
}

impl Person {
    pub(super) fn new(seed: u64, number: usize, fleet: &Fleet, curtain: Curtain) -> Self {
        let dice = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(number as u64 + 1));
        let diary = Diary { number, address: person(number), ..Diary::default() };
        Self {
            dice,
            post: fleet.post().patience(PATIENCE),
            relays: fleet.len(),
            twilio: Twilio::clone(&fleet.twilio),
            curtain,
            looked: 0,
            read: Vec::new(),
            thought: 0,
            repeats: JoinSet::new(),
            diary,
        }
    }

    /// Until the faults are over and the task at hand is finished.
    pub(super) async fn live(mut self) -> Diary {
        while self.curtain.borrow().is_none() {
            self.think(1_500).await;
            if let Err(Silent) = self.tasks().await {
                break;
            }
        }
        // What it is answered with comes after everything else.
        let _ = self.farewell().await;
        while self.repeats.join_next().await.is_some() {}
        self.diary
    }

    /// One task, or two of which the second waits for the first.
    async fn tasks(&mut self) -> Result<(), Silent> {
        let first = self.assign().await?;
        let second = if self.ending(first) != Ending::Cancel && self.dice.random_bool(0.3) {
            self.think(600).await;
            if self.ending(first) != Ending::Answer {
                self.diary.queued += 1;
            }
            Some(self.assign().await?)
        } else {
            None
        };
        for place in [Some(first), second].into_iter().flatten() {
            self.finish(place).await?;
            self.diary.finished += 1;
        }
        Ok(())
    }

    /// Write a task; its place among the accepted.
    async fn assign(&mut self) -> Result<usize, Silent> {
        let place = self.diary.accepted.len();
        let assignment = Assignment::draw(&mut self.dice, self.diary.number, place + 1);
        self.write(&assignment.text).await?;
        self.diary.accepted.push(assignment);
        Ok(place)
    }

    /// Say something that is answered at once and changes nothing.
    async fn talk(&mut self) -> Result<(), Silent> {
        let number = self.diary.small_talk + 1;
        self.write(&format!("resume {}", SMALL_TALK + number)).await?;
        self.diary.small_talk = number;
        Ok(())
    }

    async fn farewell(&mut self) -> Result<(), Silent> {
        if self.diary.silent.is_some() {
            return Err(Silent);
        }
        self.talk().await?;
        let answer = format!("{SMALL_TALK_ANSWER}{}", SMALL_TALK + self.diary.small_talk);
        self.reads(&[&answer]).await.map(drop)
    }

    fn ending(&self, place: usize) -> Ending {
        self.diary.accepted[place].ending
    }

    async fn finish(&mut self, place: usize) -> Result<(), Silent> {
        let Assignment { text, ending } = self.diary.accepted[place].clone();
        let run = place + 1;
        for _ in 0..self.dice.random_range(0..4) {
            self.talk().await?;
        }
        match ending {
            Ending::Answer => {
                self.reads(&[&format!("Answer to {text}")]).await?;
            }
            Ending::Cancel => {
                self.reads(&[&format!("Working on it: run {run} ")]).await?;
                self.think(500).await;
                self.write("cancel").await?;
                self.reads(&[&format!("Run {run} is stopped")]).await?;
            }
            Ending::Approve => self.decide(place, "approve", &format!("Run {run} is a pull request")).await?,
            Ending::Reject => self.decide(place, "reject", &format!("Run {run} is rolled back")).await?,
        }
        Ok(())
    }

    async fn decide(&mut self, place: usize, word: &str, done: &str) -> Result<(), Silent> {
        let diff = format!("Done: {}\n", self.diary.accepted[place].text);
        self.reads(&[&diff]).await?;
        let tree = self.read[self.thought - 1].split("+tree ").nth(1).unwrap_or_default();
        let tree = tree.split_whitespace().next().unwrap_or_default().to_owned();
        self.diary.shown.push((place, tree));
        self.think(800).await;
        self.write(word).await?;
        while self.reads(&[done, TOO_EARLY]).await? == 1 {
            self.diary.too_early += 1;
            self.think(500).await;
            self.write(word).await?;
        }
        Ok(())
    }

    /// Post a message again and again under one id until it is accepted, and sometimes once more after that.
    async fn write(&mut self, body: &str) -> Result<(), Silent> {
        let begun = Instant::now();
        self.diary.webhooks += 1;
        let sid = format!("SM{:08x}{:024x}", self.diary.number, self.diary.webhooks);
        loop {
            self.diary.posted += 1;
            match self.post.write(&self.diary.address, &sid, body).await {
                Some(200) => break,
                Some(status @ 400..500) => self.diary.refused.push(format!("{body:?} was refused with {status}")),
                _ => {}
            }
            self.is_over(|| format!("{body:?} to be accepted"))?;
            let pause = self.dice.random_range(100..1_000);
            sleep(Duration::from_millis(pause)).await;
        }
        self.diary.waits.push((begun, Instant::now()));
        if self.dice.random_bool(0.1) {
            self.repeat(sid, body.to_owned());
        }
        Ok(())
    }

    /// The same webhook once more, a while later and at any relay, as if it had been on its way all the time.
    fn repeat(&mut self, sid: String, body: String) {
        let (post, address) = (self.post.clone(), self.diary.address.clone());
        let (relay, delay) = (self.dice.random_range(0..self.relays), self.dice.random_range(0..3_000));
        self.diary.duplicates += 1;
        self.diary.posted += 1;
        self.repeats.spawn(async move {
            sleep(Duration::from_millis(delay)).await;
            // Whatever becomes of it: it was accepted before.
            let _ = post.write_via(relay, &address, &sid, &body).await;
        });
    }

    /// Which of the texts comes first in what was not thought about yet.
    async fn reads(&mut self, texts: &[&str]) -> Result<usize, Silent> {
        let begun = Instant::now();
        loop {
            let sent = self.twilio.sent_after(self.looked);
            self.looked += sent.len();
            let mine = sent.into_iter().filter(|sent| sent.to == self.diary.address);
            self.read.extend(mine.flat_map(|sent| pieces(&sent.body)));
            while let Some(body) = self.read.get(self.thought) {
                self.thought += 1;
                if let Some(found) = texts.iter().position(|text| body.contains(text)) {
                    self.diary.waits.push((begun, Instant::now()));
                    return Ok(found);
                }
            }
            self.is_over(|| format!("{texts:?}"))?;
            sleep(LOOK_INTERVAL).await;
        }
    }

    fn is_over(&mut self, waiting_for: impl FnOnce() -> String) -> Result<(), Silent> {
        if self.curtain.borrow().is_some_and(|deadline| Instant::now() > deadline) {
            self.diary.silent = Some(waiting_for());
            return Err(Silent);
        }
        Ok(())
    }

    async fn think(&mut self, up_to_ms: u64) {
        let pause = self.dice.random_range(0..up_to_ms);
        sleep(Duration::from_millis(pause)).await;
    }
}
