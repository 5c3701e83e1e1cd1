//! A stand-in for Twilio: the one REST call that sends a message, and webhooks signed as Twilio signs them. The
//! signature here is this crate's own reading of Twilio's documentation, shares no code with the relay, and is held
//! against vectors made by Twilio's own library.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rand::RngExt;
use serde::Deserialize;
use serde_json::{Value, json};
use sha1::Sha1;

use crate::server::{self, Fault, Faults, Received, Server};

/// The longest `Body` that Twilio takes, in UTF-16 units: emoji count as more than one.
pub const BODY_MAX: usize = 1600;

/// A message that the fake was asked to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The id it was answered with.
    pub sid: String,
    /// `To`.
    pub to: String,
    /// `From`; empty when a messaging service was named instead.
    pub from: String,
    /// `Body`; empty when there was none.
    pub body: String,
    /// Every `MediaUrl`.
    pub media_urls: Vec<String>,
    /// All parameters as they came.
    pub params: Vec<(String, String)>,
    /// Whose credentials it came with: the account's, or the API key's name.
    pub by: String,
    /// When it was accepted.
    pub at: Instant,
}

/// What the way to Twilio is like. The default is a fine day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// A request takes up to this long, half of it before the message is accepted and half of it after.
    pub delay_max: Duration,
    /// Of a thousand requests, so many are answered 503 and not accepted.
    pub refused_per_mille: u32,
    /// Of a thousand requests, so many are accepted, and the reply is lost.
    pub lost_per_mille: u32,
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
    /// `Authorization`, and whose it is.
    keys: Mutex<BTreeMap<String, String>>,
    sent: Mutex<Vec<Sent>>,
    numbers: AtomicUsize,
    faults: Faults<()>,
    weather: Mutex<Weather>,
    /// Recipients for whom a request is being served, with whose it is.
    in_flight: Mutex<Vec<(String, String)>>,
    overlaps: Mutex<Vec<String>>,
}

