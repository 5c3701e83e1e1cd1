//! A stand-in for Twilio: the REST calls of messages, their media, templates and the typing indicator; webhooks and status
//! callbacks signed as Twilio signs them. It accepts what the real one accepts, as far as its documentation tells, and can be
//! told to misbehave as the real one may.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Client;

use crate::server::{Fault, Faults, Received, Server};

mod media;
mod receipts;
mod rest;
mod signing;
mod templates;

pub use receipts::Receipts;
pub use signing::{Vector, Webhook, signature, signed_webhook, vectors};

/// The longest `Body` that Twilio takes, in UTF-16 units: emoji count as more than one.
pub const BODY_MAX: usize = 1600;
/// Twilio gives a callback up after this long.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// A message that the fake was asked to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The id it was answered with.
    pub sid: String,
    /// `To`.
    pub to: String,
    /// `From`; empty when a messaging service was named instead.
    pub from: String,
    /// What the person reads: `Body`, or that of the template, filled in.
    pub body: String,
    /// Every `MediaUrl`.
    pub media_urls: Vec<String>,
    /// The buttons, as their payloads.
    pub buttons: Vec<String>,
    /// What they say.
    pub titles: Vec<String>,
    /// All parameters as they came.
    pub params: Vec<(String, String)>,
    /// Whose credentials it came with: the account's, or the API key's name.
    pub by: String,
    /// When it was accepted.
    pub at: Instant,
    /// How far it has come: queued, sent, delivered, undelivered.
    pub status: &'static str,
    /// Why it did not arrive.
    pub error_code: Option<u32>,
}

/// What the way to Twilio is like. The default is a fine day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// A request takes up to this long, half of it before the message is accepted and half of it after.
    pub delay_max: Duration,
    /// Of a thousand requests, so many are answered 503 and not accepted.
    pub refused_per_mille: u32,
    /// Of a thousand requests, so many are answered 429 and not accepted.
    pub busy_per_mille: u32,
    /// Of a thousand requests, so many are accepted, and the reply is lost.
    pub lost_per_mille: u32,
    /// Of a thousand requests, so many are not accepted and never answered.
    pub black_hole_per_mille: u32,
}

/// The fake, until dropped.
#[derive(Debug)]
pub struct FakeTwilio {
    server: Server,
    account: Arc<Account>,
}

#[derive(Debug)]
struct Account {
    sid: String,
    /// Signs callbacks.
    token: String,
    /// `Authorization`, and whose it is.
    keys: Mutex<BTreeMap<String, String>>,
    books: Mutex<Books>,
    numbers: AtomicUsize,
    faults: Faults<()>,
    file_faults: Faults<()>,
    weather: Mutex<Weather>,
    receipts: Mutex<Receipts>,
    /// Recipients for whom a request is being served, with whose it is.
    in_flight: Mutex<Vec<(String, String)>>,
    overlaps: Mutex<Vec<String>>,
    /// Calls back.
    client: Client,
}

/// What Twilio keeps.
#[derive(Debug, Default)]
struct Books {
    sent: Vec<Sent>,
    /// Messages of people, with the instants at which they wrote, in seconds since the epoch.
    heard: Vec<Heard>,
    files: BTreeMap<String, media::Stored>,
    /// Templates, by name.
    templates: BTreeMap<String, serde_json::Value>,
    /// Messages made of templates are taken and then fail, with this code.
    template_failure: Option<u32>,
    /// The next message to each of these people is taken and fails, with this code.
    next_failure: BTreeMap<String, u32>,
    /// People who have to write before they can be written to.
    closed: BTreeSet<String>,
    /// Messages whose words were erased.
    redacted: BTreeSet<String>,
    /// Messages that were shown as being worked on.
    typing: Vec<String>,
    /// Messages a second that the sender may send.
    rate_max: Option<usize>,
    /// Nobody is accepted.
    suspended: bool,
}

/// A message of a person.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Its id.
    pub sid: String,
    /// Who wrote.
    pub from: String,
    /// To whom.
    pub to: String,
    /// What it says.
    pub body: String,
    /// The names of its files.
    pub media: Vec<String>,
    at: u64,
}

impl FakeTwilio {
    /// Start it on a port of its own, with one account.
    pub async fn start(account_sid: &str, auth_token: &str) -> Self {
        let account = Arc::new(Account {
            sid: account_sid.to_owned(),
            token: auth_token.to_owned(),
            keys: Mutex::default(),
            books: Mutex::default(),
            numbers: AtomicUsize::new(1),
            faults: Faults::default(),
            file_faults: Faults::default(),
            weather: Mutex::default(),
            receipts: Mutex::default(),
            in_flight: Mutex::default(),
            overlaps: Mutex::default(),
            client: Client::builder().no_proxy().timeout(CALL_TIMEOUT).build().expect("a plain client"),
        });
        account.add_key(account_sid, auth_token);
        let serving = account.clone();
        let server = Server::start(move |request| {
            let account = serving.clone();
            async move { account.answer(&request).await }
        })
        .await;
        Self { server, account }
    }

    /// What stands in for `https://api.twilio.com`, `https://content.twilio.com` and `https://messaging.twilio.com`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// `host:port` of where files really are, as Twilio's own are on another host.
    pub fn media_host(&self) -> String {
        self.url().trim_start_matches("http://").to_owned()
    }

    /// Every message that was accepted, in order; also one whose reply was dropped.
    pub fn sent(&self) -> Vec<Sent> {
        self.account.books().sent.clone()
    }

