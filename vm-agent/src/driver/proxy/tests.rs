//! The proxy over a real socket, before a fake API.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};

use super::*;

/// An API that answers with the headers it was asked with.
async fn echoing_api() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new()
        .fallback(|uri: Uri, headers: HeaderMap, body: String| async move { format!("{uri}\n{headers:?}\n{body}") });
    tokio::spawn(async move { axum::serve(listener, app).await });
    Url::parse(&format!("http://{address}/base")).unwrap()
}

async fn ask(proxy: &Proxy, method_and_path: &str, token: &str) -> String {
    let begin = format!("{method_and_path} HTTP/1.1\r\nauthorization: Bearer {token}\r\nx-api-key: mine");
    say(proxy, &begin).await
}

async fn say(proxy: &Proxy, begin: &str) -> String {
    let mut socket = UnixStream::connect(proxy.socket()).await.unwrap();
    let request = format!(
        "{begin}\r\nhost: vm-agent.invalid\r\nanthropic-version: 2023-06-01\r\nconnection: close\r\n\
         content-length: 2\r\n\r\n{{}}"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_token_is_replaced_by_the_key_and_the_answer_comes_back() {
    let proxy = Proxy::start("sk-real".into(), echoing_api().await, None).unwrap();
    let answer = ask(&proxy, "POST /v1/messages?beta=true", proxy.token()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("/base/v1/messages?beta=true"), "{answer}");
    assert!(answer.contains("\"x-api-key\": \"sk-real\"") && answer.contains("anthropic-version"), "{answer}");
    assert!(!answer.contains(proxy.token()) && !answer.contains("mine"), "{answer}");
}

/// As agents do that are told of an API key and of an address alone.
#[tokio::test]
async fn the_token_may_be_presented_as_a_key_and_the_version_left_out() {
    let proxy = Proxy::start("sk-real".into(), echoing_api().await, None).unwrap();
    let call = format!("POST /messages HTTP/1.1\r\nx-api-key: {}", proxy.token());
    let answer = say(&proxy, &call).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("/base/v1/messages\n"), "{answer}");
    assert!(answer.contains("\"x-api-key\": \"sk-real\"") && !answer.contains(proxy.token()), "{answer}");
    let answer = say(&proxy, "POST /messages HTTP/1.1\r\nx-api-key: run-guess").await;
    assert!(answer.starts_with("HTTP/1.1 401") && !answer.contains("sk-real"), "{answer}");
}

#[tokio::test]
async fn nothing_else_gets_through() {
    let proxy = Proxy::start("sk-real".into(), echoing_api().await, None).unwrap();
    for (call, token, status) in [
        ("POST /v1/messages", "run-guess", "401"),
        ("POST /v1/messages", "", "401"),
        ("GET /v1/messages", proxy.token(), "405"),
        ("POST /v1/files", proxy.token(), "404"),
        ("POST /v1/messages/../files", proxy.token(), "404"),
    ] {
        let answer = ask(&proxy, call, token).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{call}: {answer}");
        assert!(!answer.contains("sk-real"), "{answer}");
    }
}

#[tokio::test]
async fn the_socket_goes_with_the_proxy() {
    let proxy = Proxy::start("sk-real".into(), echoing_api().await, None).unwrap();
    let socket = proxy.socket();
    assert!(socket.exists());
    drop(proxy);
    assert!(!socket.exists());
}

/// Root can open the socket of any user, which makes it a fit stand-in for whoever else might.
#[tokio::test]
async fn another_user_is_refused_even_with_the_token() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let agent = AgentUser { uid: 1777, gid: 1777 };
    let proxy = Proxy::start("sk-real".into(), echoing_api().await, Some(agent)).unwrap();
    let answer = ask(&proxy, "POST /v1/messages", proxy.token()).await;
    assert!(answer.starts_with("HTTP/1.1 403") && !answer.contains("sk-real"), "{answer}");
}
