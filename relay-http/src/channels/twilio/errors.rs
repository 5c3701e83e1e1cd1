//! What Twilio's error codes mean for a message (Twilio docs, "Error and warning dictionary"). Which of them pass by themselves
//! is our reading of their pages.

use relay_core::machine::Failure;

/// What a code says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The message does not arrive.
    Failure(Failure),
    /// The credentials are not accepted: an operator's fault, and no message's.
    Credentials,
    /// The template can't be used; messages without it can.
    Template,
    /// The template can't be filled with this message; the message without it can be sent.
    Variables,
}

/// Codes by what they mean; whatever is in none of these lists is final, and the person can be told.
const PASSING: [u32; 7] = [
    20429, // too many requests
    30001, // queue overflow
    30008, // unknown error
    63012, // an internal error at Meta
    63017, // rate of the account
    63018, // rate of the channel
    63023, // generic error of the channel
];
const CLOSED: [u32; 1] = [
    63016, // free-form message outside of the window
];
const USED_UP: [u32; 1] = [
    63038, // daily limit of the account
];
const CREDENTIALS: [u32; 2] = [
    20003, // authentication
    20005, // account not active
];
const TEMPLATE: [u32; 7] = [
    20404, // no such content
    21655, // ContentSid invalid
    63027, 63028, 63029, 63030, // template missing, parameters, paused, not matching
    63041, // template not approved
];
const VARIABLES: [u32; 3] = [
    21656, // ContentVariables invalid
    21658, // a variable is too long
    92007, // a variable holds line breaks, or too many spaces
];
/// The person or our sender can't be reached at all, so that another message would not arrive either.
const UNREACHABLE: [u32; 14] = [
    21211, 21408, 21610, 21612, 21614, // the recipient
    63001, 63002, 63003, 63007, // channel, recipient or sender unknown
    63020, // the business is not accepted
    63024, // invalid recipient
    63031, // sender and recipient are the same
    63032, // the person is in an experiment of Meta's
    63049, // Meta chose not to deliver
];

/// What `code` means. `status` stands in for it where there is none.
pub fn meaning(code: Option<u32>, status: Option<u16>) -> Meaning {
    let Some(code) = code else {
        let reason =
            status.map_or_else(|| "Twilio gave no reason".to_owned(), |status| format!("Twilio answered {status}"));
        return Meaning::Failure(Failure::Final { reason, reachable: true });
    };
    match code {
        _ if PASSING.contains(&code) => Meaning::Failure(Failure::Passing),
        _ if CLOSED.contains(&code) => Meaning::Failure(Failure::Closed),
        _ if USED_UP.contains(&code) => Meaning::Failure(Failure::UsedUp),
        _ if CREDENTIALS.contains(&code) => Meaning::Credentials,
        _ if TEMPLATE.contains(&code) => Meaning::Template,
        _ if VARIABLES.contains(&code) => Meaning::Variables,
        _ => {
            let reachable = !UNREACHABLE.contains(&code);
            Meaning::Failure(Failure::Final { reason: format!("Twilio error {code}"), reachable })
        }
    }
}

/// The same for a message that was taken and then failed.
pub fn failure(code: Option<u32>) -> Failure {
    match meaning(code, None) {
        Meaning::Failure(failure) => failure,
        Meaning::Credentials => Failure::Passing,
        // The machine sends it again without its buttons, and so without the template.
        Meaning::Template | Meaning::Variables => given_up(code),
    }
}

/// A failure for good, of a message and of nothing else.
pub fn given_up(code: Option<u32>) -> Failure {
    Failure::Final { reason: format!("Twilio error {}", code.unwrap_or_default()), reachable: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart() {
        assert_eq!(meaning(Some(63016), None), Meaning::Failure(Failure::Closed));
        assert_eq!(meaning(Some(20429), None), Meaning::Failure(Failure::Passing));
        assert_eq!(meaning(Some(20003), Some(401)), Meaning::Credentials);
        assert_eq!(meaning(Some(21655), None), Meaning::Template);
        assert_eq!(meaning(Some(21658), None), Meaning::Variables);
        assert_eq!(
            failure(Some(63029)),
            given_up(Some(63029)),
            "it is for the machine to send it without the template"
        );
        assert_eq!(failure(Some(63038)), Failure::UsedUp);
        let last =
            |code, reachable| Meaning::Failure(Failure::Final { reason: format!("Twilio error {code}"), reachable });
        assert_eq!(meaning(Some(21211), None), last(21211, false));
        assert_eq!(meaning(Some(63019), None), last(63019, true));
        assert_eq!(meaning(Some(99999), None), last(99999, true), "an unknown code ends in a dead letter");
    }

    #[test]
    fn no_code_stands_in_two_lists() {
        let mut all = [&PASSING[..], &CLOSED, &USED_UP, &CREDENTIALS, &TEMPLATE, &VARIABLES, &UNREACHABLE].concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
