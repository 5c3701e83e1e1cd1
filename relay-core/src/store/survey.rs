//! What can be told of everything stored without reading all of it: for whoever watches over a deployment.

use std::collections::BTreeMap;

use crate::machine::Phase;
use crate::time::Timestamp;

/// Answer of [`super::Store::survey`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Conversations known.
    pub conversations: u64,
    /// Of them, those with work that nobody has taken for longer than a lease lasts: those that are held have it extended without
    /// being told anew.
    pub due: u64,
    /// Since when the oldest of these waits.
    pub oldest_due_at: Option<Timestamp>,
    /// Dead letters.
    pub dead_letters: u64,
    /// Conversations in which something is going on, by what it is.
    pub activities: BTreeMap<Activity, Busy>,
}

/// Conversations in which the same is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// How many.
    pub count: u64,
    /// Since when it is in the first of them.
    pub oldest_at: Timestamp,
}

/// What is going on in a conversation; a [`Phase`] by its name alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "as in Phase")]
pub enum Activity {
    Idle,
    Starting,
    Stalled,
    Working,
    AwaitingApproval,
    Deciding,
    Cancelling,
}

/// More than any instant in milliseconds: a mark is an activity and an instant in one number.
const MARK: u64 = 10_000_000_000_000;

impl Activity {
    /// Whatever goes on, in order.
    pub const BUSY: [Self; 6] =
        [Self::Starting, Self::Stalled, Self::Working, Self::AwaitingApproval, Self::Deciding, Self::Cancelling];

    /// What goes on in this phase.
    pub fn of(phase: &Phase) -> Self {
        match phase {
            Phase::Idle => Self::Idle,
            Phase::Starting { .. } => Self::Starting,
            Phase::Stalled { .. } => Self::Stalled,
            Phase::Working { .. } => Self::Working,
            Phase::AwaitingApproval(_) => Self::AwaitingApproval,
            Phase::Deciding { .. } => Self::Deciding,
            Phase::Cancelling { .. } => Self::Cancelling,
        }
    }

    /// In the words of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Starting => "starting",
            Self::Stalled => "stalled",
            Self::Working => "working",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Deciding => "deciding",
            Self::Cancelling => "cancelling",
        }
    }

    /// That it goes on since `at`, as one number that a sorted set can hold; `None` when nothing does.
    pub(super) fn mark(self, at: Timestamp) -> Option<u64> {
        let place = Self::BUSY.iter().position(|busy| *busy == self)? as u64;
        Some(place * MARK + at.as_millis().min(MARK - 1))
    }

    /// The first and the last mark of this activity.
    pub(super) fn marks(self) -> Option<(u64, u64)> {
        let first = self.mark(Timestamp(0))?;
        Some((first, first + MARK - 1))
    }

    /// Since when it goes on, of any mark.
    pub(super) fn since(mark: u64) -> Timestamp {
        Timestamp(mark % MARK)
    }
}

impl Survey {
    /// Count one conversation by its mark.
    pub(super) fn count(&mut self, mark: u64) {
        let place = usize::try_from(mark / MARK).unwrap_or(usize::MAX);
        let Some(activity) = Activity::BUSY.get(place) else { return };
        let at = Activity::since(mark);
        let busy = self.activities.entry(*activity).or_insert(Busy { count: 0, oldest_at: at });
        busy.count += 1;
        busy.oldest_at = busy.oldest_at.min(at);
    }
}
