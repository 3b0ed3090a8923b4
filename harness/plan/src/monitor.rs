//! The Prometheus of a stack, as a service like any other: its configuration is made from the target.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use crate::model::*;
use crate::plan::instance_name;

/// Name of the service, and of its container.
pub const PROMETHEUS: &str = "prometheus";
const PORT: u16 = 9090;
const CONFIG: &str = "/etc/prometheus/prometheus.yml";
/// Scrapes after which a value that wasn't renewed is no value any more: a gap must not look like a flat line.
const LOOKBACK_SCRAPES: u32 = 5;

impl Drill {
    /// Whether something in it is asked of a Prometheus.
    pub fn needs_prometheus(&self) -> bool {
        let asked = |probe: &Probe| {
            matches!(
                probe.kind,
                ProbeKind::Promql { .. } | ProbeKind::Alert { .. }
            )
        };
        self.alerts.is_some() || self.probes.iter().any(asked)
    }
}

impl Target {
    /// The target with its Prometheus among the services: it scrapes every instance of the services that
    /// have metrics, and has loaded the rules. `None` where the target describes none.
    pub fn with_prometheus(
        &self,
        rules: &[AlertRules],
        replicas: &BTreeMap<String, u32>,
    ) -> Option<Target> {
        let spec = self.prometheus.as_ref()?;
        let mut seen = BTreeSet::new();
        let rules: Vec<&AlertRules> = rules
            .iter()
            .filter(|rules| seen.insert(rules.text.as_str()))
            .collect();
        let path = |index: usize| format!("/etc/prometheus/rules-{index}.yml");
        let mut files: BTreeMap<String, String> = rules
            .iter()
            .enumerate()
            .map(|(index, rules)| (path(index), rules.text.clone()))
            .collect();
        let paths: Vec<String> = files.keys().cloned().collect();
        files.insert(
            CONFIG.to_owned(),
            self.scrape_config(spec, &paths, replicas),
        );
        let mut target = self.clone();
        target.services.push(Service {
            name: PROMETHEUS.to_owned(),
            role: Role::Prometheus,
            image: spec.image.clone(),
            command: command(spec),
            files,
            env: BTreeMap::new(),
            ports: BTreeMap::from([("main".to_owned(), PORT)]),
            healthy: Healthy::Http {
                port: "main".to_owned(),
                path: "/-/ready".to_owned(),
            },
            logs: false,
            heartbeat: None,
            expected_errors: Vec::new(),
            memory_max: None,
        });
        Some(target)
    }

    /// Text in double quotes is YAML as it is JSON.
    fn scrape_config(
        &self,
        spec: &Prometheus,
        rules: &[String],
        replicas: &BTreeMap<String, u32>,
    ) -> String {
        let every = milliseconds(spec.scrape_every);
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let list = |items: &[String]| {
            let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
            format!("[{}]", items.join(", "))
        };
        let mut out = format!(
            "global: {{ scrape_interval: {every}, scrape_timeout: {every}, evaluation_interval: {every} }}\nrule_files: {}\nscrape_configs:\n",
            list(rules)
        );
        let scraped = self
            .services
            .iter()
            .filter(|s| spec.services.contains(&s.name));
        for service in scraped {
            let port = service.ports.get("main").copied().unwrap_or_default();
            let count = replicas.get(&service.name).copied().unwrap_or(1);
            let addresses: Vec<String> = (1..=count)
                .map(|number| format!("{}:{port}", instance_name(&service.name, number)))
                .collect();
            // Writing to a string can't fail.
            let _ = writeln!(
                out,
                "- {{ job_name: {}, metrics_path: {}, static_configs: [ {{ targets: {} }} ] }}",
                quoted(&service.name),
                quoted(&spec.path),
                list(&addresses)
            );
        }
        out
    }
}

fn command(spec: &Prometheus) -> Vec<String> {
    let lookback = milliseconds(spec.scrape_every * LOOKBACK_SCRAPES);
    vec![
        "prometheus".to_owned(),
        format!("--config.file={CONFIG}"),
        "--storage.tsdb.path=/prometheus/data".to_owned(),
        format!("--web.listen-address=0.0.0.0:{PORT}"),
        format!("--query.lookback-delta={lookback}"),
        "--query.timeout=10s".to_owned(),
        "--log.level=warn".to_owned(),
    ]
}

/// As Prometheus writes durations.
fn milliseconds(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}
