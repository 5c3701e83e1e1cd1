//! When an effect that could not be carried out is tried again, and when it is given up.

use std::time::Duration;

use crate::id::EffectSeq;
use crate::machine::conversation::Retry;
use crate::machine::effect::{Effect, Lane};
use crate::machine::rules::Rules;
use crate::time::Timestamp;

/// What becomes of an effect after a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again then.
    At(Timestamp),
    /// Do not try again.
    GiveUp,
}

/// A VM is called again at this interval: long enough not to hammer a booting machine, short enough to be there early.
const VM_INTERVAL: Duration = Duration::from_secs(3);
/// A VM that is busy with another conversation is waited for this long.
const BUSY_PATIENCE: Duration = Duration::from_secs(60 * 60);
/// A file that can't be had at its provider is asked for this long.
const FILE_PATIENCE: Duration = Duration::from_secs(10 * 60);
/// A picture is worth this many tries, and a question about a silent run too.
const MINOR_ATTEMPTS_MAX: u32 = 4;
/// A chat message is tried this often: over ten minutes with the delays below.
const CHAT_ATTEMPTS_MAX: u32 = 20;
/// In it falls the receipt that tells that a message in doubt was sent.
const CHAT_DELAY_MIN: Duration = Duration::from_secs(2);
const CHAT_DELAY_MAX: Duration = Duration::from_secs(60);

/// The schedule for `effect` after the tries counted in `retry`. `asked` is the delay that the receiver asked for;
/// `in_use` tells that it is only waiting for its turn.
pub fn next(
    rules: &Rules,
    effect: &Effect,
    retry: &Retry,
    in_use: bool,
    asked: Option<Duration>,
    now: Timestamp,
) -> Next {
    let spent = now.since(retry.first_at);
    let (given_up, delay) = match effect {
        Effect::Say(_) => (retry.attempts >= CHAT_ATTEMPTS_MAX, chat_delay(retry)),
        Effect::KeepImage { .. }
        | Effect::KeepReview { .. }
        | Effect::Probe { .. }
        | Effect::Transcribe { .. }
        | Effect::Introduce { .. } => (retry.attempts >= MINOR_ATTEMPTS_MAX, VM_INTERVAL),
        Effect::FetchFile { .. } => (spent >= FILE_PATIENCE, VM_INTERVAL),
        Effect::StartRun { .. } if in_use => (spent >= BUSY_PATIENCE, VM_INTERVAL),
        _ => (spent >= rules.vm_patience, VM_INTERVAL),
    };
    if given_up {
        return Next::GiveUp;
    }
    let ceiling = match effect.lane() {
        // Of a provider's.
        Lane::Chat | Lane::Files => CHAT_DELAY_MAX * 5,
        Lane::Vm | Lane::Stop => VM_INTERVAL * 10,
    };
    Next::At(now + asked.map_or(delay, |asked| asked.max(delay).min(ceiling)))
}

/// How long a message rests that the channel took and could not deliver.
pub(super) fn resend_delay(deliveries: u32) -> Duration {
    CHAT_DELAY_MIN * 4u32.saturating_pow(deliveries.min(3))
}

/// Doubles with every try, less up to a quarter so that conversations do not knock together.
fn chat_delay(retry: &Retry) -> Duration {
    let doubled = CHAT_DELAY_MIN * 2u32.saturating_pow(retry.attempts.saturating_sub(1).min(10));
    let full = doubled.min(CHAT_DELAY_MAX);
    full - full.mul_f64(spread(retry.effect, retry.attempts) / 4.0)
}

/// A number in 0..1 that differs from effect to effect and is the same each time it is asked for.
fn spread(effect: EffectSeq, attempt: u32) -> f64 {
    let mixed = (effect.0 ^ (u64::from(attempt) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    f64::from(u32::try_from(mixed % 1_000).unwrap_or(0)) / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::effect::Say;

    fn retry(attempts: u32) -> Retry {
        Retry { effect: EffectSeq(7), attempts, first_at: Timestamp(0), next_at: Timestamp(0) }
    }

    fn say() -> Effect {
        Effect::Say(Say::default())
    }

    #[test]
    fn chat_delays_grow_to_a_ceiling_and_end() {
        let rules = Rules::default();
        let mut now = Timestamp(0);
        let mut longest = Duration::ZERO;
        for attempts in 1..CHAT_ATTEMPTS_MAX {
            let Next::At(at) = next(&rules, &say(), &retry(attempts), false, None, now) else {
                panic!("given up after {attempts}");
            };
            longest = longest.max(at.since(now));
            now = at;
        }
        assert!(longest <= CHAT_DELAY_MAX && longest > CHAT_DELAY_MAX / 2);
        assert!(now.since(Timestamp(0)) > Duration::from_secs(600), "an outage of ten minutes loses nothing");
        assert_eq!(next(&rules, &say(), &retry(CHAT_ATTEMPTS_MAX), false, None, now), Next::GiveUp);
    }

    #[test]
    fn a_receiver_that_asks_for_time_gets_it_within_reason() {
        let rules = Rules::default();
        let at = |seconds| next(&rules, &say(), &retry(1), false, Some(Duration::from_secs(seconds)), Timestamp(0));
        assert_eq!(at(30), Next::At(Timestamp(30_000)));
        assert_eq!(at(86_400), Next::At(Timestamp(300_000)));
    }
}