    /// The messages after the first `seen`, in order.
    pub fn sent_after(&self, seen: usize) -> Vec<Sent> {
        self.account.books().sent.get(seen..).unwrap_or_default().to_vec()
    }

    /// Also take requests with this API key.
    pub fn add_key(&self, key: &str, secret: &str) {
        self.account.add_key(key, secret);
    }

    /// From now on.
    pub fn set_weather(&self, weather: Weather) {
        *self.account.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    /// What is told of messages, from now on.
    pub fn set_receipts(&self, receipts: Receipts) {
        *self.account.receipts.lock().unwrap_or_else(PoisonError::into_inner) = receipts;
    }

    /// More messages than this in a second are answered 429.
    pub fn limit_rate(&self, per_second: usize) {
        self.account.books().rate_max = Some(per_second);
    }

    /// From now on nobody's credentials are accepted, or all are again.
    pub fn suspend(&self, suspended: bool) {
        self.account.books().suspended = suspended;
    }

    /// From now on what is made of a template is accepted, and fails a moment later with this Twilio error code.
    pub fn fail_templates(&self, code: u32) {
        self.account.books().template_failure = Some(code);
    }

    /// The next message to this person is accepted, and fails a moment later with this Twilio error code.
    pub fn fail_delivery(&self, person: &str, code: u32) {
        self.account.books().next_failure.insert(person.to_owned(), code);
    }

    /// This person has not written for a day: what is sent is accepted and fails a moment later, until they write.
    pub fn close_window(&self, person: &str) {
        self.account.books().closed.insert(person.to_owned());
    }

    /// This person has just written.
    pub fn open_window(&self, person: &str) {
        self.account.books().closed.remove(person);
    }

    /// A person writes: Twilio knows of it, whatever becomes of its webhook.
    pub fn hear(&self, sid: &str, from: &str, to: &str, body: &str, media: &[&str]) {
        let heard = Heard {
            sid: sid.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            body: body.to_owned(),
            media: media.iter().map(|&name| name.to_owned()).collect(),
            at: rest::now(),
        };
        let mut books = self.account.books();
        books.closed.remove(from);
        books.heard.push(heard);
    }

    /// Keep a file that a message comes with; its `MediaUrl`.
    pub fn store_file(&self, message: &str, name: &str, content_type: &str, bytes: Vec<u8>) -> String {
        self.account.books().files.insert(name.to_owned(), media::Stored::new(content_type, bytes));
        format!("{}/2010-04-01/Accounts/{}/Messages/{message}/Media/{name}", self.url(), self.account.sid)
    }

    /// A file of this name leads somewhere else.
    pub fn redirect_file(&self, name: &str, location: &str) {
        if let Some(file) = self.account.books().files.get_mut(name) {
            file.location = Some(location.to_owned());
        }
    }

    /// Templates that were made, by name.
    pub fn templates(&self) -> BTreeMap<String, serde_json::Value> {
        self.account.books().templates.clone()
    }

    /// Messages that were shown as being worked on.
    pub fn typing(&self) -> Vec<String> {
        self.account.books().typing.clone()
    }

    /// Messages whose words were erased.
    pub fn redacted(&self) -> Vec<String> {
        self.account.books().redacted.iter().cloned().collect()
    }

    /// One line for each request that arrived while one with other credentials was being served for the same recipient: two
    /// senders at work for one person.
    pub fn overlaps(&self) -> Vec<String> {
        self.account.overlaps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every request, in order, accepted or not.
    pub fn requests(&self) -> Vec<Received> {
        self.server.requests()
    }

    /// One of the next requests to send, in the order of these calls, meets this fault.
    pub fn inject(&self, fault: Fault) {
        self.account.faults.push((), fault);
    }

    /// The next request for a file of a person's is answered so.
    pub fn refuse_file(&self, status: u16, code: u32) {
        let status_code = StatusCode::from_u16(status).expect("a valid status");
        let body = rest::problem(status, code, "A fault that the test asked for");
        self.account.file_faults.push((), Fault::Answer(status_code, body));
    }

    /// The next `times` requests to send fail with this HTTP status and Twilio error code.
    pub fn fail_next(&self, times: usize, status: u16, code: u32) {
        let status_code = StatusCode::from_u16(status).expect("a valid status");
        for _ in 0..times {
            self.inject(Fault::Answer(status_code, rest::problem(status, code, "A fault that the test asked for")));
        }
    }
}

impl Account {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_key(&self, key: &str, secret: &str) {
        let authorization = format!("Basic {}", STANDARD.encode(format!("{key}:{secret}")));
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(authorization, key.to_owned());
    }

    fn key(&self, request: &Received) -> Option<String> {
        if self.books().suspended {
            return None;
        }
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(request.header("authorization")?).cloned()
    }
}

/// A request that is being served; over when dropped, also because the caller is gone.
struct InFlight<'a> {
    account: &'a Account,
    entry: (String, String),
}

impl<'a> InFlight<'a> {
    fn enter(account: &'a Account, request: &Received, by: &str) -> Self {
        let to = request.form().into_iter().find_map(|(name, value)| (name == "To").then_some(value));
        let entry = (to.unwrap_or_default(), by.to_owned());
        let mut in_flight = account.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((to, other)) = in_flight.iter().find(|(to, other)| *to == entry.0 && *other != entry.1) {
            let line = format!("{by} sends to {to} while {other} does");
            account.overlaps.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
        in_flight.push(entry.clone());
        Self { account, entry }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut in_flight = self.account.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = in_flight.iter().position(|entry| *entry == self.entry) {
            in_flight.swap_remove(found);
        }
    }
}
