//! A webhook's form as what it tells. Parameter names are Twilio's (docs, "Twilio's request to your incoming message webhook"
//! and "Track the status of a message"); parameters that are not known here are of no matter.

use std::collections::HashSet;

use relay_core::id::{Address, ChannelKind, EffectSeq, MessageId};
use relay_core::machine::{Attachment, Content, Message, Receipt};
use relay_core::protocol::FILES_MAX;

use super::{errors, send};
use crate::channels::Inbound;

/// Where Twilio tells what became of a message: the conversation and the effect stand behind it.
pub(super) const RECEIPT_PATH: &str = "/receipt/";

/// Read the verified form that was posted to `path`. `allowed` names who may write, as [`bare`] does. An error says what is
/// missing.
pub fn parse(path: &str, params: &[(String, String)], allowed: &HashSet<String>) -> Result<Inbound, &'static str> {
    let param = |name: &str| params.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    let status = param("MessageStatus");
    if !status.is_empty() {
        return receipt(path, status, &param);
    }
    let from = param("From");
    if from.is_empty() {
        return Err("From is missing");
    }
    let id = MessageId::parse(param("MessageSid")).map_err(|_| "MessageSid is missing or malformed")?;
    let sender = sender(from, param("WaId"), param("ExternalUserId"), allowed);
    let Some(Sender { address, alias, is_named }) = sender else { return Ok(Inbound::UnknownSender) };
    let message = Box::new(Message { alias, ..Message::new(id, address, content(&param)) });
    Ok(if is_named { Inbound::Message(message) } else { Inbound::Unnamed(message) })
}

/// Who has written.
pub(super) struct Sender {
    /// Where they are reached.
    pub(super) address: Address,
    /// Their scoped name, where it is known.
    pub(super) alias: Option<Address>,
    /// Whether they are named among those who may write; if not, they may be known by their scoped name.
    pub(super) is_named: bool,
}

/// Who is called so; `None` for somebody who may not write.
pub(super) fn sender(from: &str, wa_id: &str, external: &str, allowed: &HashSet<String>) -> Option<Sender> {
    let (name, alias) = names(from, wa_id, external);
    let is_named = [from, external, &name].into_iter().any(|who| is_allowed(who, allowed));
    // A phone number that is shown and not named is a stranger's.
    (is_named || is_scoped(&name)).then(|| Sender { address: address(name), alias: alias.map(address), is_named })
}

fn address(name: String) -> Address {
    Address { channel: ChannelKind::Twilio, name }
}

/// Whether this person may write.
pub fn is_allowed(who: &str, allowed: &HashSet<String>) -> bool {
    !who.is_empty() && allowed.contains(bare(who))
}

/// Whether this is a business-scoped name, `whatsapp:US.abc`, which says nothing of a phone number.
fn is_scoped(name: &str) -> bool {
    let name = bare(name).as_bytes();
    name.len() > 3 && name[..2].iter().all(u8::is_ascii_alphabetic) && name[2] == b'.'
}

/// What the person is called here, and what else. Who shows no phone number in one message and does in the next is the same
/// person: the number counts where it is known.
fn names(from: &str, wa_id: &str, external: &str) -> (String, Option<String>) {
    let is_number = !wa_id.is_empty() && wa_id.len() <= 20 && wa_id.bytes().all(|b| b.is_ascii_digit());
    let scoped = [from, external].into_iter().find(|name| is_scoped(name));
    match scoped {
        Some(scoped) if is_scoped(from) && is_number => (format!("whatsapp:+{wa_id}"), Some(scoped.to_owned())),
        Some(scoped) => (from.to_owned(), Some(scoped.to_owned())),
        None => (from.to_owned(), None),
    }
}

fn content<'a>(param: &impl Fn(&str) -> &'a str) -> Content {
    if !param("ButtonPayload").is_empty() {
        return Content::Button { payload: param("ButtonPayload").to_owned() };
    }
    if param("MessageType") == "reaction" {
        return Content::Unsupported { what: "A reaction".to_owned() };
    }
    let text = param("Body").to_owned();
    match param("NumMedia").parse::<usize>() {
        // One more than is taken is enough to know that there are too many.
        Ok(count @ 1..) => match (0..count.min(FILES_MAX + 1)).map(|part| attachment(part, param)).collect() {
            Some(files) => Content::Files { text, files },
            None => Content::Unsupported { what: "A video".to_owned() },
        },
        _ if !param("Latitude").is_empty() => Content::Unsupported { what: "A location".to_owned() },
        _ => Content::Text { text },
    }
}

