//! People who use the console because they were invited: by a link that one browser can accept once. What it is given for that
//! counts until it ends or the guest is uninvited, at every relay.
//!
//! What is kept of a guest is one note, under the name of their first conversation; one more note has the names of all guests.

use std::collections::BTreeSet;
use std::time::Duration;

use relay_core::id::Address;
use relay_core::store::{Store, StoreError};
use relay_core::time::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::channels::console::person::{FIRST, GuestName, Person};
use crate::links::{LinkError, Links, Purpose};
use crate::{clock, identity, notes};

/// Guests of one deployment.
pub const GUESTS_MAX: usize = 200;
/// Of one guest: invitations that can still be accepted, and browsers that have.
pub const INVITATIONS_MAX: usize = 20;
/// A link that nobody has accepted is good for so long.
pub const OPEN_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// A browser that has accepted one may stay for so long.
pub const STAY: Duration = Duration::from_secs(30 * 24 * 3600);

/// The note with the names of all guests.
const NAMES: &str = "guests";

/// What is kept of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// When they were invited last.
    pub invited_at: Timestamp,
    /// When an invitation was accepted last.
    pub accepted_at: Option<Timestamp>,
    /// Empty when they were uninvited.
    invitations: Vec<Invitation>,
}

/// A link, and then the browser that has accepted it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Invitation {
    id: String,
    ends_at: Timestamp,
    /// The page whose button has accepted it: pressed again, where the answer was lost, it gets the same answer.
    accepted_by: Option<String>,
}

impl Guest {
    /// Whether anything of theirs still counts at `now`.
    pub fn is_welcome(&self, now: Timestamp) -> bool {
        self.invitations.iter().any(|invitation| invitation.ends_at > now)
    }

    fn find(&mut self, id: &str, now: Timestamp) -> Option<&mut Invitation> {
        self.invitations.iter_mut().find(|invitation| invitation.id == id && invitation.ends_at > now)
    }
}

/// One invitation of one guest, as links and cookies name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invited {
    /// Who.
    pub name: GuestName,
    id: String,
}

/// How an invitation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can be accepted.
    Open,
    /// A browser has accepted it.
    Accepted,
    /// It counts no more: its time is over, or the guest was uninvited.
    Ended,
}

/// Why nobody was invited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// There are as many guests as there can be.
    Guests,
    /// This one has as many invitations as can be.
    Invitations,
}

impl Invited {
    fn subject(&self) -> String {
        format!("{}/{}", self.name.as_str(), self.id)
    }

    fn read(links: &Links, purpose: Purpose, signed: &str) -> Result<Self, LinkError> {
        let subject = links.verify(purpose, signed, clock::now())?;
        let (name, id) = subject.split_once('/').ok_or(LinkError::Malformed)?;
        Ok(Self { name: GuestName::parse(name).map_err(|_| LinkError::Malformed)?, id: id.to_owned() })
    }

    /// Of a link.
    pub fn of_link(links: &Links, signed: &str) -> Result<Self, LinkError> {
        Self::read(links, Purpose::Invitation, signed)
    }

    /// Of what a browser holds.
    pub fn of_cookie(links: &Links, signed: &str) -> Result<Self, LinkError> {
        Self::read(links, Purpose::Guest, signed)
    }

    /// What the button of a page for this invitation sends: that it was made for it, and which page it is.
    pub fn form(&self, links: &Links) -> String {
        links.sign(Purpose::Form, &format!("{}/{}", self.id, clock::nonce()), clock::now() + OPEN_FOR)
    }

    /// Which page a button was pressed on; `None` when that is no page for this invitation.
    pub fn page(&self, links: &Links, form: &str) -> Option<String> {
        let subject = links.verify(Purpose::Form, form, clock::now()).ok()?;
        let (id, page) = subject.split_once('/')?;
        (id == self.id).then(|| page.to_owned())
    }

    /// What a browser that has accepted it holds.
    pub fn cookie(&self, links: &Links) -> String {
        links.sign(Purpose::Guest, &self.subject(), clock::now() + STAY)
    }
}

/// The note about a guest.
pub fn note(secret: &SecretString, name: &GuestName) -> String {
    format!("guest:{}", identity::named(secret, &Person::Guest(name.clone()).address(FIRST)))
}

