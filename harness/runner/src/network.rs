//! Network faults: toxics on a route of the fault proxy, proven by a round trip of our own through
//! the same route.
//!
//! The proxy is found by its role; a route is named after the service behind it, and the proxy
//! publishes the route's port under that name. The client library of the proxy's API doesn't look
//! at HTTP status codes, so nothing it says counts: every change is read back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use firedrill_plan::{Fault, FaultKind, Role};
use serde_json::{Value, json};

use crate::faults::{Healing, Proof};
use crate::load::describe;
use crate::run::World;

const CALL_DEADLINE: Duration = Duration::from_secs(2);
/// A round trip that has no answer by then, on top of what the fault itself delays it, finds a route
/// that swallows.
const SILENCE: Duration = Duration::from_millis(1_000);
const PROOF_DEADLINE: Duration = Duration::from_secs(5);
const PROOF_EVERY: Duration = Duration::from_millis(5);

/// Where the proxy is: its API, and the published end of the route.
struct Route {
    api: SocketAddr,
    port: SocketAddr,
    name: String,
}

/// What became of one round trip through the route.
#[derive(Debug)]
enum Trip {
    Answered {
        status: u16,
        took: Duration,
    },
    /// Refused, reset or cut.
    Cut(String),
    /// No answer within that time.
    Silence(Duration),
}

impl Trip {
    fn words(&self) -> String {
        match self {
            Trip::Answered { status, took } => {
                format!("answered {status} after {} ms", took.as_millis())
            }
            Trip::Cut(why) => format!("cut: {why}"),
            Trip::Silence(after) => format!("no answer within {} ms", after.as_millis()),
        }
    }
}

fn proxy(world: &World) -> Result<&str, String> {
    let proxy = world.target.services.iter().find(|s| s.role == Role::Proxy);
    let proxy = proxy.ok_or("the target has no service of role proxy for network faults")?;
    Ok(&proxy.name)
}

fn route(world: &World, target: &str) -> Result<Route, String> {
    let proxy = proxy(world)?;
    let addr = |port: &str| world.stack.addr(proxy, port).map_err(|e| e.to_string());
    Ok(Route {
        api: addr("main")?,
        port: addr(target)?,
        name: target.to_owned(),
    })
}

/// The toxic that a fault of this kind is, as it must be read back.
struct Toxic {
    name: String,
    kind: &'static str,
    attributes: Value,
}

/// `None` for what is no toxic but the route's switch.
fn toxic(kind: &FaultKind) -> Option<Toxic> {
    let (kind, attributes) = match kind {
        FaultKind::Latency { latency, jitter } => (
            "latency",
            json!({"latency": ms(*latency), "jitter": ms(*jitter)}),
        ),
        FaultKind::Bandwidth { bytes_per_s } => {
            ("bandwidth", json!({"rate": kilobytes(*bytes_per_s)}))
        }
        FaultKind::Timeout => ("timeout", json!({"timeout": 0})),
        FaultKind::LimitData { bytes } => ("limit_data", json!({"bytes": whole(*bytes)})),
        FaultKind::ResetPeer => ("reset_peer", json!({"timeout": 0})),
        FaultKind::HttpError { .. } => ("http_error", http_error(kind)),
        _ => return None,
    };
    Some(Toxic {
        name: format!("{kind}_downstream"),
        kind,
        attributes,
    })
}

fn ms(d: Duration) -> u32 {
    u32::try_from(d.as_millis()).unwrap_or(u32::MAX)
}

