//! What a relay counts since its start.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counters.
#[derive(Debug, Default)]
pub struct Counts {
    /// Messages from people who may not write.
    pub unknown_senders: Count,
    /// Chat messages that channels took.
    pub sent: Count,
    /// Chat messages whose sending was in doubt and that were found sent.
    pub found: Count,
    /// Chat messages whose sending was in doubt and that were sent again.
    pub resent: Count,
    /// Messages of people that were missed, and taken in later.
    pub caught_up: Count,
}

/// One of them.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more; how many there are now.
    pub fn add(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counts {
    /// In the text format of Prometheus.
    pub fn text(&self) -> String {
        let all = [
            ("unknown_senders", "Messages from people who may not write", &self.unknown_senders),
            ("chat_sent", "Chat messages that channels took", &self.sent),
            ("chat_doubts_found", "Chat messages in doubt that were found sent", &self.found),
            ("chat_doubts_resent", "Chat messages in doubt that were sent again", &self.resent),
            ("messages_caught_up", "Messages of people that were missed and taken in later", &self.caught_up),
        ];
        let mut text = String::new();
        for (name, help, count) in all {
            let _ = write!(
                text,
                "# HELP textslash_{name}_total {help}.\n# TYPE textslash_{name}_total counter\ntextslash_{name}_total {}\n",
                count.get()
            );
        }
        text
    }
}
