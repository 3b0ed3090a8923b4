//! What containers and the harness itself use: memory, processor, descriptors, threads, disk.
//!
//! Descriptors are counted in the host's process table, where the engine's processes can be seen from
//! here. Where they can't, the field stays out: missing data, never a zero.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::clock::ns;
use crate::run::World;

/// Measuring a container's layer makes the engine walk all of it.
const DISK_EVERY: std::time::Duration = std::time::Duration::from_secs(60);

type Fields = BTreeMap<String, Value>;

pub async fn container(
    world: &World,
    service: &str,
    measured: &AtomicU64,
) -> Result<Fields, String> {
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
    if !state.running || state.paused {
        return Ok(fields);
    }
    let stats = world
        .stack
        .stats(service)
        .await
        .map_err(|e| e.to_string())?;
    fields.insert("rss_bytes".to_owned(), json!(stats.rss_bytes));
    fields.insert("cpu_percent".to_owned(), json!(stats.cpu_percent));
    fields.insert("threads".to_owned(), json!(stats.pids));
    let id = world.stack.container_id(service);
    if let (Ok(id), Some(pid)) = (id, u32::try_from(state.pid).ok().filter(|pid| *pid > 0))
        && let Some(fds) = descriptors_of(pid, &id)
    {
        fields.insert("fds".to_owned(), json!(fds));
    }
    let now = world.recorder.clock.now_ns().max(1);
    let before = measured.load(Ordering::Relaxed);
    if before == 0 || now.saturating_sub(before) >= ns(DISK_EVERY) {
        measured.store(now, Ordering::Relaxed);
        if let Ok(Some(bytes)) = world.stack.layer_bytes(service).await {
            fields.insert("disk_bytes".to_owned(), json!(bytes));
        }
    }
    Ok(fields)
}

/// Open descriptors of a container's first process. `None` if that number is some other process here.
fn descriptors_of(pid: u32, container: &str) -> Option<usize> {
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    if !own.contains(container) {
        return None;
    }
    descriptors(&format!("/proc/{pid}/fd"))
}

fn descriptors(folder: &str) -> Option<usize> {
    Some(fs::read_dir(folder).ok()?.count())
}

pub fn harness(world: &World) -> Result<Fields, String> {
    let status = fs::read_to_string("/proc/self/status").map_err(|e| e.to_string())?;
    let number = |key: &str| -> Option<u64> {
        let line = status.lines().find_map(|l| l.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let mut fields = Fields::new();
    if let Some(kib) = number("VmRSS:") {
        fields.insert("rss_bytes".to_owned(), json!(kib * 1024));
    }
    if let Some(threads) = number("Threads:") {
        fields.insert("threads".to_owned(), json!(threads));
    }
    if let Some(fds) = descriptors("/proc/self/fd") {
        fields.insert("fds".to_owned(), json!(fds));
    }
    let bytes = folder_bytes(&world.dir).map_err(|e| e.to_string())?;
    fields.insert("disk_bytes".to_owned(), json!(bytes));
    Ok(fields)
}

/// Bytes of the files below a folder.
pub fn folder_bytes(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += match meta.is_dir() {
            true => folder_bytes(&entry.path())?,
            false => meta.len(),
        };
    }
    Ok(bytes)
}
