//! A webhook's form as a message. Parameter names are Twilio's (docs, "Twilio's request to your incoming message webhook").

use std::collections::HashSet;

use relay_core::id::{Address, ChannelKind, MessageId};
use relay_core::machine::{Content, Message};

/// What a verified webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// A message from somebody who may write.
    Message(Message),
    /// A message from somebody who may not.
    UnknownSender,
    /// Something that is not a message: a delivery report.
    NotAMessage,
}

/// Read the form. `allowed` names who may write, as [`bare`] does. An error says what is missing.
pub fn parse(params: &[(String, String)], allowed: &HashSet<String>) -> Result<Inbound, &'static str> {
    let param = |name: &str| params.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    if !param("MessageStatus").is_empty() {
        return Ok(Inbound::NotAMessage);
    }
    let from = param("From");
    if from.is_empty() {
        return Err("From is missing");
    }
    let id = MessageId::parse(param("MessageSid")).map_err(|_| "MessageSid is missing or malformed")?;
    let is_allowed = |who: &str| !who.is_empty() && allowed.contains(bare(who));
    if !is_allowed(from) && !is_allowed(param("ExternalUserId")) {
        return Ok(Inbound::UnknownSender);
    }
    let content = if !param("ButtonPayload").is_empty() {
        Content::Button { payload: param("ButtonPayload").to_owned() }
    } else if let Some(what) = unsupported(&param) {
        Content::Unsupported { what: what.to_owned() }
    } else {
        Content::Text { text: param("Body").to_owned() }
    };
    let from = Address { channel: ChannelKind::Twilio, name: from.to_owned() };
    Ok(Inbound::Message(Message { id, from, content }))
}

/// A name without the channel before it: `+15551230000`, `US.abc`.
pub fn bare(name: &str) -> &str {
    name.strip_prefix("whatsapp:").unwrap_or(name)
}

fn unsupported<'a>(param: &impl Fn(&str) -> &'a str) -> Option<&'static str> {
    if param("MessageType") == "reaction" {
        return Some("A reaction");
    }
    if !matches!(param("NumMedia"), "" | "0") {
        let media = param("MediaContentType0");
        return Some(match media.split('/').next() {
            Some("audio") => "A voice note",
            Some("image") => "A picture",
            Some("video") => "A video",
            _ => "A file",
        });
    }
    (!param("Latitude").is_empty()).then_some("A location")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> Result<Inbound, &'static str> {
        let mut params = vec![("From", "whatsapp:+15551230000"), ("MessageSid", "SM1")];
        params.extend(pairs);
        let params: Vec<_> = params.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        parse(&params, &HashSet::from(["+15551230000".to_owned()]))
    }

    fn content(pairs: &[(&str, &str)]) -> Content {
        match parsed(pairs) {
            Ok(Inbound::Message(message)) => message.content,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn text_buttons_and_what_is_not_supported() {
        assert_eq!(content(&[("Body", " fix it "), ("NumMedia", "0")]), Content::Text { text: " fix it ".into() });
        let button = content(&[("Body", "Approve"), ("ButtonPayload", "approve:r-1:00"), ("ButtonText", "Approve")]);
        assert_eq!(button, Content::Button { payload: "approve:r-1:00".into() });
        for (pairs, what) in [
            (vec![("NumMedia", "1"), ("MediaContentType0", "audio/ogg")], "A voice note"),
            (vec![("NumMedia", "1"), ("MediaContentType0", "image/jpeg"), ("Body", "like this")], "A picture"),
            (vec![("NumMedia", "2")], "A file"),
            (vec![("Latitude", "1.5"), ("Longitude", "2")], "A location"),
            (vec![("MessageType", "reaction"), ("Body", "👍")], "A reaction"),
        ] {
            assert_eq!(content(&pairs), Content::Unsupported { what: what.into() });
        }
    }

    #[test]
    fn only_those_who_are_named_may_write() {
        let from = |name: &str, external: &str| {
            let params = [("From", name), ("MessageSid", "SM1"), ("Body", "x"), ("ExternalUserId", external)];
            let params: Vec<_> = params.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            parse(&params, &HashSet::from(["+15551230000".to_owned(), "US.abc".to_owned()])).unwrap()
        };
        assert!(matches!(from("whatsapp:+15551230000", ""), Inbound::Message(_)));
        assert!(matches!(from("whatsapp:US.abc", ""), Inbound::Message(_)));
        assert!(matches!(from("whatsapp:+15559999999", "whatsapp:US.abc"), Inbound::Message(_)));
        assert_eq!(from("whatsapp:+155512300001", ""), Inbound::UnknownSender);
        assert_eq!(from("whatsapp:", ""), Inbound::UnknownSender);
    }

    #[test]
    fn delivery_reports_and_broken_forms_are_not_messages() {
        assert_eq!(parsed(&[("MessageStatus", "delivered")]), Ok(Inbound::NotAMessage));
        assert!(parse(&[("Body".into(), "x".into())], &HashSet::new()).is_err());
        let spaced = [("From".to_owned(), "a".to_owned()), ("MessageSid".to_owned(), "S M".to_owned())];
        assert!(parse(&spaced, &HashSet::new()).is_err());
    }
}
