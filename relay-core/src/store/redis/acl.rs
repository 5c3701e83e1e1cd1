//! Who may do what in Redis: the rule for a VM, which may report about its own conversations and nothing else.

use super::keys::Keys;
use crate::id::ConversationId;

/// The commands of a VM: append, see whether what it appended was taken, wake, and keep its connection.
const VM_COMMANDS: &str = "+rpush +llen +publish +ping +select +client|id";

/// The line of an ACL file, or the arguments of `ACL SETUSER` behind `user`, for a VM that serves `conversations`; for one
/// that serves everybody when there are none. `password` is `#` and the SHA-256 in hex, as Redis takes it.
///
/// Whoever has these credentials can make a VM's reports up, flood its own lists, and wake relays in vain; it can neither
/// read nor change what belongs to another conversation.
pub fn vm_line(namespace: &str, user: &str, password: &str, conversations: &[ConversationId]) -> String {
    let keys = Keys::new(namespace);
    let (reports, live) = match conversations {
        [] => (vec![keys.all_reports()], vec![keys.all_live()]),
        some => (some.iter().map(|id| keys.reports(id)).collect(), some.iter().map(|id| keys.live(id)).collect()),
    };
    let keys: String = reports.iter().chain([&keys.wake()]).map(|key| format!(" ~{key}")).collect();
    let channels: String = live.iter().map(|channel| format!(" &{channel}")).collect();
    format!("user {user} reset on {password}{keys}{channels} -@all {VM_COMMANDS}")
}
