//! A toxic at work on one direction of one connection, as pure arithmetic over time.
//!
//! A stage never sleeps: it is given a piece of data and says when each part of it may leave. Everything
//! that waits is in the pump. So the semantics of a toxic stand in one match arm and a removal needs no
//! conversation with a sleeping task.
//! Must NOT know: sockets, tasks, the clock (instants come in as arguments).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::toxic::{Kind, Slicer, Toxic};

/// A bandwidth limit releases data in portions of about this long.
const PORTION_MS: u64 = 20;

/// Data that may leave at an instant.
#[derive(Debug)]
pub struct Piece {
    /// When it was read, for scheduling it again after a change of the toxics.
    pub arrived: Instant,
    /// When it may leave.
    pub due: Instant,
    pub data: Bytes,
}

/// How a toxic ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// An orderly close of both sides.
    Close,
    /// A TCP reset of both sides.
    Reset,
}

/// One toxic's state on one direction of one connection.
pub struct Stage {
    pub toxic: Arc<Toxic>,
    /// False where toxicity spared this connection.
    active: bool,
    counted: bool,
    swallowed: bool,
    /// Set until the data that was waiting when the stage came has been scheduled.
    fresh: bool,
    /// Bandwidth, slicer: when the next byte may leave.
    next_free: Option<Instant>,
    /// Limit: bytes that were scheduled, and of these the ones that really left.
    scheduled: u64,
    written: u64,
    cut_at: Option<(Instant, Cut)>,
    /// Limit: cut as soon as everything scheduled has left.
    pub cut_when_empty: bool,
}

impl Stage {
    pub fn new(toxic: Arc<Toxic>, now: Instant) -> Self {
        let cut_at = match &toxic.kind {
            Kind::Timeout(timeout) if timeout.timeout > 0 => Some((
                now + Duration::from_millis(timeout.timeout.into()),
                Cut::Close,
            )),
            _ => None,
        };
        Self {
            active: toxic.toxicity >= 1.0 || rand::random_bool(toxic.toxicity),
            counted: false,
            swallowed: false,
            fresh: true,
            next_free: None,
            scheduled: 0,
            written: 0,
            cut_at,
            cut_when_empty: false,
            toxic,
        }
    }

    /// Takes over an update of the toxic's attributes, or just prepares for scheduling again.
    pub fn renew(self, toxic: Arc<Toxic>, now: Instant) -> Self {
        if Arc::ptr_eq(&toxic, &self.toxic) {
            return Self {
                next_free: None,
                scheduled: self.written,
                fresh: false,
                ..self
            };
        }
        let same_odds = toxic.toxicity == self.toxic.toxicity;
        let fresh = Self::new(toxic, now);
        Self {
            active: if same_odds { self.active } else { fresh.active },
            counted: self.counted,
            swallowed: self.swallowed,
            scheduled: self.written,
            written: self.written,
            fresh: false,
            // Data that a lower limit cut off is gone: the stream can't be taken up again.
            cut_when_empty: self.cut_when_empty && self.swallowed,
            ..fresh
        }
    }

    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Whether the connection lost data to this stage and can't go on once it is removed.
    pub fn has_swallowed(&self) -> bool {
        self.swallowed
    }

    /// When and how this stage ends the connection.
    pub fn cut_at(&self) -> Option<(Instant, Cut)> {
        self.cut_at.filter(|_| self.active)
    }

    /// Whether the end of the stream gets past this stage.
    pub fn passes_end(&self) -> bool {
        !self.active || !matches!(self.toxic.kind, Kind::Timeout(_) | Kind::ResetPeer(_))
    }

    /// Notes that the connection felt this toxic.
    pub fn touch(&mut self) {
        if !self.counted {
            self.counted = true;
            self.toxic.counters.add_connection();
        }
    }

    /// Notes bytes that really left.
    pub fn note_written(&mut self, count: usize) {
        self.written += count as u64;
    }

