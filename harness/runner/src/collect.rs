//! What is read once, after quiescence: the record's tables and the counters that must agree with it.

use std::sync::Arc;
use std::time::Duration;

use firedrill_journal::{FactSource, StreamState};
use firedrill_plan::{MetricEquation, RECORD_ORDER};
use serde_json::json;

use crate::recorder::Recorder;
use crate::run::World;
use crate::store::Store;
use crate::{metrics_text, probes};

const DEADLINE: Duration = Duration::from_secs(30);
const SCRAPE_DEADLINE: Duration = Duration::from_secs(2);
const PENDING_EVERY: Duration = Duration::from_millis(100);

/// Waits until the target has nothing left to do; says how many things were left at the deadline.
pub async fn quiesce(world: &World, deadline: Duration) -> Result<(), String> {
    let audit = &world.target.audit;
    let (Some(pending), Some((service, _))) = (&audit.pending, &audit.postgres) else {
        return Err("the target file has no [audit] pending query".to_owned());
    };
    let started = tokio::time::Instant::now();
    let mut last = String::new();
    let mut store: Option<Store> = None;
    while started.elapsed() < deadline {
        if store.is_none() {
            store = match world.store(service, SCRAPE_DEADLINE).await {
                Ok(store) => Some(store),
                Err(why) => {
                    last = why;
                    None
                }
            };
        }
        if let Some(open) = &store {
            match open.number(pending, SCRAPE_DEADLINE).await {
                Ok(0.0) => return Ok(()),
                Ok(left) => last = format!("{left} left"),
                Err(why) => {
                    last = why;
                    store = None;
                }
            }
        }
        tokio::time::sleep(PENDING_EVERY).await;
    }
    Err(format!(
        "not quiet after {} ms: {last}",
        deadline.as_millis()
    ))
}

/// Reads every table of the audit and every metric equation. What can't be read is recorded as a
/// stream that was never attached, or as an equation without its value.
pub async fn collect(world: &Arc<World>) {
    let recorder = &world.recorder;
    let Some((service, _)) = &world.target.audit.postgres else {
        return;
    };
    let store = match world.store(service, DEADLINE).await {
        Ok(store) => store,
        Err(why) => {
            let detail = recorder.clean(&why);
            recorder.stream("sql", StreamState::Gap, Some(detail)).await;
            return;
        }
    };
    recorder.stream("sql", StreamState::Attached, None).await;
    let sql = &world.target.audit.sql;
    let first = RECORD_ORDER.into_iter().filter(|t| sql.contains_key(*t));
    let rest = sql.keys().map(String::as_str);
    for table in first.chain(rest.filter(|t| !RECORD_ORDER.contains(t))) {
        if let Some(query) = sql.get(table) {
            collect_table(world, &store, table, query).await;
        }
    }
    for equation in &world.target.audit.metrics {
        collect_metric(world, &store, equation).await;
    }
    recorder.stream("sql", StreamState::Detached, None).await;
}

async fn collect_table(world: &World, store: &Store, table: &str, query: &str) {
    let recorder = &world.recorder;
    let at_ns = recorder.clock.now_ns();
    match record_rows(recorder, store, (table, query), at_ns).await {
        Ok(count) => {
            let keys = [("table", json!(table)), ("rows", json!(count))];
            recorder
                .fact(FactSource::Sql, "collected", at_ns, keys)
                .await;
        }
        Err(why) => {
            let keys = [
                ("table", json!(table)),
                ("why", json!(recorder.clean(&why))),
            ];
            recorder
                .fact(FactSource::Sql, "not_collected", at_ns, keys)
                .await;
        }
    }
}

async fn record_rows(
    recorder: &Recorder,
    store: &Store,
    (table, query): (&str, &str),
    at_ns: u64,
) -> Result<u64, String> {
    let mut rows = store.rows(query, DEADLINE).await?;
    let mut count = 0;
    while let Some(row) = rows.next().await? {
        // A column without a value is told from one that isn't there.
        let clean = |(k, v): (String, Option<String>)| (k, json!(v.map(|v| recorder.clean(&v))));
        let keys = row.into_iter().map(clean).collect();
        recorder.fact_map(FactSource::Sql, table, at_ns, keys).await;
        count += 1;
    }
    Ok(count)
}

async fn collect_metric(world: &World, store: &Store, equation: &MetricEquation) {
    let recorder = &world.recorder;
    let at_ns = recorder.clock.now_ns();
    let mut keys = std::collections::BTreeMap::from([("id".to_owned(), json!(equation.id))]);
    match store.number(&equation.sql, DEADLINE).await {
        Ok(number) => keys.insert("database".to_owned(), json!(number)),
        Err(why) => keys.insert("database_missing".to_owned(), json!(recorder.clean(&why))),
    };
    match metric(world, equation).await {
        Ok(number) => keys.insert("metric".to_owned(), json!(number)),
        Err(why) => keys.insert("metric_missing".to_owned(), json!(recorder.clean(&why))),
    };
    recorder
        .fact_map(FactSource::Metric, "equation", at_ns, keys)
        .await;
}

/// The series summed over its services; missing in one of them is missing altogether.
async fn metric(world: &World, equation: &MetricEquation) -> Result<f64, String> {
    let mut total = 0.0;
    let instances = equation
        .services
        .iter()
        .flat_map(|s| world.stack.instances(s));
    for service in instances {
        let scrape = probes::get(world, service, "/metrics");
        let (status, body) = tokio::time::timeout(SCRAPE_DEADLINE, scrape)
            .await
            .map_err(|_| format!("{service}: deadline"))??;
        if status != 200 {
            return Err(format!("{service}: status {status} instead of metrics"));
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        let samples = metrics_text::parse(&text).map_err(|e| format!("{service}: {e}"))?;
        total += probes::sum(&samples, &equation.series)
            .ok_or_else(|| format!("{service} has no series {}", equation.series.text))?;
    }
    Ok(total)
}
