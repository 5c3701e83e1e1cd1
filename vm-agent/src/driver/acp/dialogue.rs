//! One task, said to an agent and listened to, until it is over: the two of them agree on the protocol, a session is opened or gone
//! on with, and one turn is taken in it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agent_client_protocol_schema::ProtocolVersion;
use agent_client_protocol_schema::v1::{
    AGENT_METHOD_NAMES, AgentCapabilities, CancelNotification, ContentBlock, Error, ErrorCode, HttpHeader,
    Implementation, InitializeRequest, InitializeResponse, LoadSessionRequest, McpServer, McpServerHttp,
    NewSessionRequest, NewSessionResponse, PromptRequest, PromptResponse, RequestId, RequestPermissionRequest,
    ResumeSessionRequest, SessionId, SessionNotification, StopReason, TextContent,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::process::ChildStdout;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::peer::Peer;
use super::permission;
use super::progress::Progress;
use super::wire::Line;
use crate::driver::inquirer::Inquirer;
use crate::driver::{AgentEvent, Job, SESSION_GONE};
use crate::supervise::Supervised;
use crate::text::clip;
use crate::tools;

/// How long an agent may take to say what it is; it may have to start a runtime of its own first.
const HELLO_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a cancelled agent may take to wind its turn up by itself.
const CANCEL_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Bytes of a session's id that is kept.
const SESSION_BYTES_MAX: usize = 256;
/// Characters of an agent's own words about what went wrong.
const ERROR_CHARS_MAX: usize = 500;
const VERSION_CHARS_MAX: usize = 80;

/// How the talk with an agent ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Talk {
    /// With these last words.
    Done(String),
    /// For this reason.
    Failed(String),
    Stopped,
    /// It said nothing for too long.
    Hung,
    /// It closed its output before it was done.
    Silent,
}

/// One task, said and listened to.
pub(super) struct Dialogue<'a> {
    pub(super) job: &'a Job,
    pub(super) events: &'a mpsc::Sender<AgentEvent>,
    pub(super) stop: &'a CancellationToken,
    pub(super) silence_timeout: Duration,
    pub(super) inquiry_timeout: Duration,
    pub(super) tools: &'a tools::Orders,
    /// What the agent calls itself, once it has said so.
    pub(super) version: &'a Mutex<Option<String>>,
    /// Once the agent is gone, nobody waits for a reply any more.
    pub(super) gone: CancellationToken,
}

/// The turn that is being taken.
struct Turn<'a> {
    session: SessionId,
    progress: Progress<'a>,
}

/// What has to be settled when the run is stopped right now.
#[derive(Default)]
struct Open {
    /// The turn: its session, and the request that it answers.
    turn: Option<(SessionId, i64)>,
    /// What the agent asked the person.
    inquiry: Option<RequestId>,
}

