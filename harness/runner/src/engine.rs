//! The engine's own events of this run's containers, followed over breaks of the stream.
//!
//! Silence means something only while the stream is attached, and an attachment is believed only once
//! the engine has told an event that it must know: one of the run's beginning the first time, the last one
//! that was seen after a break. The engine keeps its last few hundred events: where it no longer knows
//! that one, what came after it may be missing too, and the gap stays. An engine that tells nothing after a
//! break is attached only once it has answered a question: one that is starting takes connections before.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use firedrill_journal::{FactSource, StreamState};
use firedrill_stack::{ContainerEvent, Engine};
use futures_util::{Stream, StreamExt as _};
use serde_json::json;
use tokio::sync::watch;

use crate::recorder::Recorder;
use crate::run::World;

/// How many events are remembered: as many as the engine could tell again, and more.
const REMEMBERED: usize = 512;
/// Events aren't stamped strictly in the order in which the engine tells them.
const OVERLAP_NS: i64 = 1_000_000_000;
/// How long the engine may take to tell an event that it must know, or to answer at all.
const PROOF_WITHIN: Duration = Duration::from_secs(5);
const REATTACH_EVERY: Duration = Duration::from_millis(50);

/// Follows until `stop` is set.
pub async fn follow(world: Arc<World>, stop: watch::Receiver<bool>) {
    let recorder = world.recorder.clone();
    let open = |since_ns| world.stack.events(since_ns);
    let into = (&recorder, &world.engine_attached);
    follow_by(into, (open, answers), stop, PROOF_WITHIN).await;
}

/// Whether the engine answers a question by a connection of its own.
async fn answers() -> Result<(), String> {
    let engine = Engine::connect().await;
    engine.map(|_| ()).map_err(|e| e.to_string())
}

async fn follow_by<S, E, A>(
    (recorder, attached): (&Recorder, &watch::Sender<bool>),
    (open, ask): (impl Fn(i64) -> S, impl Fn() -> A),
    mut stop: watch::Receiver<bool>,
    proof_within: Duration,
) where
    S: Stream<Item = Result<ContainerEvent, E>> + Unpin,
    E: Display,
    A: Future<Output = Result<(), String>>,
{
    let mut follower = Follower {
        recorder,
        attached,
        seen: Seen::default(),
        linked: false,
        proof_within,
    };
    let began_ns = wall_ns() - span_ns(recorder.clock.now_ns() - recorder.clock.began_ns);
    let mut told = false;
    loop {
        let since_ns = follower.seen.since(began_ns);
        let ended = tokio::select! {
            ended = follower.attach(open(since_ns), &ask) => ended,
            _ = stop.wait_for(|s| *s) => break,
        };
        // An engine that is away for long is said to be so once.
        if follower.linked || !told {
            let why = Some(recorder.clean(&ended));
            recorder.stream("engine", StreamState::Gap, why).await;
        }
        told = true;
        tokio::select! {
            () = tokio::time::sleep(REATTACH_EVERY) => {}
            _ = stop.wait_for(|s| *s) => break,
        }
    }
    let why = Some("the run is over".to_owned());
    recorder.stream("engine", StreamState::Detached, why).await;
}

fn wall_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

