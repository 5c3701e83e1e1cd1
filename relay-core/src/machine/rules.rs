//! The numbers a deployment may choose. Everything else is fixed in the code that uses it.

use std::time::Duration;

use crate::id::ChannelKind;

/// Limits and timeouts of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long a diff waits for an answer before it is parked.
    pub approval_timeout: Duration,
    /// How long before that the person is warned.
    pub approval_warning: Duration,
    /// Messages that may wait while a run is on.
    pub queue_max: usize,
    /// How long a VM that does not answer is called again.
    pub vm_patience: Duration,
    /// How long a working VM may say nothing before it is asked.
    pub silence_timeout: Duration,
    /// Progress goes to a paid channel at most once in this time; in a long run less and less often.
    pub progress_interval: Duration,
    /// Whether voice notes can be written down.
    pub transcription: bool,
    /// What WhatsApp carries.
    pub twilio: Capabilities,
    /// What the console carries.
    pub console: Capabilities,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            approval_timeout: Duration::from_secs(30 * 60),
            approval_warning: Duration::from_secs(5 * 60),
            queue_max: 20,
            vm_patience: Duration::from_secs(5 * 60),
            silence_timeout: Duration::from_secs(90),
            progress_interval: Duration::from_secs(20),
            transcription: false,
            twilio: Capabilities::PAID,
            console: Capabilities::FREE,
        }
    }
}

/// What a channel can carry and what it knows; the machine shapes its messages by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// UTF-16 units of one message at most.
    pub text_units_max: usize,
    /// Messages that one text may be spread over; a longer one becomes its start, its end and a link.
    pub text_parts_max: usize,
    /// Messages that one diff or file may be spread over; of a longer one comes the start, with a link.
    pub code_parts_max: usize,
    /// Whether each message costs money, so that passing lines are gathered and lines that wait become one.
    pub paid: bool,
    /// What a message with buttons is held to, where that is more than one without.
    pub button_line: Option<ButtonLine>,
    /// Whether the channel tells when a message has arrived, and how long the next one waits for that.
    pub receipt_timeout: Option<Duration>,
    /// How fast one person may be written to.
    pub pace: Option<Pace>,
}

/// A message with buttons is one line: no breaks, no tabs, no wide gaps ([`split::is_line`](super::split::is_line)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ButtonLine {
    /// UTF-16 units of it at most.
    pub units_max: usize,
    /// Whether a diff can have its buttons.
    pub choice: bool,
    /// Numbers of options of the inquiries that can have theirs.
    pub options: &'static [usize],
}

/// So many messages at once, and then one in each interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Time between two messages, sustained.
    pub interval: Duration,
    /// Messages that may come without that time between them, after a pause.
    pub burst: u32,
}

impl Capabilities {
    /// A chat of our own: long messages, no cost, no waiting.
    pub const FREE: Self = Self {
        text_units_max: 128 * 1024,
        text_parts_max: 1,
        code_parts_max: 1,
        paid: false,
        button_line: None,
        receipt_timeout: None,
        pace: None,
    };

    /// A messenger: short messages that cost money, one on its way at a time.
    pub const PAID: Self = Self {
        text_units_max: 1_600,
        text_parts_max: 4,
        code_parts_max: 2,
        paid: true,
        button_line: None,
        receipt_timeout: Some(Duration::from_secs(10)),
        pace: Some(Pace { interval: Duration::from_secs(6), burst: 10 }),
    };
}

impl Rules {
    /// What a channel can carry.
    pub fn capabilities(&self, channel: ChannelKind) -> &Capabilities {
        match channel {
            ChannelKind::Twilio => &self.twilio,
            ChannelKind::Console => &self.console,
        }
    }
}