impl Dialogue<'_> {
    /// Hold it. When this returns, the agent may still be there.
    pub(super) async fn hold(self, agent: &mut Supervised, stdout: ChildStdout) -> Talk {
        let mut peer = Peer::new(agent.stdin.take(), stdout);
        let mut open = Open::default();
        let talk = {
            let talking = self.talk(&mut peer, &mut open);
            tokio::pin!(talking);
            tokio::select! {
                talk = &mut talking => talk,
                () = self.stop.cancelled() => Err(Talk::Stopped),
                // Nothing is left that could write; what was written is still to be read.
                _ = agent.wait() => {
                    self.gone.cancel();
                    talking.await
                }
            }
        };
        let talk = talk.unwrap_or_else(|early| early);
        if talk == Talk::Stopped {
            // A turn that is wound up by the agent itself leaves its session whole.
            let _ = tokio::time::timeout(CANCEL_TIMEOUT, cancel(&mut peer, open)).await;
        }
        peer.hang_up();
        talk
    }

    async fn talk(&self, peer: &mut Peer, open: &mut Open) -> Result<Talk, Talk> {
        let hello = self.meet(peer, open).await?;
        self.tell(AgentEvent::Started).await;
        let session = self.open_session(peer, open, &hello.agent_capabilities).await?;
        if session.0.len() <= SESSION_BYTES_MAX {
            self.tell(AgentEvent::Session(session.to_string())).await;
        }
        let said = ContentBlock::Text(TextContent::new(self.job.said()));
        let prompt = PromptRequest::new(session.clone(), vec![said]);
        let mut turn = Turn { session, progress: Progress::new(&self.job.worktree) };
        let answer = self.call(peer, open, AGENT_METHOD_NAMES.session_prompt, prompt, Some(&mut turn)).await?;
        let answer: PromptResponse = answer.map_err(|error| Talk::Failed(failure(&error)))?;
        tracing::info!(run = %self.job.run, stop_reason = ?answer.stop_reason, "the agent's turn is over");
        Ok(verdict(answer.stop_reason, turn.progress.last_words()))
    }

    async fn meet(&self, peer: &mut Peer, open: &mut Open) -> Result<InitializeResponse, Talk> {
        let us = Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        let hello = InitializeRequest::new(ProtocolVersion::V1).client_info(us);
        let hello = self.call(peer, open, AGENT_METHOD_NAMES.initialize, hello, None);
        let silent = format!("The agent did not say within {} seconds what it is.", HELLO_TIMEOUT.as_secs());
        let hello = tokio::time::timeout(HELLO_TIMEOUT, hello).await.map_err(|_| Talk::Failed(silent))??;
        let hello: InitializeResponse = hello.map_err(|error| Talk::Failed(failure(&error)))?;
        if hello.protocol_version != ProtocolVersion::V1 {
            return Err(Talk::Failed(format!(
                "The agent speaks version {} of the Agent Client Protocol, and vm-agent version {}. Install another version of \
                 the agent.",
                hello.protocol_version.as_u16(),
                ProtocolVersion::V1.as_u16()
            )));
        }
        if let Some(agent) = &hello.agent_info {
            let version = clip(&format!("{} {}", agent.name, agent.version), VERSION_CHARS_MAX);
            *self.version.lock().unwrap_or_else(PoisonError::into_inner) = Some(version);
        }
        Ok(hello)
    }

    /// The session of the earlier job where there is one and the agent can go on with it, else a new one.
    async fn open_session(
        &self,
        peer: &mut Peer,
        open: &mut Open,
        agent: &AgentCapabilities,
    ) -> Result<SessionId, Talk> {
        let (cwd, tools) = (&self.job.worktree, self.servers(agent));
        if let Some(known) = self.job.session.clone().map(SessionId::new) {
            let names = AGENT_METHOD_NAMES;
            let gone_on: Option<Result<Value, Error>> = if agent.session_capabilities.resume.is_some() {
                let resume = ResumeSessionRequest::new(known.clone(), cwd).mcp_servers(tools.clone());
                Some(self.call(peer, open, names.session_resume, resume, None).await?)
            } else if agent.load_session {
                // It tells the whole session again, to nobody.
                let load = LoadSessionRequest::new(known.clone(), cwd).mcp_servers(tools.clone());
                Some(self.call(peer, open, names.session_load, load, None).await?)
            } else {
                None
            };
            match gone_on {
                Some(Ok(_)) => return Ok(known),
                // Agents say in ways of their own that they do not know it.
                Some(Err(error)) if error.code != ErrorCode::AuthRequired => {
                    self.tell(AgentEvent::Progress(SESSION_GONE.to_owned())).await;
                }
                Some(Err(error)) => return Err(Talk::Failed(failure(&error))),
                None => {}
            }
        }
        let new = NewSessionRequest::new(cwd).mcp_servers(tools);
        let new = self.call(peer, open, AGENT_METHOD_NAMES.session_new, new, None).await?;
        new.map(|new: NewSessionResponse| new.session_id).map_err(|error| Talk::Failed(failure(&error)))
    }

    /// The tools that the agent is given, if it can take them.
    fn servers(&self, agent: &AgentCapabilities) -> Vec<McpServer> {
        if !agent.mcp_capabilities.http {
            tracing::warn!("the agent takes no tools over HTTP, and goes without");
            return Vec::new();
        }
        match self.tools.server() {
            Ok(server) => {
                let headers = server.headers.into_iter().map(|(name, value)| HttpHeader::new(name, value));
                vec![McpServer::Http(McpServerHttp::new(tools::SERVER, server.url).headers(headers.collect()))]
            }
            Err(error) => {
                tracing::warn!(%error, "it cannot be read where the agent's tools are; it goes without");
                Vec::new()
            }
        }
    }

    /// The agent's answer to a request, and everything else that it says before it.
    async fn call<R: DeserializeOwned>(
        &self,
        peer: &mut Peer,
        open: &mut Open,
        method: &str,
        params: impl Serialize,
        mut turn: Option<&mut Turn<'_>>,
    ) -> Result<Result<R, Error>, Talk> {
        let id = peer.request(method, params).await.map_err(|error| unsaid(&error))?;
        open.turn = turn.as_ref().map(|turn| (turn.session.clone(), id));
        loop {
            // A tool may take as long as it takes: what bounds it is the run's time.
            let is_at_work = turn.as_ref().is_some_and(|turn| turn.progress.is_at_work());
            let silence_timeout = if is_at_work { Duration::MAX } else { self.silence_timeout };
            let line = match tokio::time::timeout(silence_timeout, peer.next()).await {
                Ok(Some(line)) => line,
                Ok(None) => return Err(Talk::Silent),
                Err(_) => return Err(Talk::Hung),
            };
            match line {
                Line::Response { id: answered, result } if answered == id => return read(method, result),
                Line::Update(told) => {
                    for event in turn.as_deref_mut().map(|turn| turn.hear(*told)).unwrap_or_default() {
                        self.tell(event).await;
                    }
                    self.tell(AgentEvent::Alive).await;
                }
                Line::Permission { id, asked } => match turn.as_deref_mut() {
                    Some(turn) => self.ask(peer, open, id, *asked, turn).await?,
                    None => refuse(peer, id).await?,
                },
                Line::Request { id } => refuse(peer, id).await?,
                Line::Response { .. } | Line::Other | Line::Noise => self.tell(AgentEvent::Alive).await,
            }
        }
    }

    /// Ask the person whether the agent may.
    async fn ask(
        &self,
        peer: &mut Peer,
        open: &mut Open,
        id: RequestId,
        asked: RequestPermissionRequest,
        turn: &mut Turn<'_>,
    ) -> Result<(), Talk> {
        open.inquiry = Some(id.clone());
        let tool = asked.tool_call.tool_call_id.clone();
        let (told, question) = turn.progress.ask(asked.tool_call);
        for event in told {
            self.tell(event).await;
        }
        let inquirer = Inquirer { desk: &self.job.desk, events: self.events, timeout: self.inquiry_timeout };
        let said = inquirer.ask(question, permission::options(&asked.options), false);
        let said = self.gone.run_until_cancelled(said).await.and_then(Result::ok);
        open.inquiry = None;
        let answer = permission::answer(&asked.options, said.as_deref());
        if !permission::allows(&asked.options, &answer) {
            turn.progress.refused(&tool);
        }
        peer.answer(id, answer).await.map_err(|error| unsaid(&error))
    }

    /// Whoever started the job may have stopped listening; the job goes on.
    async fn tell(&self, event: AgentEvent) {
        let _ = self.events.send(event).await;
    }
}