/// Invite somebody, again or for the first time: the signed part of a link.
pub async fn invite(
    store: &dyn Store,
    secret: &SecretString,
    links: &Links,
    name: &GuestName,
) -> Result<Result<String, Full>, StoreError> {
    let list = |names: &mut BTreeSet<GuestName>| {
        let has_room = names.contains(name) || names.len() < GUESTS_MAX;
        has_room.then(|| names.insert(name.clone())).is_some()
    };
    if !notes::change(store, NAMES, list).await? {
        return Ok(Err(Full::Guests));
    }
    let invited = Invited { name: name.clone(), id: clock::nonce().to_string() };
    let (now, ends_at) = (clock::now(), clock::now() + OPEN_FOR);
    let add = |guest: &mut Guest| {
        guest.invitations.retain(|invitation| invitation.ends_at > now);
        if guest.invitations.len() >= INVITATIONS_MAX {
            return Err(Full::Invitations);
        }
        guest.invited_at = now;
        guest.invitations.push(Invitation { id: invited.id.clone(), ends_at, accepted_by: None });
        Ok(())
    };
    let added = notes::change(store, &note(secret, name), add).await?;
    Ok(added.map(|()| links.sign(Purpose::Invitation, &invited.subject(), ends_at)))
}

/// How an invitation stands now.
pub async fn standing(store: &dyn Store, secret: &SecretString, invited: &Invited) -> Result<Standing, StoreError> {
    let mut guest: Guest = notes::read(store, &note(secret, &invited.name)).await?;
    Ok(match guest.find(&invited.id, clock::now()) {
        Some(Invitation { accepted_by: Some(_), .. }) => Standing::Accepted,
        Some(_) => Standing::Open,
        None => Standing::Ended,
    })
}

/// Accept an invitation by the button of one page: how it stood before, for whoever has that page. From `Open` on it is the caller's,
/// and nobody else's.
pub async fn accept(
    store: &dyn Store,
    secret: &SecretString,
    invited: &Invited,
    page: &str,
) -> Result<Standing, StoreError> {
    let now = clock::now();
    let accept = |guest: &mut Guest| {
        let Some(invitation) = guest.find(&invited.id, now) else { return Standing::Ended };
        match &invitation.accepted_by {
            Some(by) if by == page => return Standing::Open,
            Some(_) => return Standing::Accepted,
            None => {}
        }
        invitation.accepted_by = Some(page.to_owned());
        invitation.ends_at = now + STAY;
        guest.accepted_at = Some(now);
        Standing::Open
    };
    notes::change(store, &note(secret, &invited.name), accept).await
}

/// Have one browser be let in no more.
pub async fn leave(store: &dyn Store, secret: &SecretString, invited: &Invited) -> Result<(), StoreError> {
    let leave = |guest: &mut Guest| guest.invitations.retain(|invitation| invitation.id != invited.id);
    notes::change(store, &note(secret, &invited.name), leave).await
}

/// Whether whoever writes from there may still look at what is theirs, and decide on it: a guest can be uninvited.
pub async fn may_look(store: &dyn Store, secret: &SecretString, address: Option<&Address>) -> Result<bool, StoreError> {
    match address.and_then(Person::of) {
        Some((Person::Guest(name), _)) => Ok(guest(store, secret, &name).await?.is_welcome(clock::now())),
        _ => Ok(true),
    }
}

/// Take back every invitation of a guest, and what browsers were given for them. False when there is no such guest.
pub async fn uninvite(store: &dyn Store, secret: &SecretString, name: &GuestName) -> Result<bool, StoreError> {
    if !names(store).await?.contains(name) {
        return Ok(false);
    }
    notes::change(store, &note(secret, name), |guest: &mut Guest| guest.invitations.clear()).await?;
    Ok(true)
}

/// Strike a guest off the list. What else is kept of them is in the note about them.
pub async fn strike(store: &dyn Store, name: &GuestName) -> Result<bool, StoreError> {
    notes::change(store, NAMES, |names: &mut BTreeSet<GuestName>| names.remove(name)).await
}

/// Everybody who was ever invited and is not forgotten.
pub async fn names(store: &dyn Store) -> Result<BTreeSet<GuestName>, StoreError> {
    notes::read(store, NAMES).await
}

/// What is kept of a guest.
pub async fn guest(store: &dyn Store, secret: &SecretString, name: &GuestName) -> Result<Guest, StoreError> {
    notes::read(store, &note(secret, name)).await
}

#[cfg(test)]
mod tests;
