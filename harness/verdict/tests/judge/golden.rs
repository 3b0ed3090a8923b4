//! Golden journals: of each judging rule one that passes, one that fails, and one in which its data is
//! missing. They stand in `fixtures/journals/rules`; `FIREDRILL_BLESS=1` writes them anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use firedrill_journal::{EdgeKind, Event, FactSource, Op, OpState, Sample, SampleResult, read};
use firedrill_journal::{SignalRef, StreamState};
use firedrill_plan::{FactSelector, Growth, Observe, Predicate, When, parse_drill, parse_target};
use firedrill_verdict::{Outcome, Verdict, equation_ids, judge};
use serde_json::{Value, json};

use crate::golden_rules::{Judged, Rule, rules};
use crate::support::{Run, tag};

pub const MS: u64 = 1_000_000;

/// A target with as little in it as the rules need.
const TARGET: &str = r#"
name = "small"

[secrets]
KEY = { random = 16 }

[[service]]
name    = "redis"
role    = "redis"
image   = { name = "redis:7" }
ports   = { main = 6379 }
healthy = { redis = "main" }

[[service]]
name    = "postgres"
role    = "postgres"
image   = { name = "postgres:15" }
ports   = { main = 5432 }
healthy = { tcp = "main" }

[[service]]
name    = "rpc"
role    = "chain"
image   = "self"
ports   = { main = 8545, audit = 8546 }
healthy = { tcp = "main" }

[[service]]
name    = "web"
role    = "app"
image   = "self"
ports   = { main = 80 }
healthy = { http = "main", path = "/health" }
logs    = true

[signals]
service          = "web"
path             = "/signals"
body             = '{"id":"{run}-{seq}"}'
key              = "{run}-{seq}"
signature_header = "X-Signature"
secret           = "KEY"
word             = "/status"
reason           = "/reason"

[mode]
services = ["web"]
path     = "/health"
json     = "/mode"

[audit]
postgres = { service = "postgres", url = "postgres://u:p@{host}:{port}/d" }
chain    = { service = "rpc", port = "audit" }

[audit.states]
terminal    = ["MINED", "SIMULATED"]
executed    = ["MINED"]
not_sent    = ["SIMULATED"]
transitions = [["CREATED", "SENT"], ["SENT", "MINED"], ["CREATED", "SIMULATED"]]

[audit.sql]
intent     = "SELECT 1"
send       = "SELECT 1"
receipt    = "SELECT 1"
execution  = "SELECT 1"
transition = "SELECT 1"
position   = "SELECT 1"

[[audit.same]]
id     = "paid"
what   = "the price is the one that was paid"
table  = "receipt"
column = "price"
field  = "paid"

[[audit.same]]
id     = "side"
what   = "it is traded as asked"
table  = "intent"
column = "side"
field  = "side"

[[audit.same]]
id     = "opened"
what   = "it is held as traded"
table  = "position"
column = "side"
field  = "side"

[[audit.metric]]
id       = "agrees"
series   = "n"
services = ["web"]
sql      = "SELECT 1"
"#;

const DRILL: &str = r#"title  = "A rule"
why    = "a test"
source = ["004.67"]
accept = "made for one rule"
NEEDS

[[phase]]
id   = "before"
hold = "100ms"

[[phase]]
id    = "fault"
fault = { kind = "pause", target = "redis" }
hold  = "1s"

"#;

/// The drill of a rule: one expectation, called `rule`; and, where signals are sent, the load.
fn drill(rule: &Rule) -> String {
    let needs = match &rule.needs {
        Some(needs) => format!("needs  = {needs}\n"),
        None => String::new(),
    };
    let load = if rule.signals {
        "\n[load]\nsignals_per_s = 10"
    } else {
        ""
    };
    let head = DRILL.replace("NEEDS", &format!("{needs}{load}"));
    format!("{head}{}\n", rule.expect)
}

