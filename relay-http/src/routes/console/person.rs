//! Who the caller of the console is, and which of their conversations they mean.
//!
//! One cookie says it, so that a browser is one person: whoever signs in with the token is no guest any more, and whoever accepts
//! an invitation is no longer signed in.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use hmac::{Hmac, KeyInit, Mac};
use relay_core::id::{Address, ConversationId};
use relay_core::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::app::{App, in_time};
use crate::channels::console::conversations;
use crate::channels::console::person::{FIRST, Person};
use crate::clock;
use crate::error::RequestError;
use crate::guests::{self, Invited, Standing};
use crate::routes::access;

/// Another name than when it was for the console alone: of two of one name the browser sends the older path first.
const COOKIE: &str = "textslash_person";

/// Somebody who may use the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedIn {
    /// With the token, until then, or on this machine.
    Owner(Option<Timestamp>),
    /// By an invitation.
    Guest(Invited),
}

impl SignedIn {
    /// Who they are.
    pub fn person(&self) -> Person {
        match self {
            Self::Owner(_) => Person::Owner,
            Self::Guest(invited) => Person::Guest(invited.name.clone()),
        }
    }

    /// Whether a conversation is one of theirs.
    pub fn has(&self, app: &App, conversation: &ConversationId) -> bool {
        self.person().addresses().any(|address| app.conversation(&address) == *conversation)
    }

    /// Whether they still may: a session ends, and a guest can be uninvited at any time.
    pub async fn is_welcome(&self, app: &App) -> Result<bool, RequestError> {
        let invited = match self {
            Self::Owner(ends) => return Ok(ends.is_none_or(|ends| clock::now() < ends)),
            Self::Guest(invited) => invited,
        };
        let standing = guests::standing(&*app.store, &app.config.relay_secret, invited);
        Ok(in_time(standing).await? == Standing::Accepted)
    }
}

impl FromRequestParts<Arc<App>> for SignedIn {
    type Rejection = RequestError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, RequestError> {
        let held = access::cookie(&parts.headers, COOKIE).unwrap_or_default();
        if is_of_guest(held) {
            let invited = Invited::of_cookie(&app.links, held).map_err(|_| RequestError::SignInFirst)?;
            let guest = Self::Guest(invited);
            return if guest.is_welcome(app).await? { Ok(guest) } else { Err(RequestError::SignInFirst) };
        }
        match &app.config.console_token {
            Some(token) => {
                let ends = session_ends(app, token, held).filter(|ends| clock::now() < *ends);
                ends.map(|ends| Self::Owner(Some(ends))).ok_or(RequestError::SignInFirst)
            }
            None if access::is_for_this_machine(app) && access::is_local(parts) => Ok(Self::Owner(None)),
            None => Err(RequestError::NotFound),
        }
    }
}

/// One of the caller's conversations: the one that `?conversation=` names, else their first.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The caller.
    pub signed_in: SignedIn,
    /// Which one of theirs it is.
    pub number: u8,
    /// Where it is.
    pub address: Address,
    /// Its name.
    pub conversation: ConversationId,
}

impl FromRequestParts<Arc<App>> for Chosen {
    type Rejection = RequestError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, RequestError> {
        let signed_in = SignedIn::from_request_parts(parts, app).await?;
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let asked = form_urlencoded::parse(query).find(|(name, _)| name == "conversation");
        let number = asked.map_or(Ok(FIRST), |(_, number)| number.parse()).map_err(|_| RequestError::NotFound)?;
        let person = signed_in.person();
        if number != FIRST {
            let list = conversations::of(&*app.store, &app.config.relay_secret, &person);
            if !in_time(list).await?.has(number) {
                return Err(RequestError::NotFound);
            }
        }
        let address = person.address(number);
        Ok(Self { signed_in, number, conversation: app.conversation(&address), address })
    }
}

/// What a browser holds that has given the token. It ends by itself, also where it was copied to.
pub(super) fn session(app: &App, token: &SecretString) -> String {
    let ends = (clock::now() + guests::STAY).as_millis().to_string();
    format!("{ends}-{}", proof(app, token, &ends))
}

/// When the session ends that `held` proves.
fn session_ends(app: &App, token: &SecretString, held: &str) -> Option<Timestamp> {
    let (ends, given) = held.split_once('-')?;
    let same: bool = proof(app, token, ends).as_bytes().ct_eq(given.as_bytes()).into();
    same.then(|| ends.parse().ok().map(Timestamp)).flatten()
}

fn proof(app: &App, token: &SecretString, ends: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(app.config.relay_secret.expose_secret().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(format!("console\0{ends}\0").as_bytes());
    mac.update(token.expose_secret().as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// Whether a browser holds what a guest is given: a signed text has dots, the proof of a token none.
pub(super) fn is_of_guest(held: &str) -> bool {
    held.contains('.')
}

/// Whether the caller's browser was a guest's once.
pub(super) fn was_guest(headers: &axum::http::HeaderMap) -> bool {
    access::cookie(headers, COOKIE).is_some_and(is_of_guest)
}

/// The guest whom the caller's browser holds to be.
pub(super) fn guest(app: &App, headers: &axum::http::HeaderMap) -> Option<Invited> {
    Invited::of_cookie(&app.links, access::cookie(headers, COOKIE)?).ok()
}

/// Has a browser hold `value` for as long as a guest may stay.
pub(super) fn cookie(app: &App, value: &str) -> String {
    format!("{COOKIE}={value}; {}; Max-Age={}", attributes(app), guests::STAY.as_secs())
}

/// Has it hold nothing.
pub(super) fn no_cookie(app: &App) -> String {
    format!("{COOKIE}=; {}; Max-Age=0", attributes(app))
}

fn attributes(app: &App) -> &'static str {
    match app.config.public_url.url.scheme() {
        "https" => "Path=/; HttpOnly; SameSite=Strict; Secure",
        _ => "Path=/; HttpOnly; SameSite=Strict",
    }
}
