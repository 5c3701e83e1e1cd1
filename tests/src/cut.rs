//! A TCP proxy in front of Redis that commits a network's faults: connections are cut, replies are lost after their command
//! was carried out, and bytes stand still with the connection open.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// The proxy, until dropped.
#[derive(Debug)]
pub struct Cut {
    address: SocketAddr,
    faults: Arc<Faults>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Faults {
    /// Counts the cuts: a connection ends when it changes.
    cuts: watch::Sender<u64>,
    frozen: watch::Sender<bool>,
    loss: Mutex<Loss>,
}

/// Replies that are to be lost.
#[derive(Debug, Default)]
struct Loss {
    command: String,
    waiting: usize,
    lost: usize,
}

impl Cut {
    /// Stand in front of `server`, which need not be there yet; everything passes.
    ///
    /// # Panics
    /// When no loopback port can be had.
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free loopback port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let faults =
            Arc::new(Faults { cuts: watch::Sender::new(0), frozen: watch::Sender::new(false), loss: Mutex::default() });
        let task = tokio::spawn(accept(listener, server, Arc::clone(&faults)));
        Self { address, faults, task }
    }

    /// What `STATE_STORE` is to be.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Close every connection now. New ones pass.
    pub fn cut(&self) {
        self.faults.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// The next `times` commands whose bytes hold `command` (`EVAL`, `RPUSH`; as sent, so mostly in capitals) are carried out,
    /// and their connection is closed instead of the reply, and instead of whatever else was on its way back.
    pub fn lose_replies(&self, command: &str, times: usize) {
        let mut loss = self.faults.loss.lock().unwrap_or_else(PoisonError::into_inner);
        command.clone_into(&mut loss.command);
        loss.waiting = times;
    }

    /// How many replies were lost so far.
    pub fn lost(&self) -> usize {
        self.faults.loss.lock().unwrap_or_else(PoisonError::into_inner).lost
    }

    /// Let nothing pass, in either direction, with every connection open: neither side learns of it.
    pub fn freeze(&self) {
        self.faults.frozen.send_replace(true);
    }

    /// Let everything pass again, what was held back first.
    pub fn thaw(&self) {
        self.faults.frozen.send_replace(false);
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Faults {
    fn is_to_be_lost(&self, request: &[u8]) -> bool {
        let loss = self.loss.lock().unwrap_or_else(PoisonError::into_inner);
        let command = loss.command.as_bytes();
        loss.waiting > 0 && request.windows(command.len()).any(|window| window == command)
    }

    /// Whether this connection may lose a reply now: another one may have been quicker.
    fn lose(&self) -> bool {
        let mut loss = self.loss.lock().unwrap_or_else(PoisonError::into_inner);
        let may = loss.waiting > 0;
        if may {
            loss.waiting -= 1;
            loss.lost += 1;
        }
        may
    }

    async fn pass(&self) {
        // The sender lives as long as this does.
        let _ = self.frozen.subscribe().wait_for(|frozen| !frozen).await;
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, faults: Arc<Faults>) {
    // Owned here, so that dropping the proxy cuts every connection.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                connections.spawn(carry(client, server, Arc::clone(&faults)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(client: TcpStream, server: SocketAddr, faults: Arc<Faults>) {
    let mut cuts = faults.cuts.subscribe();
    // A server that is not there looks as it would without the proxy: the connection closes.
    let Ok(server) = TcpStream::connect(server).await else { return };
    // Redis answers many small commands; holding them back would be a fault that nobody asked for.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let doomed = AtomicBool::new(false);
    tokio::select! {
        () = requests(client_read, server_write, &faults, &doomed) => {}
        () = replies(server_read, client_write, &faults, &doomed) => {}
        _ = cuts.changed() => {}
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faults: &Faults, doomed: &AtomicBool) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        faults.pass().await;
        if faults.is_to_be_lost(&buffer[..read]) {
            doomed.store(true, Ordering::SeqCst);
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn replies(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faults: &Faults, doomed: &AtomicBool) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        faults.pass().await;
        if doomed.swap(false, Ordering::SeqCst) && faults.lose() {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
