//! The load: webhooks as Twilio posts them, signed and ready to be written to a socket, so that making them costs nothing
//! while it is measured.

use bytes::Bytes;

use crate::twilio::signed_webhook;

/// Twilio's account in the benchmark.
pub(super) const ACCOUNT_SID: &str = "AC00000000000000000000000000000001";
/// What Twilio signs with.
pub(super) const AUTH_TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// What Twilio was told to call.
pub(super) const PUBLIC_URL: &str = "https://relay.example.com";
/// Our number.
pub(super) const TO: &str = "whatsapp:+15005550006";

/// About as long as what people write when they describe a change.
const PROMPT: &str = "The button on the sign-up page should be blue like the others, and when the form is sent twice the \
                      second click must do nothing. Please add a test for that, and look at the mobile layout too: the \
                      label is cut off there.";

/// What a message says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text {
    /// Something for the agent to do.
    Task,
    /// The same, of which the VM lays out a review.
    Review,
    /// A word that is answered at once.
    Status,
    /// Another one.
    Help,
}

/// The phone number of a user.
pub(super) fn number(user: usize) -> String {
    format!("+15550{user:05}")
}

/// The request for one message; `serial` makes its `MessageSid`.
pub(super) fn webhook(serial: usize, user: usize, text: Text) -> Bytes {
    let (sid, number) = (format!("SM{serial:032x}"), number(user));
    let body = match text {
        Text::Task => format!("{PROMPT} (#{serial})"),
        Text::Review => format!("{PROMPT}, for review (#{serial})"),
        Text::Status => "status".to_owned(),
        Text::Help => "help".to_owned(),
    };
    let from = format!("whatsapp:{number}");
    let params = [
        ("SmsMessageSid", sid.as_str()),
        ("NumMedia", "0"),
        ("ProfileName", "Sam Example"),
        ("MessageType", "text"),
        ("SmsSid", &sid),
        ("WaId", &number[1..]),
        ("SmsStatus", "received"),
        ("Body", &body),
        ("To", TO),
        ("NumSegments", "1"),
        ("ReferralNumMedia", "0"),
        ("MessageSid", &sid),
        ("AccountSid", ACCOUNT_SID),
        (
            "ChannelMetadata",
            r#"{"type":"whatsapp","data":{"context":{"ProfileName":"Sam Example","WaId":"15550000000"}}}"#,
        ),
        ("From", &from),
        ("ApiVersion", "2010-04-01"),
    ];
    let signed = signed_webhook(AUTH_TOKEN, &format!("{PUBLIC_URL}/webhook"), &params);
    let request = format!(
        "POST /webhook HTTP/1.1\r\nHost: relay.example.com\r\nUser-Agent: TwilioProxy/1.1\r\nAccept: */*\r\n\
         Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\nX-Twilio-Signature: {}\r\n\
         Content-Length: {}\r\n\r\n{}",
        signed.signature,
        signed.body.len(),
        signed.body
    );
    Bytes::from(request)
}

/// What `users` people send, `each` messages everyone, all in turn: first a task, and while the agent works on it further
/// tasks, which wait and are told so, and every fifth message a `status`.
pub(super) fn traffic(users: usize, each: usize) -> Vec<Bytes> {
    let text = |round: usize| if round % 5 == 4 { Text::Status } else { Text::Task };
    (0..each).flat_map(|round| (0..users).map(move |user| webhook(round * users + user, user, text(round)))).collect()
}
