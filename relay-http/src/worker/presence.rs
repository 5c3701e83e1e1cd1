//! Tells that this relay is there whenever somebody wants to know.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::presence::{beat, leave};

/// Run until `drain` is cancelled.
pub(super) async fn run(app: Arc<App>, drain: CancellationToken) {
    loop {
        // Whatever is wrong with the store is logged where it is called. When it is back this relay is asked again.
        let _ = beat(&app).await;
        if drain.run_until_cancelled(app.presence.called()).await.is_none() {
            break;
        }
    }
    // Without it, it is taken for one that does not answer.
    let _ = leave(&app).await;
}
