//! Load: signed, distinct signals, open loop.
//!
//! Intended send times are fixed by the rate alone, and latency counts from them, so that a slow
//! target can't hide by slowing the load down (coordinated omission). What is in flight is bounded;
//! a request that finds no room is not sent and recorded as shed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy_primitives::keccak256;
use firedrill_journal::{Event, Op, OpState, SignalRef};
use firedrill_plan::Signals;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use tokio::sync::{Semaphore, watch};

use crate::clock::ns;
use crate::error::RunError;
use crate::malformed::Request;
use crate::run::World;

/// Bytes of an answer that are looked at.
const BODY_MAX: usize = 64 * 1024;

/// Origin of the signals that no act asked for.
const BACKGROUND: &str = "load";
/// Characters of a word of an answer that are kept.
const WORD_MAX: usize = 200;

/// Where the run is: labels every signal, sets the background rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    pub episode: u32,
    pub phase: String,
    pub signals_per_s: f64,
}

/// A signal that is ready to be sent, any number of times.
#[derive(Clone, Debug)]
pub struct Signal {
    /// What it was made from, so that a like one can be made.
    number: u64,
    overrides: BTreeMap<String, String>,
    pub body: String,
    pub signature: String,
    pub key: String,
    pub tag: String,
    pub payload: String,
}

/// Makes signals and sends them.
pub struct Sender {
    world: Arc<World>,
    next_signal: AtomicU64,
    next_op: AtomicU64,
    in_flight: Arc<Semaphore>,
    pub stage: watch::Sender<Stage>,
}

impl Sender {
    /// Numbers of signals and operations go on from there.
    pub fn new(world: Arc<World>, first: u64) -> Arc<Self> {
        let (stage, _) = watch::channel(Stage {
            episode: 0,
            phase: String::new(),
            signals_per_s: 0.0,
        });
        let in_flight = Arc::new(Semaphore::new(world.target.signals.max_in_flight as usize));
        Arc::new(Self {
            world,
            next_signal: AtomicU64::new(first),
            next_op: AtomicU64::new(first),
            in_flight,
            stage,
        })
    }

    /// The next signal: distinct from all others of the run, unless the overrides say otherwise.
    pub fn make(&self, overrides: &BTreeMap<String, String>) -> Result<Signal, RunError> {
        let number = self.next_signal.fetch_add(1, Ordering::Relaxed);
        self.build(number, overrides.clone())
    }

    /// A signal like that one, with some variables changed; none changed makes the very same.
    pub fn like(
        &self,
        signal: &Signal,
        overrides: &BTreeMap<String, String>,
    ) -> Result<Signal, RunError> {
        let mut all = signal.overrides.clone();
        all.extend(overrides.clone());
        self.build(signal.number, all)
    }

    fn build(&self, number: u64, overrides: BTreeMap<String, String>) -> Result<Signal, RunError> {
        let signals = &self.world.target.signals;
        let text = signals
            .signal(&self.world.run_id, number, &overrides)
            .map_err(|e| RunError::Template(e.to_string()))?;
        let secret = self.world.secret(&signals.secret);
        Ok(Signal {
            signature: signature(secret.as_bytes(), text.body.as_bytes()),
            payload: firedrill_journal::sha256_hex(text.body.as_bytes()),
            tag: keccak256(text.key.as_bytes()).to_string(),
            key: text.key,
            body: text.body,
            number,
            overrides,
        })
    }

    /// Sends a signal to a service now, and records invocation and completion.
    pub async fn send(
        &self,
        signal: &Signal,
        service: &str,
        origin: &str,
        intended_ns: u64,
    ) -> OpState {
        let reference = self.reference(signal, service, origin);
        let answer = self.request(signal, service);
        self.recorded(reference, intended_ns, answer).await
    }

    /// Sends a request that is no valid signal, made from one that is.
    pub async fn send_malformed(
        &self,
        signal: &Signal,
        request: &Request,
        origin: &str,
        intended_ns: u64,
    ) -> OpState {
        let service = &self.world.target.signals.service;
        let reference = SignalRef {
            payload: firedrill_journal::sha256_hex(&request.body),
            malformed: Some(request.what.clone()),
            ..self.reference(signal, service, origin)
        };
        let answer = self.request_as_is(request, service);
        self.recorded(reference, intended_ns, answer).await
    }

