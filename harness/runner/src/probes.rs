//! Probes: one observation at every due time, each with a deadline of its own.
//!
//! Observations of one probe may overlap, up to the number that fits into the deadline: a server
//! that hangs must neither stop the observing nor pile up requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use firedrill_journal::{Event, Sample, SampleResult};
use firedrill_plan::{Probe, ProbeKind, Series};
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::JoinSet;

use crate::clock::ns;
use crate::load::describe;
use crate::metrics_text;
use crate::run::World;
use crate::store::Store;

/// Bytes of an answer that are read; a longer one is missing data.
const BODY_MAX: usize = 4 * 1024 * 1024;

type Fields = BTreeMap<String, Value>;

/// Observes until `stop` is set. Returns when all observations have been recorded.
pub async fn observe(world: Arc<World>, probe: Probe, mut stop: watch::Receiver<bool>) {
    let clock = world.recorder.clock;
    let every = ns(probe.every).max(1_000_000);
    let overlap = ns(probe.deadline).div_ceil(every) + 1;
    let room = Arc::new(Semaphore::new(usize::try_from(overlap).unwrap_or(1)));
    let link = Arc::new(Link::default());
    let probe = Arc::new(probe);
    let mut flying = JoinSet::new();
    let mut due = clock.now_ns();
    loop {
        tokio::select! {
            () = clock.sleep_until(due) => {}
            _ = stop.wait_for(|s| *s) => break,
        }
        while flying.try_join_next().is_some() {}
        if let Ok(permit) = room.clone().try_acquire_owned() {
            let (world, probe, link) = (world.clone(), probe.clone(), link.clone());
            flying.spawn(async move {
                let result = once(&world, &probe, &link, due).await;
                let took_ns = clock.now_ns().saturating_sub(due);
                let sample = Sample {
                    probe: probe.id.clone(),
                    due_ns: due,
                    took_ns,
                    result,
                };
                world.recorder.record(Event::Sample(sample)).await;
                drop(permit);
            });
        }
        due += every;
        // After a stall the missed due times are left out: they are the gap that the judge sees.
        let now = clock.now_ns();
        if due + every < now {
            due = now;
        }
    }
    while flying.join_next().await.is_some() {}
}

/// A probe's kept connection, where its kind has one.
#[derive(Default)]
struct Link {
    store: Mutex<Option<Store>>,
}

async fn once(world: &World, probe: &Probe, link: &Link, due: u64) -> SampleResult {
    let observed = tokio::time::timeout(probe.deadline, fields(world, probe, link, due)).await;
    match observed {
        Err(_) => SampleResult::Missing(format!(
            "deadline of {} ms: no answer",
            probe.deadline.as_millis()
        )),
        Ok(Err(why)) => SampleResult::Missing(world.recorder.clean(&why)),
        Ok(Ok(fields)) => SampleResult::Value(fields),
    }
}

async fn fields(world: &World, probe: &Probe, link: &Link, due: u64) -> Result<Fields, String> {
    match &probe.kind {
        ProbeKind::Http {
            service,
            path,
            pointers,
        } => http(world, service, path, pointers, due).await,
        ProbeKind::Metrics {
            service,
            path,
            series,
        } => metrics(world, service, path, series).await,
        ProbeKind::Sql { service, query } => {
            sql(world, service, query, &link.store, probe.deadline).await
        }
        ProbeKind::RedisGet { service, key } => {
            let value = redis_get(world, service, key, probe.deadline).await?;
            let value = value.map_or(Value::Null, |v| json!(world.recorder.clean(&v)));
            Ok(Fields::from([("value".to_owned(), value)]))
        }
        ProbeKind::Container { service } => container(world, service).await,
    }
}

pub async fn get(world: &World, service: &str, path: &str) -> Result<(u16, Vec<u8>), String> {
    let addr = world.main_addr(service)?;
    let response = world
        .http
        .get(format!("http://{addr}{path}"))
        .send()
        .await
        .map_err(|e| {
            format!(
                "{}: {}",
                if e.is_connect() { "connect" } else { "request" },
                describe(&e)
            )
        })?;
    let status = response.status().as_u16();
    if response
        .content_length()
        .is_some_and(|n| n > BODY_MAX as u64)
    {
        return Err(format!("the answer is longer than {BODY_MAX} bytes"));
    }
    let body = response
        .bytes()
        .await
        .map_err(|e| format!("request: {}", describe(&e)))?;
    if body.len() > BODY_MAX {
        return Err(format!("the answer is longer than {BODY_MAX} bytes"));
    }
    Ok((status, body.to_vec()))
}

