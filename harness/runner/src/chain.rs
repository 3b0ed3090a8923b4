//! The chain's audit trail, followed from before the first phase to the end of the run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use firedrill_journal::{FactSource, StreamState};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::load::describe;
use crate::run::World;

const EVERY: Duration = Duration::from_millis(100);
const DEADLINE: Duration = Duration::from_secs(2);
/// Events per request.
const PAGE: u64 = 1_000;

#[derive(Deserialize)]
struct Page {
    start_id: String,
    #[serde(default)]
    last_seq: u64,
    /// Set if the chain no longer holds all events after the one asked for.
    #[serde(default)]
    truncated: bool,
    events: Vec<ChainEvent>,
}

#[derive(Deserialize)]
struct ChainEvent {
    seq: u64,
    mono_ns: u64,
    kind: String,
    #[serde(flatten)]
    keys: BTreeMap<String, Value>,
}

/// Follows the trail until `stop` is set, then reads it to its end once more.
pub async fn follow(
    world: Arc<World>,
    service: String,
    port: String,
    mut stop: watch::Receiver<bool>,
) {
    let mut trail = Trail {
        world,
        service,
        port,
        after: 0,
        start_id: None,
        attached: false,
        read_ns: 0,
    };
    let last = loop {
        let stopping = *stop.borrow();
        let read = trail.catch_up().await;
        if stopping {
            break read;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.wait_for(|s| *s) => {}
        }
    };
    let recorder = trail.world.recorder.clone();
    match last {
        Ok(()) => recorder.stream("chain", StreamState::Detached, None).await,
        // No later read fills what this one missed.
        Err(why) => {
            let detail = Some(format!("the last read: {}", recorder.clean(&why)));
            let state = StreamState::Gap;
            recorder
                .stream_at("chain", state, trail.read_ns, detail)
                .await;
        }
    }
}

struct Trail {
    world: Arc<World>,
    service: String,
    port: String,
    after: u64,
    start_id: Option<String>,
    attached: bool,
    /// Up to when the trail is known.
    read_ns: u64,
}

impl Trail {
    /// Reads all pages that there are. A failed read is no gap by itself: the chain keeps its
    /// events, and the next read continues where the last one ended.
    async fn catch_up(&mut self) -> Result<(), String> {
        loop {
            let asked_ns = self.world.recorder.clock.now_ns();
            let page = self.page().await?;
            let more = page.events.len() as u64 == PAGE;
            self.take(page).await;
            if !more {
                self.read_ns = asked_ns;
                return Ok(());
            }
        }
    }

    async fn page(&self) -> Result<Page, String> {
        let addr = self
            .world
            .stack
            .addr(&self.service, &self.port)
            .map_err(|e| e.to_string())?;
        let url = format!("http://{addr}/audit?after={}&limit={PAGE}", self.after);
        let exchange = async {
            let response = self.world.http.get(url).send().await?;
            response.error_for_status()?.json::<Page>().await
        };
        let answer = tokio::time::timeout(DEADLINE, exchange).await;
        answer
            .map_err(|_| "deadline".to_owned())?
            .map_err(|e| describe(&e))
    }

    async fn take(&mut self, page: Page) {
        let recorder = self.world.recorder.clone();
        if self
            .start_id
            .as_ref()
            .is_some_and(|id| *id != page.start_id)
        {
            let detail = "the chain was restarted and lost its memory".to_owned();
            recorder
                .stream("chain", StreamState::Gap, Some(detail))
                .await;
            self.after = 0;
            self.start_id = Some(page.start_id);
            return;
        }
        if page.truncated {
            let detail = format!("the chain no longer holds the events after {}", self.after);
            recorder
                .stream("chain", StreamState::Gap, Some(detail))
                .await;
        }
        if !self.attached {
            self.attached = true;
            // The first page begins with the chain's first event, so nothing came before it.
            let detail = format!("start id {}, {} events", page.start_id, page.last_seq);
            let state = StreamState::Attached;
            let at_ns = recorder.clock.began_ns;
            recorder
                .stream_at("chain", state, at_ns, Some(detail))
                .await;
        }
        self.start_id = Some(page.start_id);
        for event in page.events {
            self.after = self.after.max(event.seq);
            let at_ns = recorder.clock.from_host_ns(event.mono_ns);
            if event.keys.get("first_send") == Some(&Value::Bool(true)) {
                self.world.tally.first_send(at_ns);
            }
            let keys = event
                .keys
                .into_iter()
                .filter(|(k, _)| k != "wall_ms")
                .collect();
            recorder
                .fact_map(FactSource::Chain, &event.kind, at_ns, keys)
                .await;
        }
    }
}
