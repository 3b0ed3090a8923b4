//! The recorder: one task owns the journal's writer; everyone else holds a cheap handle.
//!
//! The queue is bounded. A recorder that cannot write any more says so once and loudly: losing the
//! journal makes the run INCONCLUSIVE.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use firedrill_journal::{
    Edge, EdgeKind, End, EndReason, Event, Fact, FactSource, FaultRef, Seal, Stream, StreamState,
    WriteError, Writer,
};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock::{Clock, ns};
use crate::error::RunError;
use crate::redact::Redactor;

/// Events that may wait for the disk. At 10,000 events a second this is more than six seconds.
const QUEUE: usize = 65_536;
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Text from the target is cut to this many bytes before it is stored.
pub const TEXT_MAX: usize = 4_096;

/// Handle with which every part of the runner records what it saw.
#[derive(Clone)]
pub struct Recorder {
    tx: mpsc::Sender<Event>,
    lost: Arc<AtomicBool>,
    redactor: Arc<Redactor>,
    pub clock: Clock,
}

/// The other end: the task that owns the file.
pub struct RecorderTask {
    task: JoinHandle<Result<Writer, WriteError>>,
    clock: Clock,
}

pub fn start(
    writer: Writer,
    clock: Clock,
    redactor: Redactor,
    tap: Option<mpsc::Sender<Event>>,
) -> (Recorder, RecorderTask) {
    let (tx, rx) = mpsc::channel::<Event>(QUEUE);
    let lost = Arc::new(AtomicBool::new(false));
    let flag = lost.clone();
    let task = tokio::spawn(write(writer, clock, (rx, tap), flag));
    let recorder = Recorder {
        tx,
        lost,
        redactor: Arc::new(redactor),
        clock,
    };
    (recorder, RecorderTask { task, clock })
}

/// A recorder whose events are read by a test instead of being written.
#[cfg(test)]
pub fn listening() -> (Recorder, mpsc::Receiver<Event>) {
    let (tx, rx) = mpsc::channel::<Event>(QUEUE);
    let recorder = Recorder {
        tx,
        lost: Arc::default(),
        redactor: Arc::new(Redactor::new(&BTreeMap::new())),
        clock: Clock::start(),
    };
    (recorder, rx)
}

/// Writes what comes, and hands it on to the disk when nothing waits; a journal that is compressed once a
/// second, since each time costs some compression. So a harness that is killed loses a second at most.
async fn write(
    mut writer: Writer,
    clock: Clock,
    (mut rx, tap): (mpsc::Receiver<Event>, Option<mpsc::Sender<Event>>),
    lost: Arc<AtomicBool>,
) -> Result<Writer, WriteError> {
    let every = match writer.compresses() {
        true => FLUSH_EVERY,
        false => Duration::ZERO,
    };
    let mut flush_ns = 0;
    loop {
        let waited = tokio::time::timeout(FLUSH_EVERY, rx.recv()).await;
        let (event, idle) = match waited {
            Ok(Some(event)) => (Some(event), rx.is_empty()),
            Ok(None) => return Ok(writer),
            Err(_) => (None, true),
        };
        let now = clock.now_ns();
        if let (Some(tap), Some(event)) = (&tap, &event) {
            // Who looks on may fall behind and miss something; the journal never does.
            let _ = tap.try_send(event.clone());
        }
        let mut written = match event {
            Some(event) => writer
                .append(now, jiff::Timestamp::now(), event)
                .map(|_| ()),
            None => Ok(()),
        };
        if written.is_ok() && idle && now >= flush_ns {
            written = writer.flush();
            flush_ns = now + ns(every);
        }
        if let Err(error) = written {
            lost.store(true, Ordering::SeqCst);
            return Err(error);
        }
    }
}

impl RecorderTask {
    /// Waits until all handles are gone and their events are written, appends the end record and
    /// seals the file.
    pub async fn finish(self, reason: EndReason, detail: Option<String>) -> Result<Seal, RunError> {
        let mut writer = self.task.await.map_err(|_| RunError::JournalLost)??;
        let counts: BTreeMap<String, u64> = writer.counts().clone();
        let at_ns = self.clock.now_ns();
        let end = End {
            reason,
            detail,
            at_ns,
            counts,
        };
        writer.append(at_ns, jiff::Timestamp::now(), Event::End(end))?;
        Ok(writer.seal()?)
    }
}

impl Recorder {
    /// Whether events have been lost. From then on nothing that is recorded counts.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    pub async fn record(&self, event: Event) {
        if self.tx.send(event).await.is_err() {
            self.lost.store(true, Ordering::SeqCst);
        }
    }

    /// Text from the target, redacted and bounded.
    pub fn clean(&self, text: &str) -> String {
        let clean = self.redactor.clean(text);
        if clean.len() <= TEXT_MAX {
            return clean;
        }
        let mut end = TEXT_MAX;
        while !clean.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}… ({} bytes cut)", &clean[..end], clean.len() - end)
    }

    pub async fn fact<const N: usize>(
        &self,
        source: FactSource,
        what: &str,
        at_ns: u64,
        keys: [(&str, Value); N],
    ) {
        let keys = keys.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        self.fact_map(source, what, at_ns, keys).await;
    }

    pub async fn fact_map(
        &self,
        source: FactSource,
        what: &str,
        at_ns: u64,
        keys: BTreeMap<String, Value>,
    ) {
        let what = what.to_owned();
        let fact = Fact {
            source,
            what,
            at_ns,
            keys,
        };
        self.record(Event::Fact(fact)).await;
    }

    pub async fn stream(&self, id: &str, state: StreamState, detail: Option<String>) {
        self.stream_at(id, state, self.clock.now_ns(), detail).await;
    }

    /// For a source that keeps what happened before it was attached: it is attached as of then.
    pub async fn stream_at(
        &self,
        id: &str,
        state: StreamState,
        at_ns: u64,
        detail: Option<String>,
    ) {
        let id = id.to_owned();
        let stream = Stream {
            id,
            state,
            at_ns,
            detail,
        };
        self.record(Event::Stream(stream)).await;
    }

    pub async fn edge(
        &self,
        episode: u32,
        phase: &str,
        fault: Option<&FaultRef>,
        kind: EdgeKind,
        at_ns: u64,
        proof: Option<String>,
    ) {
        let edge = Edge {
            episode,
            phase: phase.to_owned(),
            fault: fault.cloned(),
            kind,
            at_ns,
            proof,
            felt: None,
        };
        self.record(Event::Edge(edge)).await;
    }
}
