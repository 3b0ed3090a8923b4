//! Streams of facts: service logs and engine events. Their silence means something only while they
//! are attached, so attaching and losing them is recorded too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firedrill_journal::{FactSource, StreamState};
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::sync::watch;

use crate::run::World;

/// Last lines that are kept per service, to be shown beside a failure.
const TAIL: usize = 40;
const REATTACH_EVERY: Duration = Duration::from_millis(50);
/// The harness looks at its own schedule this often; a longer stall is recorded as starvation.
const BEAT: Duration = Duration::from_millis(50);
const STARVED: Duration = Duration::from_millis(250);

/// The last log lines of each service.
#[derive(Clone, Default)]
pub struct Tails(Arc<Mutex<BTreeMap<String, VecDeque<String>>>>);

impl Tails {
    fn push(&self, service: &str, line: String) {
        // A poisoned lock only means that another task panicked; the lines are still lines.
        let mut tails = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let tail = tails.entry(service.to_owned()).or_default();
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line);
    }

    pub fn snapshot(&self) -> BTreeMap<String, Vec<String>> {
        let tails = self.0.lock().unwrap_or_else(|e| e.into_inner());
        tails
            .iter()
            .map(|(k, v)| (k.clone(), v.iter().cloned().collect()))
            .collect()
    }
}

/// How far the logs of containers that are about to be removed were read.
#[derive(Clone, Default)]
pub struct LogEnds(Arc<Mutex<Ends>>);

#[derive(Default)]
struct Ends {
    /// Service → the last life of its container whose log was read to the end after it was over.
    read: BTreeMap<String, String>,
    /// Containers that were removed before that.
    missed: BTreeSet<String>,
}

impl LogEnds {
    fn ends(&self) -> std::sync::MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn read(&self, service: &str, life: String) {
        self.ends().read.insert(service.to_owned(), life);
    }

    pub fn is_read(&self, service: &str, life: &str) -> bool {
        self.ends()
            .read
            .get(service)
            .is_some_and(|read| read == life)
    }

    pub fn missed(&self, container: &str) {
        self.ends().missed.insert(container.to_owned());
    }

    fn is_missed(&self, container: &str) -> bool {
        self.ends().missed.contains(container)
    }
}

/// Follows one service's log over restarts, from the container's first line on.
pub async fn log(
    world: Arc<World>,
    service: String,
    tails: Tails,
    mut stop: watch::Receiver<bool>,
) {
    let recorder = world.recorder.clone();
    let id = format!("log:{service}");
    let mut last: Option<jiff::Timestamp> = None;
    let mut before: Option<String> = None;
    while !*stop.borrow() {
        let read_already = last;
        let since = last.map_or(0, |at| at.as_second());
        let attached = world.stack.container_id(&service).and_then(|container| {
            let lines = world.stack.logs_of(&service, &container, since)?;
            Ok((container, lines))
        });
        let (container, mut lines) = match attached {
            Ok(attached) => attached,
            Err(error) => {
                recorder
                    .stream(&id, StreamState::Gap, Some(error.to_string()))
                    .await;
                return;
            }
        };
        // Asked before the reading begins: all that a container which has ended has logged is there.
        let over = world.stack.ended_life(&service, &container).await;
        let nothing_new = match &over {
            Ok(life) => life
                .as_ref()
                .is_some_and(|l| world.log_ends.is_read(&service, l)),
            // Gone, and the next one isn't made yet.
            Err(_) => before.as_ref() == Some(&container),
        };
        if nothing_new {
            tokio::time::sleep(REATTACH_EVERY).await;
            continue;
        }
        let over = over.ok().flatten();
        let (at_ns, detail) = attaching(&world, last, before.as_deref(), &container);
        before = Some(container.clone());
        recorder
            .stream_at(&id, StreamState::Attached, at_ns, detail)
            .await;
        let ended = loop {
            let next = tokio::select! {
                next = lines.next() => next,
                _ = stop.wait_for(|s| *s) => break "the run is over".to_owned(),
            };
            match next {
                Some(Ok(line)) => {
                    let Ok(at) = line.ts.parse::<jiff::Timestamp>() else {
                        break "the engine sent a line without a timestamp".to_owned();
                    };
                    if read_already.is_some_and(|before| at <= before) {
                        continue;
                    }
                    last = Some(at);
                    let text = recorder.clean(&line.text);
                    tails.push(&service, text.clone());
                    let at_ns = recorder.clock.from_wall(at);
                    let keys = [("service", json!(service)), ("text", json!(text))];
                    recorder.fact(FactSource::Log, "line", at_ns, keys).await;
                }
                Some(Err(error)) => break error.to_string(),
                None => {
                    if let Some(life) = over {
                        world.log_ends.read(&service, life);
                    }
                    break "the stream ended".to_owned();
                }
            }
        };
        let state = match *stop.borrow() {
            true => StreamState::Detached,
            false => StreamState::Gap,
        };
        recorder
            .stream(&id, state, Some(recorder.clean(&ended)))
            .await;
        if !*stop.borrow() {
            tokio::time::sleep(REATTACH_EVERY).await;
        }
    }
}

/// From when on the log counts as attached, and what is said of it. The engine keeps a container's log: attaching
/// begins with its first line, attaching again continues after the last line that was read. A container made anew
/// has a log of its own; nothing is missing only if the old one's was read to its end.
fn attaching(
    world: &World,
    last: Option<jiff::Timestamp>,
    before: Option<&str>,
    container: &str,
) -> (u64, Option<String>) {
    let began = world.recorder.clock.began_ns;
    let now = world.recorder.clock.now_ns();
    match (before, last) {
        (None, _) => (began, None),
        (Some(old), _) if old != container => {
            let words = match world.log_ends.is_missed(old) {
                false => "replayed from the first line of a container made anew",
                true => "made anew; the old container's log was not read to its end",
            };
            (now, Some(words.to_owned()))
        }
        (_, None) => (now, Some("replayed from the first line".to_owned())),
        (_, Some(at)) => (now, Some(format!("replayed from {at}"))),
    }
}

/// Records every stretch in which the harness itself was not run: nothing was observed in it.
pub async fn starvation(world: Arc<World>, mut stop: watch::Receiver<bool>) {
    let recorder = world.recorder.clone();
    let mut before = recorder.clock.now_ns();
    loop {
        tokio::select! {
            () = tokio::time::sleep(BEAT) => {}
            _ = stop.wait_for(|s| *s) => return,
        }
        let now = recorder.clock.now_ns();
        if now - before > crate::clock::ns(STARVED) {
            let event = firedrill_journal::Event::Starved {
                from_ns: before,
                to_ns: now,
            };
            recorder.record(event).await;
        }
        before = now;
    }
}
