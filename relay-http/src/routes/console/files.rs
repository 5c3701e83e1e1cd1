//! Files on their way from the console to the agent.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use relay_core::id::ConversationId;
use relay_core::store::{Blob, Reserve, Reserved};
use serde::Serialize;

use super::Chosen;
use crate::app::{App, Kept, in_time};
use crate::channels::console::person::FIRST;
use crate::channels::media::{Media, MediaError};
use crate::clock;
use crate::error::RequestError;
use crate::routes;

/// The only type a file comes with: its bytes say what it is, and no form of another site can send it.
const CONTENT_TYPE: &str = "application/octet-stream";

/// A file waits so long to be sent; from then on it is kept as those of other channels are. Short, because one that is never sent
/// is known to nobody, and outlives its person so long at most.
const UNSENT_KEEP: Duration = Duration::from_secs(3600);

/// Sent at the last moment, it is still there when it is fetched, also when the relay that was to do it has died meanwhile.
const FETCH_WITHIN: Duration = Duration::from_secs(600);

/// What a person is given in so long, and once as much to begin with: a share for each file, and one for each so many bytes of it.
const UNSENT_SHARES_MAX: u32 = 240;
const SHARE_BYTES: usize = 1024 * 1024;

/// What the page is told of a file that was taken.
#[derive(Serialize)]
pub struct Taken {
    /// What a message names it by.
    id: String,
}

/// `POST /console/files`: 201 once the file is kept. No route shows it: it is for the agent alone.
pub async fn receive(
    State(app): State<Arc<App>>,
    chosen: Chosen,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Taken>), RequestError> {
    if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != CONTENT_TYPE) {
        return Err(RequestError::Malformed("a file comes as application/octet-stream"));
    }
    let bytes = routes::body(body).map_err(|error| match error {
        RequestError::TooLarge => MediaError::TooLarge.into(),
        other => other,
    })?;
    let media = Media::of(bytes)?;
    find_room(&app, &app.conversation(&chosen.signed_in.person().address(FIRST)), media.bytes.len()).await?;
    let blob_id = app.blob_id(Kept::Upload { conversation: &chosen.conversation, upload: &clock::nonce() });
    let expires_at = clock::now() + UNSENT_KEEP;
    let voice = media.is_voice();
    let blob = Blob { content_type: CONTENT_TYPE.to_owned(), bytes: media.bytes.into() };
    app.store.put_blob(&blob_id, blob, expires_at + FETCH_WITHIN).await?;
    Ok((StatusCode::CREATED, Json(Taken { id: app.console.ticket(&chosen.address, &blob_id, voice, expires_at) })))
}

/// Have a file take its shares in the line of its person, who is known by their first conversation, where each passes on in its part of [`UNSENT_KEEP`].
async fn find_room(app: &App, conversation: &ConversationId, bytes: usize) -> Result<(), RequestError> {
    let count = u32::try_from(1 + bytes / SHARE_BYTES).unwrap_or(UNSENT_SHARES_MAX);
    let interval = UNSENT_KEEP / UNSENT_SHARES_MAX;
    let (line, wait_max, now) = (format!("uploads:{conversation}"), UNSENT_KEEP - interval * count, clock::now());
    match in_time(app.store.reserve(Reserve { line, count, interval, wait_max, now })).await? {
        Reserved::In(_) => Ok(()),
        Reserved::Later(owed) => Err(RequestError::TooManyFiles(owed - wait_max)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::SocketAddr;

    use axum::body::Body;
    use axum::extract::ConnectInfo;
    use axum::http::Request;
    use relay_core::store::sqlite::SqliteStore;
    use relay_core::telemetry::Identity;
    use relay_core::telemetry::metrics::Metrics;
    use tower::ServiceExt;

    use super::*;
    use crate::config::Config;
    use crate::listener::Peer;
    use crate::router::router;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    /// A file of so many bytes; the status, and when to come again.
    async fn upload(app: &Arc<App>, bytes: usize) -> (StatusCode, Option<u64>) {
        let from: SocketAddr = "127.0.0.1:50000".parse().unwrap();
        let request = Request::post("/console/files")
            .header("host", "localhost:3000")
            .header("content-type", CONTENT_TYPE)
            .extension(ConnectInfo(Peer(from)))
            .body(Body::from(vec![b'a'; bytes]))
            .unwrap();
        let answer = router(Arc::clone(app)).oneshot(request).await.unwrap();
        let retry = answer.headers().get(header::RETRY_AFTER).map(|after| after.to_str().unwrap().parse().unwrap());
        (answer.status(), retry)
    }

    fn app() -> Arc<App> {
        let settings =
            HashMap::from([("RELAY_SECRET", SECRET), ("VM_SECRET", SECRET), ("VM_URL", "http://127.0.0.1:9")]);
        let (store, turns) = (SqliteStore::in_memory().unwrap(), tokio::sync::mpsc::channel(1).0);
        let metrics = Metrics::new(&Identity::default());
        Arc::new(App::new(Config::read(&settings).unwrap(), metrics, Arc::new(store), turns).unwrap())
    }

    #[tokio::test]
    async fn files_that_nobody_sends_are_bounded_in_number_and_in_bytes() {
        for (bytes, shares) in [(1, 1), (5 * SHARE_BYTES, 6)] {
            let app = app();
            for _ in 0..UNSENT_SHARES_MAX / shares {
                assert_eq!(upload(&app, bytes).await.0, StatusCode::CREATED, "{bytes}");
            }
            let (status, retry) = upload(&app, bytes).await;
            assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{bytes}");
            let share_s = UNSENT_KEEP.as_secs() / u64::from(UNSENT_SHARES_MAX);
            assert!((1..=1 + share_s * u64::from(shares)).contains(&retry.unwrap()), "{retry:?}");
        }
    }
}