impl Turn<'_> {
    /// What is of another session is nobody's business.
    fn hear(&mut self, told: SessionNotification) -> Vec<AgentEvent> {
        if told.session_id == self.session { self.progress.next(told.update) } else { Vec::new() }
    }
}

/// Files and terminals an agent has itself.
async fn refuse(peer: &mut Peer, id: RequestId) -> Result<(), Talk> {
    peer.refuse(id).await.map_err(|error| unsaid(&error))
}

/// Ask the agent to end its turn, and wait until it has.
async fn cancel(peer: &mut Peer, open: Open) -> std::io::Result<()> {
    let Some((session, turn)) = open.turn else { return Ok(()) };
    if let Some(inquiry) = open.inquiry {
        peer.answer(inquiry, permission::cancelled()).await?;
    }
    peer.notify(AGENT_METHOD_NAMES.session_cancel, CancelNotification::new(session)).await?;
    while let Some(line) = peer.next().await {
        match line {
            Line::Response { id, .. } if id == turn => break,
            Line::Permission { id, .. } => peer.answer(id, permission::cancelled()).await?,
            Line::Request { id } => peer.refuse(id).await?,
            Line::Response { .. } | Line::Update(_) | Line::Other | Line::Noise => {}
        }
    }
    Ok(())
}

