//! Sends webhooks: as fast as they are answered, or so many a second whatever becomes of them.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::http1::Connection;

/// Connections kept alive, as many as a busy proxy holds.
pub(super) const CONNECTIONS: usize = 64;

/// What came of sending.
#[derive(Debug)]
pub(super) struct Answered {
    /// From the first request to the last answer.
    pub(super) took: Duration,
    /// How often each status was answered.
    pub(super) statuses: BTreeMap<u16, usize>,
}

impl Answered {
    /// Answers that say that a message was accepted.
    pub(super) fn accepted(&self) -> usize {
        self.statuses.get(&200).copied().unwrap_or(0)
    }
}

/// A connection to `server`.
pub(super) async fn connect(server: SocketAddr) -> io::Result<Connection> {
    Connection::over(TcpStream::connect(server).await?)
}

/// Send `requests` over all connections, each as soon as the one before it on the same connection is answered.
pub(super) async fn saturate(server: SocketAddr, requests: &Arc<[Bytes]>) -> anyhow::Result<Answered> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connect(server).await?);
    }
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for mut connection in connections {
        let (next, requests) = (Arc::clone(&next), Arc::clone(requests));
        senders.spawn(async move {
            let mut statuses = BTreeMap::<u16, usize>::new();
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                *statuses.entry(connection.ask(request).await?.status()).or_default() += 1;
            }
            io::Result::Ok(statuses)
        });
    }
    let mut statuses = BTreeMap::<u16, usize>::new();
    while let Some(ended) = senders.join_next().await {
        for (status, count) in ended?? {
            *statuses.entry(status).or_default() += count;
        }
    }
    Ok(Answered { took: started.elapsed(), statuses })
}

/// Send `requests` at `rate` a second, none waiting for the answer to another one, and give the time that each took. One
/// that finds every connection busy waits for one, and that counts.
///
/// # Errors
/// When a connection breaks or an answer is not 200.
pub(super) async fn paced(server: SocketAddr, requests: &[Bytes], rate: u32) -> anyhow::Result<Vec<Duration>> {
    let idle = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..CONNECTIONS {
        let connection = connect(server).await?;
        idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut asked = JoinSet::new();
    for request in requests {
        ticks.tick().await;
        let (idle, free, request) = (Arc::clone(&idle), Arc::clone(&free), request.clone());
        asked.spawn(async move {
            let started = Instant::now();
            let _permit = free.acquire_owned().await?;
            let taken = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = taken.expect("there are as many permits as connections");
            let status = connection.ask(&request).await?.status();
            anyhow::ensure!(status == 200, "answered {status}");
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            Ok(started.elapsed())
        });
    }
    let mut latencies = Vec::with_capacity(requests.len());
    while let Some(ended) = asked.join_next().await {
        latencies.push(ended??);
    }
    Ok(latencies)
}
