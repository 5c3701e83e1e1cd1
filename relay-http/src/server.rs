//! Serves connections, as `axum::serve` does but for HTTP/1 alone. A server that looks whether a caller speaks HTTP/2 has a buffer
//! twice as large for each connection, for as long as that lasts: those who look on are many and stay for long.

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
use axum::http::Request;
use axum::serve::Listener;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::listener::{ClosingListener, Peer};

/// Serve whoever connects until `ending` completes, then answer what has been asked and end.
pub async fn serve(mut listener: ClosingListener, router: Router, ending: impl Future<Output = ()>) {
    let (connections, end) = (TaskTracker::new(), CancellationToken::new());
    let mut ending = std::pin::pin!(ending);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut ending => break,
        };
        let service = router.clone().map_request(move |request: Request<_>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(Peer(peer)));
            request
        });
        let end = end.clone();
        connections.spawn(async move {
            let serving = Builder::new().serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
            let mut serving = std::pin::pin!(serving);
            tokio::select! {
                // A caller who is gone is no trouble of ours.
                _ = serving.as_mut() => return,
                () = end.cancelled() => serving.as_mut().graceful_shutdown(),
            }
            let _ = serving.await;
        });
    }
    drop(listener);
    end.cancel();
    connections.close();
    connections.wait().await;
}
