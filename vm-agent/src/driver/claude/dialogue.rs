//! One task, said to Claude Code and listened to, until it is over: progress goes to the person, what it asks comes back from
//! them.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::progress::Progress;
use super::stream::{self, Block, Line, Verdict};
use crate::driver::inquirer::Inquirer;
use crate::driver::lines::{self, Lines};
use crate::driver::tool_use::ToolUses;
use crate::driver::{AgentEvent, Job};
use crate::metrics::metrics;
use crate::supervise::Supervised;

/// Bytes of one line of output at most; a line holds at most one tool's whole result.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long an interrupted agent may take to wind its turn up by itself.
const INTERRUPT_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How reading the program's output ended.
pub(super) enum Talk {
    Verdict(Verdict),
    KeyRefused,
    Stopped,
    /// It said nothing for too long.
    Hung,
    /// It closed its output without a result.
    Silent,
}

/// One task, said and listened to.
pub(super) struct Dialogue<'a> {
    pub(super) job: &'a Job,
    pub(super) events: &'a mpsc::Sender<AgentEvent>,
    pub(super) stop: &'a CancellationToken,
    pub(super) silence_timeout: Duration,
    pub(super) inquiry_timeout: Duration,
}

impl Dialogue<'_> {
    /// Hold it. When this returns, the agent may still be there.
    pub(super) async fn hold(self, agent: &mut Supervised, stdout: ChildStdout) -> Talk {
        let mut lines = Lines::new(stdout, LINE_BYTES_MAX);
        let mut stdin = agent.stdin.take();
        let gone = CancellationToken::new();
        let talk = {
            let listening = self.say_and_listen(&mut stdin, &mut lines, &gone);
            tokio::pin!(listening);
            tokio::select! {
                talk = &mut listening => talk,
                () = self.stop.cancelled() => Talk::Stopped,
                // Nothing is left that could write; what was written is still to be read.
                _ = agent.wait() => {
                    gone.cancel();
                    listening.await
                }
            }
        };
        if matches!(talk, Talk::Stopped) {
            // A turn that is wound up by the agent itself leaves its session whole.
            let _ = tokio::time::timeout(INTERRUPT_TIMEOUT, interrupt(&mut stdin, &mut lines)).await;
        }
        // From here on nobody listens, but the pipe must not fill up and hold the agent's end back.
        tokio::spawn(async move { while lines.next().await.is_some() {} });
        talk
    }

    /// Once the agent is `gone`, nobody waits for a reply any more.
    async fn say_and_listen(
        &self,
        stdin: &mut Option<ChildStdin>,
        lines: &mut Lines<ChildStdout>,
        gone: &CancellationToken,
    ) -> Talk {
        let content = json!([{"type": "text", "text": self.job.said()}]);
        say(stdin, &json!({"type": "user", "message": {"role": "user", "content": content}})).await;
        let mut progress = Progress::new(&self.job.worktree);
        let (mut started, mut at_work) = (false, ToolUses::default());
        loop {
            // A tool may take as long as it takes: what bounds it is the run's time.
            let silence_timeout = if at_work.is_empty() { self.silence_timeout } else { Duration::MAX };
            let line = match tokio::time::timeout(silence_timeout, lines.next()).await {
                Ok(Some(line)) => line,
                Ok(None) => return Talk::Silent,
                Err(_) => return Talk::Hung,
            };
            let lines::Line::Whole(text) = line else { continue };
            match stream::parse(&text) {
                Line::Init { session } => {
                    if !std::mem::replace(&mut started, true) {
                        self.tell(AgentEvent::Started).await;
                    }
                    self.tell(AgentEvent::Session(session)).await;
                }
                Line::Assistant(blocks) => {
                    for block in &blocks {
                        if let Block::Tool { id, name, .. } = block {
                            at_work.begin(id, name);
                        }
                    }
                    for line in blocks.iter().flat_map(|block| progress.next(block)) {
                        self.tell(AgentEvent::Progress(line)).await;
                    }
                }
                Line::ApiRetry { status } if stream::is_refusal(status) => return Talk::KeyRefused,
                Line::Result(result) => {
                    let (turns, cost_usd) = (result.num_turns, result.total_cost_usd);
                    tracing::info!(run = %self.job.run, turns, cost_usd, is_error = result.is_error, "the agent's turn is over");
                    metrics().tokens(result.usage.counts());
                    result.usage.record(&Span::current());
                    self.tell(AgentEvent::Cost(result.cost_microusd())).await;
                    return Talk::Verdict(result.verdict());
                }
                Line::Request { id, tool, input } => {
                    let (desk, events) = (&*self.job.desk, self.events);
                    let inquirer = Inquirer { desk, events, timeout: self.inquiry_timeout };
                    if let Some(decided) = gone.run_until_cancelled(inquirer.decide(&tool, input)).await {
                        let response = json!({"subtype": "success", "request_id": id, "response": decided});
                        say(stdin, &json!({"type": "control_response", "response": response})).await;
                    }
                }
                Line::ToolResults(ids) => {
                    ids.iter().for_each(|id| at_work.end(id));
                    self.tell(AgentEvent::Alive).await;
                }
                Line::ApiRetry { .. } | Line::Other | Line::Noise => self.tell(AgentEvent::Alive).await,
            }
        }
    }

    /// Whoever started the job may have stopped listening; the job goes on.
    async fn tell(&self, event: AgentEvent) {
        let _ = self.events.send(event).await;
    }
}

/// Ask the agent to end its turn, and wait until it has.
async fn interrupt(stdin: &mut Option<ChildStdin>, lines: &mut Lines<ChildStdout>) {
    say(stdin, &json!({"type": "control_request", "request_id": "stop", "request": {"subtype": "interrupt"}})).await;
    while let Some(line) = lines.next().await {
        if matches!(line, lines::Line::Whole(text) if matches!(stream::parse(&text), Line::Result(_))) {
            break;
        }
    }
}

/// A program that does not read any more shows by ending its output.
async fn say(stdin: &mut Option<ChildStdin>, message: &serde_json::Value) {
    if let Some(stdin) = stdin {
        let _ = stdin.write_all(format!("{message}\n").as_bytes()).await;
    }
}
