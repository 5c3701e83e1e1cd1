//! This relay's place in the lines that messages stand in. All relays share a line by way of the store; asking it for every
//! message would cost a call each, so a fast line is asked for several turns at a time, and not at all for the first few
//! messages of a second: these are paid for with the next turns that are asked for. A relay that never sends more than that
//! never asks, so as many relays as there are blocks in a second keep the rate whatever they do; with more of them it may be
//! exceeded for a moment, and then the provider's own line takes it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::channels::Line;

/// Turns asked for at a time, as a length of the line.
const BLOCK: Duration = Duration::from_millis(125);
/// Turns that were not used are gone after this long, and so is what was not paid for.
const MEMORY: Duration = Duration::from_secs(1);

/// What this relay has of each line.
#[derive(Debug, Default)]
pub struct Lines {
    places: Mutex<HashMap<String, Place>>,
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    since: Instant,
    /// Messages that may go without asking.
    free: u32,
    /// Those that did.
    unpaid: u32,
    /// Turns left of those that were asked for.
    turns: u32,
    /// When the next of them is.
    next_at: Instant,
}

impl Lines {
    /// To be held from the look at what turns there are until it is clear what the store gives.
    pub async fn asking(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.asking.lock().await
    }

    /// How long until a message may go without asking the store; `None` when it has to be asked.
    pub fn next(&self, line: &Line) -> Option<Duration> {
        self.next_at(line, Instant::now())
    }

    fn next_at(&self, line: &Line, now: Instant) -> Option<Duration> {
        let block = block(line);
        if block <= 1 {
            return None;
        }
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Place { since: now, free: block, unpaid: 0, turns: 0, next_at: now };
        let place = places.entry(line.name.clone()).or_insert(fresh);
        if now.duration_since(place.since) > MEMORY {
            *place = fresh;
        }
        if place.turns > 0 {
            place.turns -= 1;
            let at = place.next_at.max(now);
            place.next_at = at + line.interval;
            return Some(at - now);
        }
        if place.free > 0 {
            (place.free, place.unpaid) = (place.free - 1, place.unpaid + 1);
            return Some(Duration::ZERO);
        }
        None
    }

    /// How many turns to ask the store for: a block, and what is unpaid.
    pub fn block(&self, line: &Line) -> u32 {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        block(line) + places.get(&line.name).map_or(0, |place| place.unpaid)
    }

    /// The store gave a block of turns, the first of them, which is used now, in `wait`.
    pub fn reserved(&self, line: &Line, wait: Duration) {
        let now = Instant::now();
        let next_at = now + wait + line.interval;
        let place = Place { since: now + wait, free: 0, unpaid: 0, turns: block(line) - 1, next_at };
        self.places.lock().unwrap_or_else(PoisonError::into_inner).insert(line.name.clone(), place);
    }
}

fn block(line: &Line) -> u32 {
    let turns = BLOCK.as_micros() / line.interval.as_micros().max(1);
    u32::try_from(turns).unwrap_or(u32::MAX).clamp(1, 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(interval: Duration) -> Line {
        Line { name: "line".into(), interval }
    }

    #[test]
    fn a_slow_line_is_always_asked() {
        let lines = Lines::default();
        let slow = line(Duration::from_secs(3));
        assert_eq!((lines.next(&slow), lines.block(&slow)), (None, 1));
    }

    #[test]
    fn a_fast_line_is_asked_for_what_goes_beyond_a_few_messages_a_second() {
        let lines = Lines::default();
        let fast = line(Duration::from_micros(12_500));
        let now = Instant::now();
        for _ in 0..10 {
            assert_eq!(lines.next_at(&fast, now), Some(Duration::ZERO));
        }
        assert_eq!(lines.next_at(&fast, now), None);
        assert_eq!(lines.block(&fast), 20, "what went unasked is paid for");
        lines.reserved(&fast, Duration::ZERO);
        let waits: Vec<_> = std::iter::from_fn(|| lines.next_at(&fast, now)).take(9).collect();
        assert!(waits.windows(2).all(|pair| pair[1] - pair[0] == fast.interval), "{waits:?}");
        assert_eq!(lines.next_at(&fast, now), None, "whoever has asked asks again");
        assert_eq!(lines.next_at(&fast, now + MEMORY * 3), Some(Duration::ZERO), "a quiet second is a new one");
    }
}
