//! The equations of the audit.

use super::*;

/// What was said of an operation in the end.
pub(super) fn answered(
    id: u64,
    state: OpState,
    detail: Option<&'static str>,
) -> impl Fn(Run) -> Run {
    move |run| {
        run.edit(|event| {
            if let Event::Op(op) = event
                && op.id == id
                && op.state != OpState::Invoked
            {
                (op.state, op.detail) = (state, detail.map(str::to_owned));
            }
            true
        })
    }
}

/// A column of one row of a table, found by its `id`, or by its `intent` or `tx`.
pub(super) fn column(
    table: &'static str,
    id: &'static str,
    name: &'static str,
    value: &'static str,
) -> impl Fn(Run) -> Run {
    move |run| {
        facts_edited(run, |fact| {
            if fact.what == table && of_row(fact, id) {
                fact.keys.insert(name.to_owned(), json!(value));
            }
            true
        })
    }
}

/// A column of all rows of a table.
fn cell(run: Run, table: &'static str, name: &'static str, value: Value) -> Run {
    facts_edited(run, |fact| {
        if fact.what == table {
            fact.keys.insert(name.to_owned(), value.clone());
        }
        true
    })
}

fn of_row(fact: &Fact, id: &str) -> bool {
    let names = ["id", "intent"];
    names
        .iter()
        .any(|name| fact.keys.get(*name) == Some(&json!(id)))
}

/// The table really holds one row less.
fn rowless(table: &'static str, id: &'static str) -> impl Fn(Run) -> Run {
    move |run| {
        let run = facts_edited(run, |fact| !(fact.what == table && of_row(fact, id)));
        facts_edited(run, |fact| {
            if fact.what == "collected" && fact.keys["table"] == table {
                let rows = fact.keys["rows"].as_u64().unwrap() - 1;
                fact.keys.insert("rows".into(), json!(rows));
            }
            true
        })
    }
}

pub(super) fn uncollected(table: &'static str) -> impl Fn(Run) -> Run {
    move |run| {
        facts_edited(run, |fact| {
            !(fact.what == "collected" && fact.keys["table"] == table)
        })
    }
}

const UNCOLLECTED: &str = "was not collected to its end";
const CHAINLESS: &str = "the stream chain was never attached";

pub fn rules() -> Vec<Rule> {
    let of = |id: &'static str| Rule {
        signals: true,
        judged: Judged::Audit(id),
        ..rule(&format!("audit-{id}"), ALIVE.to_owned())
    };
    let same = |id: &'static str| Rule {
        signals: true,
        judged: Judged::Same(id),
        ..rule(&format!("audit-same-{id}"), ALIVE.to_owned())
    };
    let sent = |at: u64, tx: u64, nonce: u64, intent: u64| {
        move |mut run: Run| {
            submission(&mut run, at, tx, nonce, intent, true);
            run
        }
    };
    vec![
        of("lost")
            .fail("1 of 3", rowless("intent", "2"))
            .missing(UNCOLLECTED, uncollected("intent")),
        of("duplicates")
            .fail("1 of 3", sent(300, 99, 50, 0))
            .missing(CHAINLESS, unattached("chain")),
        Rule {
            cut: true,
            ..of("false-dedupe")
                .fail("1 of 1", answered(2, OpState::Ok, Some("duplicate")))
                .missing("the journal ends early", |run| run)
        },
        of("rejected-stored-nothing")
            .fail("1 of 1", answered(2, OpState::Rejected, Some("no")))
            .missing(UNCOLLECTED, uncollected("intent")),
        of("terminal")
            .fail("1 of 3", column("intent", "2", "status", "SENT"))
            .missing(UNCOLLECTED, uncollected("intent")),
        of("transitions")
            .fail("1 of 5", column("transition", "2", "from", "MINED"))
            .missing(UNCOLLECTED, uncollected("transition")),
        of("chain-in-record")
            .fail("1 of 3", sent(300, 99, 50, 9))
            .missing(UNCOLLECTED, uncollected("send")),
        of("record-in-chain")
            .fail("1 of 2", |run| {
                facts_edited(run, |f| {
                    f.source != FactSource::Chain || f.keys["tx_hash"] != tag(11)
                })
            })
            .missing(CHAINLESS, unattached("chain")),
        of("nonces")
            .fail("1 of 1", |run| {
                facts_edited(run, |fact| {
                    if fact.source == FactSource::Chain {
                        fact.keys.insert("nonce".into(), json!(0));
                    }
                    true
                })
            })
            .missing(CHAINLESS, unattached("chain")),
        of("mined")
            .fail("1 of 2", rowless("execution", "1"))
            .missing(UNCOLLECTED, uncollected("receipt")),
        of("receipts")
            .fail("2 of 2", |run| {
                facts_edited(run, |fact| {
                    if fact.what == "receipt" {
                        fact.keys.insert("status".into(), json!("0"));
                    }
                    true
                })
            })
            .missing(UNCOLLECTED, uncollected("receipt")),
        of("not-sent")
            .fail("1 of 2", column("intent", "1", "status", "SIMULATED"))
            .missing(CHAINLESS, unattached("chain")),
        of("unknown-at-most-once")
            .fail("1 of 1", move |run| {
                sent(300, 99, 50, 0)(answered(0, OpState::Unknown, None)(run))
            })
            .missing(CHAINLESS, unattached("chain")),
        same("paid")
            .fail("2 of 2: ", |run| cell(run, "receipt", "price", json!("8")))
            .missing("2 rows of `receipt` lack price", |run| {
                cell(run, "receipt", "price", Value::Null)
            }),
        same("side")
            .fail("1 of 2: k0", column("intent", "0", "side", "SHORT"))
            .missing(CHAINLESS, unattached("chain")),
        same("opened")
            .fail("1 of 2: 1", column("position", "b", "side", "SHORT"))
            .missing(UNCOLLECTED, uncollected("position")),
        of("metrics")
            .fail("the metric says 2, the database 1", |run| {
                facts_edited(run, |fact| {
                    if fact.source == FactSource::Metric {
                        fact.keys.insert("metric".into(), json!(2));
                    }
                    true
                })
            })
            .missing("agrees was not read", |run| {
                facts_edited(run, |f| f.source != FactSource::Metric)
            }),
    ]
}
