//! Faults: inject, prove, watch, heal, prove the healing.
//!
//! A proof never comes from the call that injected: it is another look at the world.

use std::sync::Arc;
use std::time::Duration;

use firedrill_plan::{Fault, FaultKind, Role};
use serde_json::json;

use crate::network;
use crate::probes::redis_get;
use crate::run::World;

/// How long a fault or its healing may take to show.
const PROOF_DEADLINE: Duration = Duration::from_secs(5);
const PROOF_EVERY: Duration = Duration::from_millis(1);
/// A PING that takes longer than this finds a server that doesn't answer.
const PING_DEADLINE: Duration = Duration::from_millis(50);
const CALL_DEADLINE: Duration = Duration::from_secs(2);
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// What was seen, and when it is known to have been in force.
pub struct Proof {
    pub at_ns: u64,
    pub text: String,
}

/// How the fault is undone, for the ledger.
pub fn undo(fault: &Fault) -> String {
    match &fault.kind {
        FaultKind::Pause => "unpause".to_owned(),
        FaultKind::Kill | FaultKind::Stop => "start".to_owned(),
        FaultKind::Restart => "none".to_owned(),
        FaultKind::Disconnect => "connect".to_owned(),
        FaultKind::RedisSet { key, heal, .. } => format!("set {key} to {heal}"),
        other => format!("remove the toxic {}", other.name()),
    }
}

/// A fault that was injected and proven, with what tells it from another one in its place.
pub struct InForce {
    pub proof: Proof,
    pub held: Held,
}

/// What was seen of a fault when it was proven.
#[derive(Clone, Debug)]
pub enum Held {
    Nothing,
    /// When the container had been started.
    Container {
        started_at: String,
    },
    /// How many connections of its own proof went through it.
    Toxic {
        own: u64,
    },
}

/// What undoing a fault came to.
pub struct Healing {
    pub proof: Proof,
    /// Why the fault was not there up to its healing, or the system is not as it was.
    pub loss: Option<String>,
    /// Whether anything of the target met the fault; nothing where that can't be counted.
    pub felt: Option<bool>,
}

impl Healing {
    /// Of a fault that was there up to its healing, and of a kind that counts nothing.
    fn whole(proof: Proof) -> Self {
        Healing {
            proof,
            loss: None,
            felt: None,
        }
    }
}

/// Injects the fault and proves it.
pub async fn inject(world: &Arc<World>, fault: &Fault) -> Result<InForce, String> {
    let stack = &world.stack;
    let target = fault.target.as_str();
    not_yet(world, fault).await?;
    let proof = match &fault.kind {
        FaultKind::Pause => {
            stack.pause(target).await.map_err(words)?;
            prove(world, "it is frozen", || frozen(world, target, true)).await?
        }
        FaultKind::Kill => {
            stack.kill(target, "SIGKILL").await.map_err(words)?;
            prove(world, "it was killed", || killed(world, target)).await?
        }
        FaultKind::Stop => {
            stack.stop(target, STOP_GRACE).await.map_err(words)?;
            prove(world, "it is not running", || running(world, target, false)).await?
        }
        FaultKind::Restart => restart(world, target).await?,
        FaultKind::Disconnect => {
            stack.disconnect(target).await.map_err(words)?;
            let off = || attached(world, target, false);
            prove(world, "it is off the network", off).await?
        }
        FaultKind::RedisSet { key, value, .. } => redis_set(world, target, key, value).await?,
        _ => {
            let (proof, own) = network::inject(world, fault).await?;
            let held = Held::Toxic { own };
            return Ok(InForce { proof, held });
        }
    };
    let held = match &fault.kind {
        FaultKind::RedisSet { .. } => Held::Nothing,
        _ => Held::Container {
            started_at: stack.inspect(target).await.map_err(words)?.started_at,
        },
    };
    Ok(InForce { proof, held })
}