async fn http(
    world: &World,
    service: &str,
    path: &str,
    pointers: &[String],
    due: u64,
) -> Result<Fields, String> {
    let (status, body) = get(world, service, path).await?;
    let took = world.recorder.clock.now_ns().saturating_sub(due);
    let mut fields = Fields::from([
        ("status".to_owned(), json!(status)),
        ("latency_ms".to_owned(), json!(took as f64 / 1e6)),
    ]);
    let json: Option<Value> = serde_json::from_slice(&body).ok();
    for pointer in pointers {
        // A value that is not there stays out of the map: missing data, never a default.
        let value = json.as_ref().and_then(|j| j.pointer(pointer));
        if let Some(scalar) = value.filter(|v| !v.is_object() && !v.is_array()) {
            let scalar = match scalar.as_str() {
                Some(text) => json!(world.recorder.clean(text)),
                None => scalar.clone(),
            };
            fields.insert(pointer.clone(), scalar);
        }
    }
    Ok(fields)
}

async fn metrics(
    world: &World,
    service: &str,
    path: &str,
    wanted: &[Series],
) -> Result<Fields, String> {
    let (status, body) = get(world, service, path).await?;
    if status != 200 {
        return Err(format!("status {status} instead of metrics"));
    }
    let text = String::from_utf8(body).map_err(|_| "the metrics are not UTF-8".to_owned())?;
    let samples = metrics_text::parse(&text).map_err(|e| e.to_string())?;
    Ok(wanted
        .iter()
        .filter_map(|series| Some((series.text.clone(), json!(sum(&samples, series)?))))
        .collect())
}

/// Sum over the samples whose labels include the series' labels; `None` if there is none.
pub fn sum(samples: &[metrics_text::SampleLine], series: &Series) -> Option<f64> {
    let matching = samples.iter().filter(|s| {
        s.name == series.name
            && series
                .labels
                .iter()
                .all(|(k, v)| s.labels.get(k) == Some(v))
    });
    matching.map(|s| s.value).reduce(|a, b| a + b)
}

async fn sql(
    world: &World,
    service: &str,
    query: &str,
    kept: &Mutex<Option<Store>>,
    deadline: Duration,
) -> Result<Fields, String> {
    let mut kept = kept.lock().await;
    let store = match kept.take() {
        Some(store) => store,
        None => world.store(service, deadline).await?,
    };
    let rows = store.query(query, deadline).await?;
    // Kept only after a success: a broken connection is made anew at the next due time.
    *kept = Some(store);
    let row = rows.first().ok_or("the query returned no row")?;
    let (_, value) = row.iter().next().ok_or("the query returned NULL")?;
    let value = match value.parse::<f64>() {
        Ok(number) => json!(number),
        Err(_) => json!(world.recorder.clean(value)),
    };
    Ok(Fields::from([("value".to_owned(), value)]))
}

/// GET of a key; `None` if it doesn't exist.
pub async fn redis_get(
    world: &World,
    service: &str,
    key: &str,
    deadline: Duration,
) -> Result<Option<String>, String> {
    let mut connection = world.redis(service, deadline).await?;
    let call = redis::cmd("GET").arg(key).to_owned();
    let got = tokio::time::timeout(deadline, call.query_async(&mut connection));
    got.await
        .map_err(|_| format!("deadline of {} ms: no answer", deadline.as_millis()))?
        .map_err(|e: redis::RedisError| format!("redis: {e}"))
}

async fn container(world: &World, service: &str) -> Result<Fields, String> {
    let state = world
        .stack
        .inspect(service)
        .await
        .map_err(|e| e.to_string())?;
    let mut fields = Fields::from([
        ("running".to_owned(), json!(state.running)),
        ("paused".to_owned(), json!(state.paused)),
        ("restarts".to_owned(), json!(state.restart_count)),
        ("oom_killed".to_owned(), json!(state.oom_killed)),
    ]);
    if state.running && !state.paused {
        let stats = world
            .stack
            .stats(service)
            .await
            .map_err(|e| e.to_string())?;
        fields.insert("rss_bytes".to_owned(), json!(stats.rss_bytes));
        fields.insert("cpu_percent".to_owned(), json!(stats.cpu_percent));
    }
    Ok(fields)
}
