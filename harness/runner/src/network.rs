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

use crate::faults::Proof;
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

fn route(world: &World, target: &str) -> Result<Route, String> {
    let proxy = world.target.services.iter().find(|s| s.role == Role::Proxy);
    let proxy = proxy.ok_or("the target has no service of role proxy for network faults")?;
    let addr = |port: &str| {
        world
            .stack
            .addr(&proxy.name, port)
            .map_err(|e| e.to_string())
    };
    Ok(Route {
        api: addr("main")?,
        port: addr(target)?,
        name: target.to_owned(),
    })
}

/// Name of the toxic that a fault of this kind is.
fn toxic_name(kind: &FaultKind) -> String {
    match kind {
        FaultKind::Latency { .. } => "latency_downstream".to_owned(),
        FaultKind::Bandwidth { .. } => "bandwidth_downstream".to_owned(),
        FaultKind::Timeout => "timeout_downstream".to_owned(),
        FaultKind::LimitData { .. } => "limit_data_downstream".to_owned(),
        other => format!("firedrill_{}", other.name()),
    }
}

pub async fn inject(world: &Arc<World>, fault: &Fault) -> Result<Proof, String> {
    let route = route(world, &fault.target)?;
    match &fault.kind {
        FaultKind::ResetPeer => {
            let toxic = json!({"name": toxic_name(&fault.kind), "type": "reset_peer", "attributes": {"timeout": 0}});
            add(world, &route, &toxic).await?;
        }
        FaultKind::HttpError { .. } => add(world, &route, &http_error(&fault.kind)).await?,
        kind => by_client(&route, kind.clone(), true).await?,
    }
    let read_back = read_back(world, &route, &fault.kind).await?;
    prove(world, &route, &fault.kind, &read_back).await
}

/// Undoes the fault. The proof names what it had touched, for a fault that touched nothing was none.
pub async fn heal(world: &Arc<World>, fault: &Fault) -> Result<Proof, String> {
    let route = route(world, &fault.target)?;
    let touched = match &fault.kind {
        FaultKind::Down => {
            by_client(&route, FaultKind::Down, false).await?;
            String::new()
        }
        kind => {
            let touched = touched(&read_back(world, &route, kind).await?);
            remove(world, &route, &toxic_name(kind)).await?;
            touched
        }
    };
    let started = tokio::time::Instant::now();
    loop {
        let trip = trip(world, &route, None, SILENCE).await;
        if matches!(trip, Trip::Answered { status: 200, .. }) {
            let at_ns = world.recorder.clock.now_ns();
            let text = format!("a round trip through the route {}{touched}", trip.words());
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

pub async fn still_there(world: &Arc<World>, fault: &Fault) -> Result<(), String> {
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
        let ms = |d: Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
        let whole = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let downstream = "downstream".to_owned();
        match kind {
            FaultKind::Latency { latency, jitter } => {
                proxy.with_latency(downstream, ms(latency), ms(jitter), 1.0);
            }
            FaultKind::Bandwidth { bytes_per_s } => {
                proxy.with_bandwidth(downstream, whole(bytes_per_s.div_ceil(1024)), 1.0);
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
    json!({"name": toxic_name(kind), "type": "http_error", "attributes": attributes})
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

async fn add(world: &World, route: &Route, toxic: &Value) -> Result<(), String> {
    let url = format!("http://{}/proxies/{}/toxics", route.api, route.name);
    call(world, world.http.post(url).json(toxic))
        .await
        .map(|_| ())
}

async fn remove(world: &World, route: &Route, toxic: &str) -> Result<(), String> {
    let url = format!("http://{}/proxies/{}/toxics/{toxic}", route.api, route.name);
    call(world, world.http.delete(url)).await.map(|_| ())
}

/// The fault as the proxy itself describes it.
async fn read_back(world: &World, route: &Route, kind: &FaultKind) -> Result<Value, String> {
    let url = format!("http://{}/proxies/{}", route.api, route.name);
    let proxy = call(world, world.http.get(url)).await?;
    if matches!(kind, FaultKind::Down) {
        return match proxy["enabled"] == json!(false) {
            true => Ok(proxy),
            false => Err(format!("the route {} is not disabled", route.name)),
        };
    }
    let name = toxic_name(kind);
    let toxics = proxy["toxics"].as_array().cloned().unwrap_or_default();
    let found = toxics.into_iter().find(|t| t["name"] == json!(name));
    found.ok_or_else(|| format!("the route {} has no toxic {name}", route.name))
}

fn touched(toxic: &Value) -> String {
    let count = |key: &str| toxic[key].as_u64().unwrap_or(0);
    format!(
        "; the toxic had touched {} connections, {} bytes, {} requests",
        count("touched_connections"),
        count("touched_bytes"),
        count("touched_requests")
    )
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
