//! Moves the bytes of one direction of one connection, as its stages allow.
//!
//! One loop, one state, and every wait in one `select!`: a change of the toxics, room to write, a piece
//! that falls due, data to read. All of these can be cancelled without losing a byte, so a pump can be
//! dropped at any await and started again on other halves; that is how a connection turns to HTTP.
//! Must NOT know: the API, proxies, HTTP beyond the question whether some bytes begin a request.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use crate::stage::{Cut, Piece, Stage};
use crate::timer::Timer;
use crate::toxic::{Kind, Stream, Toxic};

/// Toxics of a proxy, as its connections see them.
pub type Live = watch::Receiver<Arc<[Arc<Toxic>]>>;

/// Size of one read.
const READ_BYTES: usize = 32 * 1024;
/// Data held back on one direction, when it is only to be slowed down: the sender must feel it soon.
const HELD_BYTES_SLOW: usize = 64 * 1024;
/// The same under a latency, which must delay without throttling.
const HELD_BYTES_LATENCY: usize = 4 * 1024 * 1024;
/// Pieces held back on one direction.
const HELD_PIECES: usize = 4096;
/// Enough of a request to recognise it.
const HEAD_BYTES: usize = 8;
/// How far into a request the header of a WebSocket handshake is looked for.
const HANDSHAKE_BYTES: usize = 4096;

/// Why a pump stopped.
#[derive(Debug)]
pub enum End {
    /// The source ended and so does the destination, after all data.
    Eof,
    /// A toxic ends the connection.
    Cut(Cut),
    /// A side broke off.
    Broken,
    /// The next bytes to be written begin an HTTP request, and an `http_error` wants to see it.
    Http,
}

enum Event {
    Changed(bool),
    Wrote(io::Result<usize>),
    Woke,
    Read(io::Result<usize>),
}

/// One direction of one connection.
pub struct Pump {
    direction: Stream,
    live: Live,
    stages: Vec<Stage>,
    queue: VecDeque<Piece>,
    held: usize,
    buffer: Box<[u8]>,
    timer: Timer,
    /// When the source ended, and when its end may be passed on.
    ended: Option<(Instant, Instant)>,
    /// Whether an `http_error` is in force.
    http: bool,
    /// Whether this pump still looks for the start of a request.
    pub looks_for_http: bool,
    /// The other direction is over: when the end of this one is swallowed, nothing can come any more.
    pub alone: bool,
}

impl Pump {
    pub fn new(direction: Stream, live: Live) -> Self {
        let mut pump = Self {
            direction,
            live,
            stages: Vec::new(),
            queue: VecDeque::new(),
            held: 0,
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            timer: Timer::default(),
            ended: None,
            http: false,
            looks_for_http: direction == Stream::Upstream,
            alone: false,
        };
        pump.reload();
        pump
    }

