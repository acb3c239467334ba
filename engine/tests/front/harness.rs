//! A server over a volume in memory, and a client that speaks raw protocol.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Sink;
use sextant_engine::server::{Limits, Server};
use sextant_engine::sql::Database;
use sextant_volume::memory::MemoryStore;
use tokio::net::TcpListener;
use tokio_postgres::CopyInSink;

/// A running server; it ends with the test's runtime.
pub(crate) struct Front {
    pub(crate) addr: SocketAddr,
    pub(crate) server: Arc<Server>,
    pub(crate) store: Arc<MemoryStore>,
}

impl Front {
    /// A server over a new volume.
    pub(crate) async fn start() -> Front {
        Front::with(Limits::default()).await
    }

    /// The same with limits of its own.
    pub(crate) async fn with(limits: Limits) -> Front {
        let store = MemoryStore::new();
        Front::over(store, limits).await
    }

    /// A server over a volume that exists.
    pub(crate) async fn over(store: Arc<MemoryStore>, limits: Limits) -> Front {
        let database = Database::open(store.clone(), 64 << 20).await.expect("the volume opens");
        let server = Server::new(database, limits).expect("threads");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        tokio::spawn(server.clone().accept(listener));
        Front { addr, server, store }
    }

    /// A tokio-postgres client.
    pub(crate) async fn connect(&self) -> tokio_postgres::Client {
        let config = format!("host=127.0.0.1 port={} user=tester dbname=test", self.addr.port());
        let (client, connection) =
            tokio_postgres::connect(&config, tokio_postgres::NoTls).await.expect("connected");
        tokio::spawn(connection);
        client
    }
}

/// Fails the test instead of hanging.
pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("in time")
}

/// Sends COPY data in these pieces.
pub(crate) async fn feed(mut sink: Pin<&mut CopyInSink<Bytes>>, pieces: &[&'static str]) {
    for piece in pieces {
        poll_fn(|cx| sink.as_mut().poll_ready(cx)).await.expect("ready");
        sink.as_mut().start_send(Bytes::from_static(piece.as_bytes())).expect("taken");
    }
}
