//! The relay's side of the wire to a VM (`docs/protocol.md`): signed, bounded calls, each with one outcome.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use relay_core::id::{BlobId, RunId, TreeHash};
use relay_core::machine::Outcome;
use relay_core::protocol::review::{REVIEW_CONTENT_TYPE, REVIEW_PART_BYTES_MAX};
use relay_core::protocol::worktree::{DIRECTORY_CONTENT_TYPE, Directory, WORKTREE_FILE_BYTES_MAX};
use relay_core::protocol::{
    Answer, ApproveRequest, BODY_BYTES_MAX, CancelRequest, Command, CommandRequest, Health, IMAGE_BYTES_MAX, Refusal,
    RefusalReason, ReplyRequest, signature,
};
use relay_core::telemetry::calls::{Call, Unanswered};
use relay_core::telemetry::traces;
use relay_core::trace;
use reqwest::header::{self, HeaderValue};
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument;
use url::Position;

use crate::clock;
use crate::directory::{Asking, VmDirectory};
use crate::http::{ReadError, read_up_to, under, why};

/// The type of documents.
pub const PDF: &str = "application/pdf";

/// What became of a call.
#[derive(Debug)]
pub enum CallError {
    /// Nobody answered; the VM may or may not have the request.
    NoAnswer,
    /// The VM can't take it now.
    Busy {
        /// For people, where the VM said so.
        message: Option<String>,
        /// True when another run has the VM, and it is only a matter of time.
        in_use: bool,
    },
    /// The VM has seen a larger fence: this relay has lost the conversation.
    Fenced,
    /// The VM will never take it.
    Refused {
        /// Why.
        reason: RefusalReason,
        /// For people.
        message: String,
    },
}

impl CallError {
    /// The outcome for the machine; `None` when this relay no longer has a say.
    pub fn outcome(self, waited: Duration) -> Option<Outcome> {
        match self {
            Self::NoAnswer => Some(Outcome::no_answer(waited)),
            Self::Busy { message, in_use } => Some(Outcome::Busy { retry_after_ms: None, message, in_use }),
            Self::Fenced => None,
            Self::Refused { reason, message } => Some(Outcome::Refused { reason: Some(reason), message }),
        }
    }
}

/// What is at a place of a worktree.
#[derive(Debug)]
pub enum Found {
    /// A directory, with what is in it.
    Directory(Directory),
    /// All of a file.
    File(Bytes),
}

/// Names the machine to a proxy that stands in front of several, and lets it pass the request to no other.
const MACHINE: &str = "fly-force-instance-id";

/// Calls the VM of one conversation.
pub struct VmClient {
    http: reqwest::Client,
    directory: Arc<dyn VmDirectory>,
    asking: Asking,
}

impl VmClient {
    /// Call the VM that is asked for, where `directory` says that it is.
    pub fn new(http: reqwest::Client, directory: Arc<dyn VmDirectory>, asking: Asking) -> Self {
        Self { http, directory, asking }
    }

    /// `POST /command` that starts a run.
    pub async fn start(&self, request: &CommandRequest) -> Result<Outcome, CallError> {
        debug_assert!(matches!(request.command, Command::Run { .. }));
        self.post("/command", request).await.map(|_| Outcome::Done)
    }

    /// `POST /command` that asks.
    pub async fn ask(&self, request: &CommandRequest) -> Result<Outcome, CallError> {
        debug_assert!(matches!(request.command, Command::Ask { .. }));
        let body = self.post("/command", request).await?;
        Ok(Outcome::Answered { answer: parse::<Answer>(&body)? })
    }

    /// `POST /approve`.
    pub async fn decide(&self, request: &ApproveRequest) -> Result<Outcome, CallError> {
        self.post("/approve", request).await.map(|_| Outcome::Done)
    }

    /// `POST /reply`.
    pub async fn reply(&self, request: &ReplyRequest) -> Result<Outcome, CallError> {
        self.post("/reply", request).await.map(|_| Outcome::Done)
    }

    /// `POST /cancel`.
    pub async fn cancel(&self, request: &CancelRequest) -> Result<Outcome, CallError> {
        self.post("/cancel", request).await.map(|_| Outcome::Done)
    }

    /// `GET /runs/{id}`.
    pub async fn probe(&self, run: &RunId) -> Result<Outcome, CallError> {
        match self.call(Method::GET, &format!("/runs/{run}"), Bytes::new(), BODY_BYTES_MAX).await {
            Ok((_, body)) => Ok(Outcome::Probed { status: Some(parse(&body)?) }),
            Err(CallError::Refused { reason: RefusalReason::NotFound, .. }) => Ok(Outcome::Probed { status: None }),
            Err(error) => Err(error),
        }
    }

