//! Probes: one observation at every due time, each with a deadline of its own.
//!
//! Observations of one probe may overlap, up to the number that fits into the deadline: a server
//! that hangs must neither stop the observing nor pile up requests.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use firedrill_journal::{Event, Sample, SampleResult};
use firedrill_plan::{HEARTBEAT_FIELD, Heartbeat, Probe, ProbeKind, Series};
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::JoinSet;

use crate::clock::ns;
use crate::load::describe;
use crate::prometheus::Source;
use crate::run::World;
use crate::store::Store;
use crate::{meter, metrics_text, prometheus, resources};

/// Bytes of an answer that are read; a longer one is missing data.
const BODY_MAX: usize = 4 * 1024 * 1024;

pub type Fields = BTreeMap<String, Value>;

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

/// What a probe keeps from one observation to the next.
#[derive(Default)]
struct Link {
    store: Mutex<Option<Store>>,
    /// When the disk was measured last.
    measured_ns: AtomicU64,
    load_cursor: std::sync::Mutex<u64>,
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
            heartbeat,
        } => {
            metrics(
                world,
                (service.as_str(), path.as_str()),
                series,
                heartbeat.as_ref(),
            )
            .await
        }
        ProbeKind::Sql { service, query } => {
            sql(world, service, query, &link.store, probe.deadline).await
        }
        ProbeKind::RedisGet { service, key } => {
            let value = redis_get(world, service, key, probe.deadline).await?;
            let value = value.map_or(Value::Null, |v| json!(world.recorder.clean(&v)));
            Ok(Fields::from([("value".to_owned(), value)]))
        }
        ProbeKind::Container { service } => {
            resources::container(world, service, &link.measured_ns).await
        }
        ProbeKind::Harness => resources::harness(world),
        ProbeKind::Load => Ok(load(world, &link.load_cursor)),
        ProbeKind::Promql { query } => prometheus::value(&Source::of(world)?, query).await,
        ProbeKind::Alert { alert } => prometheus::alert(&Source::of(world)?, alert).await,
    }
}

pub async fn get(world: &World, service: &str, path: &str) -> Result<(u16, Vec<u8>), String> {
    let addr = world.main_addr(service)?;
    fetch(&world.http, format!("http://{addr}{path}")).await
}

/// Status and body of an answer, up to what is read of one.
pub async fn fetch(http: &reqwest::Client, url: String) -> Result<(u16, Vec<u8>), String> {
    let response = http.get(url).send().await.map_err(|e| {
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
    (service, path): (&str, &str),
    wanted: &[Series],
    heartbeat: Option<&Heartbeat>,
) -> Result<Fields, String> {
    let (status, body) = get(world, service, path).await?;
    if status != 200 {
        return Err(format!("status {status} instead of metrics"));
    }
    let text = String::from_utf8(body).map_err(|_| "the metrics are not UTF-8".to_owned())?;
    let samples = metrics_text::parse(&text).map_err(|e| e.to_string())?;
    let mut fields: Fields = wanted
        .iter()
        .filter_map(|series| Some((series.text.clone(), json!(sum(&samples, series)?))))
        .collect();
    if let Some(beat) = heartbeat.and_then(|h| oldest(&samples, &h.series)) {
        fields.insert(HEARTBEAT_FIELD.to_owned(), json!(beat));
    }
    Ok(fields)
}

/// The values of the samples whose labels include the series' labels.
fn matching<'s>(
    samples: &'s [metrics_text::SampleLine],
    series: &'s Series,
) -> impl Iterator<Item = f64> + 's {
    let matches = move |s: &&metrics_text::SampleLine| {
        let mut labels = series.labels.iter();
        s.name == series.name && labels.all(|(k, v)| s.labels.get(k) == Some(v))
    };
    samples.iter().filter(matches).map(|s| s.value)
}

/// Sum over the samples that match; `None` if there is none.
pub fn sum(samples: &[metrics_text::SampleLine], series: &Series) -> Option<f64> {
    matching(samples, series).reduce(|a, b| a + b)
}

/// The least of the samples that match, and NaN if one of them is.
fn oldest(samples: &[metrics_text::SampleLine], series: &Series) -> Option<f64> {
    let older = |a: f64, b: f64| if b < a || b.is_nan() { b } else { a };
    matching(samples, series).reduce(older)
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

/// What the background load saw since this probe's sample before.
fn load(world: &World, cursor: &std::sync::Mutex<u64>) -> Fields {
    let mut cursor = cursor.lock().unwrap_or_else(PoisonError::into_inner);
    let latencies = world.meter.since(&mut cursor);
    let mut fields = Fields::from([("answers".to_owned(), json!(latencies.len()))]);
    for (name, share) in [("latency_p50_ms", 0.5), ("latency_p95_ms", 0.95)] {
        if let Some(value) = meter::quantile(&latencies, share) {
            fields.insert(name.to_owned(), json!(value));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_heartbeats_the_oldest_counts() {
        let text = "beat{c=\"a\"} 30\nbeat{c=\"b\"} 10\nbeat{c=\"c\"} 20\nother 1\n";
        let samples = metrics_text::parse(text).expect("it is the format");
        let beat = |labels: &[(&str, &str)]| Series {
            text: "beat".to_owned(),
            name: "beat".to_owned(),
            labels: labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        };
        assert_eq!(oldest(&samples, &beat(&[])), Some(10.0));
        assert_eq!(oldest(&samples, &beat(&[("c", "a")])), Some(30.0));
        assert_eq!(oldest(&samples, &beat(&[("c", "d")])), None);
        let dead = metrics_text::parse("beat NaN\nbeat{c=\"b\"} 1\n").expect("it is the format");
        assert!(oldest(&dead, &beat(&[])).is_some_and(f64::is_nan));
    }
}
