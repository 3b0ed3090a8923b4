//! One drill from its needs to quiescence: phases, acts, faults, healing.
//!
//! Whatever happens in between, every fault that was injected is healed before the drill is left.

use std::sync::Arc;
use std::time::Duration;

use firedrill_journal::{Edge, EdgeKind, Event, FactSource, FaultRef};
use firedrill_plan::{Drill, Fault, Pace, Phase};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::acts::Actor;
use crate::clock::ns;
use crate::collect;
use crate::error::RunError;
use crate::faults::{self, Held};
use crate::ledger::{Entry, Ledger};
use crate::load::{Sender, Stage};
use crate::prometheus;
use crate::run::{Cancel, Progress, World};

const NEED_DEADLINE: Duration = Duration::from_secs(30);
const NEED_EVERY: Duration = Duration::from_millis(20);
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// Name of the pseudo phase in which the target finishes what it accepted.
const QUIESCE: &str = "quiesce";

/// A fault that is in force.
struct InForce {
    phase: String,
    until: String,
    reference: FaultRef,
    fault: Fault,
    /// Nothing until it is proven.
    held: Held,
    lost: bool,
}

pub struct Schedule<'a> {
    pub world: &'a Arc<World>,
    pub sender: &'a Arc<Sender>,
    pub ledger: &'a mut Ledger,
    pub cancel: Cancel,
    pub episode: u32,
    pub drill: &'a Drill,
    pub pace: Pace,
    in_force: Vec<InForce>,
}