    /// `PUT /files/{id}`: a file for a task that is to be started.
    pub async fn give(&self, id: &BlobId, bytes: Vec<u8>) -> Result<(), CallError> {
        self.call(Method::PUT, &format!("/files/{id}"), Bytes::from(bytes), BODY_BYTES_MAX).await.map(drop)
    }

    /// `GET /files/{id}`: whether the VM has a file.
    pub async fn has(&self, id: &BlobId) -> Result<bool, CallError> {
        match self.call(Method::GET, &format!("/files/{id}"), Bytes::new(), BODY_BYTES_MAX).await {
            Ok(_) => Ok(true),
            Err(error @ (CallError::NoAnswer | CallError::Fenced)) => Err(error),
            // Also of one that does not know the question yet: what it lacks it is given.
            Err(CallError::Refused { .. } | CallError::Busy { .. }) => Ok(false),
        }
    }

    /// `GET /images/{name}`: the bytes of a picture or document, of a type that the bytes themselves show.
    pub async fn image(&self, name: &str) -> Result<(&'static str, Bytes), CallError> {
        let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
        let (_, bytes) = self.call(Method::GET, &format!("/images/{name}"), Bytes::new(), IMAGE_BYTES_MAX).await?;
        let content_type = image_type(&bytes).ok_or_else(|| CallError::Refused {
            reason: RefusalReason::Invalid,
            message: "The picture is of a type that can't be shown.".to_owned(),
        })?;
        Ok((content_type, bytes))
    }

    /// `GET /reviews/{run}/{tree}/{part}`: the bytes of a part, of a type that the bytes themselves show.
    pub async fn review(&self, run: &RunId, tree: &TreeHash, part: u32) -> Result<(&'static str, Bytes), CallError> {
        let path = format!("/reviews/{run}/{tree}/{part}");
        let (_, bytes) = self.call(Method::GET, &path, Bytes::new(), IMAGE_BYTES_MAX).await?;
        let content_type = review_type(&bytes).ok_or_else(|| CallError::Refused {
            reason: RefusalReason::Invalid,
            message: "A part of the review is of a type that can't be shown.".to_owned(),
        })?;
        Ok((content_type, bytes))
    }

    /// `GET /worktree`: what is at `path`.
    pub async fn worktree(&self, path: &str) -> Result<Found, CallError> {
        let path: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
        let path = format!("/worktree?path={path}");
        let (content_type, body) = self.call(Method::GET, &path, Bytes::new(), WORKTREE_FILE_BYTES_MAX).await?;
        let is_directory = content_type.is_some_and(|content_type| content_type == DIRECTORY_CONTENT_TYPE);
        Ok(if is_directory { Found::Directory(parse(&body)?) } else { Found::File(body) })
    }

    /// `GET /health`.
    pub async fn health(&self) -> Result<Health, CallError> {
        let (_, body) = self.call(Method::GET, "/health", Bytes::new(), BODY_BYTES_MAX).await?;
        parse(&body)
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<Bytes, CallError> {
        let body = serde_json::to_vec(body).expect("plain data with text keys");
        self.call(Method::POST, path, Bytes::from(body), BODY_BYTES_MAX).await.map(|(_, body)| body)
    }

    /// What the VM says its answer is, and the answer. `path` may have a query.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        bytes_max: usize,
    ) -> Result<(Option<HeaderValue>, Bytes), CallError> {
        let place = self.directory.find(&self.asking).await?;
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut url = under(&place.base, path);
        url.set_query(query);
        let signature = signature::sign(
            place.secret.expose_secret().as_bytes(),
            clock::machine(),
            method.as_str(),
            &url[Position::BeforePath..Position::AfterQuery],
            &body,
        );
        let mut call = Call::new(method.as_str(), &url, template(path));
        let mut request = self.http.request(method, url).header(signature::HEADER, signature);
        if let Some(trace) = traces::of(call.span()) {
            request = request.header(trace::HEADER, trace.to_string());
        }
        if let Some(machine) = &place.machine {
            request = request.header(MACHINE, machine.as_str());
        }
        let request =
            if body.is_empty() { request } else { request.header("content-type", "application/json").body(body) };
        let sent = request.send().instrument(call.span().clone()).await;
        let response = sent.map_err(|error| {
            call.unanswered(why(&error));
            CallError::NoAnswer
        })?;
        let status = response.status();
        let content_type = response.headers().get(header::CONTENT_TYPE).cloned();
        call.answered(status.as_u16());
        let body = match read_up_to(response, bytes_max).await {
            Ok(body) => body,
            Err(ReadError::Broken) => {
                call.unanswered(Unanswered::Broken);
                return Err(CallError::NoAnswer);
            }
            Err(ReadError::TooLarge) => {
                let message = "Your VM's answer was too large.".to_owned();
                return Err(CallError::Refused { reason: RefusalReason::Invalid, message });
            }
        };
        let refused = serde_json::from_slice::<Refusal>(&body).ok().filter(|_| !status.is_success());
        if status.is_success() || refused.is_some() {
            self.directory.answered(&self.asking.conversation, place);
        }
        if status.is_success() { Ok((content_type, body)) } else { Err(refusal(status, refused)) }
    }
}

