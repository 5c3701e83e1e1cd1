//! What Twilio and WhatsApp allow, each with its source. Nothing here was measured against the live service.
//!
//! | limit | value | source |
//! |---|---|---|
//! | characters of a message | 1,600, counted here in UTF-16 units | Twilio error 21617; how emoji count is not documented |
//! | body of a message with buttons | 1,024; a variable of it 255 or 1,600 | Twilio docs, "Content API", and error 21658: they differ, so the smaller is kept |
//! | a variable of a template | no line breaks, no tabs, no more than four spaces in a row | Twilio errors 21656 and 92007 |
//! | buttons without approval of the template | 3, titles of 20 characters, payloads of 256 | Twilio docs, "WhatsApp quick reply"; Meta docs, "Reply buttons" |
//! | messages of one sender | 80 a second, more on request | Twilio docs, "WhatsApp rate limits" |
//! | messages of the sandbox | 1 in 3 seconds | Twilio docs, "Sandbox for WhatsApp" |
//! | messages to one person | about 1 in 6 seconds, in bursts more | Meta error 131056; the interval is from third parties, the burst is assumed |
//! | media sent | 16 MB, pictures 5 MB | Twilio docs, "WhatsApp media messages" |
//! | window for free-form messages | 24 hours from the person's last message | Twilio error 63016; the provider is the judge, no clock of ours |
//! | typing indicator | 25 seconds, or until the next message | Twilio docs, "Typing indicators" (beta) |
//! | files of a message | 10 | Twilio's API description, `MediaUrl` |
//! | order of messages | not promised | Twilio support, article 223134247: wait until one is delivered |
//! | a message waits at Twilio | up to 4 hours above the rate | Twilio docs, "Message queueing" |

use std::time::Duration;

use relay_core::machine::Capabilities;
use relay_core::machine::rules::{ButtonLine, Pace};

use super::template::OPTIONS;
use crate::config::TwilioConfig;

/// UTF-16 units of a message.
const TEXT_UNITS_MAX: usize = 1_600;
/// UTF-16 units of a message with buttons, which is one variable of a template.
pub(super) const BUTTON_LINE_UNITS_MAX: usize = 255;
/// UTF-16 units of what a button says.
pub(super) const TITLE_UNITS_MAX: usize = 20;
/// A message is waited for so long before the next one goes, arrived or not.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(10);
/// From one message to a person to the next, sustained.
pub const USER_INTERVAL: Duration = Duration::from_secs(6);
/// Messages to a person at once, after a pause.
const USER_BURST: u32 = 10;
/// A message fails so long after it was taken at the latest: it may have waited at Twilio before.
pub const WAITS_MAX: Duration = Duration::from_secs(4 * 3600);
/// A sender's messages per second.
const PER_SECOND: f64 = 80.0;
/// The sandbox's number, the same for everybody.
const SANDBOX: &str = "whatsapp:+14155238886";
const SANDBOX_PER_SECOND: f64 = 1.0 / 3.0;
/// Where Twilio's API sends whoever fetches a file (seen in answers to `GET …/Media/ME…`).
pub const MEDIA_HOSTS: [&str; 2] = ["mms.twiliocdn.com", "media.twiliocdn.com"];

/// What a sender may send by itself, until an operator knows better.
pub fn per_second(from: Option<&str>) -> f64 {
    if from == Some(SANDBOX) { SANDBOX_PER_SECOND } else { PER_SECOND }
}

/// What WhatsApp carries, with these settings.
pub fn capabilities(config: &TwilioConfig) -> Capabilities {
    let choice = config.approval_content_sid.is_some();
    let options: &[usize] = if config.inquiry_content_sids.is_some() { &OPTIONS } else { &[] };
    let paced = !config.user_interval.is_zero();
    Capabilities {
        text_units_max: TEXT_UNITS_MAX,
        paid: true,
        button_line: (choice || !options.is_empty()).then_some(ButtonLine {
            units_max: BUTTON_LINE_UNITS_MAX,
            choice,
            options,
        }),
        receipt_timeout: Some(RECEIPT_TIMEOUT),
        pace: paced.then_some(Pace { interval: config.user_interval, burst: USER_BURST }),
        ..Capabilities::PAID
    }
}
