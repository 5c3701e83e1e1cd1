//! The list of a person's conversations, and what each is about. It is one note, so that a page costs one call to the store.

use std::collections::BTreeMap;

use relay_core::store::{Store, StoreError};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::person::{FIRST, Person};
use crate::{identity, notes};

/// Characters of a title.
const TITLE_CHARS_MAX: usize = 60;

/// What each conversation is about, by its number; empty when nothing was written in it yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Conversations(BTreeMap<u8, String>);

/// The first one is there from the beginning.
impl Default for Conversations {
    fn default() -> Self {
        Self(BTreeMap::from([(FIRST, String::new())]))
    }
}

impl Conversations {
    /// Each number and title, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &str)> {
        self.0.iter().map(|(number, title)| (*number, title.as_str()))
    }

    /// Whether there is one of this number.
    pub fn has(&self, number: u8) -> bool {
        number == FIRST || self.0.contains_key(&number)
    }

    /// Whether `person`, whose they are, can have no more.
    pub fn are_all(&self, person: &Person) -> bool {
        self.free(person).is_none()
    }

    fn free(&self, person: &Person) -> Option<u8> {
        (FIRST..=person.conversations_max()).find(|number| !self.has(*number))
    }
}

/// The note that holds the list of `person`.
pub fn note(secret: &SecretString, person: &Person) -> String {
    format!("console:{}", identity::named(secret, &person.address(FIRST)))
}

/// The conversations of `person`.
pub async fn of(store: &dyn Store, secret: &SecretString, person: &Person) -> Result<Conversations, StoreError> {
    notes::read(store, &note(secret, person)).await
}

/// Begin another one: its number, or `None` when there are as many as there can be.
pub async fn begin(store: &dyn Store, secret: &SecretString, person: &Person) -> Result<Option<u8>, StoreError> {
    let begin = |list: &mut Conversations| {
        let number = list.free(person)?;
        list.0.insert(number, String::new());
        Some(number)
    };
    notes::change(store, &note(secret, person), begin).await
}

/// Call a conversation after what was written in it, if nothing was before. One that is not there is not made.
pub async fn name(
    store: &dyn Store,
    secret: &SecretString,
    (person, number): (&Person, u8),
    written: &str,
) -> Result<(), StoreError> {
    let title = title(written);
    let name = |list: &mut Conversations| {
        if let Some(named) = list.0.get_mut(&number).filter(|named| named.is_empty()) {
            named.clone_from(&title);
        }
    };
    notes::change(store, &note(secret, person), name).await
}

/// Forget what a conversation is about and, but for the first one, that it was there.
pub async fn forget(store: &dyn Store, secret: &SecretString, person: &Person, number: u8) -> Result<(), StoreError> {
    let forget = |list: &mut Conversations| {
        list.0.remove(&number);
        list.0.entry(FIRST).or_default();
    };
    notes::change(store, &note(secret, person), forget).await
}

/// The beginning of a text, on one line.
fn title(written: &str) -> String {
    let mut words = String::new();
    for word in written.split_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
        if words.chars().count() > TITLE_CHARS_MAX {
            let start: String = words.chars().take(TITLE_CHARS_MAX - 1).collect();
            return format!("{}…", start.trim_end());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use relay_core::store::sqlite::SqliteStore;

    use super::super::person::GuestName;
    use super::*;

    fn secret() -> SecretString {
        "0123456789abcdef0123456789abcdef".into()
    }

    #[tokio::test]
    async fn conversations_that_are_begun_at_the_same_moment_are_all_there_and_bounded() {
        let store = SqliteStore::in_memory().unwrap();
        let (secret, owner) = (secret(), Person::Owner);
        assert_eq!(of(&store, &secret, &owner).await.unwrap(), Conversations::default());
        let begun = join_all((0..25).map(|_| begin(&store, &secret, &owner))).await;
        let mut numbers: Vec<u8> = begun.into_iter().filter_map(Result::unwrap).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (2..=owner.conversations_max()).collect::<Vec<_>>());
        let list = of(&store, &secret, &owner).await.unwrap();
        assert!(list.are_all(&owner) && list.iter().count() == usize::from(owner.conversations_max()));
        let anna = Person::Guest(GuestName::parse("anna").unwrap());
        assert_eq!(of(&store, &secret, &anna).await.unwrap(), Conversations::default(), "another person's");
        while begin(&store, &secret, &anna).await.unwrap().is_some() {}
        let hers = of(&store, &secret, &anna).await.unwrap();
        assert!(hers.are_all(&anna) && hers.iter().count() == usize::from(anna.conversations_max()));
        assert!(anna.conversations_max() < owner.conversations_max());
    }

    #[tokio::test]
    async fn a_conversation_is_called_after_the_first_that_is_written_until_it_is_forgotten() {
        let store = SqliteStore::in_memory().unwrap();
        let (secret, owner) = (secret(), Person::Owner);
        begin(&store, &secret, &owner).await.unwrap();
        for (number, written) in [(2, " fix\n the <b>bug "), (2, "another"), (1, "hi"), (7, "nowhere")] {
            name(&store, &secret, (&owner, number), written).await.unwrap();
        }
        let list = of(&store, &secret, &owner).await.unwrap();
        assert_eq!(list.iter().collect::<Vec<_>>(), [(1, "hi"), (2, "fix the <b>bug")]);
        for number in [1, 2] {
            forget(&store, &secret, &owner, number).await.unwrap();
        }
        assert_eq!(of(&store, &secret, &owner).await.unwrap(), Conversations::default());
        assert_eq!(begin(&store, &secret, &owner).await.unwrap(), Some(2), "there is room again");
    }

    #[test]
    fn a_title_is_one_short_line() {
        assert_eq!(title("  a\n\tb "), "a b");
        let long = title(&"ä ".repeat(5_000));
        assert!(long.chars().count() <= TITLE_CHARS_MAX && long.ends_with("ä…"), "{long}");
        assert_eq!(title(&"x".repeat(TITLE_CHARS_MAX)), "x".repeat(TITLE_CHARS_MAX));
    }
}