/// `None` for what no agent can be given, whatever its bytes.
fn attachment<'a>(part: usize, param: &impl Fn(&str) -> &'a str) -> Option<Attachment> {
    let kind = param(&format!("MediaContentType{part}"));
    let source = param(&format!("MediaUrl{part}")).to_owned();
    (!kind.starts_with("video/")).then(|| Attachment { source, voice: kind.starts_with("audio/") })
}

fn receipt<'a>(path: &str, status: &str, param: &impl Fn(&str) -> &'a str) -> Result<Inbound, &'static str> {
    let path = path.split('?').next().unwrap_or(path);
    let Some((_, effect)) = path.rsplit_once(RECEIPT_PATH).and_then(|(_, rest)| rest.split_once('/')) else {
        return Ok(Inbound::Nothing);
    };
    let effect = effect.parse().map_err(|_| "the address names no message")?;
    let message = MessageId::parse(param("MessageSid")).map_err(|_| "MessageSid is missing or malformed")?;
    let receipt = match status {
        "sent" => Receipt::Sent,
        "delivered" => Receipt::Delivered,
        "read" => Receipt::Read,
        "failed" | "undelivered" => Receipt::Failed { failure: errors::failure(param("ErrorCode").parse().ok()) },
        // Accepted, queued, sending: nothing that the answer to our request had not said.
        _ => return Ok(Inbound::Nothing),
    };
    Ok(Inbound::Receipt { effect: EffectSeq(effect), message, receipt })
}

/// The template of the message that a receipt posted to `path` is about, if it was made of one.
pub(super) fn template(path: &str) -> Option<&str> {
    let (path, query) = path.split_once('?')?;
    path.contains(RECEIPT_PATH).then_some(query)?.strip_prefix(send::TEMPLATE)?.strip_prefix('=')
}

