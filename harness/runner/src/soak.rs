//! What a soak adds to drills: load in between that follows a schedule, and series that are watched
//! from its first moment to its last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use firedrill_journal::{FactSource, act};
use firedrill_plan::{Probe, Schedule};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::ns;
use crate::error::RunError;
use crate::load::{Sender, Stage};
use crate::run::{Cancel, Progress, World};
use crate::{collect, probes, resources, schedule};

/// Label of what is sent outside of drills.
const QUIET: &str = "quiet";
/// The folder's size is looked at this often.
const DISK_EVERY: Duration = Duration::from_secs(10);
const QUIESCE: Duration = Duration::from_secs(20);
/// How long a soak's beginning waits for the engine's events.
const ATTACHED_WITHIN: Duration = Duration::from_secs(10);

/// The soak around a run's drills.
#[derive(Clone, Debug)]
pub struct Soak {
    pub schedule: Schedule,
    /// Sampled over the whole soak.
    pub probes: Vec<Probe>,
    /// Mode that every service with one must show before the load begins.
    pub mode: Option<String>,
    /// Environment for the whole soak, by service.
    pub env: BTreeMap<String, BTreeMap<String, String>>,
    /// Bytes that the run's folder may take.
    pub disk_max: u64,
}

/// A soak that goes on.
pub struct Course<'a> {
    soak: &'a Soak,
    world: &'a Arc<World>,
    sender: &'a Arc<Sender>,
    cancel: Cancel,
    /// When the soak began, on the run's clock.
    start_ns: u64,
    stop: watch::Sender<bool>,
    watching: JoinSet<()>,
}

impl<'a> Course<'a> {
    /// Waits for the mode and for the engine's events, and begins to watch.
    pub async fn begin(
        soak: &'a Soak,
        (world, sender, elapsed_ms): (&'a Arc<World>, &'a Arc<Sender>, u64),
        cancel: Cancel,
    ) -> Result<Self, RunError> {
        if let Some(mode) = &soak.mode {
            schedule::need_mode(world, &cancel, mode).await?;
        }
        // A death counts from the beginning on, so the engine must be listened to by then. Where it can't be, the
        // judge says so.
        let mut attached = world.engine_attached.subscribe();
        let _ = tokio::time::timeout(ATTACHED_WITHIN, attached.wait_for(|a| *a)).await;
        let (stop, stopped) = watch::channel(false);
        let mut watching = JoinSet::new();
        for probe in &soak.probes {
            let observing = probes::observe(world.clone(), probe.clone(), stopped.clone());
            watching.spawn(observing);
        }
        watching.spawn(disk(world.clone(), soak.disk_max, stopped));
        let recorder = &world.recorder;
        let now = recorder.clock.now_ns();
        let keys = [("elapsed_ms", json!(elapsed_ms))];
        recorder.fact(FactSource::Act, act::BEGINS, now, keys).await;
        Ok(Self {
            soak,
            world,
            sender,
            cancel,
            start_ns: now.saturating_sub(elapsed_ms * 1_000_000),
            stop,
            watching,
        })
    }

    fn elapsed_ms(&self) -> u64 {
        let now = self.world.recorder.clock.now_ns();
        now.saturating_sub(self.start_ns) / 1_000_000
    }

    /// Quiet time before that episode, under load: to its time in the schedule, but at least the gap.
    pub async fn before(&self, episode: usize) -> Result<(), RunError> {
        let schedule = &self.soak.schedule;
        let earliest = self.elapsed_ms() + schedule.gap_ms;
        let planned = schedule.episodes.get(episode).filter(|_| schedule.waits);
        let until = planned.map_or(earliest, |p| p.at_ms.max(earliest));
        let first_waits = planned.filter(|_| episode == 0);
        let until = first_waits.map_or(until, |p| p.at_ms);
        self.quiet(episode, until).await
    }

    /// Quiet time from the last drill to the end of the schedule, and then until the target has
    /// finished what it accepted.
    pub async fn after(&self, episodes: usize) -> Result<(), RunError> {
        let schedule = &self.soak.schedule;
        if !schedule.waits {
            return Ok(());
        }
        let until = schedule.length_ms.max(self.elapsed_ms() + schedule.gap_ms);
        self.quiet(episodes.saturating_sub(1), until).await?;
        self.sender
            .stage
            .send_modify(|stage| stage.signals_per_s = 0.0);
        let recorder = &self.world.recorder;
        let now = recorder.clock.now_ns();
        recorder.fact(FactSource::Act, act::ENDS, now, []).await;
        let quiet = collect::quiesce(self.world, QUIESCE).await;
        if let Err(why) = quiet {
            let why = recorder.clean(&why);
            tracing::warn!(%why, "at the soak's end");
        }
        Ok(())
    }

    async fn quiet(&self, episode: usize, until_ms: u64) -> Result<(), RunError> {
        let clock = self.world.recorder.clock;
        let schedule = &self.soak.schedule;
        let length = Duration::from_millis(until_ms.saturating_sub(self.elapsed_ms()));
        (self.world.progress)(Progress::Quiet { length });
        loop {
            let now_ms = self.elapsed_ms();
            if now_ms >= until_ms {
                return Ok(());
            }
            if self.world.recorder.is_lost() {
                return Err(RunError::JournalLost);
            }
            if let Some(bytes) = self.world.disk_full() {
                return Err(RunError::Disk {
                    bytes,
                    limit: self.soak.disk_max,
                });
            }
            self.sender.stage.send_if_modified(|stage| {
                let fresh = Stage {
                    episode: u32::try_from(episode).unwrap_or(u32::MAX),
                    phase: QUIET.to_owned(),
                    signals_per_s: schedule.rate_at(now_ms),
                };
                let changed = *stage != fresh;
                *stage = fresh;
                changed
            });
            let change = schedule.next_rate(now_ms).unwrap_or(until_ms);
            let next_ms = until_ms.min(change).min(now_ms + 1_000);
            let at_ns = self.start_ns + next_ms * 1_000_000;
            self.cancel.clone().guard(clock.sleep_until(at_ns)).await?;
        }
    }

    /// Ends the watching; returns when all observations have been recorded.
    pub async fn end(mut self) {
        self.stop.send_replace(true);
        while self.watching.join_next().await.is_some() {}
    }
}

/// Notes when the run's folder has outgrown its limit: the soak ends before the disk is full.
async fn disk(world: Arc<World>, limit: u64, mut stop: watch::Receiver<bool>) {
    let clock = world.recorder.clock;
    loop {
        let next = clock.now_ns() + ns(DISK_EVERY);
        tokio::select! {
            () = clock.sleep_until(next) => {}
            _ = stop.wait_for(|s| *s) => return,
        }
        let bytes = resources::folder_bytes(&world.dir).unwrap_or(0);
        if bytes > limit {
            world.note_disk(bytes);
        }
    }
}