fn whole(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The proxy counts in thousands of bytes.
fn kilobytes(bytes: u64) -> u32 {
    whole(bytes.div_ceil(1000))
}

impl Toxic {
    /// Whether what the proxy shows is this toxic: an older one of the same name, one that works on
    /// the other direction, and one that takes hold of no connection are all called the same.
    fn is(&self, found: &Value) -> Result<(), String> {
        let differs = |what: &str, wanted: &Value, found: &Value| {
            Err(format!(
                "the toxic {} is not the one that was asked for: {what} is {found} instead of {wanted}",
                self.name
            ))
        };
        let wanted = self.attributes.as_object();
        for (key, wanted) in wanted.into_iter().flatten() {
            let found = &found["attributes"][key];
            if found != wanted {
                return differs(key, wanted, found);
            }
        }
        for (key, wanted) in [("type", json!(self.kind)), ("stream", json!("downstream"))] {
            if found[key] != wanted {
                return differs(key, &wanted, &found[key]);
            }
        }
        match found["toxicity"].as_f64() == Some(1.0) {
            true => Ok(()),
            false => differs("toxicity", &json!(1), &found["toxicity"]),
        }
    }
}

/// Connections that the toxic took hold of; nothing where the proxy doesn't count (Toxiproxy's own server).
fn felt_by(toxic: &Value) -> Option<u64> {
    toxic["touched_connections"].as_u64()
}

pub async fn inject(world: &Arc<World>, fault: &Fault) -> Result<(Proof, u64), String> {
    let route = route(world, &fault.target)?;
    // The client library ignores the answer to what is there already, which would then pass for ours.
    if look(world, &route, &fault.kind).await?.is_some() {
        return Err(format!(
            "the route {} has it already, by another hand",
            route.name
        ));
    }
    match &fault.kind {
        FaultKind::ResetPeer | FaultKind::HttpError { .. } => {
            add(world, &route, &fault.kind).await?;
        }
        kind => by_client(&route, kind.clone(), true).await?,
    }
    let read_back = read_back(world, &route, &fault.kind).await?;
    let proof = prove(world, &route, &fault.kind, &read_back).await?;
    // The proof's round trip was one connection; all others are the target's.
    let after = self::read_back(world, &route, &fault.kind).await?;
    let own = felt_by(&after).unwrap_or(0).min(1);
    Ok((proof, own))
}

/// Undoes the fault; `own` connections through it were of its proof, and any other one of the target. A
/// toxic that has vanished was no fault; a proxy that doesn't undo it in time is restarted, which undoes all.
pub async fn heal(world: &Arc<World>, fault: &Fault, own: u64) -> Result<Healing, String> {
    let undone = async {
        let route = route(world, &fault.target)?;
        let undone = undo(world, &route, &fault.kind, own).await?;
        Ok::<_, String>((passes(world, &route).await?, undone))
    };
    match undone.await {
        Ok((proof, Undone { loss, felt })) => Ok(Healing { proof, loss, felt }),
        Err(why) => {
            restart_proxy(world)
                .await
                .map_err(|harder| format!("{why}; restarting the fault proxy: {harder}"))?;
            let route = route(world, &fault.target)?;
            let proof = passes(world, &route).await?;
            let loss = Some(format!("{why}; the fault proxy was restarted"));
            let felt = None;
            Ok(Healing { proof, loss, felt })
        }
    }
}

/// What taking a toxic away showed.
#[derive(Default)]
struct Undone {
    /// Why there was no fault up to now, if there was none.
    loss: Option<String>,
    felt: Option<bool>,
}

/// Takes the toxic away.
async fn undo(world: &World, route: &Route, kind: &FaultKind, own: u64) -> Result<Undone, String> {
    let Some(toxic) = toxic(kind) else {
        by_client(route, kind.clone(), false).await?;
        return match look(world, route, kind).await? {
            None => Ok(Undone::default()),
            Some(_) => Err(format!("the route {} is still disabled", route.name)),
        };
    };
    let Some(found) = look(world, route, kind).await? else {
        let gone = format!("the toxic {} was gone before it was healed", toxic.name);
        return Ok(Undone {
            loss: Some(gone),
            felt: None,
        });
    };
    remove(world, route, &toxic.name).await?;
    if look(world, route, kind).await?.is_some() {
        return Err(format!("the toxic {} is still there", toxic.name));
    }
    Ok(Undone {
        loss: None,
        felt: felt_by(&found).map(|all| all > own),
    })
}

/// A round trip through the route that is answered as it should be.
async fn passes(world: &World, route: &Route) -> Result<Proof, String> {
    let started = tokio::time::Instant::now();
    loop {
        let trip = trip(world, route, None, SILENCE).await;
        if matches!(trip, Trip::Answered { status: 200, .. }) {
            let at_ns = world.recorder.clock.now_ns();
            let text = format!("a round trip through the route {}", trip.words());
            return Ok(Proof { at_ns, text });
        }
        if started.elapsed() > PROOF_DEADLINE {
            return Err(format!(
                "the route {} is still broken: {}",
                route.name,
                trip.words()
            ));
        }
        tokio::time::sleep(PROOF_EVERY).await;
    }
}

/// The harder way to undo everything: a proxy that hangs, even a frozen one, dies by SIGKILL and
/// comes back with its routes and without toxics.
async fn restart_proxy(world: &World) -> Result<(), String> {
    let name = proxy(world)?;
    let stack = &world.stack;
    let broken = |e: firedrill_stack::StackError| e.to_string();
    let anew = async {
        stack.kill(name, "SIGKILL").await.map_err(broken)?;
        stack.start(name).await.map_err(broken)?;
        let healthy = stack.healthy(name, PROOF_DEADLINE).await;
        healthy.map(|_| ()).map_err(broken)
    };
    world.by_force(name, anew).await
}

pub async fn still_there(world: &World, fault: &Fault) -> Result<(), String> {
    let route = route(world, &fault.target)?;
    read_back(world, &route, &fault.kind).await.map(|_| ())
}

/// The toxics that the customer's client library knows, and the switch. It is blocking and panics
/// where it can't connect, so it runs on a thread of its own, and a panic there is an error here.
async fn by_client(route: &Route, kind: FaultKind, inject: bool) -> Result<(), String> {
    let (api, name) = (route.api, route.name.clone());
    let work = move || -> Result<(), String> {
        let client = toxiproxy_rust::client::Client::new(api);
        let proxy = client.find_proxy(&name)?;
        let downstream = "downstream".to_owned();
        match kind {
            FaultKind::Latency { latency, jitter } => {
                proxy.with_latency(downstream, ms(latency), ms(jitter), 1.0);
            }
            FaultKind::Bandwidth { bytes_per_s } => {
                proxy.with_bandwidth(downstream, kilobytes(bytes_per_s), 1.0);
            }
            FaultKind::Timeout => {
                proxy.with_timeout(downstream, 0, 1.0);
            }
            FaultKind::LimitData { bytes } => {
                proxy.with_limit_data(downstream, whole(bytes), 1.0);
            }
            FaultKind::Down if inject => proxy.disable()?,
            FaultKind::Down => proxy.enable()?,
            other => return Err(format!("{} is not a toxic of the client", other.name())),
        }
        Ok(())
    };
    let joined = tokio::time::timeout(PROOF_DEADLINE, tokio::task::spawn_blocking(work)).await;
    joined
        .map_err(|_| "the fault proxy does not answer".to_owned())?
        .map_err(|_| "the fault proxy can't be reached".to_owned())?
}

fn http_error(kind: &FaultKind) -> Value {
    let FaultKind::HttpError {
        status,
        retry_after,
        methods,
        path,
        drop_response,
    } = kind
    else {
        return Value::Null;
    };
    let mut attributes = json!({"methods": methods, "drop_response": drop_response});
    if !drop_response {
        attributes["status"] = json!(status);
    }
    if let Some(after) = retry_after {
        attributes["retry_after_s"] = json!(after.as_secs());
    }
    if let Some(path) = path {
        attributes["path"] = json!(path);
    }
    attributes
}

async fn call(world: &World, request: reqwest::RequestBuilder) -> Result<Value, String> {
    let exchange = async {
        let response = request.send().await?;
        let status = response.status();
        Ok::<_, reqwest::Error>((status, response.text().await?))
    };
    let (status, text) = tokio::time::timeout(CALL_DEADLINE, exchange)
        .await
        .map_err(|_| "the fault proxy does not answer".to_owned())?
        .map_err(|e| format!("fault proxy: {}", describe(&e)))?;
    if !status.is_success() {
        return Err(format!(
            "fault proxy: {status}: {}",
            world.recorder.clean(&text)
        ));
    }
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}

async fn add(world: &World, route: &Route, kind: &FaultKind) -> Result<(), String> {
    let url = format!("http://{}/proxies/{}/toxics", route.api, route.name);
    let toxic = toxic(kind).ok_or_else(|| format!("{} is no toxic", kind.name()))?;
    let body = json!({"name": toxic.name, "type": toxic.kind, "attributes": toxic.attributes});
    call(world, world.http.post(url).json(&body))
        .await
        .map(|_| ())
}

async fn remove(world: &World, route: &Route, toxic: &str) -> Result<(), String> {
    let url = format!("http://{}/proxies/{}/toxics/{toxic}", route.api, route.name);
    call(world, world.http.delete(url)).await.map(|_| ())
}

/// The fault as the proxy itself describes it, if it is there.
async fn look(world: &World, route: &Route, kind: &FaultKind) -> Result<Option<Value>, String> {
    let url = format!("http://{}/proxies/{}", route.api, route.name);
    let proxy = call(world, world.http.get(url)).await?;
    let Some(toxic) = toxic(kind) else {
        return match proxy["enabled"].as_bool() {
            Some(enabled) => Ok((!enabled).then_some(proxy)),
            None => Err(format!(
                "the route {} does not say whether it is enabled",
                route.name
            )),
        };
    };
    let Some(toxics) = proxy["toxics"].as_array() else {
        return Err(format!("the route {} does not list its toxics", route.name));
    };
    Ok(toxics
        .iter()
        .find(|t| t["name"] == json!(toxic.name))
        .cloned())
}

/// The fault as the proxy itself describes it, which must be the one that was asked for.
async fn read_back(world: &World, route: &Route, kind: &FaultKind) -> Result<Value, String> {
    let found = look(world, route, kind).await?;
    let toxic = toxic(kind);
    match (found, toxic) {
        (None, None) => Err(format!("the route {} is not disabled", route.name)),
        (None, Some(toxic)) => Err(format!(
            "the route {} has no toxic {}",
            route.name, toxic.name
        )),
        (Some(found), None) => Ok(found),
        (Some(found), Some(toxic)) => toxic.is(&found).map(|()| found),
    }
}

async fn prove(
    world: &Arc<World>,
    route: &Route,
    kind: &FaultKind,
    toxic: &Value,
) -> Result<Proof, String> {
    let method = match kind {
        FaultKind::HttpError { methods, .. } => methods.first().map(String::as_str),
        _ => None,
    };
    let delay = match kind {
        FaultKind::Latency { latency, jitter } => *latency + *jitter,
        _ => Duration::ZERO,
    };
    let started = world.recorder.clock.now_ns();
    let trip = trip(world, route, method, delay + SILENCE).await;
    let shows = match (kind, &trip) {
        (FaultKind::Latency { latency, jitter }, Trip::Answered { took, .. }) => {
            *took >= latency.saturating_sub(*jitter)
        }
        (FaultKind::Timeout, Trip::Silence(_)) => true,
        (FaultKind::ResetPeer | FaultKind::Down, Trip::Cut(_)) => true,
        (
            FaultKind::HttpError {
                drop_response: true,
                ..
            },
            Trip::Cut(_),
        ) => true,
        (FaultKind::HttpError { status, .. }, Trip::Answered { status: got, .. }) => got == status,
        // A short answer may pass both of these whole: then the proof is that it went through the toxic.
        (FaultKind::LimitData { .. }, Trip::Cut(_)) => true,
        (FaultKind::Bandwidth { .. } | FaultKind::LimitData { .. }, Trip::Answered { .. }) => {
            let after = read_back(world, route, kind).await?;
            after["touched_bytes"].as_u64() > toxic["touched_bytes"].as_u64()
        }
        _ => false,
    };
    if !shows {
        return Err(format!(
            "{} doesn't show: a round trip through {} {}",
            kind.name(),
            route.name,
            trip.words()
        ));
    }
    let described = match kind {
        FaultKind::Down => format!("enabled = {}", toxic["enabled"]),
        _ => toxic["attributes"].to_string(),
    };
    // In force since the proxy confirmed it, which was before the round trip began.
    Ok(Proof {
        at_ns: started,
        text: format!(
            "round trip {}; read back: {}",
            trip.words(),
            world.recorder.clean(&described)
        ),
    })
}

/// One JSON-RPC request on a connection of its own. Without a method it asks for the chain's id,
/// which every Ethereum node answers; a fault's own method is asked for with no parameters, which a
/// node refuses without doing anything.
async fn trip(world: &World, route: &Route, method: Option<&str>, patience: Duration) -> Trip {
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": method.unwrap_or("eth_chainId"), "params": []});
    let clock = world.recorder.clock;
    let begun = clock.now_ns();
    let request = world
        .http
        .post(format!("http://{}/", route.port))
        .header("connection", "close")
        .json(&body);
    let exchange = async {
        let response = request.send().await?;
        let status = response.status().as_u16();
        response.bytes().await.map(|_| status)
    };
    match tokio::time::timeout(patience, exchange).await {
        Err(_) => Trip::Silence(patience),
        Ok(Err(error)) => Trip::Cut(describe(&error)),
        Ok(Ok(status)) => Trip::Answered {
            status,
            took: Duration::from_nanos(clock.now_ns().saturating_sub(begun)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toxic_is_known_by_all_that_was_asked_for() {
        let kind = FaultKind::Latency {
            latency: Duration::from_millis(300),
            jitter: Duration::ZERO,
        };
        let wanted = toxic(&kind).expect("latency is a toxic");
        let found = json!({
            "name": "latency_downstream", "type": "latency", "stream": "downstream", "toxicity": 1.0,
            "attributes": {"latency": 300, "jitter": 0}, "touched_connections": 3
        });
        assert_eq!(wanted.is(&found), Ok(()));
        for (key, other) in [
            ("stream", json!("upstream")),
            ("toxicity", json!(0.0)),
            ("type", json!("timeout")),
            ("attributes", json!({"latency": 30, "jitter": 0})),
            ("attributes", json!({})),
        ] {
            let mut other_one = found.clone();
            other_one[key] = other;
            assert!(wanted.is(&other_one).is_err(), "{key}");
        }
        assert!(toxic(&FaultKind::Down).is_none());
    }

    #[test]
    fn the_proxy_counts_in_thousands_of_bytes() {
        assert_eq!(kilobytes(2_000), 2);
        assert_eq!(kilobytes(2_001), 3);
        assert_eq!(kilobytes(1), 1);
    }
}
