//! The git half of the fake: bare repositories in a directory, served by git's own smart HTTP program.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::server::Received;

/// A git command that reads no configuration of the machine or of the person running the tests.
pub(super) fn git() -> Command {
    let mut command = Command::new("git");
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_COUNT", "2")
        .envs([("GIT_CONFIG_KEY_0", "http.receivepack"), ("GIT_CONFIG_VALUE_0", "true")])
        .envs([("GIT_CONFIG_KEY_1", "safe.directory"), ("GIT_CONFIG_VALUE_1", "*")])
        .envs([("GIT_AUTHOR_NAME", "Octo Cat"), ("GIT_AUTHOR_EMAIL", "octo@example.com")])
        .envs([("GIT_COMMITTER_NAME", "Octo Cat"), ("GIT_COMMITTER_EMAIL", "octo@example.com")])
        .kill_on_drop(true);
    command
}

/// Run git and give what it printed; `None` when it failed.
pub(super) async fn ask(repository: &Path, args: &[&str]) -> Option<String> {
    let output = git().arg("--git-dir").arg(repository).args(args).output().await.expect("git runs");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A bare repository at `path` with `main` and one commit that holds README.md.
pub(super) async fn create(path: &Path) {
    let run = async |args: &[&str], input: &str| -> String {
        let output = feed(git().arg("--git-dir").arg(path).args(args), input.as_bytes()).await;
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    std::fs::create_dir_all(path).expect("a directory for the repository");
    run(&["init", "--quiet", "--bare", "--initial-branch=main"], "").await;
    let readme = run(&["hash-object", "-w", "--stdin"], "# scratch\n\nA repository for tests.\n").await;
    let tree = run(&["mktree"], &format!("100644 blob {readme}\tREADME.md\n")).await;
    let commit = run(&["commit-tree", &tree, "-m", "First commit"], "").await;
    run(&["update-ref", "refs/heads/main", &commit], "").await;
}

/// Answer a request of git's smart HTTP protocol with `git http-backend`, which speaks CGI.
pub(super) async fn serve(root: &Path, request: &Received) -> Response {
    let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
    let mut command = git();
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "fake")
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("REQUEST_METHOD", request.method.as_str())
        .env("PATH_INFO", &request.path)
        .env("QUERY_STRING", &request.query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"));
    from_cgi(&feed(&mut command, &request.body).await.stdout)
}

/// The repository's directory, if `owner/name` is one.
pub(super) fn existing(root: &Path, name: &str) -> Option<PathBuf> {
    let path = root.join(format!("{name}.git"));
    path.join("HEAD").is_file().then_some(path)
}

async fn feed(command: &mut Command, input: &[u8]) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("git is installed");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let write = async move {
        // A git that refuses ends without reading; its answer says why.
        let _ = stdin.write_all(input).await;
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), write);
    output.expect("git ends")
}

fn from_cgi(answer: &[u8]) -> Response {
    let Some(border) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "git http-backend gave no answer").into_response();
    };
    let (head, body) = (&answer[..border], &answer[border + 4..]);
    let mut response = Response::new(Body::from(body.to_vec()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    for (name, value) in String::from_utf8_lossy(head).lines().filter_map(|line| line.split_once(": ")) {
        if name.eq_ignore_ascii_case("status") {
            let status = value.split(' ').next().and_then(|code| code.parse().ok());
            *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        } else if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