    /// Relays until an end. `turn` is set while the server spoke last, that is, where a request may begin.
    pub async fn run<R, W>(&mut self, source: &mut R, sink: &mut W, turn: &AtomicBool) -> End
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            // Looked at before each step, so that data sent after the API answered meets the new toxics.
            if self.live.has_changed().unwrap_or(false) && !self.reload() {
                return End::Cut(Cut::Close);
            }
            let now = Instant::now();
            if let Some(end) = self.ending(now, turn) {
                if matches!(end, End::Eof) && sink.shutdown().await.is_err() {
                    return End::Broken;
                }
                return end;
            }
            match self.next_event(now, source, sink).await {
                Event::Changed(true) if !self.reload() => return End::Cut(Cut::Close),
                Event::Changed(true) | Event::Woke => {}
                // The proxy is gone, and with it the right to relay.
                Event::Changed(false) => return End::Cut(Cut::Close),
                Event::Wrote(Ok(0) | Err(_)) | Event::Read(Err(_)) => return End::Broken,
                Event::Wrote(Ok(count)) => self.written(count, turn),
                Event::Read(Ok(0)) => self.source_ended(),
                Event::Read(Ok(count)) => {
                    if self.direction == Stream::Downstream {
                        turn.store(true, Ordering::Relaxed);
                    }
                    if self.live.has_changed().unwrap_or(false) && !self.reload() {
                        return End::Cut(Cut::Close);
                    }
                    self.admit(
                        Instant::now(),
                        Bytes::copy_from_slice(&self.buffer[..count]),
                        false,
                    );
                }
            }
        }
    }

    async fn next_event<R, W>(&mut self, now: Instant, source: &mut R, sink: &mut W) -> Event
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let wake = self.wake_at(now);
        let can_read =
            self.ended.is_none() && self.held < self.room() && self.queue.len() < HELD_PIECES;
        let Self {
            live,
            queue,
            buffer,
            timer,
            ..
        } = self;
        let ready: &[u8] = queue
            .front()
            .filter(|piece| piece.due <= now)
            .map_or(&[], |piece| &piece.data);
        tokio::select! {
            biased;
            result = sink.write(ready), if !ready.is_empty() => Event::Wrote(result),
            result = live.changed() => Event::Changed(result.is_ok()),
            () = timer.wait_until(wake.unwrap_or(now)), if wake.is_some() => Event::Woke,
            result = source.read(buffer), if can_read => Event::Read(result),
        }
    }

    /// The next instant at which something happens by itself.
    fn wake_at(&self, now: Instant) -> Option<Instant> {
        let cuts = self
            .stages
            .iter()
            .filter_map(Stage::cut_at)
            .map(|(at, _)| at);
        let piece = self
            .queue
            .front()
            .map(|piece| piece.due)
            .filter(|due| *due > now);
        let end = self
            .ended
            .map(|(_, due)| due)
            .filter(|due| self.queue.is_empty() && *due > now);
        cuts.chain(piece).chain(end).min()
    }

    fn ending(&mut self, now: Instant, turn: &AtomicBool) -> Option<End> {
        for stage in &mut self.stages {
            if let Some((_, cut)) = stage.cut_at().filter(|(at, _)| *at <= now) {
                stage.touch();
                return Some(End::Cut(cut));
            }
        }
        if self.queue.is_empty() {
            if self.stages.iter().any(|stage| stage.cut_when_empty) {
                return Some(End::Cut(Cut::Close));
            }
            let (_, due) = self.ended?;
            if self.stages.iter().all(Stage::passes_end) {
                return (due <= now).then_some(End::Eof);
            }
            return self.alone.then_some(End::Cut(Cut::Close));
        }
        let wants_http = self.looks_for_http && self.http && turn.load(Ordering::Relaxed);
        (wants_http && begins_request(&self.queue)).then_some(End::Http)
    }

    fn room(&self) -> usize {
        let latency =
            |stage: &Stage| stage.is_active() && matches!(stage.toxic.kind, Kind::Latency(_));
        if self.stages.iter().any(latency) {
            HELD_BYTES_LATENCY
        } else {
            HELD_BYTES_SLOW
        }
    }

    fn admit(&mut self, arrived: Instant, data: Bytes, again: bool) {
        let first = Piece {
            arrived,
            due: arrived,
            data,
        };
        if self.stages.is_empty() && self.queue.is_empty() {
            self.held += first.data.len();
            self.queue.push_back(first);
            return;
        }
        let mut pieces = vec![first];
        for stage in &mut self.stages {
            stage.apply(&mut pieces, again);
        }
        for mut piece in pieces {
            // Jitter may not reorder a stream.
            piece.due = self
                .queue
                .back()
                .map_or(piece.due, |last| last.due.max(piece.due));
            self.held += piece.data.len();
            self.queue.push_back(piece);
        }
    }

    fn source_ended(&mut self) {
        let now = Instant::now();
        let last = self.queue.back().map_or(now, |piece| piece.due.max(now));
        let due = self
            .stages
            .iter_mut()
            .fold(last, |due, stage| stage.apply_end(due));
        self.ended = Some((now, due));
    }

    fn written(&mut self, count: usize, turn: &AtomicBool) {
        if self.direction == Stream::Upstream {
            turn.store(false, Ordering::Relaxed);
        }
        for stage in &mut self.stages {
            stage.note_written(count);
        }
        self.held -= count;
        if let Some(front) = self.queue.front_mut() {
            if count < front.data.len() {
                let _ = front.data.split_to(count);
            } else {
                self.queue.pop_front();
            }
        }
    }

    /// Takes over the toxics in force and schedules waiting data anew. False when the connection can't
    /// go on, because a toxic that swallowed part of its data has been removed.
    fn reload(&mut self) -> bool {
        let now = Instant::now();
        let toxics = self.live.borrow_and_update().clone();
        self.http = toxics
            .iter()
            .any(|toxic| matches!(toxic.kind, Kind::HttpError(_)));
        let mut old = std::mem::take(&mut self.stages);
        for toxic in toxics.iter().filter(|toxic| toxic.stream == self.direction) {
            if matches!(toxic.kind, Kind::HttpError(_)) {
                continue;
            }
            let stage = match old.iter().position(|stage| stage.toxic.id == toxic.id) {
                Some(at) => old.remove(at).renew(toxic.clone(), now),
                None => Stage::new(toxic.clone(), now),
            };
            self.stages.push(stage);
        }
        if old.iter().any(Stage::has_swallowed) {
            return false;
        }
        self.held = 0;
        for piece in std::mem::take(&mut self.queue) {
            self.admit(piece.arrived, piece.data, true);
        }
        if let Some((arrived, _)) = self.ended {
            let last = self
                .queue
                .back()
                .map_or(arrived, |piece| piece.due.max(arrived));
            let due = self
                .stages
                .iter_mut()
                .fold(last, |due, stage| stage.apply_end(due));
            self.ended = Some((arrived, due));
        }
        true
    }
}