fn span_ns(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

/// The events that were seen last, in the order in which they were told.
#[derive(Default)]
struct Seen(VecDeque<ContainerEvent>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Met {
    New,
    /// Told again, and not the last one.
    Known,
    /// The last one, told again: what follows is all that came after it.
    Last,
}

impl Seen {
    /// From when on the engine is to tell its events.
    fn since(&self, began_ns: i64) -> i64 {
        let last = self.0.back();
        last.map_or(began_ns, |event| event.time_ns - OVERLAP_NS)
    }

    fn meet(&mut self, event: &ContainerEvent) -> Met {
        if self.0.back() == Some(event) {
            return Met::Last;
        }
        if self.0.contains(event) {
            return Met::Known;
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(event.clone());
        Met::New
    }
}

struct Follower<'a> {
    recorder: &'a Recorder,
    /// Set with the first attachment that is on record.
    attached: &'a watch::Sender<bool>,
    seen: Seen,
    /// Whether this attachment is on record.
    linked: bool,
    proof_within: Duration,
}

impl Follower<'_> {
    /// Reads one attachment to its end, and says why it ended.
    async fn attach<S, E, A>(&mut self, mut events: S, ask: &impl Fn() -> A) -> String
    where
        S: Stream<Item = Result<ContainerEvent, E>> + Unpin,
        E: Display,
        A: Future<Output = Result<(), String>>,
    {
        self.linked = false;
        let first = self.seen.0.is_empty();
        let (opened_ns, opened_wall) = (self.recorder.clock.now_ns(), wall_ns());
        let proof = tokio::time::sleep(self.proof_within);
        tokio::pin!(proof);
        loop {
            let next = tokio::select! {
                next = events.next() => next,
                () = &mut proof, if !self.linked => {
                    if first {
                        return "the engine told nothing of the run's containers".to_owned();
                    }
                    if let Err(why) = self.answered(ask()).await {
                        return why;
                    }
                    self.torn().await;
                    continue;
                }
            };
            let event = match next {
                Some(Ok(event)) => event,
                Some(Err(error)) => return error.to_string(),
                None => return "the stream ended".to_owned(),
            };
            let before = self.seen.since(0) + OVERLAP_NS;
            let met = self.seen.meet(&event);
            match met {
                _ if self.linked => {}
                // It began before the stream was asked for, so nothing since then is missing.
                _ if first => self.link(opened_ns, None).await,
                Met::Last => {
                    let from = stamp(before);
                    let now = self.recorder.clock.now_ns();
                    self.link(now, Some(format!("replayed since {from}"))).await;
                }
                Met::New => self.torn().await,
                Met::Known => {}
            }
            // What was before the stream only showed that it is attached.
            if met == Met::New && !(first && event.time_ns < opened_wall) {
                self.record(event).await;
            }
        }
    }

    async fn answered(
        &self,
        answer: impl Future<Output = Result<(), String>>,
    ) -> Result<(), String> {
        let answer = tokio::time::timeout(self.proof_within, answer).await;
        answer.unwrap_or_else(|_| Err("the engine doesn't answer".to_owned()))
    }

    async fn link(&mut self, at_ns: u64, detail: Option<String>) {
        self.linked = true;
        let attached = StreamState::Attached;
        self.recorder
            .stream_at("engine", attached, at_ns, detail)
            .await;
        self.attached.send_replace(true);
    }

    /// Attached again, without what came in between.
    async fn torn(&mut self) {
        let why = "the engine no longer knows the last event that it told before";
        let now = self.recorder.clock.now_ns();
        self.link(now, Some(why.to_owned())).await;
    }

    async fn record(&self, event: ContainerEvent) {
        let clock = self.recorder.clock;
        let at = jiff::Timestamp::from_nanosecond(event.time_ns.into());
        let at_ns = at.map_or_else(|_| clock.now_ns(), |at| clock.from_wall(at));
        let keys = [
            ("service", json!(event.service)),
            ("exit_code", json!(event.exit_code)),
        ];
        self.recorder
            .fact(FactSource::Engine, &event.action, at_ns, keys)
            .await;
    }
}

fn stamp(ns: i64) -> String {
    let at = jiff::Timestamp::from_nanosecond(ns.into());
    at.map_or_else(|_| "then".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use firedrill_journal::Event;
    use futures_util::stream;

    use super::*;

    fn event(action: &str, time_ns: i64) -> ContainerEvent {
        ContainerEvent {
            service: "redis".to_owned(),
            action: action.to_owned(),
            time_ns,
            exit_code: None,
        }
    }

    /// Attachments that tell these events one after the other, of which the last one stays: what is recorded.
    async fn records(attachments: Vec<Vec<ContainerEvent>>, wanted: &[&str]) {
        records_after(0, attachments, wanted).await;
    }

    /// The same of an engine that leaves the first questions without an answer.
    async fn records_after(
        unanswered: u32,
        attachments: Vec<Vec<ContainerEvent>>,
        wanted: &[&str],
    ) {
        let (recorder, mut events) = crate::recorder::listening();
        let attached = watch::Sender::new(false);
        let (halt, stop) = watch::channel(false);
        let left = RefCell::new(VecDeque::from(attachments));
        let open = |_| {
            let mut left = left.borrow_mut();
            let told = left.pop_front().unwrap_or_default();
            let told = stream::iter(told.into_iter().map(Ok::<_, String>));
            match left.is_empty() {
                true => told.chain(stream::pending()).boxed_local(),
                false => told.boxed_local(),
            }
        };
        let unanswered = Cell::new(unanswered);
        let ask = || {
            let left = unanswered.get();
            unanswered.set(left.saturating_sub(1));
            async move {
                match left {
                    0 => Ok(()),
                    _ => std::future::pending::<Result<(), String>>().await,
                }
            }
        };
        let reading = async {
            let mut lines: Vec<String> = Vec::new();
            while lines.len() < wanted.len() {
                // The stream's end is recorded once it is asked for.
                if lines.len() + 1 == wanted.len() {
                    halt.send_replace(true);
                }
                let next = tokio::time::timeout(PROOF_WITHIN, events.recv()).await;
                lines.extend(next.expect("something is recorded").map(words));
            }
            lines
        };
        let into = (&recorder, &attached);
        let following = follow_by(into, (open, ask), stop, Duration::from_millis(200));
        let ((), lines) = tokio::join!(following, reading);
        assert_eq!(lines, wanted);
        let told = wanted.iter().any(|w| w.starts_with("Attached"));
        assert_eq!(*attached.borrow(), told);
        assert_eq!(unanswered.get(), 0, "it was believed before it answered");
    }

    fn words(event: Event) -> String {
        match event {
            Event::Stream(s) => {
                let detail = s.detail.unwrap_or_default();
                let word = detail.split(' ').next().unwrap_or_default().to_owned();
                format!("{:?} {word}", s.state)
            }
            Event::Fact(fact) => fact.what,
            other => format!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_came_while_the_stream_was_broken_is_replayed() {
        let now = wall_ns();
        let (old, pause) = (event("start", now - 9), event("pause", now + 1_000_000_000));
        let die = event("die", now + 2_000_000_000);
        let first = vec![old.clone(), pause.clone()];
        let wanted = [
            "Attached ",
            "pause",
            "Gap the",
            "Attached replayed",
            "die",
            "Detached the",
        ];
        records(vec![first, vec![old, pause, die]], &wanted).await;
    }

    #[tokio::test]
    async fn an_engine_that_forgot_leaves_a_gap() {
        let now = wall_ns();
        let pause = event("pause", now + 1_000_000_000);
        let die = event("die", now + 2_000_000_000);
        // The last event that was seen isn't told again: before the next one, or at all.
        for (again, more) in [(vec![die], Some("die")), (vec![], None)] {
            let mut wanted = vec!["Attached ", "pause", "Gap the", "Attached the"];
            wanted.extend(more);
            wanted.push("Detached the");
            records(vec![vec![pause.clone()], again], &wanted).await;
        }
    }

    #[tokio::test]
    async fn an_engine_that_tells_nothing_after_a_break_is_attached_once_it_answers() {
        let pause = event("pause", wall_ns() + 1_000_000_000);
        let wanted = [
            "Attached ",
            "pause",
            "Gap the",
            "Attached the",
            "Detached the",
        ];
        records_after(2, vec![vec![pause], vec![]], &wanted).await;
    }

    #[tokio::test]
    async fn an_engine_that_tells_nothing_is_not_attached() {
        records(vec![vec![]], &["Gap the", "Detached the"]).await;
    }
}