/// What is broken already can't be broken: its state afterwards would prove nothing.
async fn not_yet(world: &World, fault: &Fault) -> Result<(), String> {
    let target = fault.target.as_str();
    let already = match &fault.kind {
        FaultKind::Pause
        | FaultKind::Kill
        | FaultKind::Stop
        | FaultKind::Restart
        | FaultKind::Disconnect => {
            let state = world.stack.inspect(target).await.map_err(words)?;
            let connected = world.stack.is_connected(target).await.map_err(words)?;
            match &fault.kind {
                _ if !state.running => Some("does not run"),
                FaultKind::Pause if state.paused => Some("is paused"),
                FaultKind::Disconnect if !connected => Some("is off the network"),
                _ => None,
            }
        }
        FaultKind::RedisSet { key, value, .. } => {
            let found = redis_get(world, target, key, CALL_DEADLINE).await?;
            (found.as_ref() == Some(value)).then_some("holds that very value")
        }
        _ => None,
    };
    match already {
        Some(what) => Err(format!("{target} {what} already, by another hand")),
        None => Ok(()),
    }
}

/// Undoes the fault and proves that it is undone.
pub async fn heal(world: &Arc<World>, fault: &Fault, held: &Held) -> Result<Healing, String> {
    let stack = &world.stack;
    let target = fault.target.as_str();
    let proof = match &fault.kind {
        FaultKind::Pause => return unpause(world, target).await,
        FaultKind::Kill | FaultKind::Stop => {
            stack.start(target).await.map_err(words)?;
            healthy(world, target).await?
        }
        FaultKind::Restart => healthy(world, target).await?,
        FaultKind::Disconnect => {
            stack.connect(target).await.map_err(words)?;
            let on = || attached(world, target, true);
            let proof = prove(world, "it is on the network", on).await?;
            answers(world, target).await?;
            proof
        }
        FaultKind::RedisSet { key, heal, .. } => redis_swap(world, target, key, heal).await?,
        _ => {
            let own = match held {
                Held::Toxic { own } => *own,
                _ => 0,
            };
            return network::heal(world, fault, own).await;
        }
    };
    Ok(Healing::whole(proof))
}

/// What can't be unpaused is killed and started anew: the system is whole again, but not the one
/// that was paused.
async fn unpause(world: &Arc<World>, target: &str) -> Result<Healing, String> {
    let gently = async {
        world.stack.unpause(target).await.map_err(words)?;
        let thawed = || frozen(world, target, false);
        let proof = prove(world, "it is no longer frozen", thawed).await?;
        answers(world, target).await?;
        Ok::<_, String>(proof)
    };
    let why = match gently.await {
        Ok(proof) => return Ok(Healing::whole(proof)),
        Err(why) => why,
    };
    let harder = async {
        world.stack.kill(target, "SIGKILL").await.map_err(words)?;
        world.stack.start(target).await.map_err(words)?;
        healthy(world, target).await
    };
    let proof = world
        .by_force(target, harder)
        .await
        .map_err(|harder| format!("{why}; killing and starting it: {harder}"))?;
    let loss = Some(format!("{why}; {target} was killed and started anew"));
    Ok(Healing {
        loss,
        ..Healing::whole(proof)
    })
}

fn words(error: firedrill_stack::StackError) -> String {
    error.to_string()
}

/// Whether the fault is still in force, and still the same one; an error says how its loss was seen.
pub async fn still_there(world: &World, fault: &Fault, held: &Held) -> Result<(), String> {
    let target = fault.target.as_str();
    // The fault first, the container afterwards: what was started in between the two looks is told by the second one.
    let seen = in_force(world, fault).await;
    if let Held::Container { started_at } = held {
        let state = world.stack.inspect(target).await.map_err(words)?;
        if state.started_at != *started_at {
            return Err(format!("{target} was started anew by another hand"));
        }
        if !state.running && matches!(fault.kind, FaultKind::Pause | FaultKind::Disconnect) {
            return Err(format!("{target} ended, exit code {}", state.exit_code));
        }
    }
    match seen? {
        true => Ok(()),
        false => Err(format!(
            "{} is no longer in force on {target}",
            fault.kind.name()
        )),
    }
}