    /// Schedules `pieces`; with `again` they were scheduled before the toxics changed.
    pub fn apply(&mut self, pieces: &mut Vec<Piece>, again: bool) {
        if !self.active
            || pieces.is_empty()
            || matches!(self.toxic.kind, Kind::SlowClose(_) | Kind::HttpError(_))
        {
            return;
        }
        self.touch();
        if !again || self.fresh {
            self.toxic
                .counters
                .add_bytes(pieces.iter().map(|piece| piece.data.len()).sum());
        }
        let toxic = self.toxic.clone();
        match &toxic.kind {
            Kind::Latency(latency) => {
                let (delay, jitter) = (
                    i64::from(latency.latency) * 1000,
                    i64::from(latency.jitter) * 1000,
                );
                for piece in pieces {
                    let micros = if jitter == 0 {
                        delay
                    } else {
                        delay + rand::random_range(-jitter..=jitter)
                    };
                    piece.due += Duration::from_micros(u64::try_from(micros).unwrap_or(0));
                }
            }
            Kind::Bandwidth(bandwidth) => self.pace(pieces, bandwidth.rate.into()),
            Kind::Slicer(slicer) => self.slice(pieces, slicer),
            Kind::LimitData(limit) => self.limit(pieces, limit.bytes),
            Kind::Timeout(_) => {
                self.swallowed = true;
                pieces.clear();
            }
            Kind::ResetPeer(reset) => {
                self.swallowed = true;
                let first = pieces[0].due + Duration::from_millis(reset.timeout.into());
                self.cut_at.get_or_insert((first, Cut::Reset));
                pieces.clear();
            }
            Kind::SlowClose(_) | Kind::HttpError(_) => {}
        }
    }

    /// When the end of the stream, due at `due`, may be passed on.
    pub fn apply_end(&mut self, due: Instant) -> Instant {
        if !self.active {
            return due;
        }
        match self.toxic.kind.clone() {
            Kind::SlowClose(slow) => {
                self.touch();
                due + Duration::from_millis(slow.delay.into())
            }
            Kind::ResetPeer(reset) => {
                self.touch();
                let at = due + Duration::from_millis(reset.timeout.into());
                self.cut_at.get_or_insert((at, Cut::Reset));
                due
            }
            Kind::Timeout(_) => {
                self.touch();
                self.swallowed = true;
                due
            }
            _ => due,
        }
    }

    fn pace(&mut self, pieces: &mut Vec<Piece>, bytes_per_ms: u64) {
        let portion = usize::try_from(bytes_per_ms * PORTION_MS).unwrap_or(usize::MAX);
        for mut piece in std::mem::take(pieces) {
            let mut free = self.next_free.map_or(piece.due, |free| free.max(piece.due));
            while !piece.data.is_empty() {
                let data = piece.data.split_to(portion.min(piece.data.len()));
                free += Duration::from_micros(data.len() as u64 * 1000 / bytes_per_ms);
                pieces.push(Piece {
                    arrived: piece.arrived,
                    due: free,
                    data,
                });
            }
            self.next_free = Some(free);
        }
    }

    fn slice(&mut self, pieces: &mut Vec<Piece>, slicer: &Slicer) {
        let average = i64::from(slicer.average_size);
        let variation = i64::from(slicer.size_variation);
        for mut piece in std::mem::take(pieces) {
            let mut free = self.next_free.map_or(piece.due, |free| free.max(piece.due));
            while !piece.data.is_empty() {
                let size = average
                    + if variation == 0 {
                        0
                    } else {
                        rand::random_range(-variation..=variation)
                    };
                let size = usize::try_from(size)
                    .unwrap_or(0)
                    .clamp(1, piece.data.len());
                pieces.push(Piece {
                    arrived: piece.arrived,
                    due: free,
                    data: piece.data.split_to(size),
                });
                free += Duration::from_micros(slicer.delay.into());
            }
            self.next_free = Some(free);
        }
    }

    fn limit(&mut self, pieces: &mut Vec<Piece>, bytes: u64) {
        for piece in pieces.iter_mut() {
            let left = usize::try_from(bytes.saturating_sub(self.scheduled)).unwrap_or(usize::MAX);
            self.swallowed |= piece.data.len() > left;
            piece.data.truncate(left);
            self.scheduled += piece.data.len() as u64;
        }
        pieces.retain(|piece| !piece.data.is_empty());
        self.cut_when_empty |= self.scheduled >= bytes;
    }
}
