//! Takes what runs report to the relays: in order per run, again and again until it is delivered, one call at a time. It
//! never changes a run; the journal says what waits. Started by [`crate::server`].

use std::time::Duration;

use relay_core::id::RunId;
use relay_core::protocol::Report;
use relay_core::telemetry::traces;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::metrics::metrics;
use crate::runs::Runs;

mod callback;
mod published;

pub use callback::Callback;
pub use published::Published;

const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Where reports go.
#[derive(Debug)]
pub enum Outlet {
    /// To a relay, which answers once it has taken one.
    Callback(Callback),
    /// Into the store that the relays share; whichever is free takes them from there.
    Published(Published),
}

/// What became of one try.
enum Delivery {
    /// It is durable on the other side.
    Delivered,
    /// Nobody will ever take it, for this reason.
    Refused(String),
    /// It may be tried again.
    Failed(String),
}

/// Delivers reports.
#[derive(Debug)]
pub struct Reporter {
    runs: Runs,
    outlet: Outlet,
    untaken: watch::Sender<usize>,
    /// Why the latest try failed, until one succeeds: what has been logged is not logged again.
    trouble: Option<String>,
}

impl Reporter {
    /// Delivers what `runs` have to report.
    pub fn new(runs: Runs, outlet: Outlet) -> Self {
        Self { runs, outlet, untaken: watch::Sender::new(0), trouble: None }
    }

    /// How many conversations have reports that were delivered and that no relay is known to have taken. Until there are
    /// none the process should stay up.
    pub fn untaken(&self) -> watch::Receiver<usize> {
        self.untaken.subscribe()
    }

    /// Deliver for ever.
    pub async fn run(mut self) {
        let runs = self.runs.clone();
        let mut backoff = BACKOFF_MIN;
        loop {
            // Taken before looking, so that what is appended while looking is not missed.
            let appended = runs.appended();
            let all = self.pass().await;
            let follow_up = self.follow_up().await;
            if !all {
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
                continue;
            }
            backoff = BACKOFF_MIN;
            match follow_up {
                None => appended.await,
                // Either is a reason to look again.
                Some(at) => drop(tokio::time::timeout_at(at, appended).await),
            }
        }
    }

    /// Deliver what waits, run by run; false when something had to be left for later. A run that is stuck does not hold the
    /// others up.
    async fn pass(&mut self) -> bool {
        let mut all = true;
        for run in self.runs.reporting() {
            all &= self.deliver_run(&run).await;
        }
        all
    }

    async fn deliver_run(&mut self, run: &RunId) -> bool {
        while let Some(report) = self.runs.next_report(run) {
            let span = self.span(run);
            match self.outlet.deliver(&report).instrument(span).await {
                Delivery::Delivered => {
                    metrics().report_delivered();
                    self.well();
                }
                Delivery::Refused(reason) => {
                    metrics().report_refused();
                    tracing::error!(%run, seq = report.seq, reason, "a report is refused; leaving it out");
                }
                Delivery::Failed(error) => {
                    metrics().report_failed();
                    if self.is_news(&error) {
                        tracing::warn!(%run, seq = report.seq, error, "a report is not delivered; trying on");
                    }
                    return false;
                }
            }
            // Told before the journal, so that no moment shows the report as done with.
            self.untaken.send_replace(self.outlet.untaken());
            self.runs.delivered(run, report.seq);
        }
        true
    }

    /// A report goes on in its run's trace.
    fn span(&self, run: &RunId) -> Span {
        traces::begin(self.runs.trace(run).as_ref(), || {
            tracing::info_span!(
                parent: None,
                "send mailbox",
                otel.kind = "producer",
                messaging.system = "textslash",
                messaging.operation.name = "send",
                messaging.operation.type = "send",
                messaging.destination.name = "mailbox",
                %run,
            )
        })
    }

    /// See to what was delivered and not taken. When to do so again, if nothing else happens before.
    async fn follow_up(&mut self) -> Option<Instant> {
        let Outlet::Published(published) = &mut self.outlet else { return None };
        let looked = published.follow_up().await;
        let next = published.next_look();
        self.untaken.send_replace(published.untaken());
        match looked {
            Ok(true) => self.well(),
            Ok(false) => {}
            Err(error) if self.is_news(&error) => {
                tracing::warn!(error, "cannot look whether reports were taken; trying on");
            }
            Err(_) => {}
        }
        next
    }

    fn well(&mut self) {
        if self.trouble.take().is_some() {
            tracing::info!("reports are delivered again");
        }
    }

    /// Whether this trouble is another than before.
    fn is_news(&mut self, error: &str) -> bool {
        self.trouble.replace(error.to_owned()).as_deref() != Some(error)
    }
}

impl Outlet {
    async fn deliver(&mut self, report: &Report) -> Delivery {
        match self {
            Self::Callback(callback) => callback.deliver(report).await,
            Self::Published(published) => published.deliver(report).await,
        }
    }

    fn untaken(&self) -> usize {
        match self {
            // Delivered means taken.
            Self::Callback(_) => 0,
            Self::Published(published) => published.untaken(),
        }
    }
}
