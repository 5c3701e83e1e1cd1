//! A diff that the VM has drawn, or laid out to be reviewed. It is said once its drawings and its review were fetched, or can't
//! be, so that they come before the question about it, and an answer counts for nothing that the person cannot have seen.

use serde::{Deserialize, Serialize};

use crate::id::{BlobId, EffectSeq, RunId};
use crate::machine::effect::{Choice, Effect, Say};
use crate::machine::log::LogWhat;
use crate::machine::review::Copying;
use crate::machine::{Pending, Phase, Step, markup, shape, text};
use crate::protocol::{Drawing, RunOutcome, Spent};
use crate::time::Timestamp;

/// A reported diff that waits for its drawings and its review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    /// The diff.
    pub outcome: RunOutcome,
    /// What the run took.
    pub spent: Option<Spent>,
    /// The drawings, in the order in which they are shown.
    pub fetching: Vec<Fetching>,
    /// Its review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Copying>,
}

/// A drawing on its way from the VM into the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetching {
    /// The effect that fetches it.
    pub effect: EffectSeq,
    /// Which drawing.
    pub drawing: Drawing,
    /// What came of it; nothing yet.
    pub fetched: Option<Fetched>,
}

/// What came of fetching a drawing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fetched", rename_all = "snake_case")]
pub enum Fetched {
    /// It is in the store.
    Kept {
        /// Where.
        blob: BlobId,
    },
    /// It can't be had.
    Lost,
}

impl Step<'_> {
    /// A run ended with a diff: show it, with its drawings and the link to its review once they are here.
    pub(super) fn changed(&mut self, run: &RunId, outcome: RunOutcome, spent: Option<Spent>) {
        self.forget_drawn();
        let RunOutcome::Changes { tree, drawings, review, .. } = &outcome else { return };
        let (tree, drawings, review) = (tree.clone(), drawings.clone(), *review);
        let fetching: Vec<Fetching> = drawings
            .into_iter()
            .map(|drawing| {
                let (name, caption) = (drawing.name.clone(), drawing.caption.clone());
                let effect = self.emit(Effect::KeepImage { run: run.clone(), name, caption, drawing: true });
                Fetching { effect, drawing, fetched: None }
            })
            .collect();
        let review = review.and_then(|review| self.copy_review(run, &tree, review));
        // The agent is done: nothing of what it did or asked is worth a message any more.
        self.forget_progress();
        self.conversation.inquiry = None;
        self.conversation.drawn = Some(Box::new(Drawn { outcome, spent, fetching, review }));
        self.show_when_fetched();
    }

    /// A drawing is in the store, or can't be had.
    pub(super) fn fetched(&mut self, effect: EffectSeq, fetched: Fetched) {
        if let Fetched::Kept { blob } = &fetched {
            self.conversation.keeps(blob.clone());
        }
        let fetching = self.conversation.drawn.iter_mut().flat_map(|drawn| &mut drawn.fetching);
        for fetching in fetching.filter(|fetching| fetching.effect == effect) {
            fetching.fetched = Some(fetched.clone());
        }
        self.show_when_fetched();
    }

    pub(super) fn show_when_fetched(&mut self) {
        if self.conversation.drawn.as_ref().is_some_and(|drawn| drawn.awaited().next().is_none()) {
            self.show_drawn();
        }
    }

    /// Show the diff that waits, with what is here of its drawings and its review.
    pub(super) fn show_drawn(&mut self) {
        let drawn = self.conversation.drawn.clone();
        self.forget_drawn();
        let (Some(drawn), Phase::Working { run, .. }) = (drawn, &self.conversation.phase) else { return };
        let run = run.clone();
        let Drawn { outcome, spent, fetching, review } = *drawn;
        let RunOutcome::Changes { summary, tree, stat, diff, diff_cut, files, .. } = outcome else { return };
        self.log(LogWhat::Changes { stat, tree: tree.clone() });
        let pictures: Vec<Say> = fetching.iter().filter_map(Fetching::say).collect();
        let are_all_here = !pictures.is_empty() && pictures.len() == fetching.len();
        let mut parts: Vec<EffectSeq> = pictures.into_iter().flat_map(|picture| self.say_all(picture)).collect();
        let summary = markup::from_markdown(&summary);
        let review = self.review_link(review.as_ref(), &run, &tree);
        let sentence = if diff_cut { text::DRAWN_IN_PART } else { text::DRAWN };
        let say = |drawn: bool| Say {
            text: text::changes(
                &run,
                &summary,
                &stat,
                &files,
                drawn.then_some(sentence),
                spent.as_ref(),
                self.rules.approval_timeout,
            ),
            code: (!drawn).then(|| if diff_cut { format!("{diff}\n…") } else { diff.clone() }),
            choice: Some(Choice { run: run.clone(), tree: tree.clone() }),
            review: review.clone(),
            ..Say::default()
        };
        let whole = say(false);
        let fits = self.capabilities().is_none_or(|channel| shape::fits(&whole, channel));
        let told = if are_all_here && !fits { say(true) } else { whole };
        parts.extend(self.say_all(told));
        if !parts.is_empty() {
            self.await_approval(Pending {
                run,
                tree,
                untaken: parts.clone(),
                parts,
                shown: false,
                lost: false,
                shown_at: Timestamp::default(),
                parking_failed: false,
                page_used: false,
            });
        }
    }

    /// No diff waits for anything any more.
    pub(super) fn forget_drawn(&mut self) {
        let Some(drawn) = self.conversation.drawn.take() else { return };
        for effect in drawn.awaited() {
            self.withdraw(effect);
        }
    }
}

impl Drawn {
    /// The effects of which nobody knows yet what came of them.
    fn awaited(&self) -> impl Iterator<Item = EffectSeq> {
        let drawings = self.fetching.iter().filter(|one| one.fetched.is_none()).map(|one| one.effect);
        drawings.chain(self.review.iter().filter(|review| review.kept.is_none()).map(|review| review.effect))
    }
}

impl Fetching {
    /// The message that shows it.
    fn say(&self) -> Option<Say> {
        let Some(Fetched::Kept { blob }) = &self.fetched else { return None };
        let (text, document) = (self.drawing.caption.clone(), self.drawing.document);
        Some(Say { text, picture: Some(blob.clone()), document, ..Say::default() })
    }
}
