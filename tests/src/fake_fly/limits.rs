//! So many requests of each kind a second, for each machine and for the app.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::Operation;

/// Of all but one kind: a second, and at once.
const RATE: (f64, f64) = (1.0, 3.0);
/// Of looks at one machine.
const GET_MACHINE_RATE: (f64, f64) = (5.0, 10.0);

#[derive(Debug, Default)]
pub(super) struct Limits(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    buckets: HashMap<(Operation, String), (f64, Instant)>,
    refused: usize,
}

impl Limits {
    /// Whether one more may pass.
    pub(super) fn admit(&self, operation: Operation, id: &str) -> bool {
        let (rate, burst) = if operation == Operation::GetMachine { GET_MACHINE_RATE } else { RATE };
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (left, at) = counted.buckets.entry((operation, id.to_owned())).or_insert((burst, now));
        *left = (*left + at.elapsed().as_secs_f64() * rate).min(burst);
        *at = now;
        let is_admitted = *left >= 1.0;
        if is_admitted {
            *left -= 1.0;
        } else {
            counted.refused += 1;
        }
        is_admitted
    }

    pub(super) fn refused(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).refused
    }
}
