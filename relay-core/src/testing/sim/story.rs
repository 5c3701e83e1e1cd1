//! Words for the trace: what happened, short enough to be read by the hundred.

use crate::machine::{Effect, Phase};
use crate::store::{Committed, Ingested};

/// An effect in few words.
pub(super) fn brief(effect: &Effect) -> String {
    match effect {
        Effect::Say(say) => format!("say {:?}", say.text.chars().take(40).collect::<String>()),
        Effect::StartRun { run, .. } => format!("start {run}"),
        Effect::Decide { run, decision, .. } => format!("{decision:?} {run}"),
        Effect::CancelRun { run } => format!("cancel {run}"),
        Effect::Ask { .. } => "ask".to_owned(),
        Effect::Reply { run, number, .. } => format!("reply to {number} of {run}"),
        Effect::Probe { run } => format!("probe {run}"),
        Effect::KeepImage { .. } => "keep image".to_owned(),
        Effect::KeepReview { run, .. } => format!("keep review of {run}"),
        Effect::FetchFile { .. } => "fetch file".to_owned(),
        Effect::Transcribe { .. } => "transcribe".to_owned(),
        Effect::Introduce { .. } => "introduce".to_owned(),
    }
}

pub(super) fn phase(phase: &Phase) -> String {
    let text = format!("{phase:?}");
    text.split([' ', '(']).next().unwrap_or_default().to_owned()
}

pub(super) fn ingested<E>(answer: &Result<Ingested, E>) -> &'static str {
    match answer {
        Ok(Ingested::Held(_)) => "held",
        Ok(Ingested::Queued) => "queued",
        Ok(Ingested::Duplicate) => "duplicate",
        Ok(Ingested::Full) => "full",
        Err(_) => "store error",
    }
}

pub(super) fn committed<E: std::fmt::Display>(answer: &Result<Committed, E>) -> String {
    match answer {
        Ok(Committed::Released) => "released".to_owned(),
        Ok(Committed::Held { inbox }) => format!("held, {} wait", inbox.len()),
        Ok(Committed::Fenced) => "fenced".to_owned(),
        Err(error) => error.to_string(),
    }
}
