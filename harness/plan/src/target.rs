//! Target files.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::check::Broken;
use crate::diag::{Diagnostics, Parsed, Problem, Sink};
use crate::model::*;
use crate::monitor::PROMETHEUS;
use crate::names::{self, known, unique};
use crate::node::{Node, Text};
use crate::{grammar, signal, template, units};

/// Pace of scrapes where the file doesn't say, and the fastest one.
const SCRAPE: Duration = Duration::from_secs(1);
const SCRAPE_MIN: Duration = Duration::from_millis(100);
const BACKUP_DEADLINE: Duration = Duration::from_secs(30);

/// Reads a file named relative to the target file; the error says why it can't.
type Read<'r> = &'r dyn Fn(&str) -> Result<String, String>;

/// Parses a target file. `read` gives the text of a file (a schema) named relative to it.
///
/// # Errors
/// Everything that is wrong with the text, in its order.
pub fn parse_target(
    path: &str,
    text: &str,
    read: &dyn Fn(&str) -> Result<String, String>,
) -> Result<Parsed<Target>, Diagnostics> {
    names::parse_file(path, text, &grammar::TARGET, |sink, root, broken| {
        Some(decode(sink, root, broken, read))
    })
}

fn decode(sink: &mut Sink<'_>, root: Node<'_>, broken: &Broken, read: Read<'_>) -> Target {
    let secrets = secrets(root);
    let references = names::references(&secrets);
    let mut services = Vec::new();
    for node in root.nodes("service") {
        sink.muted = broken.has(node);
        services.push(service(sink, node, &references, read));
        sink.muted = false;
    }
    let service_names = root
        .nodes("service")
        .into_iter()
        .filter_map(|n| n.text("name"));
    unique(sink, "service", service_names);
    environment(sink, root.node("env"), &references);
    let at = Places {
        services: &services,
        broken,
    };
    let defects = at.defects(sink, root);
    let mode = at.mode(sink, root);
    let prometheus = at.prometheus(sink, root);
    let audit = at.audit(sink, root);
    let backup = at.backup(sink, root);
    let signals = at.signals(sink, root, &secrets);
    unused_secrets(sink, root, &signals.secret);
    unlisted_heartbeats(sink, root, &services);
    Target {
        name: root.string("name"),
        production: root.bool("production").unwrap_or(false),
        secrets,
        defects,
        env: root.map("env"),
        signals,
        mode,
        prometheus,
        audit,
        backup,
        metrics: root.strings("metrics"),
        metric: root.map("metric"),
        ready_within: root
            .duration("ready_within")
            .unwrap_or(Duration::from_secs(60)),
        services,
    }
}

fn secrets(root: Node<'_>) -> BTreeMap<String, Secret> {
    let Some(node) = root.node("secrets") else {
        return BTreeMap::new();
    };
    let secret = |value| {
        let node = Node::of(value)?;
        Some(match (node.small("random"), node.text("env")) {
            (Some(bytes), _) => Secret::Random { bytes },
            (None, Some(var)) => Secret::Env { var: var.owned() },
            (None, None) => Secret::Fixed {
                value: node.string("fixed"),
            },
        })
    };
    node.entries()
        .into_iter()
        .filter_map(|(name, value)| Some((name.owned(), secret(value)?)))
        .collect()
}

/// A secret that nothing uses is most likely one that is misspelt where it is used.
fn unused_secrets(sink: &mut Sink<'_>, root: Node<'_>, signing: &str) {
    let mut environments = vec![root.map("env")];
    environments.extend(root.nodes("service").iter().map(|s| s.map("env")));
    let used: BTreeSet<String> = environments
        .iter()
        .flat_map(|env| env.values())
        .flat_map(|value| template::placeholders(value))
        .filter_map(|name| name.strip_prefix("secret."))
        .map(str::to_string)
        .collect();
    for (name, _) in root
        .node("secrets")
        .map(|n| n.entries())
        .unwrap_or_default()
    {
        if !used.contains(name.value) && name.value != signing {
            sink.lint(
                name.at,
                format!("secret \"{}\" is used by no service", name.value),
            );
        }
    }
}

/// Checks the placeholders of an environment.
pub(crate) fn environment(sink: &mut Sink<'_>, env: Option<Node<'_>>, references: &[String]) {
    for (_, value) in env.map(|n| n.entries()).unwrap_or_default() {
        if let Some(text) = crate::node::text(value) {
            names::template(sink, text, references);
        }
    }
}