/// Whether the waiting bytes begin with an HTTP method, as far as they go. A WebSocket handshake doesn't
/// count: what follows it is not HTTP.
fn begins_request(queue: &VecDeque<Piece>) -> bool {
    const METHODS: [&[u8]; 7] = [
        b"GET ",
        b"HEAD ",
        b"POST ",
        b"PUT ",
        b"PATCH ",
        b"DELETE ",
        b"OPTIONS ",
    ];
    let head: Vec<u8> = queue
        .iter()
        .flat_map(|piece| piece.data.iter().copied())
        .take(HEAD_BYTES)
        .collect();
    let upgrade = b"\r\nupgrade:";
    let upgrades = |piece: &Piece| {
        piece
            .data
            .windows(upgrade.len())
            .take(HANDSHAKE_BYTES)
            .any(|bytes| bytes.eq_ignore_ascii_case(upgrade))
    };
    METHODS
        .iter()
        .any(|method| head.starts_with(method) || method.starts_with(&head))
        && !queue.front().is_some_and(upgrades)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(pieces: &[&'static str]) -> VecDeque<Piece> {
        let now = Instant::now();
        let piece = |text: &&'static str| Piece {
            arrived: now,
            due: now,
            data: Bytes::from(*text),
        };
        pieces.iter().map(piece).collect()
    }

    #[test]
    fn recognises_requests() {
        assert!(begins_request(&queue(&["POST / HTTP/1.1\r\n"])));
        assert!(begins_request(&queue(&["P", "O", "ST", " /"])));
        assert!(begins_request(&queue(&["OPT"])));
        assert!(!begins_request(&queue(&["PING\r\n"])));
        assert!(!begins_request(&queue(&[
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\n"
        ])));
        assert!(!begins_request(&queue(&["*1\r\n$4\r\nPING\r\n"])));
    }
}
