//! The judging rules, each with what holds, what breaks it, and what takes its data away. The bare run is
//! built by `golden`: a fault from 130 to 1130 ms, a sample of `/v` (7) and of `c_total` (7) every 100 ms.

mod audit;
mod course;

use firedrill_journal::{EdgeKind, Event, Fact, FactSource, OpState, SampleResult, StreamState};
use firedrill_plan::HEARTBEAT_FIELD;
use firedrill_verdict::Outcome;
use serde_json::{Value, json};

use audit::{answered, column, uncollected};
use course::edgeless;

use crate::golden::{MS, submission};
use crate::support::{Run, tag};

pub type Edit = Box<dyn Fn(Run) -> Run>;

/// Which part of the verdict a rule is about.
pub enum Judged {
    Check,
    Need(&'static str),
    Fault,
    Drill,
    Audit(&'static str),
    /// What the record and the chain must say alike.
    Same(&'static str),
}

pub struct Rule {
    pub id: String,
    /// TOML of what follows the phases.
    pub expect: String,
    pub needs: Option<&'static str>,
    /// TOML of what the service has besides.
    pub service: &'static str,
    /// Whether signals are sent and the record is read.
    pub signals: bool,
    pub judged: Judged,
    pub pass: Edit,
    pub fail: Edit,
    pub failed: Outcome,
    pub fail_words: &'static str,
    pub missing: Edit,
    pub missing_words: &'static str,
    /// The journal without its end: for what needs nothing but that nothing can follow.
    pub cut: bool,
}

const ALIVE: &str = r#"
[[expect]]
id    = "rule"
what  = "it answers"
probe = { http = "web", path = "/health", field = "status", every = "100ms" }
equals = 200
"#;

fn rule(id: &str, expect: String) -> Rule {
    Rule {
        id: id.into(),
        expect,
        needs: None,
        service: "",
        signals: false,
        judged: Judged::Check,
        pass: Box::new(|run| run),
        fail: Box::new(|run| run),
        failed: Outcome::Fail,
        fail_words: "",
        missing: Box::new(|run| run),
        missing_words: "",
        cut: false,
    }
}

impl Rule {
    fn pass(mut self, edit: impl Fn(Run) -> Run + 'static) -> Rule {
        self.pass = Box::new(edit);
        self
    }

    fn fail(mut self, words: &'static str, edit: impl Fn(Run) -> Run + 'static) -> Rule {
        (self.fail, self.fail_words) = (Box::new(edit), words);
        self
    }

    fn missing(mut self, words: &'static str, edit: impl Fn(Run) -> Run + 'static) -> Rule {
        (self.missing, self.missing_words) = (Box::new(edit), words);
        self
    }

    /// What breaks it shows that the drill was none, and accuses nobody.
    fn about(mut self, judged: Judged) -> Rule {
        (self.judged, self.failed) = (judged, Outcome::Inconclusive);
        self
    }
}

/// Every rule that has journals.
pub fn rules() -> Vec<Rule> {
    let mut all = predicates();
    all.extend(operators());
    all.extend(coverage());
    all.extend(facts());
    all.extend(growth());
    all.extend(heartbeat());
    all.extend(course::rules());
    all.extend(needs());
    all.extend(audit::rules());
    all
}

fn check(body: &str) -> String {
    format!("[[expect]]\nid   = \"rule\"\nwhat = \"a rule\"\n{body}\n")
}

/// A check of `/v`.
fn value(id: &str, is: &str, when: &str) -> Rule {
    let probe = r#"probe = { http = "web", path = "/health", json = "/v", every = "100ms" }"#;
    rule(id, check(&format!("{probe}\n{is}\nwhen = {{ {when} }}")))
}

fn http(run: Run, from: u64, to: u64, change: impl Fn(&mut SampleResult)) -> Run {
    samples(run, "http:", from, to, change)
}

fn samples(run: Run, probe: &str, from: u64, to: u64, change: impl Fn(&mut SampleResult)) -> Run {
    run.samples_between(from, to, |sample| {
        if sample.probe.starts_with(probe) {
            change(&mut sample.result);
        }
    })
}

fn put(run: Run, from: u64, to: u64, field: &str, value: Value) -> Run {
    let probe = if field == "c_total" {
        "metrics:"
    } else {
        "http:"
    };
    samples(run, probe, from, to, |result| {
        if let SampleResult::Value(fields) = result {
            fields.insert(field.to_owned(), value.clone());
        }
    })
}

/// `/v` is something else in a stretch of time.
fn v(from: u64, to: u64, value: Value) -> impl Fn(Run) -> Run {
    move |run| put(run, from, to, "/v", value.clone())
}

fn lost(from: u64, to: u64, why: &'static str) -> impl Fn(Run) -> Run {
    move |run| {
        http(run, from, to, |result| {
            *result = SampleResult::Missing(why.to_owned())
        })
    }
}

fn gone(from: u64, to: u64) -> impl Fn(Run) -> Run {
    move |run| {
        run.edit(|event| match event {
            Event::Sample(s) => !(from * MS..to * MS).contains(&s.due_ns),
            _ => true,
        })
    }
}

const HTML: &str = "HTML instead of JSON";

fn predicates() -> Vec<Rule> {
    let of = |id: &str, is: &str, bad: Value, words: &'static str| {
        value(id, is, r#"in = "fault""#)
            .fail(words, v(500, 600, bad))
            .missing(HTML, lost(0, 1200, HTML))
    };
    vec![
        of("equals", "equals = 7", json!(8), "8 at 372 ms"),
        of("one-of", "one_of = [6, 7]", json!(8), "8 at 372 ms"),
        of("at-most", "at_most = 7", json!(8), "8 at 372 ms"),
        of("below", "below = 8", json!(8), "8 at 372 ms"),
        of("at-least", "at_least = 7", json!(6), "6 at 372 ms"),
        of("above", "above = 6", json!(6), "6 at 372 ms"),
        of("matches", "matches = '^7$'", json!("77"), "77 at 372 ms"),
        of("value-null", "equals = 7", json!(8), "8 at")
            .missing("`/v` is null", v(0, 1200, json!(null))),
        of("value-nan", "at_most = 7", json!(8), "8 at")
            .missing("`/v` is NaN", v(0, 1200, json!("NaN"))),
        of("value-not-a-number", "at_most = 7", json!(8), "8 at")
            .missing("not comparable: high", v(0, 1200, json!("high"))),
        of("value-absent", "equals = 7", json!(8), "8 at").missing("holds no `/v`", |run| {
            http(run, 0, 1200, |result| {
                if let SampleResult::Value(fields) = result {
                    fields.remove("/v");
                }
            })
        }),
        rule(
            "status",
            ALIVE.replace("equals = 200", "equals = 200\nwhen = { in = \"fault\" }"),
        )
        .fail("no answer at", lost(500, 600, "connect: refused"))
        .missing(
            "the harness was busy",
            lost(0, 1200, "the harness was busy"),
        ),
        rule(
            "latency",
            check(
                r#"probe = { http = "web", path = "/health", field = "latency_ms", every = "100ms" }
at_most = 1000
when = { in = "fault" }"#,
            ),
        )
        .fail(
            "no answer at",
            lost(500, 600, "deadline of 1000 ms: no answer"),
        )
        .missing(HTML, lost(0, 1200, HTML)),
        value(
            "precondition",
            "precondition = true\nequals = 7",
            r#"in = "fault""#,
        )
        .about(Judged::Check)
        .fail("the precondition does not hold", v(500, 600, json!(8)))
        .missing(HTML, lost(0, 1200, HTML)),
    ]
}

fn operators() -> Vec<Rule> {
    let nine = |id: &str, when: &str| value(id, "equals = 9", when);
    vec![
        value("throughout", "equals = 7", r#"in = "fault""#)
            .fail("1 of 10 samples broke it", v(1100, 1200, json!(8)))
            .missing("too little data", gone(200, 1100)),
        nine("never", r#"in = "fault", op = "never""#)
            .fail("9 at 372 ms", v(500, 600, json!(9)))
            .missing(HTML, lost(0, 1200, HTML)),
        nine("eventually", r#"in = "fault", op = "eventually""#)
            .pass(v(500, 600, json!(9)))
            .fail("9 never seen in 10 samples", v(0, 1200, json!(7)))
            .missing("9 not seen", lost(0, 1200, HTML)),
        nine("within", r#"within = "400ms", of = "fault.proven""#)
            .pass(v(300, 1200, json!(9)))
            .fail("9 after 572 ms", v(300, 700, json!(7)))
            .missing("9 not seen", lost(0, 1200, HTML)),
        nine(
            "within-then",
            r#"within = "400ms", of = "fault.proven", then = "throughout""#,
        )
        .pass(v(300, 1200, json!(9)))
        .fail("after it had been 9", v(900, 1000, json!(7)))
        .missing("too little data", lost(600, 1200, HTML)),
        nine(
            "not-before",
            r#"not_before = "300ms", of = "fault.proven", in = "fault""#,
        )
        .pass(v(600, 1200, json!(9)))
        .fail("9 after 172 ms", v(300, 1200, json!(9)))
        .missing(HTML, lost(0, 600, HTML)),
        marked(),
    ]
}

/// A bound that hangs on a mark.
fn marked() -> Rule {
    let mark = r#"[[mark]]
id    = "nine"
in    = "fault"
probe = { http = "web", path = "/health", json = "/v", every = "100ms" }
equals = 9

"#;
    let bound = check(
        r#"count = { log = "web", matches = "nine" }
at_least = 1
when = { within = "300ms", of = "@nine" }"#,
    );
    rule("mark", format!("{mark}{bound}"))
        .pass(|run| line(put(run, 500, 1200, "/v", json!(9)), 600, "nine"))
        .fail("0 of", |run| moved(run, 600, 1000))
        .missing("@nine was not seen in fault", v(0, 1200, json!(7)))
}

fn coverage() -> Vec<Rule> {
    let covered = |id: &str, min: &str| {
        let is = format!("equals = 7\ncoverage = {{ {min} }}");
        // Enough or not: what is seen to be broken is broken.
        value(id, &is, r#"in = "fault""#).fail("8 at", v(500, 600, json!(8)))
    };
    vec![
        covered(
            "coverage-samples",
            r#"samples = 9, share = 0.1, gap = "5s""#,
        )
        .missing("7 of at least 9 samples", gone(500, 800)),
        covered("coverage-share", r#"samples = 1, share = 0.9, gap = "5s""#)
            .missing("77.8 % of the due observations", gone(500, 800)),
        covered("coverage-gap", r#"samples = 1, share = 0.1, gap = "250ms""#)
            .missing("400 ms without a value, at most 250 ms", gone(500, 800)),
        covered("coverage-default", "").missing("0 of at least 3 samples", gone(0, 1200)),
        covered("starvation", r#"gap = "250ms""#).missing("300 ms without a value", |mut run| {
            let (from_ns, to_ns) = (500 * MS, 800 * MS);
            let starved = Event::Starved { from_ns, to_ns };
            run.events.push((800, starved));
            run
        }),
    ]
}

fn line(mut run: Run, at: u64, text: &str) -> Run {
    run.fact(
        at,
        FactSource::Log,
        "line",
        json!({"service": "web", "text": text}),
    );
    run
}

/// Facts of one moment happened at another.
fn moved(run: Run, from: u64, to: u64) -> Run {
    facts_edited(run, move |fact| {
        if fact.at_ns == from * MS {
            fact.at_ns = to * MS;
        }
        true
    })
}

fn facts_edited(run: Run, mut keep: impl FnMut(&mut Fact) -> bool) -> Run {
    run.edit(|event| match event {
        Event::Fact(fact) => keep(fact),
        _ => true,
    })
}

fn unattached(id: &'static str) -> impl Fn(Run) -> Run {
    move |run| run.edit(|event| !matches!(event, Event::Stream(s) if s.id == id))
}

fn facts() -> Vec<Rule> {
    let count = |id: &str, body: &str| rule(id, check(body));
    let boom = |run| line(run, 600, "boom");
    vec![
        count("count-log", "count = { log = \"web\", matches = \"boom\" }\nat_least = 1\nwhen = { in = \"fault\" }")
            .pass(boom)
            .fail("0 of 0 looked at", |run| facts_edited(run, |f| f.source != FactSource::Log))
            .missing("log:web was never attached", |run| {
                let run = unattached("log:web")(run);
                facts_edited(run, |f| f.source != FactSource::Log)
            }),
        count("none-log", "none = { log = \"web\", matches = \"boom\" }\nwhen = { in = \"fault\" }")
            .fail("1 of 1 looked at", boom)
            .missing("log:web was never attached", unattached("log:web")),
        count("count-within", "count = { log = \"web\", matches = \"boom\" }\nat_least = 1\nwhen = { within = \"500ms\", of = \"fault.proven\" }")
            .pass(boom)
            .fail("0 of 0 looked at", |run| moved(run, 600, 900))
            .missing("not attached", |run| {
                let mut run = moved(run, 600, 900);
                run.stream(200, "log:web", StreamState::Gap, None);
                run.stream(500, "log:web", StreamState::Attached, None);
                run
            }),
        count("count-not-before", "count = { log = \"web\", matches = \"boom\" }\nat_least = 1\nwhen = { not_before = \"300ms\", of = \"fault.proven\", in = \"fault\" }")
            .pass(boom)
            .fail("after 170 ms", |run| moved(run, 600, 300))
            .missing("never attached", unattached("log:web")),
        count("sequence", "sequence = [{ log = \"web\", matches = \"one\" }, { log = \"web\", matches = \"two\" }]\nwhen = { in = \"fault\" }")
            .pass(|run| line(line(run, 400, "one"), 600, "two"))
            .fail("1 of 2 seen", |run| moved(run, 400, 800))
            .missing("never attached", |run| moved(unattached("log:web")(run), 400, 800)),
        count("chain-first-send", "none = { chain = \"first_send\" }\nwhen = { in = \"fault\" }")
            .fail("1 of 1 looked at", |mut run| {
                submission(&mut run, 600, 77, 9, 9, true);
                run
            })
            .missing("the stream chain was not attached from 600 ms", |mut run| {
                // Another chain answers: its start id is not the one of before.
                run.stream(600, "chain", StreamState::Gap, Some("start id changed"));
                run.stream(700, "chain", StreamState::Attached, None);
                run
            }),
        count("chain-submission", "none = { chain = \"submission\", above = { max_fee_per_gas = 500 } }\nwhen = { in = \"fault\" }")
            .pass(|mut run| {
                submission(&mut run, 600, 77, 9, 9, false);
                fee(run, json!(100))
            })
            .fail("1 of 1 looked at", |run| fee(run, json!(501)))
            .missing("hold no number `max_fee_per_gas`", |run| fee(run, json!(null))),
        count("engine", "none = { engine = \"die\", services = [\"web\"] }\nwhen = { in = \"fault\" }")
            .fail("web die at", |mut run| {
                run.fact(600, FactSource::Engine, "die", json!({"service": "web"}));
                run
            })
            .missing("engine was never attached", unattached("engine")),
        signals(count("op", "count = { op = \"ok\" }\nat_least = 3\nwhen = { from = \"before\" }"))
            .fail("2 of 3 looked at", answered(2, OpState::Rejected, Some("no")))
            .missing("no operation was sent in the window", |run| {
                run.edit(|event| !matches!(event, Event::Op(_)))
            }),
        signals(count("row", "count = { row = \"intent\", where = { status = \"SIMULATED\" } }\nequals = 1"))
            .fail("0 of 3 looked at", column("intent", "2", "status", "MINED"))
            .missing("not collected to its end", uncollected("intent")),
    ]
}

fn fee(run: Run, fee: Value) -> Run {
    facts_edited(run, |fact| {
        if fact.what == "submission" {
            fact.keys.insert("max_fee_per_gas".into(), fee.clone());
        }
        true
    })
}

fn signals(rule: Rule) -> Rule {
    Rule {
        signals: true,
        ..rule
    }
}

fn growth() -> Vec<Rule> {
    let grown = |id: &str, kind: &str, is: &str| {
        let body = format!(
            "probe = {{ metric = \"c_total\", service = \"web\", every = \"100ms\" }}\n\
             growth = \"{kind}\"\n{is}\nwhen = {{ in = \"fault\" }}"
        );
        rule(id, check(&body))
    };
    let counter = |from: u64, value: u64| move |run| put(run, from, 1300, "c_total", json!(value));
    let dark = |run| {
        samples(run, "metrics:", 0, 1300, |result| {
            *result = SampleResult::Missing("status 503 instead of metrics".into());
        })
    };
    vec![
        grown("growth-total", "total", "at_most = 3")
            .fail("4 in 10 samples", counter(500, 11))
            .missing("status 503", dark),
        grown("growth-per-second", "per_second", "at_most = 3")
            .fail("4 in 10 samples", counter(500, 11))
            .missing("status 503", dark),
        grown("growth-restart", "total", "at_most = 3")
            .fail("at least 4", |run| {
                put(
                    put(run, 400, 1300, "c_total", json!(11)),
                    700,
                    1300,
                    "c_total",
                    json!(0),
                )
            })
            .missing("1 restart of the counter", counter(500, 1)),
    ]
}

/// Metrics beside a heartbeat: values of a loop that stands still are none.
fn heartbeat() -> Vec<Rule> {
    let body = r#"probe = { metric = "c_total", service = "web", every = "100ms" }
at_most = 7
when = { in = "fault" }"#;
    // The first beat that was seen, repeated from a moment on.
    let beats = |until: u64| {
        move |run: Run| {
            run.edit(|event| {
                if let Event::Sample(sample) = event
                    && let SampleResult::Value(fields) = &mut sample.result
                    && sample.probe.starts_with("metrics:")
                {
                    let beat = 1_760_000_000 + (sample.due_ns / MS).min(until);
                    fields.insert(HEARTBEAT_FIELD.into(), json!(beat));
                }
                true
            })
        }
    };
    let unbeaten = |run: Run| {
        samples(run, "metrics:", 0, 1300, |result| {
            if let SampleResult::Value(fields) = result {
                fields.remove(HEARTBEAT_FIELD);
            }
        })
    };
    let small = |id: &str| Rule {
        service: "\nheartbeat = { metric = \"beat_seconds\", still_max = \"300ms\", source = \"a test\" }",
        ..rule(id, check(body))
            .pass(beats(u64::MAX))
            .fail("8 at", |run| put(run, 500, 600, "c_total", json!(8)))
    };
    vec![
        small("heartbeat").missing("stale: the heartbeat stood still for 398 ms", beats(500)),
        small("heartbeat-absent").missing("the answer holds no heartbeat", unbeaten),
    ]
}

fn needs() -> Vec<Rule> {
    let needing = |id: &str, what: &'static str, needs: &'static str| Rule {
        needs: Some(needs),
        signals: true,
        ..rule(id, ALIVE.to_owned()).about(Judged::Need(what))
    };
    let unsent = |run| facts_edited(run, |f| f.source != FactSource::Chain);
    vec![
        needing("need-mode", "mode", r#"{ mode = "LIVE" }"#)
            .pass(|mut run| {
                let seen = json!({"need": "mode", "held": true, "observed": "LIVE"});
                run.fact(1, FactSource::Act, "need", seen);
                run
            })
            .fail("DRY", |run| {
                facts_edited(run, |fact| {
                    if fact.what == "need" {
                        fact.keys.insert("held".into(), json!(false));
                        fact.keys.insert("observed".into(), json!("DRY"));
                    }
                    true
                })
            })
            .missing("nobody looked", |run| {
                facts_edited(run, |f| f.what != "need")
            }),
        needing("need-accepted", "accepted", "{ accepted = 2 }")
            .fail("1", answered(1, OpState::Rejected, Some("no")))
            .missing("never requested", edgeless(EdgeKind::Requested)),
        needing("need-executing", "executing", "{ executing = 2 }")
            .fail("1", |run| {
                facts_edited(run, |fact| {
                    if fact.keys.get("tx_hash") == Some(&json!(tag(11))) {
                        fact.keys.insert("first_send".into(), json!(false));
                    }
                    true
                })
            })
            .missing("0", unsent),
    ]
}