/// The journal in which the rule holds.
fn passing(rule: &Rule) -> Run {
    let logs = "logs    = true";
    let target = TARGET.replace(logs, &format!("{logs}{}", rule.service));
    let mut run = Run::empty(&target, &drill(rule));
    run.header.documents[0].path = "target.toml".into();
    for id in ["log:web", "chain", "engine"] {
        run.stream(0, id, StreamState::Attached, None);
    }
    let phases = [
        ("before", 10, 10, 110, 110),
        ("fault", 120, 130, 1130, 1140),
        ("quiesce", 1150, 1150, 1200, 1201),
    ];
    for (id, requested, proven, heal, healed) in phases {
        run.edge(requested, id, false, EdgeKind::Requested);
        if id == "fault" {
            run.edge(requested + 1, id, true, EdgeKind::Requested);
            run.edge(proven - 1, id, true, EdgeKind::Proven);
            run.edge(heal + 1, id, true, EdgeKind::HealRequested);
            run.edge(healed - 1, id, true, EdgeKind::Healed);
        }
        run.edge(proven, id, false, EdgeKind::Proven);
        run.edge(heal, id, false, EdgeKind::HealRequested);
        run.edge(healed, id, false, EdgeKind::Healed);
    }
    samples(&mut run, rule);
    if rule.signals {
        signals(&mut run);
        record(&mut run);
    }
    let mut run = (rule.pass)(run);
    run.events.sort_by_key(|(at, _)| *at);
    run
}

fn samples(run: &mut Run, rule: &Rule) {
    for due in (0..=1200).step_by(100) {
        for (probe, fields) in [
            (
                "http:web:/health",
                json!({"status": 200, "latency_ms": 2.0, "/v": 7}),
            ),
            ("metrics:web:/metrics", json!({"c_total": 7})),
        ] {
            if probe.starts_with("metrics:") && !rule.expect.contains("c_total") {
                continue;
            }
            let fields = fields.as_object().unwrap().clone().into_iter().collect();
            let sample = Sample {
                probe: probe.into(),
                due_ns: due * MS,
                took_ns: 2 * MS,
                result: SampleResult::Value(fields),
            };
            run.events.push((due + 2, Event::Sample(sample)));
        }
    }
}

/// Two signals before the fault, which are executed, and one in it, which is not.
fn signals(run: &mut Run) {
    for (n, at) in [(0, 20), (1, 40), (2, 500)] {
        let op = Op {
            id: n,
            state: OpState::Invoked,
            intended_ns: at * MS,
            at_ns: at * MS,
            signal: Some(SignalRef {
                key: format!("k{n}"),
                tag: tag(n),
                payload: String::new(),
                episode: 0,
                phase: if n < 2 { "before" } else { "fault" }.into(),
                origin: "load".into(),
                service: "web".into(),
                malformed: None,
            }),
            status: None,
            detail: None,
            names: None,
        };
        run.events.push((at, Event::Op(op.clone())));
        let done = Op {
            state: OpState::Ok,
            at_ns: (at + 5) * MS,
            signal: None,
            status: Some(200),
            detail: Some("queued".into()),
            ..op
        };
        run.events.push((at + 5, Event::Op(done)));
        if n < 2 {
            submission(run, at + 10, 10 + n, n, n, true);
            let mined = json!({"tx_hash": tag(10 + n), "from": "0xf", "nonce": n, "intent": tag(n), "status": 1, "block_number": 5, "paid": 7, "side": "LONG"});
            run.fact(at + 20, FactSource::Chain, "mined", mined);
        }
    }
}

pub fn submission(run: &mut Run, at: u64, tx: u64, nonce: u64, intent: u64, first: bool) {
    let keys = json!({"tx_hash": tag(tx), "from": "0xf", "nonce": nonce, "intent": tag(intent), "first_send": first, "outcome": "accepted"});
    run.fact(at, FactSource::Chain, "submission", keys);
}