/// A path without the name of anything.
fn template(path: &str) -> &str {
    let end = path[1..].find('/').map_or(path.len(), |at| at + 1);
    &path[..end]
}

fn refusal(status: StatusCode, refused: Option<Refusal>) -> CallError {
    let Some(Refusal { refused, message }) = refused else {
        // Not vm-agent's words: a proxy that found nobody behind it, or another service at this address.
        return if status.is_server_error() {
            CallError::NoAnswer
        } else {
            CallError::Busy {
                message: Some("Something other than your VM answers at its address.".into()),
                in_use: false,
            }
        };
    };
    match refused {
        RefusalReason::StaleFence => CallError::Fenced,
        RefusalReason::Busy => CallError::Busy { message: Some(message), in_use: true },
        RefusalReason::Unavailable => CallError::Busy { message: Some(message), in_use: false },
        RefusalReason::Signature => {
            tracing::error!(
                "the VM does not accept this relay's signature: VM_SECRET must be the same on both, and the clocks close"
            );
            let message = "Your VM does not accept this relay's signature; whoever runs it has to set VM_SECRET.";
            CallError::Busy { message: Some(message.into()), in_use: false }
        }
        reason => CallError::Refused { reason, message },
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, CallError> {
    serde_json::from_slice(body).map_err(|_| CallError::Refused {
        reason: RefusalReason::Invalid,
        message: "Your VM's answer could not be read; is it of the same version as the relay?".to_owned(),
    })
}

/// The type that the first bytes show; `None` for anything but the pictures and documents that chats take.
fn image_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [b'%', b'P', b'D', b'F', b'-', ..] => Some(PDF),
        _ => None,
    }
}

/// The same of what a page shows: a picture that browsers know, or rows.
fn review_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [b'{', ..] => (bytes.len() <= REVIEW_PART_BYTES_MAX).then_some(REVIEW_CONTENT_TYPE),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        _ => image_type(bytes).filter(|content_type| *content_type != PDF),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_and_a_proxy_is_not_taken_for_a_vm() {
        let read = |refused| refusal(StatusCode::CONFLICT, Some(Refusal { refused, message: "why".into() }));
        assert!(matches!(read(RefusalReason::StaleFence), CallError::Fenced));
        assert!(matches!(read(RefusalReason::Busy), CallError::Busy { in_use: true, .. }));
        assert!(matches!(read(RefusalReason::NotFound), CallError::Refused { .. }));
        assert!(matches!(refusal(StatusCode::BAD_GATEWAY, None), CallError::NoAnswer));
        assert!(matches!(refusal(StatusCode::NOT_FOUND, None), CallError::Busy { in_use: false, .. }));
    }

    #[test]
    fn pictures_are_known_by_their_bytes() {
        assert_eq!(image_type(b"\x89PNG\r\n"), Some("image/png"));
        assert_eq!(image_type(b"%PDF-1.4\n"), Some("application/pdf"));
        assert_eq!(image_type(b"<svg onload="), None);
        assert_eq!(image_type(b""), None);
    }

    #[test]
    fn a_part_of_a_review_is_rows_or_a_picture() {
        assert_eq!(review_type(b"{\"rows\":[]}"), Some(REVIEW_CONTENT_TYPE));
        assert_eq!(review_type(b"GIF89a"), Some("image/gif"));
        for bytes in ["%PDF-1.4", "<svg onload=", "", "[]", &"{".repeat(REVIEW_PART_BYTES_MAX + 1)] {
            assert_eq!(review_type(bytes.as_bytes()), None);
        }
    }
}
