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
    /// Progress goes to a paid channel at most once in this time.
    pub progress_interval: Duration,
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
        }
    }
}

/// What a channel can carry; the machine shapes its messages by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelLimits {
    /// UTF-16 units of one message at most.
    pub text_units_max: usize,
    /// Messages that one diff or file may be spread over at most.
    pub code_parts_max: usize,
    /// Whether each message costs money, so that passing lines are gathered.
    pub paid: bool,
}

impl ChannelKind {
    /// What the channel can carry.
    pub fn limits(self) -> ChannelLimits {
        match self {
            // Twilio: error 21617 above 1,600 characters; some characters count as several, so UTF-16 units are counted.
            Self::Twilio => ChannelLimits { text_units_max: 1_600, code_parts_max: 3, paid: true },
            Self::Console => ChannelLimits { text_units_max: 128 * 1024, code_parts_max: 1, paid: false },
        }
    }
}