fn record(run: &mut Run) {
    run.stream(1205, "sql", StreamState::Attached, None);
    let tables: [(&str, Vec<Value>); 6] = [
        (
            "intent",
            vec![
                json!({"id": "0", "key": "k0", "status": "MINED", "side": "LONG"}),
                json!({"id": "1", "key": "k1", "status": "MINED", "side": "LONG"}),
                json!({"id": "2", "key": "k2", "status": "SIMULATED"}),
            ],
        ),
        (
            "send",
            vec![
                json!({"intent": "0", "tx": tag(10), "outcome": "accepted"}),
                json!({"intent": "1", "tx": tag(11), "outcome": "accepted"}),
            ],
        ),
        (
            "receipt",
            vec![
                json!({"tx": tag(10), "status": "1", "block": "5", "price": "7.0"}),
                json!({"tx": tag(11), "status": "1", "block": "5", "price": "7"}),
            ],
        ),
        (
            "execution",
            vec![
                json!({"intent": "0", "tx": tag(10)}),
                json!({"intent": "1", "tx": tag(11)}),
            ],
        ),
        (
            "transition",
            vec![
                json!({"intent": "0", "from": "CREATED", "to": "SENT"}),
                json!({"intent": "0", "from": "SENT", "to": "MINED"}),
                json!({"intent": "1", "from": "CREATED", "to": "SENT"}),
                json!({"intent": "1", "from": "SENT", "to": "MINED"}),
                json!({"intent": "2", "from": "CREATED", "to": "SIMULATED"}),
            ],
        ),
        (
            "position",
            vec![
                json!({"id": "a", "opened_by": "0", "closed_by": null, "side": "LONG"}),
                json!({"id": "b", "opened_by": "1", "closed_by": null, "side": "LONG"}),
            ],
        ),
    ];
    for (table, rows) in tables {
        let n = rows.len();
        for row in rows {
            run.fact(1210, FactSource::Sql, table, row);
        }
        let collected = json!({"table": table, "rows": n});
        run.fact(1210, FactSource::Sql, "collected", collected);
    }
    let numbers = json!({"id": "agrees", "metric": 1, "database": 1});
    run.fact(1215, FactSource::Metric, "equation", numbers);
}

