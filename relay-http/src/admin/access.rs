//! The Redis user of a VM: its name, its password, and the rule for what it may do.

use relay_core::id::ConversationId;
use relay_core::store::redis::acl;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use url::Url;

use super::Report;
use crate::config::{StateStore, StoreConfig};

const NAME_CHARS_MAX: usize = 64;

/// A name that needs no quotes: in a rule, in an address, in a shell.
pub(super) fn parse_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text {
        "default" => Err("is whoever gives no name; choose another".to_owned()),
        _ if !text.is_empty() && text.len() <= NAME_CHARS_MAX && text.chars().all(allowed) => Ok(text.to_owned()),
        _ => Err("must be of letters, digits, dots and dashes, and not long".to_owned()),
    }
}

/// The rule is the text, so that it can be appended to a file; the password goes beside it and is kept nowhere.
pub(super) fn report(store: &StoreConfig, name: &str, conversations: &[ConversationId], password: &str) -> Report {
    let hash = format!("#{}", hex::encode(Sha256::digest(password.as_bytes())));
    let line = acl::vm_line(&store.namespace, name, &hash, conversations);
    let whom = match conversations.len() {
        0 => "a VM that serves everybody".to_owned(),
        1 => "the VM of one conversation".to_owned(),
        many => format!("the VM of {many} conversations"),
    };
    let aside = format!(
        "The rule for {whom}: add it to the server's ACL file and run ACL LOAD, or give what stands behind \"user\" to \
         ACL SETUSER. Its password is shown this once; for the VM:\n  EVENTS_URL={}\n\n",
        events_url(&store.state_store, name, password)
    );
    Report { text: format!("{line}\n"), aside, is_well: true }
}

/// Where the VM publishes: the relay's own Redis, as another user.
fn events_url(store: &StateStore, name: &str, password: &str) -> String {
    let StateStore::Redis(url) = store else {
        return format!("redis://{name}:{password}@HOST:PORT");
    };
    let mut url = Url::parse(url.expose_secret()).expect("the configuration was read");
    url.set_username(name).expect("an address with a host takes a user");
    url.set_password(Some(password)).expect("an address with a host takes a password");
    url.to_string()
}
