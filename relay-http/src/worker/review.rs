//! Copies a review from the VM into the store, part by part, so that any relay can show it while the VM sleeps.

use futures::{StreamExt, TryStreamExt, stream};
use relay_core::id::{RunId, TreeHash};
use relay_core::machine::{Outcome, review};
use relay_core::store::Blob;
use relay_core::time::Timestamp;

use crate::app::{App, Kept};
use crate::clock;
use crate::vm::{CallError, VmClient};

/// Parts on their way at the same time.
const AT_ONCE: usize = 4;

/// Copy all parts, of which there is one at least. They may be too many for the time of one try: the next one goes on where it was cut off.
pub(super) async fn keep(
    app: &App,
    vm: &VmClient,
    (run, tree): (&RunId, &TreeHash),
    parts: u32,
    attempt: u32,
) -> Result<Outcome, CallError> {
    let copy = Copy { app, vm, run, tree, parts, expires_at: clock::now() + review::kept_for(&app.rules) };
    let first = if attempt > 1 { copy.first_missing().await? } else { 0 };
    let last = parts - 1;
    stream::iter(first..last).map(|place| copy.part(place)).buffered(AT_ONCE).try_collect::<()>().await?;
    copy.part(last).await?;
    Ok(Outcome::ReviewKept)
}

struct Copy<'a> {
    app: &'a App,
    vm: &'a VmClient,
    run: &'a RunId,
    tree: &'a TreeHash,
    parts: u32,
    expires_at: Timestamp,
}

