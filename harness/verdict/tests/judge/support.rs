//! Hand-built journals: a run of one drill in which everything went well, to be spoilt by a test.

use std::collections::BTreeMap;

use firedrill_journal::*;
use firedrill_verdict::{CheckVerdict, Verdict, judge};
use serde_json::{Value, json};

pub const TARGET: &str = include_str!("../../../../fixtures/targets/reference.toml");
pub const MODE: &str = "/execution_mode/mode";

pub const DRILL: &str = r#"
title  = "Outage"
why    = "a test"
source = ["004.67"]
needs  = { mode = "LIVE", accepted = 2, executing = 2 }

[catches]
fails-open = "dry-at-once"

[load]
signals_per_s = 10

[[phase]]
id   = "baseline"
hold = "1s"

[[phase]]
id    = "outage"
fault = { kind = "pause", target = "redis" }
hold  = "2s"

[[phase]]
id   = "recovery"
hold = "2s"

[[mark]]
id    = "first-read"
in    = "recovery"
probe = { http = "worker", path = "/health", json = "/execution_mode/redis_health_streak", every = "50ms" }
at_least = 1

[[expect]]
id     = "dry-at-once"
what   = "falls to DRY and stays there"
probe  = { http = "worker", path = "/health", json = "/execution_mode/mode", every = "50ms" }
equals = "DRY"
when   = { within = "500ms", of = "outage.proven", then = "throughout" }

[[expect]]
id     = "health-answers"
what   = "/health answers within 1 s"
probe  = { http = "worker", path = "/health", field = "latency_ms", every = "50ms" }
at_most = 1000
when   = { from = "outage", to = "recovery" }

[[expect]]
id     = "nothing-sent"
what   = "no first send"
none   = { chain = "first_send" }
when   = { in = "outage", grace = "500ms" }

[[expect]]
id     = "logged"
what   = "it is logged"
count  = { log = "worker", matches = "FAILING SAFE" }
at_least = 1
when   = { in = "outage" }

[[expect]]
id     = "live-is-earned"
what   = "LIVE no earlier"
probe  = { http = "worker", path = "/health", json = "/execution_mode/mode", every = "50ms" }
equals = "LIVE"
when   = { not_before = "200ms", of = "@first-read", in = "recovery" }

[[expect]]
id     = "streak-logged"
what   = "read by read"
sequence = [
    { log = "worker", matches = "streak 1/3" },
    { log = "worker", matches = "streak 2/3" },
]
when   = { in = "recovery" }

[[expect]]
id     = "live-again"
what   = "LIVE again"
probe  = { http = "worker", path = "/health", json = "/execution_mode/mode", every = "50ms" }
equals = "LIVE"
when   = { within = "1500ms", of = "outage.healed" }

[[expect]]
id     = "no-crash"
what   = "nothing dies"
none   = { engine = "die", services = ["worker"] }
when   = { from = "baseline" }
"#;

pub const MS: u64 = 1_000_000;

pub struct Run {
    pub header: Header,
    /// Time of writing in milliseconds, and the event.
    pub events: Vec<(u64, Event)>,
}

fn map(value: Value) -> BTreeMap<String, Value> {
    value.as_object().unwrap().clone().into_iter().collect()
}

pub fn tag(n: u64) -> String {
    format!("0x{n:064x}")
}

fn document(role: DocumentRole, path: &str, text: &str) -> Document {
    Document {
        role,
        path: path.to_owned(),
        sha256: sha256_hex(text.as_bytes()),
        text: text.to_owned(),
    }
}

fn header(target: &str, drill: &str) -> Header {
    Header {
        schema: SCHEMA,
        run: RunInfo {
            id: "run-1".into(),
            kind: RunKind::Drill,
            profile: "quick".into(),
            seed: 7,
            target: "reference".into(),
            runtime: "docker".into(),
            argv: vec![],
            started_at: "2026-11-21T00:00:00Z".parse().unwrap(),
        },
        documents: vec![
            document(
                DocumentRole::Target,
                "fixtures/targets/reference.toml",
                target,
            ),
            document(DocumentRole::Drill, "drills/outage.toml", drill),
        ],
        subject: Subject {
            name: "bot".into(),
            digest: "sha256:aa".into(),
            version: "1".into(),
            git_revision: None,
            dirty: Some(false),
            defect: None,
        },
        images: BTreeMap::new(),
        versions: BTreeMap::new(),
        episodes: vec![EpisodeInfo {
            drill: "outage".into(),
            document: "drills/outage.toml".into(),
        }],
    }
}

impl Run {
    /// Outage from 1 s to 3.1 s, LIVE again at 3.6 s, end at 6 s.
    pub fn healthy() -> Run {
        Run::of(DRILL)
    }

    /// A run in which nothing was recorded yet.
    pub fn empty(target: &str, drill: &str) -> Run {
        Run {
            header: header(target, drill),
            events: Vec::new(),
        }
    }