async fn in_force(world: &World, fault: &Fault) -> Result<bool, String> {
    let target = fault.target.as_str();
    let seen = match &fault.kind {
        FaultKind::Pause => frozen(world, target, true).await?,
        FaultKind::Kill | FaultKind::Stop => running(world, target, false).await?,
        FaultKind::Disconnect => attached(world, target, false).await?,
        // The drill's own acts and the target itself may write the key too: only its absence is a loss.
        FaultKind::RedisSet { key, .. } => redis_get(world, target, key, CALL_DEADLINE).await?,
        // A restart is over as soon as it has happened.
        FaultKind::Restart => return Ok(true),
        _ => return network::still_there(world, fault).await.map(|()| true),
    };
    Ok(seen.is_some())
}

pub async fn restart(world: &Arc<World>, service: &str) -> Result<Proof, String> {
    let before = world
        .stack
        .inspect(service)
        .await
        .map_err(|e| e.to_string())?;
    world
        .stack
        .restart(service, STOP_GRACE)
        .await
        .map_err(|e| e.to_string())?;
    let after = world
        .stack
        .inspect(service)
        .await
        .map_err(|e| e.to_string())?;
    if before.started_at == after.started_at {
        return Err(format!(
            "{service} was not restarted: it has been running since before"
        ));
    }
    let mut proof = healthy(world, service).await?;
    proof.text = format!("started anew, {}", proof.text);
    Ok(proof)
}

pub async fn healthy(world: &Arc<World>, service: &str) -> Result<Proof, String> {
    let deadline = world.target.ready_within;
    world
        .stack
        .healthy(service, deadline)
        .await
        .map_err(|e| e.to_string())?;
    Ok(Proof {
        at_ns: world.recorder.clock.now_ns(),
        text: format!("{service} is healthy"),
    })
}

/// Looks until the condition shows. `Ok(Some(how))` is a proof, `Ok(None)` is not yet.
async fn prove<F, R>(world: &Arc<World>, what: &str, look: F) -> Result<Proof, String>
where
    F: Fn() -> R,
    R: Future<Output = Result<Option<String>, String>>,
{
    let started = tokio::time::Instant::now();
    loop {
        if let Some(text) = look().await? {
            let at_ns = world.recorder.clock.now_ns();
            return Ok(Proof { at_ns, text });
        }
        if started.elapsed() > PROOF_DEADLINE {
            return Err(format!(
                "no proof within {} s that {what}",
                PROOF_DEADLINE.as_secs()
            ));
        }
        tokio::time::sleep(PROOF_EVERY).await;
    }
}

/// The freezer where it can be read; otherwise whether the server answers at all.
async fn frozen(world: &World, service: &str, wanted: bool) -> Result<Option<String>, String> {
    let how = match world
        .stack
        .is_frozen(service)
        .await
        .map_err(|e| e.to_string())?
    {
        Some(frozen) if frozen == wanted => Some(format!("cgroup freezer: frozen = {frozen}")),
        Some(_) => None,
        None => {
            let answers = ping(world, service).await?;
            (answers != wanted).then(|| format!("PING within 50 ms answered: {answers}"))
        }
    };
    Ok(how)
}

/// After healing, a server of a known protocol must answer again.
async fn answers(world: &World, service: &str) -> Result<(), String> {
    let role = world.target.service(service).map(|s| s.role);
    if role != Some(Role::Redis) {
        return Ok(());
    }
    let started = tokio::time::Instant::now();
    while started.elapsed() < PROOF_DEADLINE {
        if ping(world, service).await? {
            return Ok(());
        }
    }
    Err(format!(
        "{service} does not answer {} s after it was unpaused",
        PROOF_DEADLINE.as_secs()
    ))
}

async fn ping(world: &World, service: &str) -> Result<bool, String> {
    if world.target.service(service).map(|s| s.role) != Some(Role::Redis) {
        return Err(format!(
            "no way to see from outside whether {service} is frozen"
        ));
    }
    let exchange = async {
        let mut connection = world.redis(service, PING_DEADLINE).await.ok()?;
        redis::cmd("PING")
            .query_async::<String>(&mut connection)
            .await
            .ok()
    };
    let answer = tokio::time::timeout(PING_DEADLINE, exchange).await;
    Ok(matches!(answer, Ok(Some(_))))
}