    fn reference(&self, signal: &Signal, service: &str, origin: &str) -> SignalRef {
        let stage = self.stage.borrow().clone();
        Self::reference_at(stage, signal, service, origin)
    }

    fn reference_at(stage: Stage, signal: &Signal, service: &str, origin: &str) -> SignalRef {
        SignalRef {
            key: signal.key.clone(),
            tag: signal.tag.clone(),
            payload: signal.payload.clone(),
            episode: stage.episode,
            phase: stage.phase,
            origin: origin.to_owned(),
            service: service.to_owned(),
            malformed: None,
        }
    }

    async fn recorded(
        &self,
        signal: SignalRef,
        intended_ns: u64,
        answer: impl Future<Output = Answer>,
    ) -> OpState {
        let recorder = &self.world.recorder;
        let background = signal.origin == BACKGROUND;
        let mut op = Op {
            id: self.next_op.fetch_add(1, Ordering::Relaxed),
            state: OpState::Invoked,
            intended_ns,
            at_ns: recorder.clock.now_ns(),
            signal: Some(signal),
            status: None,
            detail: None,
            names: None,
        };
        recorder.record(Event::Op(op.clone())).await;
        let answer = answer.await;
        op.at_ns = recorder.clock.now_ns();
        if background {
            let took_ns = op.at_ns.saturating_sub(intended_ns);
            self.world.meter.add(took_ns as f64 / 1e6);
        }
        op.signal = None;
        op.state = answer.state;
        op.status = answer.status;
        op.detail = answer.detail.map(|d| recorder.clean(&d));
        op.names = answer.names.map(|n| recorder.clean(&n));
        let state = op.state;
        // What the target calls a duplicate is no new signal: the judge doesn't count it either.
        if state == OpState::Ok && op.detail.as_deref() != Some("duplicate") {
            self.world.tally.accepted();
        }
        recorder.record(Event::Op(op)).await;
        state
    }

    /// Records that a due signal was not sent, since too many were in flight.
    async fn shed(&self, intended_ns: u64) {
        let op = Op {
            id: self.next_op.fetch_add(1, Ordering::Relaxed),
            state: OpState::Failed,
            intended_ns,
            at_ns: self.world.recorder.clock.now_ns(),
            signal: None,
            status: None,
            detail: Some("shed".to_owned()),
            names: None,
        };
        self.world.recorder.record(Event::Op(op)).await;
    }

    async fn request(&self, signal: &Signal, service: &str) -> Answer {
        let signals = &self.world.target.signals;
        let addr = match self.world.stack.addr(service, &signals.port) {
            Ok(addr) => addr,
            Err(error) => return Answer::failed(error.to_string()),
        };
        let request = self
            .world
            .http
            .post(format!("http://{addr}{}", signals.path))
            .header("content-type", "application/json")
            .header(&signals.signature_header, &signal.signature)
            .body(signal.body.clone());
        self.answer(request).await
    }

    async fn request_as_is(&self, request: &Request, service: &str) -> Answer {
        let signals = &self.world.target.signals;
        let addr = match self.world.stack.addr(service, &signals.port) {
            Ok(addr) => addr,
            Err(error) => return Answer::failed(error.to_string()),
        };
        let method = match reqwest::Method::from_bytes(request.method.as_bytes()) {
            Ok(method) => method,
            Err(error) => return Answer::failed(error.to_string()),
        };
        let url = format!("http://{addr}{}", request.path);
        let mut built = self.world.http_apart.request(method, url);
        for (name, value) in &request.headers {
            built = built.header(name, value.as_slice());
        }
        self.answer(built.body(request.body.clone())).await
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Answer {
        let signals = &self.world.target.signals;
        let exchange = async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            Ok::<_, reqwest::Error>((status, response.bytes().await?))
        };
        match tokio::time::timeout(signals.deadline, exchange).await {
            Err(_) => Answer::unknown(format!(
                "deadline of {} ms: no answer",
                signals.deadline.as_millis()
            )),
            Ok(Err(error)) if error.is_connect() => Answer::failed(describe(&error)),
            Ok(Err(error)) => Answer::unknown(describe(&error)),
            Ok(Ok((status, body))) => classify(signals, status, &body),
        }
    }

