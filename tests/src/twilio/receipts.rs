//! Status callbacks: what Twilio tells of a message after it has taken it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;

use super::{Account, CALL_TIMEOUT, Sent, media, signature};

/// The code for a person who has to write first.
const CLOSED: u32 = 63016;
/// The code for a file that can't be had.
const NO_MEDIA: u32 = 63019;

/// Twilio does not say how soon it tries again.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// How callbacks come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Receipts {
    /// Sent and delivered, in this order, at once.
    #[default]
    Prompt,
    /// Sent, delivered and read, in any order, each up to this much later; of a thousand so many twice, and so many never.
    Shuffled {
        /// The latest.
        delay_max: Duration,
        /// Twice.
        twice_per_mille: u32,
        /// Never.
        lost_per_mille: u32,
    },
    /// None; the message is delivered all the same.
    Silent,
}

/// How often a callback is tried again that nobody took, by the "connection overrides" of its address. Without `rp`, only for want
/// of a connection; that is not told apart here.
fn tries_more(asked: &str) -> usize {
    let value = |key: &str| asked.split('&').find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key));
    match (value("rc"), value("rp")) {
        (Some((_, count)), Some((_, "all"))) => count.parse().unwrap_or(0).min(5),
        _ => 0,
    }
}

impl Account {
    /// See to a message that was accepted.
    pub(super) fn follow(self: &Arc<Self>, sent: Sent) {
        let (account, receipts) = (self.clone(), *self.receipts.lock().unwrap_or_else(PoisonError::into_inner));
        let (failure, closed, template_failure) = {
            let mut books = self.books();
            let failure = books.next_failure.remove(&sent.to);
            (failure, books.closed.contains(&sent.to), books.template_failure.filter(|_| !sent.buttons.is_empty()))
        };
        tokio::spawn(async move {
            let mut failed = failure.or(closed.then_some(CLOSED)).or(template_failure);
            for url in sent.media_urls.iter().filter(|url| url.starts_with("http://127.0.0.1")) {
                if !media::is_shown(&account.client, url).await {
                    failed = Some(NO_MEDIA);
                }
            }
            account.settle(&sent.sid, failed);
            account.tell_all(&sent, failed, receipts).await;
        });
    }

    fn settle(&self, sid: &str, failed: Option<u32>) {
        if let Some(sent) = self.books().sent.iter_mut().find(|sent| sent.sid == sid) {
            sent.status = if failed.is_some() { "undelivered" } else { "delivered" };
            sent.error_code = failed;
        }
    }

    async fn tell_all(&self, sent: &Sent, failed: Option<u32>, receipts: Receipts) {
        let Some((_, url)) = sent.params.iter().find(|(name, _)| name == "StatusCallback") else { return };
        let mut statuses = match failed {
            Some(_) => vec!["sent", "undelivered"],
            None => vec!["sent", "delivered", "read"],
        };
        match receipts {
            Receipts::Silent => {}
            Receipts::Prompt => {
                for status in statuses.iter().take(2) {
                    self.tell(url, sent, status, failed).await;
                }
            }
            Receipts::Shuffled { delay_max, twice_per_mille, lost_per_mille } => {
                statuses.shuffle(&mut rand::rng());
                for status in statuses {
                    let (delay, dice) = {
                        let mut chance = rand::rng();
                        (delay_max.mul_f64(chance.random_range(0.0..=0.3)), chance.random_range(0..1_000))
                    };
                    tokio::time::sleep(delay).await;
                    // Of a failure that nobody tells of the list alone would tell.
                    if dice < lost_per_mille && failed.is_none() {
                        continue;
                    }
                    self.tell(url, sent, status, failed).await;
                    if dice < lost_per_mille + twice_per_mille {
                        self.tell(url, sent, status, failed).await;
                    }
                }
            }
        }
    }

    async fn tell(&self, url: &str, sent: &Sent, status: &str, failed: Option<u32>) {
        let code = failed.map(|code| code.to_string());
        let mut params = vec![
            ("MessageSid", sent.sid.as_str()),
            ("SmsSid", &sent.sid),
            ("MessageStatus", status),
            ("SmsStatus", status),
            ("AccountSid", &self.sid),
            ("From", &sent.from),
            ("To", &sent.to),
            ("ApiVersion", "2010-04-01"),
            ("ChannelPrefix", "whatsapp"),
        ];
        if let (Some(code), "undelivered") = (&code, status) {
            params.extend([("ErrorCode", code.as_str()), ("ErrorMessage", "Twilio could not deliver the message")]);
        }
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&params).finish();
        // What is asked for behind the address is neither sent nor signed.
        let (url, asked) = url.split_once('#').unwrap_or((url, ""));
        let told = async {
            for _ in 0..=tries_more(asked) {
                let request = self
                    .client
                    .post(url)
                    .header("content-type", "application/x-www-form-urlencoded")
                    .header("x-twilio-signature", signature(&self.token, url, &params))
                    .body(body.clone());
                if request.send().await.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
                tokio::time::sleep(TRY_AGAIN).await;
            }
        };
        let _ = tokio::time::timeout(CALL_TIMEOUT, told).await;
    }
}