impl<'a> Schedule<'a> {
    pub fn new(
        world: &'a Arc<World>,
        sender: &'a Arc<Sender>,
        ledger: &'a mut Ledger,
        cancel: Cancel,
        (episode, drill, pace): (u32, &'a Drill, Pace),
    ) -> Self {
        Self {
            world,
            sender,
            ledger,
            cancel,
            episode,
            drill,
            pace,
            in_force: Vec::new(),
        }
    }

    /// Runs the whole drill. On any error, all faults in force are healed first.
    pub async fn run(mut self) -> Result<(), RunError> {
        let outcome = self.phases().await;
        let left: Vec<String> = self.in_force.iter().map(|f| f.until.clone()).collect();
        for until in left {
            self.heal_due(&until).await;
        }
        self.set_stage(QUIESCE, 0.0);
        if outcome.is_ok() {
            self.quiesce().await;
        }
        outcome
    }

    async fn phases(&mut self) -> Result<(), RunError> {
        self.set_stage("needs", self.rate(None));
        if let Some(mode) = &self.drill.needs.mode {
            need_mode(self.world, &self.cancel, mode).await?;
        }
        let seen = prometheus::ready(self.world);
        let seen = self.cancel.clone().guard(seen).await?;
        seen.map_err(RunError::Need)?;
        let actor = Actor::new(self.world.clone(), self.sender.clone());
        self.world.tally.restart(self.world.recorder.clock.now_ns());
        let mut calm = true;
        for phase in &self.drill.phases {
            calm &= !phase.touches();
            self.phase(phase, &actor).await?;
            // While its load is still on: in a later phase without load nothing more would come.
            if calm && self.rate(Some(phase)) > 0.0 {
                self.need_counts().await?;
            }
        }
        Ok(())
    }

    fn rate(&self, phase: Option<&Phase>) -> f64 {
        let own = phase.and_then(|p| p.load);
        own.or(self.drill.load).map_or(0.0, |l| l.signals_per_s)
    }

    fn set_stage(&self, phase: &str, signals_per_s: f64) {
        self.sender.stage.send_replace(Stage {
            episode: self.episode,
            phase: phase.to_owned(),
            signals_per_s,
        });
    }

    async fn edge(
        &self,
        phase: &str,
        fault: Option<&FaultRef>,
        kind: EdgeKind,
        at_ns: u64,
        proof: Option<String>,
    ) {
        self.world
            .recorder
            .edge(self.episode, phase, fault, kind, at_ns, proof)
            .await;
    }

    async fn phase(&mut self, phase: &Phase, actor: &Actor) -> Result<(), RunError> {
        let clock = self.world.recorder.clock;
        (self.world.progress)(Progress::Phase {
            drill: &self.drill.name,
            phase: &phase.id,
            hold: phase.hold.at(self.pace),
        });
        self.set_stage(&phase.id, self.rate(Some(phase)));
        self.edge(&phase.id, None, EdgeKind::Requested, clock.now_ns(), None)
            .await;
        let mut proven_ns = clock.now_ns();
        for act in &phase.acts {
            let acting = actor.act(act);
            proven_ns = self.cancel.clone().guard(acting).await??;
        }
        for (index, fault) in phase.faults.iter().enumerate() {
            proven_ns = self.inject(phase, index, fault).await?;
        }
        self.edge(&phase.id, None, EdgeKind::Proven, proven_ns, None)
            .await;
        self.hold(proven_ns + ns(phase.hold.at(self.pace))).await?;
        if phase.until == phase.id && phase.faults.is_empty() {
            let now = clock.now_ns();
            self.edge(&phase.id, None, EdgeKind::HealRequested, now, None)
                .await;
            self.edge(&phase.id, None, EdgeKind::Healed, now, None)
                .await;
        }
        match self.heal_due(&phase.id).await {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn note(&mut self, f: &InForceRef<'_>, state: &str) -> Result<(), RunError> {
        self.ledger.write(&Entry {
            run: &self.world.run_id,
            episode: self.episode,
            phase: f.phase,
            index: f.reference.index,
            kind: &f.reference.kind,
            target: &f.reference.target,
            state,
            undo: &faults::undo(f.fault),
        })
    }

    async fn inject(
        &mut self,
        phase: &Phase,
        index: usize,
        fault: &Fault,
    ) -> Result<u64, RunError> {
        let reference = FaultRef {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            kind: fault.kind.name().to_owned(),
            target: fault.target.clone(),
        };
        let entry = InForceRef {
            phase: &phase.id,
            reference: &reference,
            fault,
        };
        let drawn = self.await_moment(phase, &reference, fault).await?;
        self.note(&entry, "injecting")?;
        self.in_force.push(InForce {
            phase: phase.id.clone(),
            until: phase.until.clone(),
            reference: reference.clone(),
            fault: fault.clone(),
            held: Held::Nothing,
            lost: false,
        });
        let now = self.world.recorder.clock.now_ns();
        self.edge(&phase.id, Some(&reference), EdgeKind::Requested, now, None)
            .await;
        match faults::inject(self.world, fault).await {
            Ok(faults::InForce { proof, held }) => {
                if let Some(f) = self.in_force.last_mut() {
                    f.held = held;
                }
                let text = Some(format!("{}{drawn}", proof.text));
                let at_ns = proof.at_ns;
                self.edge(&phase.id, Some(&reference), EdgeKind::Proven, at_ns, text)
                    .await;
                Ok(at_ns)
            }
            Err(why) => {
                let why = self.world.recorder.clean(&why);
                if let Some(f) = self.in_force.last_mut() {
                    f.lost = true;
                }
                self.lost(&phase.id, &reference, &why).await;
                Err(RunError::Fault {
                    kind: reference.kind,
                    target: reference.target,
                    phase: phase.id.clone(),
                    why,
                })
            }
        }
    }

    /// Waits for a fault's random moment, and says which one it was.
    async fn await_moment(
        &mut self,
        phase: &Phase,
        reference: &FaultRef,
        fault: &Fault,
    ) -> Result<String, RunError> {
        let Some(between) = fault.between else {
            return Ok(String::new());
        };
        let seed = self.world.seed;
        let what = format!("{}/{}/{}", self.episode, phase.id, reference.index);
        let after = moment(seed, &what, between);
        self.hold(self.world.recorder.clock.now_ns() + ns(after))
            .await?;
        let ms = after.as_millis();
        Ok(format!(
            "; {ms} ms after the phase's acts, drawn from seed {seed}"
        ))
    }

    /// Holds until that moment, looking again and again whether the faults are still there.
    async fn hold(&mut self, until_ns: u64) -> Result<(), RunError> {
        let clock = self.world.recorder.clock;
        loop {
            let now = clock.now_ns();
            if now >= until_ns {
                return Ok(());
            }
            let next = until_ns.min(now + ns(WATCH_EVERY));
            self.cancel.clone().guard(clock.sleep_until(next)).await?;
            if self.world.recorder.is_lost() {
                return Err(RunError::JournalLost);
            }
            self.watch().await;
        }
    }

    async fn watch(&mut self) {
        for index in 0..self.in_force.len() {
            let f = &self.in_force[index];
            if f.lost {
                continue;
            }
            if let Err(why) = faults::still_there(self.world, &f.fault, &f.held).await {
                self.lost(&f.phase, &f.reference, &why).await;
                self.in_force[index].lost = true;
            }
        }
    }

    async fn lost(&self, phase: &str, fault: &FaultRef, why: &str) {
        let now = self.world.recorder.clock.now_ns();
        let why = self.world.recorder.clean(why);
        self.edge(phase, Some(fault), EdgeKind::Lost, now, Some(why))
            .await;
    }

    /// Heals, in reverse order, the faults that end with this phase. The first error is returned
    /// after all of them were tried.
    async fn heal_due(&mut self, ending: &str) -> Option<RunError> {
        let clock = self.world.recorder.clock;
        let mut due: Vec<InForce> = Vec::new();
        let all = std::mem::take(&mut self.in_force);
        for f in all {
            match f.until == ending {
                true => due.push(f),
                false => self.in_force.push(f),
            }
        }
        let mut first_error = None;
        let phases: Vec<String> = due.iter().map(|f| f.phase.clone()).collect();
        for phase in unique(&phases) {
            self.edge(phase, None, EdgeKind::HealRequested, clock.now_ns(), None)
                .await;
        }
        for f in due.iter().rev() {
            let now = clock.now_ns();
            self.edge(
                &f.phase,
                Some(&f.reference),
                EdgeKind::HealRequested,
                now,
                None,
            )
            .await;
            match faults::heal(self.world, &f.fault, &f.held).await {
                Ok(faults::Healing { proof, loss, felt }) => {
                    let mut text = proof.text;
                    if let Some(why) = loss {
                        text = format!("{text}; {}", self.world.recorder.clean(&why));
                        if !f.lost {
                            self.lost(&f.phase, &f.reference, &why).await;
                        }
                    }
                    let healed = Edge {
                        episode: self.episode,
                        phase: f.phase.clone(),
                        fault: Some(f.reference.clone()),
                        kind: EdgeKind::Healed,
                        at_ns: proof.at_ns,
                        proof: Some(text),
                        felt,
                    };
                    self.world.recorder.record(Event::Edge(healed)).await;
                    let entry = InForceRef {
                        phase: &f.phase,
                        reference: &f.reference,
                        fault: &f.fault,
                    };
                    first_error = first_error.or(self.note(&entry, "healed").err());
                }
                Err(why) => {
                    first_error = first_error.or(Some(RunError::Fault {
                        kind: f.reference.kind.clone(),
                        target: f.reference.target.clone(),
                        phase: f.phase.clone(),
                        why: format!("healing: {}", self.world.recorder.clean(&why)),
                    }));
                }
            }
        }
        if first_error.is_none() {
            for phase in unique(&phases) {
                self.edge(phase, None, EdgeKind::Healed, clock.now_ns(), None)
                    .await;
            }
        }
        first_error
    }

    /// Waits, at the end of a calm phase before the system is touched for the first time, until it has taken and sent what the drill
    /// needs: a slow machine makes the calm part longer instead of the drill worthless.
    async fn need_counts(&self) -> Result<(), RunError> {
        let needs = &self.drill.needs;
        let accepted = needs.accepted.unwrap_or(0);
        let executing = needs.executing.unwrap_or(0);
        let started = tokio::time::Instant::now();
        loop {
            let seen = self.world.tally.counts();
            if seen.0 >= accepted && seen.1 >= executing {
                return Ok(());
            }
            if started.elapsed() > NEED_DEADLINE {
                return Err(RunError::Need(format!(
                    "{accepted} accepted signals and {executing} first sends before the first fault: {} and {} were seen by {} s after its time",
                    seen.0,
                    seen.1,
                    NEED_DEADLINE.as_secs()
                )));
            }
            let pause = tokio::time::sleep(NEED_EVERY);
            self.cancel.clone().guard(pause).await?;
        }
    }

    async fn quiesce(&self) {
        let clock = self.world.recorder.clock;
        for kind in [EdgeKind::Requested, EdgeKind::Proven] {
            self.edge(QUIESCE, None, kind, clock.now_ns(), None).await;
        }
        let quiet = collect::quiesce(self.world, self.drill.quiesce).await;
        let proof = match quiet {
            Ok(()) => "nothing is left to do".to_owned(),
            Err(why) => self.world.recorder.clean(&why),
        };
        for kind in [EdgeKind::HealRequested, EdgeKind::Healed] {
            self.edge(QUIESCE, None, kind, clock.now_ns(), Some(proof.clone()))
                .await;
        }
    }
}

/// A moment between two times, the same for the same seed and the same place in the run.
fn moment(seed: u64, what: &str, (from, to): (Duration, Duration)) -> Duration {
    let digest: [u8; 32] = Sha256::digest(format!("{seed}/{what}").as_bytes()).into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    let width = ns(to.saturating_sub(from)).max(1);
    from + Duration::from_nanos(u64::from_le_bytes(first) % width)
}

/// The parts of a fault in force that the ledger needs.
struct InForceRef<'a> {
    phase: &'a str,
    reference: &'a FaultRef,
    fault: &'a Fault,
}

fn unique(phases: &[String]) -> Vec<&str> {
    let mut seen: Vec<&str> = Vec::new();
    for phase in phases {
        if !seen.contains(&phase.as_str()) {
            seen.push(phase);
        }
    }
    seen
}

/// Waits until every service of the target's mode probe shows that mode, and records what was seen.
pub async fn need_mode(world: &Arc<World>, cancel: &Cancel, wanted: &str) -> Result<(), RunError> {
    let Some(probe) = &world.target.mode else {
        return Ok(());
    };
    let started = tokio::time::Instant::now();
    let waiting = wait_for_mode(world, probe, wanted, started);
    let observed = cancel.clone().guard(waiting).await?;
    let recorder = &world.recorder;
    let text = match &observed {
        Ok(()) => wanted.to_owned(),
        Err(seen) => seen.clone(),
    };
    let keys = [
        ("need", json!("mode")),
        ("held", json!(observed.is_ok())),
        ("observed", json!(recorder.clean(&text))),
    ];
    recorder
        .fact(FactSource::Act, "need", recorder.clock.now_ns(), keys)
        .await;
    observed.map_err(|seen| {
        RunError::Need(format!(
            "mode {wanted}: not within {} s: {seen}",
            NEED_DEADLINE.as_secs()
        ))
    })
}

async fn wait_for_mode(
    world: &Arc<World>,
    probe: &firedrill_plan::ModeProbe,
    wanted: &str,
    started: tokio::time::Instant,
) -> Result<(), String> {
    loop {
        let mut seen = Vec::new();
        for service in &probe.services {
            seen.push((
                service,
                world.json_at(service, &probe.path, &probe.pointer).await,
            ));
        }
        if seen.iter().all(|(_, v)| v.as_deref() == Ok(wanted)) {
            return Ok(());
        }
        if started.elapsed() > NEED_DEADLINE {
            let words = seen.iter().map(|(s, v)| match v {
                Ok(mode) => format!("{s} shows {mode}"),
                Err(why) => format!("{s}: {why}"),
            });
            return Err(words.collect::<Vec<_>>().join(", "));
        }
        tokio::time::sleep(NEED_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_repeat_with_the_seed_and_spread_within_their_bounds() {
        let between = (Duration::from_millis(500), Duration::from_secs(2));
        let draw = |seed, what: &str| moment(seed, what, between);
        assert_eq!(draw(7, "0/kill-1/0"), draw(7, "0/kill-1/0"));
        assert_ne!(draw(7, "0/kill-1/0"), draw(8, "0/kill-1/0"));
        let all: Vec<Duration> = (0..200).map(|seed| draw(seed, "0/kill-1/0")).collect();
        assert!(all.iter().all(|at| *at >= between.0 && *at < between.1));
        let early = all
            .iter()
            .filter(|at| **at < Duration::from_millis(1250))
            .count();
        assert!(
            (70..130).contains(&early),
            "{early} of 200 in the first half"
        );
    }
}
