//! What the agent asks before it goes on: the person chooses; without a choice the answer is no.

use agent_client_protocol_schema::v1::{
    PermissionOption, PermissionOptionKind, RequestPermissionOutcome, RequestPermissionResponse,
    SelectedPermissionOutcome,
};
use relay_core::protocol::{InquiryOption, OPTIONS_MAX};

use crate::text::clip;

const LABEL_CHARS_MAX: usize = 100;

/// What the person can choose.
pub(super) fn options(offered: &[PermissionOption]) -> Vec<InquiryOption> {
    let option = |option| InquiryOption { label: label(option), description: String::new() };
    offered.iter().take(OPTIONS_MAX).map(option).collect()
}

/// The answer, when the person has said this.
pub(super) fn answer(offered: &[PermissionOption], said: Option<&str>) -> RequestPermissionResponse {
    let of_kind = |kind| offered.iter().find(|option| option.kind == kind);
    let chosen = said.and_then(|said| offered.iter().take(OPTIONS_MAX).find(|option| label(option) == said));
    let no = || of_kind(PermissionOptionKind::RejectOnce).or_else(|| of_kind(PermissionOptionKind::RejectAlways));
    RequestPermissionResponse::new(match chosen.or_else(no) {
        Some(option) => RequestPermissionOutcome::Selected(SelectedPermissionOutcome::new(option.option_id.clone())),
        None => RequestPermissionOutcome::Cancelled,
    })
}

/// Whether the answer is yes.
pub(super) fn allows(offered: &[PermissionOption], answer: &RequestPermissionResponse) -> bool {
    let RequestPermissionOutcome::Selected(selected) = &answer.outcome else { return false };
    let chosen = offered.iter().find(|option| option.option_id == selected.option_id);
    chosen.is_some_and(|option| {
        matches!(option.kind, PermissionOptionKind::AllowOnce | PermissionOptionKind::AllowAlways)
    })
}

/// The answer to whoever still waits when the run is stopped.
pub(super) fn cancelled() -> RequestPermissionResponse {
    RequestPermissionResponse::new(RequestPermissionOutcome::Cancelled)
}

fn label(option: &PermissionOption) -> String {
    clip(&option.name, LABEL_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered() -> Vec<PermissionOption> {
        vec![
            PermissionOption::new("once", "Allow once", PermissionOptionKind::AllowOnce),
            PermissionOption::new("always", "Always allow", PermissionOptionKind::AllowAlways),
            PermissionOption::new("reject", "Reject", PermissionOptionKind::RejectOnce),
        ]
    }

    #[test]
    fn what_the_person_chooses_is_the_answer_and_anything_else_is_no() {
        let selected = |id: &'static str| {
            RequestPermissionResponse::new(RequestPermissionOutcome::Selected(SelectedPermissionOutcome::new(id)))
        };
        for (said, id) in [
            (Some("Allow once"), "once"),
            (Some("Always allow"), "always"),
            (Some("Reject"), "reject"),
            (Some("what is that?"), "reject"),
            (None, "reject"),
        ] {
            assert_eq!(answer(&offered(), said), selected(id), "{said:?}");
        }
        let labels: Vec<String> = options(&offered()).into_iter().map(|option| option.label).collect();
        assert_eq!(labels, ["Allow once", "Always allow", "Reject"]);
    }

    #[test]
    fn where_no_cannot_be_chosen_nothing_is() {
        let offered = &offered()[..2];
        assert_eq!(answer(offered, None), cancelled());
        assert_eq!(answer(offered, Some("no")), cancelled());
    }
}