/// A name without the channel before it: `+15551230000`, `US.abc`.
pub fn bare(name: &str) -> &str {
    name.strip_prefix("whatsapp:").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use relay_core::machine::Failure;

    use super::*;

    const WEBHOOK: &str = "/webhook";

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn message(pairs: &[(&str, &str)]) -> Message {
        let mut params = vec![("From", "whatsapp:+15551230000"), ("MessageSid", "SM1")];
        params.extend(pairs);
        match parse(WEBHOOK, &owned(&params), &HashSet::from(["+15551230000".to_owned()])) {
            Ok(Inbound::Message(message)) => *message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn text_buttons_files_and_what_is_not_supported() {
        let content = |pairs: &[(&str, &str)]| message(pairs).content;
        assert_eq!(content(&[("Body", " fix it "), ("NumMedia", "0")]), Content::Text { text: " fix it ".into() });
        let button = content(&[("Body", "Approve"), ("ButtonPayload", "approve:r-1:00"), ("ButtonText", "Approve")]);
        assert_eq!(button, Content::Button { payload: "approve:r-1:00".into() });
        let file = |source: &str, voice| Attachment { source: source.into(), voice };
        let voice = [("NumMedia", "1"), ("MediaContentType0", "audio/ogg"), ("MediaUrl0", "https://a/1")];
        assert_eq!(content(&voice), Content::Files { text: String::new(), files: vec![file("https://a/1", true)] });
        let two = [
            ("NumMedia", "2"),
            ("MediaContentType0", "image/jpeg"),
            ("MediaUrl0", "https://a/1"),
            ("MediaContentType1", "application/pdf"),
            ("MediaUrl1", "https://a/2"),
            ("Body", "like this"),
        ];
        let files = vec![file("https://a/1", false), file("https://a/2", false)];
        assert_eq!(content(&two), Content::Files { text: "like this".into(), files });
        assert!(
            matches!(content(&[("NumMedia", "999999999")]), Content::Files { files, .. } if files.len() == FILES_MAX + 1)
        );
        for (pairs, what) in [
            (vec![("NumMedia", "1"), ("MediaContentType0", "video/mp4")], "A video"),
            (vec![("Latitude", "1.5"), ("Longitude", "2")], "A location"),
            (vec![("MessageType", "reaction"), ("Body", "👍")], "A reaction"),
        ] {
            assert_eq!(content(&pairs), Content::Unsupported { what: what.into() });
        }
    }

    #[test]
    fn only_those_who_are_named_may_write() {
        let allowed = HashSet::from(["+15551230000".to_owned(), "US.abc".to_owned()]);
        let from = |name: &str, external: &str| {
            let params = [("From", name), ("MessageSid", "SM1"), ("Body", "x"), ("ExternalUserId", external)];
            parse(WEBHOOK, &owned(&params), &allowed).unwrap()
        };
        assert!(matches!(from("whatsapp:+15551230000", ""), Inbound::Message(_)));
        assert!(matches!(from("whatsapp:US.abc", ""), Inbound::Message(_)));
        assert!(matches!(from("whatsapp:+15559999999", "whatsapp:US.abc"), Inbound::Message(_)));
        let named = [("From", "whatsapp:US.xyz"), ("MessageSid", "SM1"), ("Body", "x"), ("WaId", "15551230000")];
        let named = parse(WEBHOOK, &owned(&named), &allowed).unwrap();
        assert!(matches!(named, Inbound::Message(_)), "who is named by number may write under another name");
        assert_eq!(from("whatsapp:+155512300001", ""), Inbound::UnknownSender);
        assert_eq!(from("whatsapp:", ""), Inbound::UnknownSender);
        assert_eq!(from("whatsapp:+15559999999", "whatsapp:US.xyz"), Inbound::UnknownSender);
        assert!(matches!(from("whatsapp:US.xyz", "whatsapp:US.xyz"), Inbound::Unnamed(_)), "they may be known");
    }

    #[test]
    fn a_person_has_one_name_and_perhaps_another() {
        for (from, wa_id, external, name, alias) in [
            ("whatsapp:+1555", "1555", "", "whatsapp:+1555", None),
            ("whatsapp:+1555", "1555", "whatsapp:US.abc", "whatsapp:+1555", Some("whatsapp:US.abc")),
            ("whatsapp:US.abc", "1555", "whatsapp:US.abc", "whatsapp:+1555", Some("whatsapp:US.abc")),
            ("whatsapp:US.abc", "", "whatsapp:US.abc", "whatsapp:US.abc", Some("whatsapp:US.abc")),
            ("whatsapp:+1555", "1555", "nonsense", "whatsapp:+1555", None),
            ("whatsapp:US.abc", "../x", "", "whatsapp:US.abc", Some("whatsapp:US.abc")),
        ] {
            assert_eq!(
                names(from, wa_id, external),
                (name.to_owned(), alias.map(str::to_owned)),
                "{from} {wa_id} {external}"
            );
        }
    }

    #[test]
    fn receipts_name_their_effect_and_say_what_became_of_the_message() {
        let parsed = |path: &str, status: &str, code: &str| {
            let params = [("MessageSid", "SM9"), ("MessageStatus", status), ("ErrorCode", code)];
            parse(path, &owned(&params), &HashSet::new())
        };
        let receipt =
            |receipt| Ok(Inbound::Receipt { effect: EffectSeq(7), message: MessageId::parse("SM9").unwrap(), receipt });
        assert_eq!(parsed("/receipt/c0ffee/7", "delivered", ""), receipt(Receipt::Delivered));
        assert_eq!(parsed("/relay/receipt/c0ffee/7", "read", ""), receipt(Receipt::Read));
        let failed = receipt(Receipt::Failed { failure: Failure::Closed });
        assert_eq!(parsed("/receipt/c0ffee/7", "undelivered", "63016"), failed);
        assert_eq!(parsed("/receipt/c0ffee/7", "queued", ""), Ok(Inbound::Nothing));
        assert_eq!(
            parsed(WEBHOOK, "delivered", ""),
            Ok(Inbound::Nothing),
            "of a message that was sent by somebody else"
        );
        assert!(parsed("/receipt/c0ffee/x", "delivered", "").is_err());
        assert_eq!(parsed("/receipt/c0ffee/7?template=HX1", "delivered", ""), receipt(Receipt::Delivered));
        assert_eq!(template("/relay/receipt/c0ffee/7?template=HX1"), Some("HX1"));
        assert_eq!((template("/receipt/c0ffee/7"), template("/webhook?template=HX1")), (None, None));
    }

    #[test]
    fn broken_forms_are_no_messages() {
        assert!(parse(WEBHOOK, &owned(&[("Body", "x")]), &HashSet::new()).is_err());
        assert!(parse(WEBHOOK, &owned(&[("From", "a"), ("MessageSid", "S M")]), &HashSet::new()).is_err());
    }
}