impl FakeTwilio {
    /// Start it on a port of its own, with one account.
    pub async fn start(account_sid: &str, auth_token: &str) -> Self {
        let account = Arc::new(Account {
            sid: account_sid.to_owned(),
            keys: Mutex::default(),
            sent: Mutex::default(),
            numbers: AtomicUsize::new(1),
            faults: Faults::default(),
            weather: Mutex::default(),
            in_flight: Mutex::default(),
            overlaps: Mutex::default(),
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

    /// What stands in for `https://api.twilio.com`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Every message that was accepted, in order; also one whose reply was dropped.
    pub fn sent(&self) -> Vec<Sent> {
        self.account.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The messages after the first `seen`, in order.
    pub fn sent_after(&self, seen: usize) -> Vec<Sent> {
        let sent = self.account.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.get(seen..).unwrap_or_default().to_vec()
    }

    /// Also take requests with this API key.
    pub fn add_key(&self, key: &str, secret: &str) {
        self.account.add_key(key, secret);
    }

    /// From now on.
    pub fn set_weather(&self, weather: Weather) {
        *self.account.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
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

    /// The next `times` requests to send fail with this HTTP status and Twilio error code.
    pub fn fail_next(&self, times: usize, status: u16, code: u32) {
        let status_code = StatusCode::from_u16(status).expect("a valid status");
        for _ in 0..times {
            self.inject(Fault::Answer(status_code, problem(status, code, "A fault that the test asked for")));
        }
    }
}

impl Account {
    fn add_key(&self, key: &str, secret: &str) {
        let authorization = format!("Basic {}", STANDARD.encode(format!("{key}:{secret}")));
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(authorization, key.to_owned());
    }

    fn key(&self, request: &Received) -> Option<String> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(request.header("authorization")?).cloned()
    }

    async fn answer(&self, request: &Received) -> Response {
        let path = format!("/2010-04-01/Accounts/{}/Messages.json", self.sid);
        let Some(by) = self.key(request) else {
            return refuse(401, 20003, "Authenticate");
        };
        if request.method != Method::POST || request.path != path {
            return refuse(404, 20404, &format!("The requested resource {} was not found", request.path));
        }
        let _in_flight = InFlight::enter(self, request, &by);
        let weather = *self.weather.lock().unwrap_or_else(PoisonError::into_inner);
        let delay = weather.delay_max.mul_f64(rand::rng().random_range(0.0..=0.5));
        let dice = rand::rng().random_range(0..1000);
        tokio::time::sleep(delay).await;
        if dice < weather.refused_per_mille {
            self.faults.push((), Fault::Answer(StatusCode::SERVICE_UNAVAILABLE, json!({})));
        } else if dice < weather.refused_per_mille + weather.lost_per_mille {
            self.faults.push((), Fault::DropReply);
        }
        let answer = self.faults.around((), async { self.create(request, by) }).await;
        tokio::time::sleep(delay).await;
        answer
    }

    fn create(&self, request: &Received, by: String) -> Response {
        let params = request.form();
        let all = |name: &str| params.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect::<Vec<_>>();
        let first = |name: &str| all(name).into_iter().next().unwrap_or_default();
        let (to, from, body, media_urls) = (first("To"), first("From"), first("Body"), all("MediaUrl"));
        if request.header("content-type").is_none_or(|kind| !kind.starts_with("application/x-www-form-urlencoded")) {
            return refuse(415, 20415, "Unsupported Media Type");
        }
        if to.is_empty() {
            return refuse(400, 21604, "A 'To' phone number is required.");
        }
        if from.is_empty() && first("MessagingServiceSid").is_empty() {
            return refuse(400, 21603, "A 'From' phone number is required.");
        }
        if from.starts_with("whatsapp:") != to.starts_with("whatsapp:") {
            return refuse(400, 63007, "Twilio could not find a Channel with the specified From address");
        }
        if body.is_empty() && media_urls.is_empty() && first("ContentSid").is_empty() {
            return refuse(400, 21619, "A text message body or media urls must be specified.");
        }
        if body.encode_utf16().count() > BODY_MAX {
            return refuse(400, 21617, "The concatenated message body exceeds the 1600 character limit");
        }
        let sid = format!("SM{:032x}", self.numbers.fetch_add(1, Ordering::Relaxed));
        let answer = json!({
            "sid": sid, "account_sid": self.sid, "api_version": "2010-04-01", "status": "queued", "direction": "outbound-api",
            "to": to, "from": from, "body": body, "num_media": media_urls.len().to_string(), "num_segments": "1",
            "error_code": null, "error_message": null, "price": null, "price_unit": "USD", "messaging_service_sid": null,
            "date_created": "Sun, 22 Nov 2026 12:00:00 +0000", "date_updated": "Sun, 22 Nov 2026 12:00:00 +0000", "date_sent": null,
            "uri": format!("/2010-04-01/Accounts/{}/Messages/{sid}.json", self.sid), "subresource_uris": {},
        });
        let accepted = Sent { sid, to, from, body, media_urls, params, by, at: Instant::now() };
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(accepted);
        server::json(201, answer)
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

fn refuse(status: u16, code: u32, message: &str) -> Response {
    server::json(status, problem(status, code, message))
}

fn problem(status: u16, code: u32, message: &str) -> Value {
    let more_info = format!("https://www.twilio.com/docs/errors/{code}");
    json!({"code": code, "message": message, "more_info": more_info, "status": status})
}

/// A webhook as Twilio posts it.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// The form-encoded body; its type is `application/x-www-form-urlencoded`.
    pub body: String,
    /// The value of `X-Twilio-Signature`.
    pub signature: String,
}

/// The body and signature of a webhook to `url`, which is the URL that Twilio was told, not where the test connects.
pub fn signed_webhook(token: &str, url: &str, params: &[(&str, &str)]) -> Webhook {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
    Webhook { body, signature: signature(token, url, params) }
}

/// The signature: base64 of HMAC-SHA1 under the token over the URL and, sorted by name, each name with its values, a
/// value that comes twice only once.
pub fn signature(token: &str, url: &str, params: &[(&str, &str)]) -> String {
    let sorted: BTreeSet<(&str, &str)> = params.iter().copied().collect();
    let mut mac = Hmac::<Sha1>::new_from_slice(token.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(url.as_bytes());
    for (name, value) in sorted {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    STANDARD.encode(mac.finalize().into_bytes())
}

/// A webhook with a signature by Twilio's own library.
#[derive(Clone, Debug, Deserialize)]
pub struct Vector {
    /// What it is about.
    pub name: String,
    /// The token that the receiver knows.
    pub auth_token: String,
    /// The URL that the receiver was configured with.
    pub url: String,
    /// The parameters, decoded, in order.
    pub form_params: Vec<(String, String)>,
    /// The same as the body of the request.
    pub raw_body: String,
    /// The signature that came with it.
    pub signature: String,
    /// Whether it is the right one.
    pub valid: bool,
}

/// Requests of the shapes that WhatsApp messages come in, genuine and tampered with; see the fixture's `about`.
///
/// # Panics
/// When the fixture is not what it was.
pub fn vectors() -> Vec<Vector> {
    #[derive(Deserialize)]
    struct Fixture {
        vectors: Vec<Vector>,
    }
    let fixture = include_str!("../fixtures/twilio/signature_whatsapp.json");
    serde_json::from_str::<Fixture>(fixture).expect("the fixture holds vectors").vectors
}
