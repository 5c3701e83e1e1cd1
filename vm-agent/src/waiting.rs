//! What is served while the volume can't be used: that it can't, to whoever may know. Nothing can be kept then, so nothing is
//! taken on; a relay tries again.

use std::future::IntoFuture;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::Response;
use relay_core::protocol::{FILE_BYTES_MAX, signature};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::refusal::Refused;
use crate::routes::{is_up, verify};
use crate::volume::{Trouble, Volume};

/// How often the volume is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How long those who are being answered may take once the volume is there.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

struct Waiting {
    secret: SecretString,
    trouble: Trouble,
}

/// Returns once the volume can be used. Until then `listener` is answered.
pub async fn until_usable(volume: &Volume, listener: &TcpListener, secret: &SecretString) -> io::Result<()> {
    while let Err(trouble) = volume.prepare() {
        tracing::error!(?trouble, "the volume can't be used; listening on {} until it can", listener.local_addr()?);
        let waiting = Arc::new(Waiting { secret: secret.clone(), trouble });
        let router = Router::new().fallback(refuse).with_state(waiting);
        let closing = CancellationToken::new();
        let server = axum::serve(tokio::net::TcpListener::from_std(listener.try_clone()?)?, router);
        let server = server.with_graceful_shutdown(closing.clone().cancelled_owned());
        let server = tokio::spawn(server.into_future());
        while volume.prepare() == Err(trouble) {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        closing.cancel();
        // Whoever has not been answered by then is cut off: the volume is there, and others wait.
        let abort = server.abort_handle();
        if tokio::time::timeout(CLOSE_TIMEOUT, server).await.is_err() {
            abort.abort();
        }
    }
    Ok(())
}

async fn refuse(State(waiting): State<Arc<Waiting>>, request: Request) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    if parts.uri.path() == "/health" && !parts.headers.contains_key(signature::HEADER) {
        return Ok(is_up());
    }
    if !parts.headers.contains_key(signature::HEADER) {
        // Its body is of no interest.
        verify(&waiting.secret, &parts.method, &parts.uri, &parts.headers, b"")?;
    }
    let body = to_bytes(body, FILE_BYTES_MAX).await.map_err(|_| Refused::too_large())?;
    verify(&waiting.secret, &parts.method, &parts.uri, &parts.headers, &body)?;
    Err(Refused::volume(waiting.trouble))
}
