//! Who writes in the console, and what the addresses of their conversations are.

use std::fmt;

use relay_core::id::{Address, ChannelKind};
use serde::{Deserialize, Serialize};

/// Conversations that one person can have.
pub const CONVERSATIONS_MAX: u8 = 20;
/// Those of a guest: each may have a machine of its own, which somebody else pays for.
const CONVERSATIONS_OF_GUEST_MAX: u8 = 5;
/// The one that is there without having been begun.
pub const FIRST: u8 = 1;

const NAME_CHARS_MAX: usize = 32;

/// What an operator calls a guest. It may be a person's name, so it is not printed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GuestName(String);

impl GuestName {
    /// The name, or what names are made of.
    pub fn parse(name: &str) -> Result<Self, String> {
        let is_fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(is_fit) {
            return Ok(Self(name.to_owned()));
        }
        Err(format!("a guest's name is of lower-case letters, digits and dashes, {NAME_CHARS_MAX} at most"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for GuestName {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        Self::parse(&name)
    }
}

impl From<GuestName> for String {
    fn from(name: GuestName) -> Self {
        name.0
    }
}

impl fmt::Debug for GuestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuestName(…)")
    }
}

/// Somebody who uses the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Person {
    /// Whoever has the token, or is on the relay's machine.
    Owner,
    /// Whoever was invited by this name.
    Guest(GuestName),
}

impl Person {
    /// The address of their conversation of this number.
    pub fn address(&self, number: u8) -> Address {
        let person = match self {
            Self::Owner => "console:main".to_owned(),
            Self::Guest(name) => format!("console:guest/{}", name.as_str()),
        };
        let name = if number == FIRST { person } else { format!("{person}/{number}") };
        Address { channel: ChannelKind::Console, name }
    }

    /// How many conversations they can begin.
    pub fn conversations_max(&self) -> u8 {
        match self {
            Self::Owner => CONVERSATIONS_MAX,
            Self::Guest(_) => CONVERSATIONS_OF_GUEST_MAX,
        }
    }

    /// The addresses of all conversations that anybody can have.
    pub fn addresses(&self) -> impl Iterator<Item = Address> {
        (FIRST..=CONVERSATIONS_MAX).map(|number| self.address(number))
    }

    /// Whose conversation has this address, and which of theirs it is.
    pub fn of(address: &Address) -> Option<(Self, u8)> {
        let name = address.name.strip_prefix("console:").filter(|_| address.channel == ChannelKind::Console)?;
        let (person, number) = match name.strip_prefix("guest/") {
            Some(rest) => {
                let (name, number) = rest.split_once('/').unwrap_or((rest, ""));
                (Self::Guest(GuestName::parse(name).ok()?), number)
            }
            None => (Self::Owner, name.strip_prefix("main")?.trim_start_matches('/')),
        };
        let number = if number.is_empty() { FIRST } else { number.parse().ok()? };
        // Of the ways to write an address, one is right.
        ((FIRST..=CONVERSATIONS_MAX).contains(&number) && person.address(number) == *address)
            .then_some((person, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(name: &str) -> Address {
        Address { channel: ChannelKind::Console, name: name.to_owned() }
    }

    #[test]
    fn each_conversation_has_an_address_of_its_own_that_leads_back_to_its_person() {
        let anna = Person::Guest(GuestName::parse("anna").unwrap());
        let main = Person::Guest(GuestName::parse("main").unwrap());
        let people = [Person::Owner, anna.clone(), main];
        assert_eq!(
            (Person::Owner.address(1), anna.address(2)),
            (address("console:main"), address("console:guest/anna/2"))
        );
        let mut all = Vec::new();
        for person in &people {
            for (number, address) in (FIRST..).zip(person.addresses()) {
                assert_eq!(Person::of(&address), Some((person.clone(), number)));
                all.push(address);
            }
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), people.len() * usize::from(CONVERSATIONS_MAX));
    }

    #[test]
    fn what_is_nobodys_address_leads_to_nobody() {
        for name in [
            "console:",
            "console:other",
            "console:main/",
            "console:main/0",
            "console:main/1",
            "console:main/02",
            "console:main/21",
            "console:main2",
            "console:main/guest/anna",
            "console:guest/",
            "console:guest/Anna",
            "console:guest/anna/1",
            "console:guest/anna/2/3",
            "main",
        ] {
            assert_eq!(Person::of(&address(name)), None, "{name}");
        }
        let elsewhere = Address { channel: ChannelKind::Twilio, name: "console:main".to_owned() };
        assert_eq!(Person::of(&elsewhere), None);
    }

    #[test]
    fn a_guests_name_is_short_plain_and_not_printed() {
        for bad in ["", "Anna", "a b", "a/b", "ä", "a:b", "a.b", &"a".repeat(NAME_CHARS_MAX + 1)] {
            assert!(GuestName::parse(bad).is_err(), "{bad}");
        }
        let name = GuestName::parse("anna-2").unwrap();
        assert!(!format!("{:?}", Person::Guest(name)).contains("anna"));
        assert!(serde_json::from_str::<GuestName>("\"a/b\"").is_err());
    }
}