/// The three journals of a rule, as they are written.
fn journals(rule: &Rule) -> [(&'static str, Vec<u8>); 3] {
    let spoilt = |edit: &crate::golden_rules::Edit| {
        let mut run = edit(passing(rule));
        run.events.sort_by_key(|(at, _)| *at);
        run.bytes()
    };
    let mut missing = spoilt(&rule.missing);
    if rule.cut {
        let body = &missing[..missing.len() - 1];
        let end = body.iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        missing.truncate(end);
    }
    [
        ("pass", passing(rule).bytes()),
        ("fail", spoilt(&rule.fail)),
        ("missing", missing),
    ]
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/journals/rules")
}

/// What the verdict says of the part that a rule is about, and why.
fn part(verdict: &Verdict, judged: &Judged) -> (Outcome, String) {
    let Some(drill) = verdict.drills.first() else {
        return (verdict.verdict, verdict.reasons.join("\n"));
    };
    match judged {
        Judged::Check => {
            let check = drill.checks.iter().find(|c| c.id == "rule").unwrap();
            (check.verdict, check.observed.clone())
        }
        Judged::Need(what) => {
            let need = drill.needs.iter().find(|n| n.what == *what).unwrap();
            (need.verdict, need.observed.clone())
        }
        Judged::Fault => {
            let fault = &drill.faults[0];
            (fault.verdict, fault.reason.clone().unwrap_or_default())
        }
        Judged::Drill => (drill.verdict, drill.reasons.join("\n")),
        Judged::Audit(id) => {
            let check = verdict.audit.checks.iter().find(|c| c.id == *id).unwrap();
            (check.verdict, check.observed.clone())
        }
        Judged::Same(id) => {
            let id = format!("same/{id}");
            let check = verdict.audit.checks.iter().find(|c| c.id == id).unwrap();
            (check.verdict, check.observed.clone())
        }
    }
}

#[test]
fn each_rule_passes_fails_and_misses_its_data() {
    let mut wrong = Vec::new();
    for rule in rules() {
        let wanted = [
            (Outcome::Pass, ""),
            (rule.failed, rule.fail_words),
            (Outcome::Inconclusive, rule.missing_words),
        ];
        for (name, (outcome, words)) in ["pass", "fail", "missing"].iter().zip(wanted) {
            let path = folder().join(&rule.id).join(format!("{name}.jsonl"));
            let Ok(bytes) = fs::read(&path) else {
                wrong.push(format!("{}: there is no such journal", path.display()));
                continue;
            };
            let verdict = judge(&read(&bytes).unwrap());
            let (found, why) = part(&verdict, &rule.judged);
            let whole = verdict.verdict == outcome
                || outcome != Outcome::Pass && verdict.verdict == Outcome::Fail;
            if found != outcome || !why.contains(words) || !whole {
                wrong.push(format!(
                    "{} {name}: {found:?} instead of {outcome:?} with {words:?}: {why}; {:?}: {:?}",
                    rule.id, verdict.verdict, verdict.reasons
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn golden_journals_are_those_of_the_generator() {
    let bless = std::env::var_os("FIREDRILL_BLESS").is_some();
    let mut known = BTreeSet::new();
    for rule in rules() {
        let folder = folder().join(&rule.id);
        for (name, bytes) in journals(&rule) {
            let path = folder.join(format!("{name}.jsonl"));
            if bless {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&path, &bytes).unwrap();
            }
            let kept = fs::read(&path).unwrap_or_default();
            assert!(
                kept == bytes,
                "{}: not what the generator writes; FIREDRILL_BLESS=1 writes it anew",
                path.display()
            );
        }
        assert!(known.insert(rule.id.clone()), "two rules {}", rule.id);
    }
    let stands: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(stands, known, "a folder per rule, and none besides");
}

/// Names the rule of each kind of predicate, selector and operator that the plan knows. A new kind does
/// not compile here until it has its rule.
fn named(observe: &Observe, when: &When, names: &mut BTreeSet<&'static str>) {
    let is = match observe {
        Observe::Value { is, .. } => Some(is),
        Observe::Growth { growth, is, .. } => {
            names.insert(match growth {
                Growth::Total => "growth-total",
                Growth::PerSecond => "growth-per-second",
            });
            Some(is)
        }
        Observe::Count { facts, is } => {
            names.insert(match facts {
                FactSelector::Log { .. } => "count-log",
                FactSelector::ChainFirstSend { .. } => "chain-first-send",
                FactSelector::ChainSubmission { .. } => "chain-submission",
                FactSelector::Engine { .. } => "engine",
                FactSelector::Op { .. } => "op",
                FactSelector::Row { .. } => "row",
            });
            Some(is)
        }
        Observe::Sequence { .. } => {
            names.insert("sequence");
            None
        }
    };
    names.extend(is.map(|is| match is {
        Predicate::Equals(_) => "equals",
        Predicate::OneOf(_) => "one-of",
        Predicate::AtMost(_) => "at-most",
        Predicate::Below(_) => "below",
        Predicate::AtLeast(_) => "at-least",
        Predicate::Above(_) => "above",
        // Policies only.
        Predicate::Between(..) => "between",
        Predicate::Matches(_) => "matches",
    }));
    names.insert(match when {
        When::Throughout { .. } => "throughout",
        When::Eventually { .. } => "eventually",
        When::Within {
            then_throughout, ..
        } => {
            if *then_throughout {
                "within-then"
            } else {
                "within"
            }
        }
        When::NotBefore { .. } => "not-before",
        When::Never { .. } => "never",
    });
}

/// How many names `named` can give; a kind that no rule uses would be missing.
const KINDS: usize = 2 + 6 + 1 + 7 + 6;

#[test]
fn every_rule_in_the_code_has_its_triple() {
    let target = parse_target("target.toml", TARGET, &|_| Ok(String::new())).unwrap();
    let rules = rules();
    let ids: BTreeSet<&str> = rules.iter().map(|r| r.id.as_str()).collect();
    let mut names = BTreeSet::new();
    for rule in &rules {
        let text = drill(rule);
        let parsed = parse_drill("d.toml", &text, &target.value);
        let drill = parsed.unwrap_or_else(|e| panic!("{}: {e}\n{text}", rule.id));
        for expect in &drill.value.expects {
            named(&expect.observe, &expect.when, &mut names);
        }
    }
    assert_eq!(names.len(), KINDS, "{names:?}");
    for name in &names {
        assert!(ids.contains(name), "{name} has no journals of its own");
    }
    for id in equation_ids() {
        let id = format!("audit-{id}");
        assert!(ids.contains(id.as_str()), "{id} has no journals of its own");
    }
}