fn read<R: DeserializeOwned>(method: &str, result: Result<Value, Error>) -> Result<Result<R, Error>, Talk> {
    let unreadable =
        |_| Talk::Failed(format!("The agent's answer to {method} cannot be read. Install another version of it."));
    result
        .map(|value| R::deserialize(value).map_err(unreadable))
        .map_or_else(|error| Ok(Err(error)), |read| read.map(Ok))
}

fn unsaid(error: &std::io::Error) -> Talk {
    Talk::Failed(format!("The agent could not be told its task: {error}"))
}

/// What people read when the agent answers with an error.
fn failure(error: &Error) -> String {
    let said = clip(&error.message, ERROR_CHARS_MAX);
    match error.code {
        ErrorCode::AuthRequired => format!(
            "The agent is not logged in ({said}). Log it in on the VM, as its user and with the home that vm-agent gives it, or set \
             ANTHROPIC_API_KEY on the VM if it works with Anthropic's API."
        ),
        _ => format!("The agent could not go on: {said}"),
    }
}

fn verdict(stop_reason: StopReason, words: String) -> Talk {
    let with_words = |reason: &str| match words.as_str() {
        "" => reason.to_owned(),
        words => format!("{reason} Its last words: {}", clip(words, ERROR_CHARS_MAX)),
    };
    match stop_reason {
        StopReason::EndTurn => Talk::Done(words),
        StopReason::MaxTokens => Talk::Failed(with_words(
            "The agent's model reached its limit of words before it was done. Send *go on*, or a smaller task.",
        )),
        StopReason::MaxTurnRequests => Talk::Failed(with_words(
            "The agent reached its limit of calls to the model before it was done. Send *go on*, or a smaller task.",
        )),
        StopReason::Refusal => Talk::Failed(with_words("The agent refuses to do that. Say it in another way.")),
        StopReason::Cancelled => Talk::Failed("The agent was interrupted before it was done.".to_owned()),
        _ => Talk::Failed(with_words("The agent stopped before it was done, and did not say why.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_turn_is_said_in_words() {
        assert_eq!(verdict(StopReason::EndTurn, "All done.".into()), Talk::Done("All done.".into()));
        for (reason, word) in [
            (StopReason::MaxTokens, "limit of words"),
            (StopReason::MaxTurnRequests, "limit of calls"),
            (StopReason::Refusal, "refuses"),
            (StopReason::Cancelled, "interrupted"),
        ] {
            let Talk::Failed(said) = verdict(reason, "Sorry.".into()) else { panic!("{reason:?}") };
            assert!(said.contains(word), "{said}");
            assert_eq!(said.contains("Sorry."), reason != StopReason::Cancelled, "{said}");
        }
    }

    #[test]
    fn an_agent_that_wants_a_login_is_told_so() {
        assert!(failure(&Error::auth_required()).contains("Log it in"));
        assert!(failure(&Error::new(-32_603, "overloaded")).contains("overloaded"));
    }
}
