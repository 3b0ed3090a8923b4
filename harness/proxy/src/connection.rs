//! One client's connection and the one to the upstream that belongs to it.
//!
//! Bytes are relayed raw. When an `http_error` is in force and a request begins, the connection turns to
//! HTTP for the rest of its life: the pumps keep their state and go on, with the HTTP relay between them
//! and the upstream, so that the other toxics still work and a pooled connection can't dodge the fault.
//! Must NOT know: the API, the registry.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http;
use crate::pump::{End, Live, Pump};
use crate::stage::Cut;
use crate::toxic::Stream;

/// How long resolving and connecting to the upstream may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the rest of an answer may take once the client's side broke off.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);
/// Buffer between the pumps and the HTTP relay, per direction.
const HTTP_BUFFER_BYTES: usize = 64 * 1024;

/// What a proxy has seen since it was created.
#[derive(Debug, Default)]
pub struct Stats {
    pub accepted: AtomicU64,
    pub open: AtomicU64,
    pub failed_connects: AtomicU64,
}

/// Connects to the upstream. None when that fails or takes too long.
pub async fn connect(upstream: &str) -> Option<TcpStream> {
    match timeout(CONNECT_TIMEOUT, TcpStream::connect(upstream)).await {
        Ok(Ok(server)) => Some(server),
        Ok(Err(error)) => {
            tracing::debug!(upstream, %error, "can't connect to the upstream");
            None
        }
        Err(_) => {
            tracing::debug!(upstream, "connecting to the upstream took too long");
            None
        }
    }
}

/// Relays between the two until either is done.
pub async fn relay(mut client: TcpStream, mut server: TcpStream, live: Live) {
    for side in [&client, &server] {
        if let Err(error) = side.set_nodelay(true) {
            tracing::debug!(%error, "can't switch off Nagle's algorithm");
        }
    }
    let mut pair = Pair {
        up: Pump::new(Stream::Upstream, live.clone()),
        down: Pump::new(Stream::Downstream, live.clone()),
        turn: AtomicBool::new(true),
    };
    let end = pair.raw(client.split(), server.split()).await;
    match end {
        End::Http => {
            let end = pair.http(client.split(), server, live).await;
            if is_abrupt(&end) {
                reset(&client);
            }
        }
        end if is_abrupt(&end) => {
            reset(&client);
            reset(&server);
        }
        _ => {}
    }
}

/// A reset by one side reaches the other as a reset.
fn is_abrupt(end: &End) -> bool {
    matches!(end, End::Broken | End::Cut(Cut::Reset))
}

/// Makes the coming close a TCP reset.
fn reset(side: &TcpStream) {
    if let Err(error) = side.set_zero_linger() {
        tracing::warn!(%error, "can't reset a connection, it will be closed instead");
    }
}

struct Pair {
    up: Pump,
    down: Pump,
    /// Whether the next bytes of the client may begin a request.
    turn: AtomicBool,
}

impl Pair {
    async fn raw<R1, W1, R2, W2>(&mut self, client: (R1, W1), server: (R2, W2)) -> End
    where
        R1: AsyncRead + Unpin,
        W1: AsyncWrite + Unpin,
        R2: AsyncRead + Unpin,
        W2: AsyncWrite + Unpin,
    {
        let (mut from_client, mut to_client) = client;
        let (mut from_server, mut to_server) = server;
        let (first, end) = tokio::select! {
            end = self.up.run(&mut from_client, &mut to_server, &self.turn) => (Stream::Upstream, end),
            end = self.down.run(&mut from_server, &mut to_client, &self.turn) => (Stream::Downstream, end),
        };
        match (first, end) {
            (Stream::Upstream, End::Eof) => {
                self.down.alone = true;
                self.down
                    .run(&mut from_server, &mut to_client, &self.turn)
                    .await
            }
            (Stream::Downstream, End::Eof) => {
                self.up.alone = true;
                self.up
                    .run(&mut from_client, &mut to_server, &self.turn)
                    .await
            }
            (_, end) => end,
        }
    }

    async fn http<R, W>(&mut self, client: (R, W), server: TcpStream, live: Live) -> End
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        self.up.looks_for_http = false;
        let (mut from_client, mut to_client) = client;
        let (near, far) = tokio::io::duplex(HTTP_BUFFER_BYTES);
        let (mut from_relay, mut to_relay) = tokio::io::split(near);
        let upload = async {
            match self
                .up
                .run(&mut from_client, &mut to_relay, &self.turn)
                .await
            {
                // The HTTP relay sees the end too, finishes its work, and ends the other direction.
                End::Eof => std::future::pending().await,
                End::Broken => {
                    tokio::time::sleep(LAST_WORDS_TIMEOUT).await;
                    End::Broken
                }
                end => end,
            }
        };
        let relay = async {
            http::serve(far, server, live).await;
            std::future::pending().await
        };
        tokio::select! {
            end = self.down.run(&mut from_relay, &mut to_client, &self.turn) => end,
            end = upload => end,
            end = relay => end,
        }
    }
}
