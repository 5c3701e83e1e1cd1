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

/// More than any instant in milliseconds: a mark is an activity and an instant in one number, and less than any instant.
const MARK: i64 = 10_000_000_000_000;

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
    pub(super) fn mark(self, at: Timestamp) -> Option<i64> {
        let places = (1..).zip(Self::BUSY);
        let (place, _) = places.into_iter().find(|(_, busy)| *busy == self)?;
        Some(i64::try_from(at.as_millis()).unwrap_or(MARK).min(MARK - 1) - place * MARK)
    }

    /// The first and the last mark of this activity.
    pub(super) fn marks(self) -> Option<(i64, i64)> {
        let first = self.mark(Timestamp(0))?;
        Some((first, first + MARK - 1))
    }

    /// Since when it goes on, of any mark.
    pub(super) fn since(mark: i64) -> Timestamp {
        Timestamp(mark.rem_euclid(MARK).unsigned_abs())
    }
}

impl Survey {
    /// Count one conversation by its mark.
    pub(super) fn count(&mut self, mark: i64) {
        let place = usize::try_from(-mark.div_euclid(MARK) - 1);
        let Some(activity) = place.ok().and_then(|place| Activity::BUSY.get(place)) else { return };
        let at = Activity::since(mark);
        let busy = self.activities.entry(*activity).or_insert(Busy { count: 0, oldest_at: at });
        busy.count += 1;
        busy.oldest_at = busy.oldest_at.min(at);
    }
}
