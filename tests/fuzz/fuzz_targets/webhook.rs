//! Any body that is posted in Twilio's name: its signature is checked, it is read, and what it tells is applied to a
//! conversation. None of that may panic.
#![no_main]

use std::collections::HashSet;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use relay_core::id::ConversationId;
use relay_core::machine::{Conversation, Event, Rules, step};
use relay_core::time::Timestamp;
use relay_http::channels::Inbound;
use relay_http::channels::twilio::{inbound, signature};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
/// Paths that Twilio posts to, and one that it was never told.
const PATHS: [&str; 3] = ["/webhook", "/receipt/c0ffee/1", "/receipt/c0ffee"];

/// Everyone in the corpus, so that what is read is also applied.
static ALLOWED: LazyLock<HashSet<String>> = LazyLock::new(|| ["+15551230000", "US.abc"].map(str::to_owned).into());
static RULES: LazyLock<Rules> = LazyLock::new(Rules::default);

fuzz_target!(|body: &[u8]| {
    let params: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
    let claimed = params.first().map(|(_, value)| value.as_str());
    assert!(!signature::verify(&["0123456789abcdef"], "https://relay.example.com/webhook", &params, claimed));
    for path in PATHS {
        let Ok(inbound) = inbound::parse(path, &params, &ALLOWED) else { continue };
        let event = match inbound {
            Inbound::Message(message) | Inbound::Unnamed(message) => Event::Message(*message),
            Inbound::Receipt { effect, message, receipt } => Event::Receipt { effect: Some(effect), message, receipt },
            Inbound::UnknownSender | Inbound::Nothing => continue,
        };
        assert!(event.id().is_some(), "what a repeat is known by");
        let conversation = Conversation::new(ConversationId::parse("c0ffee").expect("short and plain"));
        step(&RULES, conversation, event, NOW);
    }
});