    pub fn of(drill: &str) -> Run {
        let mut run = Run::empty(TARGET, drill);
        for id in ["log:webhook", "log:worker", "log:tpsl", "chain", "engine"] {
            run.stream(0, id, StreamState::Attached, None);
        }
        let need = json!({"need": "mode", "held": true, "observed": "LIVE"});
        run.fact(1, FactSource::Act, "need", need);
        run.phases();
        run.samples();
        run.signals();
        run.fact(
            1200,
            FactSource::Log,
            "line",
            json!({"service": "worker", "text": "\u{1b}[31mFAILING\u{1b}[0m SAFE TO DRY"}),
        );
        for (at, n) in [(3200, 1), (3400, 2), (3600, 3)] {
            let text = format!("health streak {n}/3");
            run.fact(
                at,
                FactSource::Log,
                "line",
                json!({"service": "worker", "text": text}),
            );
        }
        run.events.sort_by_key(|(at, _)| *at);
        run.record();
        run
    }

    pub fn edge(&mut self, at: u64, phase: &str, fault: bool, kind: EdgeKind) {
        let fault = fault.then(|| FaultRef {
            index: 0,
            kind: "pause".into(),
            target: "redis".into(),
        });
        let proof = fault.as_ref().map(|_| "frozen".to_owned());
        let edge = Edge {
            episode: 0,
            phase: phase.into(),
            fault,
            kind,
            at_ns: at * MS,
            proof,
            felt: None,
        };
        self.events.push((at, Event::Edge(edge)));
    }

    fn phases(&mut self) {
        use EdgeKind::*;
        let phases = [
            ("baseline", 10, 20, 1100, 1101),
            ("outage", 1110, 1125, 3126, 3136),
            ("recovery", 3140, 3141, 5141, 5142),
            ("quiesce", 5150, 5151, 5900, 5901),
        ];
        for (id, requested, proven, heal, healed) in phases {
            self.edge(requested, id, false, Requested);
            if id == "outage" {
                self.edge(requested + 1, id, true, Requested);
                self.edge(proven - 1, id, true, Proven);
                self.edge(heal + 1, id, true, HealRequested);
                self.edge(healed - 1, id, true, Healed);
            }
            self.edge(proven, id, false, Proven);
            self.edge(heal, id, false, HealRequested);
            self.edge(healed, id, false, Healed);
        }
    }

    fn samples(&mut self) {
        for due in (0..5900).step_by(50) {
            let (mode, streak) = match due {
                0..1300 => ("LIVE", 9),
                1300..3200 => ("DRY", 0),
                3200..3400 => ("DRY", 1),
                3400..3600 => ("DRY", 2),
                _ => ("LIVE", 3),
            };
            let fields = json!({"status": 200, "latency_ms": 2.0, MODE: mode, "/execution_mode/redis_health_streak": streak});
            let sample = Sample {
                probe: "http:worker:/health".into(),
                due_ns: due * MS,
                took_ns: 2 * MS,
                result: SampleResult::Value(map(fields)),
            };
            self.events.push((due + 2, Event::Sample(sample)));
        }
    }

    /// Signals every 100 ms; those of the outage are accepted and simulated.
    fn signals(&mut self) {
        for n in 0..50 {
            let at = 30 + n * 100;
            let op = self.op(n, at);
            self.events.push((at, Event::Op(op.clone())));
            let done = Op {
                state: OpState::Ok,
                at_ns: (at + 5) * MS,
                signal: None,
                status: Some(200),
                detail: Some("queued".into()),
                ..op
            };
            self.events.push((at + 5, Event::Op(done)));
            if executed(n) {
                let send = json!({"tx_hash": tag(1000 + n), "from": "0xf", "nonce": n, "intent": tag(n), "first_send": true, "outcome": "accepted"});
                self.fact(at + 20, FactSource::Chain, "submission", send);
                let mined = json!({"tx_hash": tag(1000 + n), "from": "0xf", "nonce": n, "intent": tag(n), "first_send": false, "status": 1, "effective_gas_price": 51_000_000, "symbol": "BTC-USD", "side": "LONG", "size_usdc": "10"});
                self.fact(at + 200, FactSource::Chain, "mined", mined);
            }
        }
    }

    fn op(&self, n: u64, at: u64) -> Op {
        let phase = match at {
            0..1110 => "baseline",
            1110..3140 => "outage",
            _ => "recovery",
        };
        Op {
            id: n,
            state: OpState::Invoked,
            intended_ns: at * MS,
            at_ns: at * MS,
            signal: Some(SignalRef {
                key: format!("sig:{n}"),
                tag: tag(n),
                payload: String::new(),
                episode: 0,
                phase: phase.into(),
                origin: "load".into(),
                service: "webhook".into(),
                malformed: None,
            }),
            status: None,
            detail: None,
            names: None,
        }
    }