    /// Sends the background load until the stage's sender is gone or `stop` is set.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) -> Result<(), RunError> {
        let clock = self.world.recorder.clock;
        let mut stage = self.stage.subscribe();
        let nothing = BTreeMap::new();
        let mut flying = tokio::task::JoinSet::new();
        let mut due = clock.now_ns();
        loop {
            let current = stage.borrow_and_update().clone();
            let rate = current.signals_per_s;
            if rate <= 0.0 {
                tokio::select! {
                    changed = stage.changed() => if changed.is_err() { break },
                    _ = stop.wait_for(|s| *s) => break,
                }
                due = clock.now_ns();
                continue;
            }
            tokio::select! {
                () = clock.sleep_until(due) => {}
                changed = stage.changed() => {
                    if changed.is_err() { break }
                    due = due.min(clock.now_ns() + interval(stage.borrow().signals_per_s));
                    continue;
                }
                _ = stop.wait_for(|s| *s) => break,
            }
            while flying.try_join_next().is_some() {}
            match self.in_flight.clone().try_acquire_owned() {
                Err(_) => self.shed(due).await,
                Ok(permit) => {
                    let signal = self.make(&nothing)?;
                    let (this, intended) = (self.clone(), due);
                    // It belongs to the stage in which it was due, however late it leaves.
                    let service = self.world.target.signals.service.clone();
                    let reference = Self::reference_at(current, &signal, &service, BACKGROUND);
                    flying.spawn(async move {
                        let answer = this.request(&signal, &service);
                        this.recorded(reference, intended, answer).await;
                        drop(permit);
                    });
                }
            }
            due += interval(rate);
        }
        while flying.join_next().await.is_some() {}
        Ok(())
    }
}

fn interval(signals_per_s: f64) -> u64 {
    if signals_per_s <= 0.0 {
        return 0;
    }
    ns(Duration::from_secs_f64(1.0 / signals_per_s))
}

/// Lowercase hexadecimal HMAC-SHA256 (RFC 2104).
pub fn signature(secret: &[u8], body: &[u8]) -> String {
    // HMAC takes keys of any length; there is no error to handle.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        return String::new();
    };
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// A reqwest error without its URL (which repeats the address) but with its cause.
pub fn describe(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(current) = cause {
        let next = std::error::Error::source(current);
        if next.is_none() {
            text = current.to_string();
        }
        cause = next;
    }
    text
}

#[derive(Debug)]
struct Answer {
    state: OpState,
    status: Option<u16>,
    detail: Option<String>,
    names: Option<String>,
}

impl Answer {
    fn failed(why: String) -> Self {
        Self {
            state: OpState::Failed,
            status: None,
            detail: Some(why),
            names: None,
        }
    }

    fn unknown(why: String) -> Self {
        Self {
            state: OpState::Unknown,
            status: None,
            detail: Some(why),
            names: None,
        }
    }
}

/// A 2xx is an acknowledgement, a 4xx or 503 with a word is a refusal; any other 5xx may hide an
/// effect. A 503 about storage is unknown too: the row may or may not have been committed.
fn classify(signals: &Signals, status: u16, body: &[u8]) -> Answer {
    let json: Option<Value> = (body.len() <= BODY_MAX)
        .then(|| serde_json::from_slice(body).ok())
        .flatten();
    let at = |pointer: &str| {
        let value = json.as_ref()?.pointer(pointer)?.as_str()?;
        Some(value.chars().take(WORD_MAX).collect())
    };
    let word = at(&signals.word);
    let reason = at(&signals.reason);
    let unknown = signals
        .unknown_reasons
        .iter()
        .any(|u| Some(u) == reason.as_ref());
    let state = match status {
        200..=299 if word.is_some() => OpState::Ok,
        400..=499 => OpState::Rejected,
        503 if reason.is_some() && !unknown => OpState::Rejected,
        _ => OpState::Unknown,
    };
    Answer {
        state,
        status: Some(status),
        detail: reason
            .or(word)
            .or_else(|| Some("answer without a word".to_owned())),
        names: signals.names.iter().find_map(|pointer| at(pointer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_matches_rfc_4231_case_2() {
        assert_eq!(
            signature(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