fn service(sink: &mut Sink<'_>, node: Node<'_>, references: &[String], read: Read<'_>) -> Service {
    environment(sink, node.node("env"), references);
    let ports: BTreeMap<String, u16> = node
        .node("ports")
        .map(|ports| {
            let names = ports.entries().into_iter();
            names
                .filter_map(|(name, _)| Some((name.owned(), ports.small(name.value)?)))
                .collect()
        })
        .unwrap_or_default();
    if !ports.contains_key("main") {
        let problem = Problem::new(format!(
            "service \"{}\" has no port main",
            node.string("name")
        ));
        sink.error(node.at("ports"), problem.expected("main = PORT"));
    }
    let image = image(sink, node, read);
    let healthy = healthy(sink, node, &ports, &image);
    Service {
        name: node.string("name"),
        role: role(&node.string("role")),
        image,
        command: node.strings("command"),
        files: BTreeMap::new(),
        env: node.map("env"),
        healthy,
        ports,
        logs: node.bool("logs").unwrap_or(false),
        heartbeat: heartbeat(node),
        expected_errors: node.strings("expected_errors"),
        memory_max: node.size("memory_max"),
    }
}

fn heartbeat(service: Node<'_>) -> Option<Heartbeat> {
    let node = service.node("heartbeat")?;
    Some(Heartbeat {
        series: units::parse_series(node.text("metric")?.value).ok()?,
        path: node
            .maybe_string("path")
            .unwrap_or_else(|| METRICS_PATH.to_string()),
        still_max: node.duration("still_max")?,
    })
}

/// A heartbeat that the target doesn't list among its metrics is most likely one that is misspelt.
fn unlisted_heartbeats(sink: &mut Sink<'_>, root: Node<'_>, services: &[Service]) {
    let listed = root.strings("metrics");
    for (node, service) in root.nodes("service").into_iter().zip(services) {
        let Some(heartbeat) = &service.heartbeat else {
            continue;
        };
        let name = &heartbeat.series.name;
        if !listed.is_empty() && !listed.contains(name) {
            let at = node.node("heartbeat").map_or(node.at, |n| n.at("metric"));
            sink.lint(at, format!("\"{name}\" isn't among the target's metrics"));
        }
    }
}

fn role(word: &str) -> Role {
    match word {
        "redis" => Role::Redis,
        "postgres" => Role::Postgres,
        "chain" => Role::Chain,
        "proxy" => Role::Proxy,
        _ => Role::App,
    }
}

fn image(sink: &mut Sink<'_>, service: Node<'_>, read: Read<'_>) -> ImageSource {
    let Some(node) = service.node("image") else {
        return ImageSource::Executable;
    };
    let reference = node.string("name");
    if let Some(name) = node.text("name")
        && !name
            .value
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains(':'))
    {
        let problem = Problem::new(format!("image \"{}\" has no tag", name.value));
        sink.error(name.at, problem.expected("name:tag"));
    }
    let recipe = node.maybe_string("recipe");
    if !node.has("database") {
        return ImageSource::Named { reference, recipe };
    }
    let schema = node.text("schema").and_then(|file| match read(file.value) {
        Ok(text) => Some(text),
        Err(why) => {
            let message = format!("schema \"{}\" can't be read: {why}", file.value);
            sink.error(file.at, Problem::new(message));
            None
        }
    });
    ImageSource::Postgres {
        reference,
        recipe,
        database: node.string("database"),
        user: node.string("user"),
        password: node.string("password"),
        schema: schema.unwrap_or_default(),
    }
}

fn healthy(
    sink: &mut Sink<'_>,
    service: Node<'_>,
    ports: &BTreeMap<String, u16>,
    image: &ImageSource,
) -> Healthy {
    let names: Vec<&String> = ports.keys().collect();
    let mut port = |node: &Node<'_>, key: &str| {
        node.text(key).map(|name| {
            known(sink, "port", name, &names);
            name.owned()
        })
    };
    let Some(node) = service.node("healthy") else {
        return Healthy::Tcp {
            port: "main".to_string(),
        };
    };
    if let Some(port) = port(&node, "http") {
        let path = node.string("path");
        return Healthy::Http { port, path };
    }
    if let Some(port) = port(&node, "redis") {
        return Healthy::Redis { port };
    }
    if let Some(port) = port(&node, "postgres") {
        let url = postgres_url(sink, node, image);
        return Healthy::Postgres { port, url };
    }
    let port = port(&node, "tcp").unwrap_or_default();
    Healthy::Tcp { port }
}