    fn record(&mut self) {
        self.stream(5910, "sql", StreamState::Attached, None);
        let mut tables: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for n in 0..50_u64 {
            let id = n.to_string();
            let steps: &[(&str, &str)] = if executed(n) {
                &[("CREATED", "BUILT"), ("BUILT", "SENT"), ("SENT", "MINED")]
            } else {
                &[("CREATED", "SIMULATED")]
            };
            let status = steps.last().unwrap().1;
            let mut put = |table, row| tables.entry(table).or_default().push(row);
            put(
                "signal",
                json!({"key": format!("sig:{n}"), "payload": "", "symbol": "BTC-USD", "side": "LONG", "size": "10"}),
            );
            put(
                "intent",
                json!({"id": id, "key": format!("sig:{n}"), "status": status, "reason": null}),
            );
            for (from, to) in steps {
                put("transition", json!({"intent": id, "from": from, "to": to}));
            }
            if executed(n) {
                let tx = tag(1000 + n);
                put(
                    "send",
                    json!({"intent": id, "tx": tx, "outcome": "accepted"}),
                );
                put(
                    "receipt",
                    json!({"tx": tx, "status": "1", "price": "51000000"}),
                );
                put("execution", json!({"intent": id, "tx": tx}));
                put(
                    "position",
                    json!({"id": tx, "opened_by": id, "closed_by": null, "symbol": "BTC-USD", "side": "LONG"}),
                );
            }
        }
        for (table, rows) in tables {
            let n = rows.len();
            for row in rows {
                self.fact(5920, FactSource::Sql, table, row);
            }
            self.fact(
                5920,
                FactSource::Sql,
                "collected",
                json!({"table": table, "rows": n}),
            );
        }
        let target =
            firedrill_plan::parse_target("t.toml", TARGET, &|_| Ok(String::new())).unwrap();
        for equation in target.value.audit.metrics {
            let numbers = json!({"id": equation.id, "metric": 0, "database": 0});
            self.fact(5930, FactSource::Metric, "equation", numbers);
        }
    }

    pub fn fact(&mut self, at: u64, source: FactSource, what: &str, keys: Value) {
        let fact = Fact {
            source,
            what: what.into(),
            at_ns: at * MS,
            keys: map(keys),
        };
        self.events.push((at, Event::Fact(fact)));
    }

    pub fn stream(&mut self, at: u64, id: &str, state: StreamState, detail: Option<&str>) {
        let stream = Stream {
            id: id.into(),
            state,
            at_ns: at * MS,
            detail: detail.map(str::to_owned),
        };
        self.events.push((at, Event::Stream(stream)));
    }

    /// Keeps the events for which `keep` says so; it may change them.
    pub fn edit(mut self, mut keep: impl FnMut(&mut Event) -> bool) -> Run {
        self.events.retain_mut(|(_, event)| keep(event));
        self
    }

    /// Changes the fields of samples that were due in `[from, to)` milliseconds.
    pub fn samples_between(self, from: u64, to: u64, change: impl Fn(&mut Sample)) -> Run {
        self.edit(|event| {
            if let Event::Sample(sample) = event
                && (from * MS..to * MS).contains(&sample.due_ns)
            {
                change(sample);
            }
            true
        })
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut prev = GENESIS.to_owned();
        let head = Event::Header(Box::new(self.header.clone()));
        let mut counts: BTreeMap<String, u64> = BTreeMap::from([(head.kind().to_owned(), 1)]);
        for (_, event) in &self.events {
            *counts.entry(event.kind().to_owned()).or_default() += 1;
        }
        let last = self.events.iter().map(|(at, _)| *at).max();
        let last = last.unwrap_or_default().max(6_000);
        let end = Event::End(End {
            reason: EndReason::Completed,
            detail: None,
            at_ns: last * MS,
            counts,
        });
        let body = self.events.iter().cloned();
        let all = std::iter::once((0, head)).chain(body).chain([(last, end)]);
        for (seq, (at, event)) in all.enumerate() {
            let envelope = Envelope {
                seq: seq as u64,
                mono_ns: at * MS,
                wall: "2026-11-21T00:00:06Z".parse().unwrap(),
                prev,
                event,
            };
            let line = serde_json::to_vec(&envelope).unwrap();
            prev = sha256_hex(&line);
            out.extend(line);
            out.push(b'\n');
        }
        out
    }

    pub fn judge(&self) -> Verdict {
        judge(&read(&self.bytes()).unwrap())
    }
}

pub fn executed(n: u64) -> bool {
    !(11..37).contains(&n)
}

pub fn check<'a>(verdict: &'a Verdict, id: &str) -> &'a CheckVerdict {
    let mut all = verdict.drills.iter().flat_map(|d| &d.checks);
    all.find(|c| c.id == id)
        .unwrap_or_else(|| panic!("no check {id}: {:?}", verdict.reasons))
}
