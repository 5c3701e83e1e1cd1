//! The VM's side: reports go into the store itself, and wake whichever relay is free. Used by vm-agent, with credentials that
//! can do only this (see [`acl`](super::acl)).

use fred::error::Error;
use fred::interfaces::{ListInterface, PubsubInterface};

use super::connection::{Connection, OpenError, Server};
use super::keys::Keys;
use crate::id::ConversationId;
use crate::protocol::Report;
use crate::store::StoreError;

/// Publishes reports of runs.
#[derive(Clone)]
pub struct Publisher {
    keys: Keys,
    connection: Connection,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Publish to the deployment `namespace` on the server at `url`. Connects in the background, for as long as it takes.
    pub fn open(url: &str, namespace: &str) -> Result<Self, OpenError> {
        let server = Server::parse(url, namespace)?;
        Ok(Self { keys: Keys::new(namespace), connection: server.connect() })
    }

    /// Append a report to its conversation's mailbox, durably, and wake a relay. At least once: after an error it may be
    /// there or not, and a relay takes the same report (by run and sequence) once.
    pub async fn publish(&self, report: &Report) -> Result<(), StoreError> {
        let body = serde_json::to_string(report).expect("plain data with text keys");
        let id = &report.conversation;
        let client = self.connection.ready().await?;
        let _: () = client.rpush(self.keys.reports(id), body.as_str()).await?;
        let (woken, shown): (Result<(), Error>, Result<(), Error>) =
            tokio::join!(client.rpush(self.keys.wake(), id.as_str()), client.publish(self.keys.live(id), body));
        woken?;
        // Whoever looks on misses a line; the report itself is safe.
        if let Err(error) = shown {
            tracing::debug!(%error, "no live copy of a report");
        }
        Ok(())
    }

    /// Whether a relay has taken all that was published about a conversation.
    pub async fn taken(&self, conversation: &ConversationId) -> Result<bool, StoreError> {
        let waiting: u64 = self.connection.ready().await?.llen(self.keys.reports(conversation)).await?;
        Ok(waiting == 0)
    }

    /// Wake a relay again: the one that was woken may have died since.
    pub async fn wake(&self, conversation: &ConversationId) -> Result<(), StoreError> {
        let _: () = self.connection.ready().await?.rpush(self.keys.wake(), conversation.as_str()).await?;
        Ok(())
    }
}
