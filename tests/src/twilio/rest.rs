//! The REST API, answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::http::{Method, StatusCode};
use axum::response::Response;
use rand::RngExt;
use serde_json::{Value, json};

use super::templates::Filled;
use super::{Account, BODY_MAX, Heard, InFlight, Sent, media};
use crate::server::{self, Fault, Received};

pub(super) fn refuse(status: u16, code: u32, message: &str) -> Response {
    server::json(status, problem(status, code, message))
}

pub(super) fn problem(status: u16, code: u32, message: &str) -> Value {
    let more_info = format!("https://www.twilio.com/docs/errors/{code}");
    json!({"code": code, "message": message, "more_info": more_info, "status": status})
}

/// Seconds since the epoch.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// As Twilio writes instants: RFC 2822.
fn date(seconds: u64) -> String {
    let days = seconds / 86_400;
    let (year, month, day) = civil(days);
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][usize::try_from(days % 7).expect("small")];
    let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][month - 1];
    let second = seconds % 86_400;
    format!("{weekday}, {day:02} {month} {year} {:02}:{:02}:{:02} +0000", second / 3_600, second / 60 % 60, second % 60)
}

/// The day that `seconds` fall on, as lists are asked for it.
fn day(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The date of a day since the epoch (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, usize, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), usize::try_from(month).expect("small"), day)
}

impl Account {
    pub(super) async fn answer(self: &Arc<Self>, request: &Received) -> Response {
        if let Some(answer) = media::cdn(self, request) {
            return answer;
        }
        let Some(by) = self.key(request) else {
            return refuse(401, 20003, "Authenticate");
        };
        let account = format!("/2010-04-01/Accounts/{}", self.sid);
        let path = request
            .path
            .strip_prefix(&account)
            .map_or_else(|| vec![request.path.as_str()], |rest| rest.split('/').collect());
        match (&request.method, path.as_slice()) {
            (&Method::GET, [".json"]) => server::json(200, json!({"sid": self.sid, "status": "active"})),
            (&Method::POST, ["", "Messages.json"]) => self.send(request, by).await,
            (&Method::GET, ["", "Messages.json"]) => self.list(request),
            (&Method::POST, ["", "Messages", message]) => self.redact(message.trim_end_matches(".json")),
            (&Method::GET, ["", "Messages", message, "Media.json"]) => self.media_list(message),
            (&Method::GET, ["", "Messages", _, "Media", name]) => {
                self.file_faults.around((), async { media::redirect(self, request, name) }).await
            }
            (&Method::DELETE, ["", "Messages", _, "Media", name]) => {
                let found = self.books().files.remove(name.trim_end_matches(".json")).is_some();
                if found { server::empty(204) } else { refuse(404, 20404, "The requested resource was not found") }
            }
            (&Method::POST, ["/v1/Content"]) => self.make_template(request),
            (&Method::GET, [path]) if path.starts_with("/v1/Content/") => self.template(&path["/v1/Content/".len()..]),
            (&Method::POST, ["/v2/Indicators/Typing.json"]) => self.show_typing(request),
            _ => refuse(404, 20404, &format!("The requested resource {} was not found", request.path)),
        }
    }

    async fn send(self: &Arc<Self>, request: &Received, by: String) -> Response {
        let _in_flight = InFlight::enter(self, request, &by);
        let weather = *self.weather.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let delay = weather.delay_max.mul_f64(rand::rng().random_range(0.0..=0.5));
        let mut dice = rand::rng().random_range(0..1000);
        tokio::time::sleep(delay).await;
        let faults = [
            (weather.refused_per_mille, Fault::Answer(StatusCode::SERVICE_UNAVAILABLE, json!({}))),
            (
                weather.busy_per_mille,
                Fault::Answer(StatusCode::TOO_MANY_REQUESTS, problem(429, 20429, "Too many requests")),
            ),
            (weather.lost_per_mille, Fault::DropReply),
            (weather.black_hole_per_mille, Fault::BlackHole),
        ];
        for (per_mille, fault) in faults {
            if dice < per_mille {
                self.faults.push((), fault);
                break;
            }
            dice -= per_mille;
        }
        let answer = self.faults.around((), async { self.create(request, by) }).await;
        tokio::time::sleep(delay).await;
        answer
    }

    fn create(self: &Arc<Self>, request: &Received, by: String) -> Response {
        let params = request.form();
        let all = |name: &str| params.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect::<Vec<_>>();
        let first = |name: &str| all(name).into_iter().next().unwrap_or_default();
        let (to, from, media_urls) = (first("To"), first("From"), all("MediaUrl"));
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
        let Filled { body, titles, buttons } = match first("ContentSid") {
            none if none.is_empty() => Filled { body: first("Body"), ..Filled::default() },
            sid => match self.fill(&sid, &first("ContentVariables")) {
                Ok(filled) => filled,
                Err(refused) => return *refused,
            },
        };
        if body.is_empty() && media_urls.is_empty() {
            return refuse(400, 21619, "A text message body or media urls must be specified.");
        }
        if body.encode_utf16().count() > BODY_MAX {
            return refuse(400, 21617, "The concatenated message body exceeds the 1600 character limit");
        }
        if self.is_too_fast() {
            return refuse(429, 20429, "Too many requests");
        }
        let sid = format!("SM{:032x}", self.numbers.fetch_add(1, Ordering::Relaxed));
        let (at, status, error_code) = (Instant::now(), "queued", None);
        let accepted = Sent { sid, to, from, body, media_urls, buttons, titles, params, by, at, status, error_code };
        let answer = self.as_json(&accepted);
        self.books().sent.push(accepted.clone());
        self.follow(accepted);
        server::json(201, answer)
    }

