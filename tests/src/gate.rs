//! A TCP proxy that can be shut in one direction: what goes in stays inside, with the connection open. A process can so be
//! killed exactly between a request and its effect, or between an effect and the answer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What a gate lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Everything.
    All,
    /// Nothing towards the server: requests wait, unseen by it.
    NoRequests,
    /// Nothing from the server: it does its work, and nobody hears of it.
    NoReplies,
}

/// A proxy in front of one address, until dropped.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    pass: Arc<watch::Sender<Pass>>,
    held: Arc<watch::Sender<usize>>,
    task: JoinHandle<()>,
}

impl Gate {
    /// Stand in front of `server`, which need not be there yet; open.
    ///
    /// # Panics
    /// When no loopback port can be had.
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free loopback port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let pass = Arc::new(watch::Sender::new(Pass::All));
        let held = Arc::new(watch::Sender::new(0));
        let task = tokio::spawn(accept(listener, server, Arc::clone(&pass), Arc::clone(&held)));
        Self { address, pass, held, task }
    }

    /// Where it listens, as `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Let this through from now on; what was held goes on its way if it may.
    pub fn set(&self, pass: Pass) {
        self.held.send_replace(0);
        self.pass.send_replace(pass);
    }

    /// How many chunks were held back since the last [`Gate::set`].
    pub fn held(&self) -> usize {
        *self.held.borrow()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    pass: Arc<watch::Sender<Pass>>,
    held: Arc<watch::Sender<usize>>,
) {
    // Owned here, so that dropping the gate cuts every connection.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (pass, held) = (Arc::clone(&pass), Arc::clone(&held));
        connections.spawn(async move {
            // A server that is not there looks as it would without the gate: the connection closes.
            let Ok(server) = TcpStream::connect(server).await else { return };
            let (client_read, client_write) = client.into_split();
            let (server_read, server_write) = server.into_split();
            tokio::select! {
                () = copy(client_read, server_write, Pass::NoRequests, &pass, &held) => {}
                () = copy(server_read, client_write, Pass::NoReplies, &pass, &held) => {}
            }
        });
    }
}

/// Copy until either end closes, holding each chunk while the gate is `shut` for this direction.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shut: Pass,
    pass: &watch::Sender<Pass>,
    held: &watch::Sender<usize>,
) {
    let mut buffer = vec![0; 16 * 1024];
    let mut passes = pass.subscribe();
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        if *pass.borrow() == shut {
            held.send_modify(|count| *count += 1);
        }
        if passes.wait_for(|pass| *pass != shut).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
