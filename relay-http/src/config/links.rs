//! The setting for signed links.

use relay_core::settings::{Reader, SECRET_CHARS_MIN};

use crate::links::LinkKey;

const LINK_KEYS: &str = "LINK_KEYS";
const ID_CHARS_MAX: usize = 16;
/// While one key takes the place of another there are two.
const KEYS_MAX: usize = 8;

/// `LINK_KEYS`: `id:secret,id:secret`; empty when it is not set. What was given is not repeated in a fault: it holds secrets.
pub(super) fn read(reader: &mut Reader) -> Option<Vec<LinkKey>> {
    if reader.value(LINK_KEYS).is_none() {
        return Some(Vec::new());
    }
    let mut keys: Vec<LinkKey> = Vec::new();
    for item in reader.list(LINK_KEYS)? {
        let Some((id, secret)) = item.split_once(':') else {
            return reader.fault(LINK_KEYS, "must be id:secret, several with commas");
        };
        if id.is_empty() || id.len() > ID_CHARS_MAX || !id.chars().all(|c| c.is_ascii_alphanumeric()) {
            return reader.fault(LINK_KEYS, "an id must be a few letters and digits");
        }
        if keys.iter().any(|key| key.id == id) {
            return reader.fault(LINK_KEYS, format!("two keys have the id {id}"));
        }
        if secret.chars().count() < SECRET_CHARS_MIN {
            return reader.fault(LINK_KEYS, format!("each secret must have at least {SECRET_CHARS_MIN} characters"));
        }
        keys.push(LinkKey { id: id.to_owned(), secret: secret.into() });
    }
    if keys.len() > KEYS_MAX {
        return reader.fault(LINK_KEYS, format!("holds more than {KEYS_MAX} keys"));
    }
    Some(keys)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use relay_core::settings::Fault;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn keys(value: &str) -> Result<Vec<String>, Vec<Fault>> {
        let read = Reader::read(&HashMap::from([(LINK_KEYS, value)]), read);
        read.map(|keys| keys.into_iter().map(|key| key.id).collect())
    }

    #[test]
    fn keys_come_in_the_order_in_which_they_are_given() {
        assert_eq!(keys(""), Ok(vec![]));
        assert_eq!(keys(&format!("b:{SECRET}, a:{SECRET}:with:colons")), Ok(vec!["b".to_owned(), "a".to_owned()]));
    }

    #[test]
    fn a_key_that_cannot_be_used_is_a_fault_that_does_not_repeat_it() {
        let many: Vec<String> = (0..=KEYS_MAX).map(|id| format!("{id}:{SECRET}")).collect();
        for value in [
            SECRET.to_owned(),
            format!(":{SECRET}"),
            format!("a.b:{SECRET}"),
            format!("a:{SECRET},a:{SECRET}"),
            "a:short".to_owned(),
            ",".to_owned(),
            many.join(","),
        ] {
            let faults = keys(&value).unwrap_err();
            assert_eq!(faults[0].name, LINK_KEYS, "{value}");
            assert!(!faults[0].problem.contains(SECRET) && !faults[0].problem.contains("short"), "{faults:?}");
        }
    }
}