fn postgres_url(sink: &mut Sink<'_>, node: Node<'_>, image: &ImageSource) -> String {
    match (node.text("url"), image) {
        (Some(url), _) => {
            names::template(sink, url, &["host", "port"]);
            url.owned()
        }
        (
            None,
            ImageSource::Postgres {
                database,
                user,
                password,
                ..
            },
        ) => {
            format!("postgres://{user}:{password}@{{host}}:{{port}}/{database}")
        }
        (None, _) => {
            let problem = Problem::new("the image doesn't say how to connect");
            sink.error(
                node.at,
                problem.expected("url = \"postgres://…@{host}:{port}/…\""),
            );
            String::new()
        }
    }
}

/// What the rest of the file can refer to.
struct Places<'a> {
    services: &'a [Service],
    broken: &'a Broken,
}

impl Places<'_> {
    fn names(&self, role: Option<Role>) -> Vec<&str> {
        self.services
            .iter()
            .filter(|s| role.is_none_or(|role| s.role == role))
            .map(|s| s.name.as_str())
            .collect()
    }

    fn services(&self, sink: &mut Sink<'_>, node: Node<'_>) -> Vec<String> {
        let texts = node.texts("services");
        unique(sink, "service", texts.iter().copied());
        for name in &texts {
            known(sink, "service", *name, &self.names(None));
        }
        texts.iter().map(Text::owned).collect()
    }

    /// The key's service, which must have that role, and the key's port, `main` by default.
    fn port(&self, sink: &mut Sink<'_>, node: Node<'_>, role: Option<Role>) -> (String, String) {
        let port = node
            .maybe_string("port")
            .unwrap_or_else(|| "main".to_string());
        let Some(name) = node.text("service") else {
            return (String::new(), port);
        };
        let what = match role {
            None => "service",
            Some(Role::Postgres) => "service of role postgres",
            Some(Role::Chain) => "service of role chain",
            Some(_) => "service of that role",
        };
        if known(sink, what, name, &self.names(role))
            && let Some(given) = node.text("port")
            && let Some(service) = self.services.iter().find(|s| s.name == name.value)
        {
            let ports: Vec<&String> = service.ports.keys().collect();
            known(sink, "port", given, &ports);
        }
        (name.owned(), port)
    }

    fn defects(&self, sink: &mut Sink<'_>, root: Node<'_>) -> Option<Defects> {
        let node = root.node("defects")?;
        unique(sink, "defect", node.texts("names"));
        Some(Defects {
            env: node.string("env"),
            services: self.services(sink, node),
            names: node.strings("names"),
        })
    }

    fn mode(&self, sink: &mut Sink<'_>, root: Node<'_>) -> Option<ModeProbe> {
        let node = root.node("mode")?;
        Some(ModeProbe {
            services: self.services(sink, node),
            path: node.string("path"),
            pointer: node.string("json"),
        })
    }

    fn prometheus(&self, sink: &mut Sink<'_>, root: Node<'_>) -> Option<Prometheus> {
        let node = root.node("prometheus")?;
        let named = root.nodes("service").into_iter();
        let mut named = named.filter_map(|service| service.text("name"));
        if let Some(taken) = named.find(|name| name.value == PROMETHEUS) {
            let message =
                format!("service \"{PROMETHEUS}\" is the one that [prometheus] describes");
            sink.error(taken.at, Problem::new(message).expected("another name"));
        }
        let scrape_every = node.duration("scrape_every").unwrap_or(SCRAPE);
        if scrape_every < SCRAPE_MIN {
            let problem = Problem::new("a pace that no scrape keeps");
            sink.error(node.at("scrape_every"), problem.expected("100ms or more"));
        }
        Some(Prometheus {
            image: image(sink, node, &|_| Err("it takes no schema".to_string())),
            scrape_every,
            services: self.services(sink, node),
            path: node
                .maybe_string("path")
                .unwrap_or_else(|| METRICS_PATH.to_string()),
        })
    }

    fn signals(
        &self,
        sink: &mut Sink<'_>,
        root: Node<'_>,
        secrets: &BTreeMap<String, Secret>,
    ) -> Signals {
        let node = root.node("signals").unwrap_or(root);
        sink.muted = self.broken.has(node);
        let (service, port) = self.port(sink, node, None);
        if let Some(secret) = node.text("secret") {
            let names: Vec<&String> = secrets.keys().collect();
            known(sink, "secret", secret, &names);
        }
        let signals = Signals {
            service,
            port,
            path: node.string("path"),
            body: node.string("body"),
            variables: node.map("variables"),
            signature_header: node.string("signature_header"),
            secret: node.string("secret"),
            key: node.string("key"),
            deadline: node.duration("deadline").unwrap_or(Duration::from_secs(5)),
            word: node.string("word"),
            reason: node.string("reason"),
            names: node.strings("names"),
            fields: signal::fields(node),
            unknown_reasons: node.strings("unknown_reasons"),
            max_in_flight: node.small("max_in_flight").unwrap_or(256),
        };
        signal::check(sink, node, &signals);
        sink.muted = false;
        signals
    }

    fn audit(&self, sink: &mut Sink<'_>, root: Node<'_>) -> Audit {
        let Some(node) = root.node("audit") else {
            return Audit {
                postgres: None,
                sql: BTreeMap::new(),
                pending: None,
                chain: None,
                states: States::default(),
                metrics: Vec::new(),
                same: Vec::new(),
            };
        };
        let postgres = node.node("postgres").map(|postgres| {
            let (service, _) = self.port(sink, postgres, Some(Role::Postgres));
            if let Some(url) = postgres.text("url") {
                names::template(sink, url, &["host", "port"]);
            }
            (service, postgres.string("url"))
        });
        for key in ["sql", "pending", "metric", "same"] {
            if postgres.is_none() && node.has(key) {
                let problem = Problem::new(format!("audit.{key} needs a database"));
                sink.error(node.at(key), problem.expected("audit.postgres"));
            }
        }
        let chain = node
            .node("chain")
            .map(|chain| self.port(sink, chain, Some(Role::Chain)));
        let metrics: Vec<Node<'_>> = node.nodes("metric");
        unique(sink, "metric", metrics.iter().filter_map(|m| m.text("id")));
        let same = node.nodes("same");
        unique(sink, "agreement", same.iter().filter_map(|s| s.text("id")));
        Audit {
            postgres,
            sql: node.map("sql"),
            pending: node.maybe_string("pending"),
            chain,
            states: states(sink, node),
            metrics: metrics
                .into_iter()
                .filter_map(|metric| self.metric(sink, metric))
                .collect(),
            same: same
                .into_iter()
                .map(|same| agreement(sink, node, same))
                .collect(),
        }
    }

    fn backup(&self, sink: &mut Sink<'_>, root: Node<'_>) -> Option<Backup> {
        let node = root.node("backup")?;
        let (service, _) = self.port(sink, node, None);
        Some(Backup {
            service,
            dump: node.strings("dump"),
            restore: node.strings("restore"),
            deadline: node.duration("deadline").unwrap_or(BACKUP_DEADLINE),
        })
    }

    fn metric(&self, sink: &mut Sink<'_>, node: Node<'_>) -> Option<MetricEquation> {
        Some(MetricEquation {
            id: node.string("id"),
            series: units::parse_series(node.text("series")?.value).ok()?,
            services: self.services(sink, node),
            sql: node.string("sql"),
        })
    }
}

