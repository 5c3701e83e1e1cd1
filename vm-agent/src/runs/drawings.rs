//! A diff that is too long for a chat is drawn before it is reported. A run never waits for that for long, nor fails by it.

use relay_core::id::RunId;
use relay_core::protocol::{Drawing, RunOutcome, fits_inline};

use super::Runs;
use crate::images::ImageKind;
use crate::render::{DrawError, Drawn, Subject};

impl Runs {
    /// The outcome with drawings of its diff, where it has one that is worth it.
    pub(super) async fn with_drawings(&self, run: &RunId, mut outcome: RunOutcome) -> RunOutcome {
        if let RunOutcome::Changes { stat, diff, diff_cut, files, drawings, .. } = &mut outcome
            && (*diff_cut || !fits_inline(diff))
        {
            let subject = Subject { stat, files, diff, diff_cut: *diff_cut };
            let caption = |is_whole| if is_whole { stat.to_string() } else { format!("{stat} (the beginning)") };
            for drawn in self.drawn(run, subject).await {
                let Some(name) = self.keep_drawing(run, &drawn) else { break };
                let document = drawn.kind == ImageKind::Pdf;
                drawings.push(Drawing { name, caption: caption(drawn.is_whole), document });
            }
        }
        outcome
    }

    async fn drawn(&self, run: &RunId, subject: Subject<'_>) -> Vec<Drawn> {
        let stop = self.state().active(run).map(|active| active.stop.clone());
        let (Some(stop), Ok(lock)) = (stop, self.with_log(run, |log| Ok(log.lock()))) else { return Vec::new() };
        match self.0.surroundings.renderer.draw(subject, &lock, &stop).await {
            Ok(drawn) => drawn.into(),
            Err(DrawError::Stopped) => Vec::new(),
            Err(error) => {
                tracing::warn!(%error, %run, "a diff cannot be drawn; it is told in text alone");
                Vec::new()
            }
        }
    }

    fn keep_drawing(&self, run: &RunId, drawn: &Drawn) -> Option<String> {
        match self.images().store(run, drawn.kind, &drawn.bytes) {
            Ok(name) => Some(name.as_str().to_owned()),
            Err(error) => {
                tracing::warn!(%error, %run, "a drawing cannot be kept");
                None
            }
        }
    }
}
