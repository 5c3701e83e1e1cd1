//! Serves connections, as `axum::serve` does but for HTTP/1 alone. A server that looks whether a caller speaks HTTP/2 has a buffer
//! twice as large for each connection, for as long as that lasts: those who look on are many and stay for long.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
use axum::http::{HeaderValue, Request, header};
use axum::response::Response;
use axum::serve::Listener;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::listener::{ClosingListener, Peer};

/// Who has not sent the whole head of a request so long after the connection was made, or after the last answer, is cut off. Proxies
/// and clients keep connections for the next request that long at most, so that none is cut off with a request on its way.
const HEAD_TIMEOUT: Duration = Duration::from_secs(100);

/// Serve whoever connects until `ending` completes, then answer what has been asked and end.
pub async fn serve(listener: ClosingListener, router: Router, ending: impl Future<Output = ()>) {
    serve_within(HEAD_TIMEOUT, listener, router, ending).await;
}

async fn serve_within(
    head_timeout: Duration,
    mut listener: ClosingListener,
    router: Router,
    ending: impl Future<Output = ()>,
) {
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head_timeout);
    let (connections, end) = (TaskTracker::new(), CancellationToken::new());
    let mut ending = std::pin::pin!(ending);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut ending => break,
        };
        let stopping = listener.stopping();
        let service = router.clone().map_request(move |request: Request<_>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(Peer(peer)));
            request
        });
        // Whoever keeps the connection for the next request would find it closed, and can't know whether that was read.
        let service = service.map_response(move |mut response: Response| {
            if stopping.is_cancelled() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        });
        let (builder, end) = (builder.clone(), end.clone());
        connections.spawn(async move {
            let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
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

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{sleep, timeout};

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);
    const BOUND: Duration = Duration::from_secs(20);

    /// What a server with a short patience says until it closes the connection on which this was sent.
    async fn said_to(request: &str) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = ClosingListener::new(listener, CancellationToken::new()).unwrap();
        let slow = || async {
            sleep(SHORT * 3).await;
            "late, and whole"
        };
        let router = Router::new().route("/", get(|| async { "hello" })).route("/slow", get(slow));
        let server = tokio::spawn(serve_within(SHORT, listener, router, std::future::pending()));
        let mut caller = TcpStream::connect(address).await.unwrap();
        caller.write_all(request.as_bytes()).await.unwrap();
        let mut said = String::new();
        let closed = timeout(BOUND, caller.read_to_string(&mut said)).await;
        server.abort();
        closed.expect("the connection is closed").unwrap();
        said
    }

    #[tokio::test]
    async fn who_sends_half_a_head_or_nothing_is_cut_off() {
        for half in ["", "GET / HTTP/1.1\r\nHost: x\r\n"] {
            assert_eq!(said_to(half).await, "", "{half:?}");
        }
    }

    #[tokio::test]
    async fn who_asks_nothing_more_is_cut_off_and_who_waits_for_an_answer_is_not() {
        for (path, answer) in [("/", "hello"), ("/slow", "late, and whole")] {
            let said = said_to(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            assert!(said.starts_with("HTTP/1.1 200") && said.ends_with(answer), "{path}: {said}");
        }
    }
}