impl Copy<'_> {
    /// The part that is copied in this place: the index last, so that where it is, all of the review is.
    fn at(&self, place: u32) -> u32 {
        if place + 1 == self.parts { 0 } else { place + 1 }
    }

    fn kept(&self, part: u32) -> Kept<'_> {
        Kept::Review { run: self.run, tree: self.tree, part }
    }

    async fn part(&self, place: u32) -> Result<(), CallError> {
        let part = self.at(place);
        let (content_type, bytes) = self.vm.review(self.run, self.tree, part).await?;
        let blob = Blob { content_type: content_type.to_owned(), bytes: bytes.to_vec() };
        let kept = self.app.store.put_blob(&self.app.blob_id(self.kept(part)), blob, self.expires_at).await;
        kept.map_err(|_| CallError::NoAnswer)
    }

    async fn has(&self, place: u32) -> Result<bool, CallError> {
        let blob = self.app.store.blob(&self.app.blob_id(self.kept(self.at(place))), clock::now()).await;
        Ok(blob.map_err(|_| CallError::NoAnswer)?.is_some())
    }

    /// A place before which nothing is missing. Beyond the first that is missing, only those can be there that were on their way
    /// with it.
    async fn first_missing(&self) -> Result<u32, CallError> {
        let (mut low, mut high) = (0, self.parts);
        while low < high {
            let middle = low.midpoint(high);
            if self.has(middle).await? { low = middle + 1 } else { high = middle }
        }
        Ok(low.saturating_sub(u32::try_from(AT_ONCE).expect("a few")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::{Path, State};
    use axum::http::StatusCode;
    use axum::routing::get;
    use relay_core::id::ConversationId;
    use relay_core::protocol::review::REVIEW_CONTENT_TYPE;
    use relay_core::store::sqlite::SqliteStore;
    use relay_core::telemetry::Identity;
    use relay_core::telemetry::metrics::Metrics;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;
    use crate::config::Config;
    use crate::directory::Asking;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const PARTS: u32 = 30;
    const PICTURE: u32 = 9;

    /// A VM that has a review, and does not answer for some parts.
    #[derive(Clone, Default)]
    struct Vm {
        asked: Arc<Mutex<Vec<u32>>>,
        mute: Arc<Mutex<Vec<u32>>>,
    }

    async fn serve(State(vm): State<Vm>, Path((_, tree, part)): Path<(String, String, u32)>) -> (StatusCode, Vec<u8>) {
        vm.asked.lock().unwrap().push(part);
        if vm.mute.lock().unwrap().contains(&part) {
            return (StatusCode::BAD_GATEWAY, Vec::new());
        }
        let refused = br#"{"refused":"not_found","message":"gone"}"#.to_vec();
        match part {
            _ if tree != "aa11" || part >= PARTS => (StatusCode::NOT_FOUND, refused),
            PICTURE => (StatusCode::OK, b"GIF89a".to_vec()),
            _ => (StatusCode::OK, format!("{{\"part\":{part}}}").into_bytes()),
        }
    }

    struct Scene {
        vm: Vm,
        app: App,
        client: VmClient,
        run: RunId,
        tree: TreeHash,
    }

    impl Scene {
        async fn new() -> Self {
            let vm = Vm::default();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let router = Router::new().route("/reviews/{run}/{tree}/{part}", get(serve)).with_state(vm.clone());
            tokio::spawn(async move { axum::serve(listener, router).await });
            let settings = HashMap::from([("RELAY_SECRET", SECRET), ("VM_SECRET", SECRET), ("VM_URL", url.as_str())]);
            let config = Config::read(&settings).unwrap();
            let store = Arc::new(SqliteStore::in_memory().unwrap());
            let app = App::new(config, Metrics::new(&Identity::default()), store, mpsc::channel(1).0).unwrap();
            let conversation = ConversationId::parse("c0ffee").unwrap();
            let client = app.vm(Asking::to_look(conversation));
            Self { vm, app, client, run: RunId::parse("c0ffee-1").unwrap(), tree: TreeHash::parse("aa11").unwrap() }
        }

        async fn keep(&self, attempt: u32) -> Result<Outcome, CallError> {
            keep(&self.app, &self.client, (&self.run, &self.tree), PARTS, attempt).await
        }

        async fn stored(&self, part: u32) -> Option<(String, Vec<u8>)> {
            let id = self.app.blob_id(Kept::Review { run: &self.run, tree: &self.tree, part });
            let blob = self.app.store.blob(&id, clock::now()).await.unwrap();
            blob.map(|blob| (blob.content_type, blob.bytes))
        }
    }

    #[tokio::test]
    async fn all_parts_are_copied_as_what_they_are() {
        let scene = Scene::new().await;
        assert!(matches!(scene.keep(1).await, Ok(Outcome::ReviewKept)));
        for part in 0..PARTS {
            let (content_type, bytes) = scene.stored(part).await.expect("a part");
            match part {
                PICTURE => assert_eq!((content_type.as_str(), bytes.as_slice()), ("image/gif", &b"GIF89a"[..])),
                _ => assert_eq!(
                    (content_type.as_str(), bytes),
                    (REVIEW_CONTENT_TYPE, format!("{{\"part\":{part}}}").into_bytes())
                ),
            }
        }
        assert_eq!(scene.vm.asked.lock().unwrap().last(), Some(&0), "the index last");
    }

    #[tokio::test]
    async fn a_copy_that_was_cut_off_goes_on_where_it_was() {
        for mute in [1, 2, 13, PARTS - 1] {
            let scene = Scene::new().await;
            scene.vm.mute.lock().unwrap().push(mute);
            assert!(matches!(scene.keep(1).await, Err(CallError::NoAnswer)));
            assert!(scene.stored(0).await.is_none() && scene.stored(mute).await.is_none());
            scene.vm.mute.lock().unwrap().clear();
            scene.vm.asked.lock().unwrap().clear();
            assert!(matches!(scene.keep(2).await, Ok(Outcome::ReviewKept)));
            for part in 0..PARTS {
                assert!(scene.stored(part).await.is_some(), "{part} after {mute}");
            }
            let again = scene.vm.asked.lock().unwrap().iter().filter(|part| (1..mute).contains(*part)).count();
            assert!(again <= 2 * AT_ONCE, "{again} parts before {mute} were fetched twice");
        }
    }

    #[tokio::test]
    async fn a_review_that_the_vm_does_not_have_is_refused() {
        let mut scene = Scene::new().await;
        scene.tree = TreeHash::parse("bb22").unwrap();
        assert!(matches!(scene.keep(1).await, Err(CallError::Refused { .. })));
    }
}