    fn is_too_fast(&self) -> bool {
        let books = self.books();
        let lately = books.sent.iter().rev().take_while(|sent| sent.at.elapsed() < Duration::from_secs(1)).count();
        books.rate_max.is_some_and(|rate_max| lately >= rate_max)
    }

    fn as_json(&self, sent: &Sent) -> Value {
        json!({
            "sid": sent.sid, "account_sid": self.sid, "api_version": "2010-04-01", "status": sent.status,
            "direction": "outbound-api", "to": sent.to, "from": sent.from, "body": sent.body,
            "num_media": sent.media_urls.len().to_string(), "num_segments": "1",
            "error_code": sent.error_code, "error_message": null, "price": null, "price_unit": "USD",
            "messaging_service_sid": null,
            "date_created": date(now().saturating_sub(sent.at.elapsed().as_secs())),
            "date_updated": date(now()), "date_sent": null,
            "uri": format!("/2010-04-01/Accounts/{}/Messages/{}.json", self.sid, sent.sid), "subresource_uris": {},
        })
    }

    fn heard_as_json(&self, heard: &Heard) -> Value {
        json!({
            "sid": heard.sid, "account_sid": self.sid, "api_version": "2010-04-01", "status": "received",
            "direction": "inbound", "to": heard.to, "from": heard.from, "body": heard.body,
            "num_media": heard.media.len().to_string(), "num_segments": "1",
            "error_code": null, "error_message": null, "price": null, "price_unit": "USD", "messaging_service_sid": null,
            "date_created": date(heard.at), "date_updated": date(heard.at), "date_sent": date(heard.at),
            "uri": format!("/2010-04-01/Accounts/{}/Messages/{}.json", self.sid, heard.sid), "subresource_uris": {},
        })
    }

    /// The newest first, a page at a time: `To`, `From`, and no older than the day in `DateSent>`, as they are asked for.
    fn list(&self, request: &Received) -> Response {
        let query = request.query_pairs();
        let asked = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let page_size: usize = asked("PageSize").and_then(|size| size.parse().ok()).unwrap_or(50).min(1_000);
        let page: usize = asked("Page").and_then(|page| page.parse().ok()).unwrap_or(0);
        let books = self.books();
        let sent =
            books.sent.iter().map(|sent| (now().saturating_sub(sent.at.elapsed().as_secs()), self.as_json(sent)));
        let heard = books.heard.iter().map(|heard| (heard.at, self.heard_as_json(heard)));
        let is_young = |(at, _): &(u64, Value)| {
            asked("DateSent>").is_none_or(|from| day(*at).as_str() >= from.split('T').next().unwrap_or(from))
        };
        let mut all: Vec<(u64, Value)> = sent.chain(heard).filter(is_young).collect();
        all.sort_by_key(|(at, _)| *at);
        let fits = |message: &Value| {
            ["To", "From"]
                .iter()
                .all(|name| asked(name).is_none_or(|value| message[name.to_lowercase()].as_str() == Some(value)))
        };
        let mut found: Vec<Value> = all.into_iter().rev().map(|(_, message)| message).filter(fits).collect();
        for message in &mut found {
            if message["sid"].as_str().is_some_and(|sid| books.redacted.contains(sid)) {
                message["body"] = json!("");
            }
        }
        let rest = found.len().saturating_sub((page + 1) * page_size);
        let next = (rest > 0).then(|| {
            let kept =
                query.iter().filter(|(name, _)| name != "Page").map(|(name, value)| (name.as_str(), value.as_str()));
            let query = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(kept)
                .append_pair("Page", &(page + 1).to_string())
                .finish();
            format!("/2010-04-01/Accounts/{}/Messages.json?{query}", self.sid)
        });
        let messages: Vec<Value> = found.into_iter().skip(page * page_size).take(page_size).collect();
        server::json(200, json!({"messages": messages, "page": page, "page_size": page_size, "next_page_uri": next}))
    }

    fn redact(&self, message: &str) -> Response {
        let mut books = self.books();
        let known =
            books.sent.iter().any(|sent| sent.sid == message) || books.heard.iter().any(|heard| heard.sid == message);
        if !known {
            return refuse(404, 20404, "The requested resource was not found");
        }
        books.redacted.insert(message.to_owned());
        server::json(200, json!({"sid": message, "body": ""}))
    }

    fn media_list(&self, message: &str) -> Response {
        let books = self.books();
        let names = books.heard.iter().filter(|heard| heard.sid == message).flat_map(|heard| &heard.media);
        let list: Vec<Value> = names
            .filter_map(|name| Some(json!({"sid": name, "content_type": books.files.get(name)?.content_type})))
            .collect();
        server::json(200, json!({"media_list": list}))
    }

    fn show_typing(&self, request: &Received) -> Response {
        let form = request.form();
        let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        match (field("messageId"), field("channel").as_deref()) {
            (Some(message), Some("whatsapp")) => {
                self.books().typing.push(message);
                server::json(200, json!({"success": true}))
            }
            _ => refuse(400, 20001, "Invalid request"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_as_twilio_writes_them() {
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 +0000");
        assert_eq!(date(1_795_348_800), "Sun, 22 Nov 2026 12:00:00 +0000");
        assert_eq!(day(1_795_348_800), "2026-11-22");
        assert_eq!(date(1_709_210_096), "Thu, 29 Feb 2024 12:34:56 +0000");
    }
}