async fn running(world: &World, service: &str, wanted: bool) -> Result<Option<String>, String> {
    let state = world
        .stack
        .inspect(service)
        .await
        .map_err(|e| e.to_string())?;
    Ok((state.running == wanted).then(|| {
        format!(
            "engine: running = {}, exit code {:?}",
            state.running, state.exit_code
        )
    }))
}

/// Not running, and by SIGKILL: a service that ended by itself a moment before was not killed.
async fn killed(world: &World, service: &str) -> Result<Option<String>, String> {
    const BY_SIGKILL: i64 = 137;
    let state = world.stack.inspect(service).await;
    let state = state.map_err(|e| e.to_string())?;
    match (state.running, state.exit_code) {
        (true, _) => Ok(None),
        (false, BY_SIGKILL) => Ok(Some(format!(
            "engine: running = false, exit code {BY_SIGKILL}"
        ))),
        (false, code) => Err(format!("{service} ended with exit code {code}, not killed")),
    }
}

async fn attached(world: &World, service: &str, wanted: bool) -> Result<Option<String>, String> {
    let on_network = world
        .stack
        .is_connected(service)
        .await
        .map_err(|e| e.to_string())?;
    Ok((on_network == wanted).then(|| format!("engine: on the run's network = {on_network}")))
}

/// Writes the key. It is in force from the moment of the acknowledgement, which the read-back of
/// another connection then proves.
pub async fn redis_set(
    world: &Arc<World>,
    service: &str,
    key: &str,
    value: &str,
) -> Result<Proof, String> {
    let mut connection = world.redis(service, CALL_DEADLINE).await?;
    let call = redis::cmd("SET").arg(key).arg(value).to_owned();
    let set = tokio::time::timeout(CALL_DEADLINE, call.query_async::<()>(&mut connection));
    set.await
        .map_err(|_| "deadline: the SET may or may not have happened".to_owned())?
        .map_err(|e| format!("redis: {e}"))?;
    let at_ns = world.recorder.clock.now_ns();
    let back = redis_get(world, service, key, CALL_DEADLINE).await?;
    // The target may merge its record into the key at once; then the bytes differ, but not ours alone.
    match back {
        None => Err(format!("{key} is not there after the SET was acknowledged")),
        Some(back) => Ok(Proof {
            at_ns,
            text: format!(
                "SET acknowledged, read back: {}",
                world.recorder.clean(&back)
            ),
        }),
    }
}

/// Sets the key to the explicit value, by compare-and-set on what was just read, so that a write of
/// somebody else in between is not lost unseen.
async fn redis_swap(
    world: &Arc<World>,
    service: &str,
    key: &str,
    to: &str,
) -> Result<Proof, String> {
    // A key that isn't there reads as false, and as an empty text here.
    const SWAP: &str = "if (redis.call('GET', KEYS[1]) or '') == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) return 1 else return 0 end";
    let started = tokio::time::Instant::now();
    while started.elapsed() < PROOF_DEADLINE {
        let found = redis_get(world, service, key, CALL_DEADLINE)
            .await?
            .unwrap_or_default();
        let mut connection = world.redis(service, CALL_DEADLINE).await?;
        let call = redis::cmd("EVAL")
            .arg(SWAP)
            .arg(1)
            .arg(key)
            .arg(&found)
            .arg(to)
            .to_owned();
        let swapped = tokio::time::timeout(CALL_DEADLINE, call.query_async::<i64>(&mut connection))
            .await
            .map_err(|_| "deadline: the write may or may not have happened".to_owned())?
            .map_err(|e| format!("redis: {e}"))?;
        if swapped == 1 {
            let at_ns = world.recorder.clock.now_ns();
            let text = format!("was {}, now {to}", world.recorder.clean(&found));
            return Ok(Proof { at_ns, text });
        }
    }
    Err(format!(
        "{key} is rewritten faster than it can be healed: {}",
        json!(to)
    ))
}