fn agreement(sink: &mut Sink<'_>, audit: Node<'_>, node: Node<'_>) -> Agreement {
    let sql: BTreeMap<String, String> = audit.map("sql");
    if let Some(table) = node.text("table") {
        known(
            sink,
            "query of audit.sql",
            table,
            &sql.keys().collect::<Vec<_>>(),
        );
    }
    if !audit.has("chain") {
        let problem = Problem::new("audit.same needs a chain");
        sink.error(audit.at("same"), problem.expected("audit.chain"));
    }
    Agreement {
        id: node.string("id"),
        what: node.string("what"),
        table: node.string("table"),
        column: node.string("column"),
        field: node.string("field"),
    }
}

fn states(sink: &mut Sink<'_>, audit: Node<'_>) -> States {
    let Some(node) = audit.node("states") else {
        return States::default();
    };
    let mut transitions = Vec::new();
    let mut all: BTreeSet<&str> = node.texts("terminal").iter().map(|t| t.value).collect();
    for value in node.values("transitions") {
        let toml::de::DeValue::Array(pair) = value.get_ref() else {
            continue;
        };
        if let [Some(from), Some(to)] = pair.iter().map(crate::node::text).collect::<Vec<_>>()[..] {
            all.extend([from.value, to.value]);
            transitions.push((from.owned(), to.owned()));
        }
    }
    let all: Vec<&str> = all.into_iter().collect();
    for key in ["executed", "not_sent"] {
        for state in node.texts(key) {
            known(sink, "state", state, &all);
        }
    }
    States {
        terminal: node.strings("terminal"),
        executed: node.strings("executed"),
        not_sent: node.strings("not_sent"),
        transitions,
    }
}
