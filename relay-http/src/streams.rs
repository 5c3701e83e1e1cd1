//! Places for open pages of the console: bounded in all, so that whatever else calls this relay has room beside them, and for each
//! person, so that nobody takes everybody's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use relay_core::id::ConversationId;

/// Of one relay at most: the edge lets some more requests through at the same time.
const STREAMS_MAX: usize = 200;
/// Of one person.
const OF_ONE_MAX: usize = 10;

/// Who has how many places; a person is known by their first conversation.
#[derive(Clone, Debug, Default)]
pub struct Streams(Arc<Mutex<HashMap<ConversationId, usize>>>);

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    streams: Streams,
    person: ConversationId,
}

impl Streams {
    /// A place for this person, if there is one.
    pub fn open(&self, person: ConversationId) -> Option<Place> {
        let mut open = self.lock();
        let (all, theirs) = (open.values().sum::<usize>(), open.get(&person).copied().unwrap_or(0));
        if all >= STREAMS_MAX || theirs >= OF_ONE_MAX {
            return None;
        }
        open.insert(person.clone(), theirs + 1);
        Some(Place { streams: self.clone(), person })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConversationId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        if let Some(theirs) = open.get_mut(&self.person) {
            *theirs -= 1;
            if *theirs == 0 {
                open.remove(&self.person);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_the_places_of_others_and_all_together_have_an_end() {
        let streams = Streams::default();
        let person = |number: usize| ConversationId::parse(format!("c{number}")).unwrap();
        let mut places: Vec<Place> = (0..OF_ONE_MAX).map(|_| streams.open(person(0)).unwrap()).collect();
        assert!(streams.open(person(0)).is_none());
        for number in OF_ONE_MAX..STREAMS_MAX {
            places.push(streams.open(person(number)).unwrap());
        }
        assert!(streams.open(person(STREAMS_MAX)).is_none());
        places.remove(0);
        assert!(streams.open(person(0)).is_some());
        drop(places);
        assert!(streams.lock().is_empty(), "nothing is kept of who is gone");
    }
}
