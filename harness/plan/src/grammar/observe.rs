//! Marks and expectations: probes, selectors, temporal operators.

use super::*;

// Probes.
pub(crate) const EVERY: Key = opt(
    "every",
    Ty::Positive,
    "Pace, at least 10 ms; 100 ms for http and redis, else 1 s.",
);
pub(crate) const DEADLINE: Key = opt(
    "deadline",
    Ty::Positive,
    "How long an answer may take, at most 10 s; 1 s by default.",
);
pub(crate) static PROBE_HTTP: Table = Table {
    name: "probe http",
    keys: &[
        req("http", Ty::Id, "Service whose main port is asked."),
        req("path", Ty::Path, "Path and query."),
        opt("json", Ty::Pointer, "JSON pointer of the value."),
        opt(
            "field",
            Ty::Word(&["status", "latency_ms"]),
            "What is looked at instead of a JSON value.",
        ),
        EVERY,
        DEADLINE,
    ],
    exactly_one: &[&["json", "field"]],
};
pub(crate) static PROBE_METRIC: Table = Table {
    name: "probe metric",
    keys: &[
        req(
            "metric",
            Ty::Series,
            "Series; the labels given must match, matching series are summed.",
        ),
        opt("service", Ty::Id, "Service that is scraped."),
        opt(
            "services",
            SOME_IDS,
            "Services that are scraped; one check for each.",
        ),
        opt(
            "path",
            Ty::Path,
            "Path of the metrics; /metrics by default.",
        ),
        EVERY,
        DEADLINE,
    ],
    exactly_one: &[&["service", "services"]],
};
pub(crate) static PROBE_SQL: Table = table(
    "probe sql",
    &[
        req(
            "sql",
            Ty::Text,
            "Query against the audit's database; the first column of the first row counts.",
        ),
        EVERY,
        DEADLINE,
    ],
);
pub(crate) static PROBE_REDIS: Table = table(
    "probe redis",
    &[
        req("redis", Ty::Id, "Service of role redis."),
        req("key", Ty::Text, "Key to GET."),
        EVERY,
        DEADLINE,
    ],
);
pub(crate) static PROBE_CONTAINER: Table = table(
    "probe container",
    &[
        req("container", Ty::Id, "Service."),
        req(
            "field",
            Ty::Word(&[
                "running",
                "paused",
                "restarts",
                "oom_killed",
                "rss_bytes",
                "cpu_percent",
            ]),
            "What is looked at.",
        ),
        EVERY,
        DEADLINE,
    ],
);
pub(crate) const PROBE: Ty = Ty::Either(&[
    &PROBE_HTTP,
    &PROBE_METRIC,
    &PROBE_SQL,
    &PROBE_REDIS,
    &PROBE_CONTAINER,
]);

// Selectors of facts.
pub(crate) const SIGNALS_OF: Key = opt(
    "signals_of",
    SOME_IDS,
    "Only of signals sent in one of these phases.",
);
pub(crate) const FIELD_ABOVE: Key = opt(
    "above",
    Ty::Map(&Ty::Number),
    "Only where these fields are more than this.",
);
pub(crate) const FIELD_BELOW: Key = opt(
    "below",
    Ty::Map(&Ty::Number),
    "Only where these fields are less than this.",
);
pub(crate) static SELECT_CHAIN: Table = table(
    "selector chain",
    &[
        req(
            "chain",
            Ty::Word(&["first_send", "submission"]),
            "First arrivals, or any submission.",
        ),
        SIGNALS_OF,
        FIELD_ABOVE,
        FIELD_BELOW,
    ],
);
pub(crate) static SELECT_LOG: Table = table(
    "selector log",
    &[
        req("log", Ty::Id, "Service whose log is read."),
        req("matches", Ty::Regex, "Lines that count."),
    ],
);
pub(crate) static SELECT_ENGINE: Table = Table {
    name: "selector engine",
    keys: &[
        req(
            "engine",
            Ty::Word(&["die", "oom", "restart", "start"]),
            "Container event.",
        ),
        opt("service", Ty::Id, "Service."),
        opt("services", SOME_IDS, "Services; one check for each."),
    ],
    exactly_one: &[&["service", "services"]],
};
pub(crate) static SELECT_OP: Table = table(
    "selector op",
    &[
        req(
            "op",
            Ty::Word(&["any", "ok", "rejected", "failed", "unknown"]),
            "State of the completed operation.",
        ),
        opt("status", STATUS, "Status of the answer."),
        opt("detail", Ty::Text, "Reason in the answer."),
        opt("origin", Ty::Text, "load, or the id of an act."),
    ],
);
pub(crate) static SELECT_ROW: Table = table(
    "selector row",
    &[
        req(
            "row",
            Ty::Text,
            "Name of a query of the target's audit.sql.",
        ),
        opt("where", STRINGS, "Columns and their values."),
        SIGNALS_OF,
        FIELD_ABOVE,
        FIELD_BELOW,
    ],
);
pub(crate) const SELECTOR: Ty = Ty::Either(&[
    &SELECT_CHAIN,
    &SELECT_LOG,
    &SELECT_ENGINE,
    &SELECT_OP,
    &SELECT_ROW,
]);

// Temporal operators.
pub(crate) const OF: Key = req(
    "of",
    Ty::Text,
    "Edge: phase.requested, .proven, .heal_requested, .healed, or @mark.",
);
pub(crate) const GRACE: Key = opt(
    "grace",
    Ty::Duration,
    "Left out at the start; none by default.",
);
pub(crate) const OP: Key = opt(
    "op",
    Ty::Word(&["throughout", "eventually", "never"]),
    "throughout by default.",
);
pub(crate) static WHEN_WITHIN: Table = table(
    "when within",
    &[
        req(
            "within",
            Ty::Positive,
            "Holds no later than this after the edge.",
        ),
        OF,
        opt(
            "then",
            Ty::Word(&["throughout"]),
            "And from then on to the end of the edge's phase.",
        ),
    ],
);
pub(crate) static WHEN_NOT_BEFORE: Table = table(
    "when not_before",
    &[
        req(
            "not_before",
            Ty::Positive,
            "Holds no earlier than this after the edge, but then does.",
        ),
        OF,
        req("in", Ty::Id, "Phase up to whose end it is looked for."),
    ],
);
pub(crate) static WHEN_IN: Table = table("when in", &[req("in", Ty::Id, "The phase."), GRACE, OP]);
pub(crate) static WHEN_FROM: Table = table(
    "when from",
    &[
        req("from", Ty::Id, "First phase."),
        opt(
            "to",
            Ty::Id,
            "Last phase; to the end of quiescence by default.",
        ),
        GRACE,
        OP,
    ],
);
pub(crate) static WHEN_TO: Table = table(
    "when to",
    &[
        req("to", Ty::Id, "Last phase, from the start of the drill."),
        GRACE,
        OP,
    ],
);
pub(crate) static WHEN_OP: Table = table(
    "when op",
    &[
        req(
            "op",
            Ty::Word(&["throughout", "eventually", "never"]),
            "Over the whole drill.",
        ),
        GRACE,
    ],
);
pub(crate) const WHEN: Ty = Ty::Either(&[
    &WHEN_WITHIN,
    &WHEN_NOT_BEFORE,
    &WHEN_IN,
    &WHEN_FROM,
    &WHEN_TO,
    &WHEN_OP,
]);

pub(crate) static COVERAGE: Table = table(
    "coverage",
    &[
        opt(
            "samples",
            COUNT,
            "Fewest samples; 3 by default, 1 for eventually, 0 for counts.",
        ),
        opt(
            "share",
            Ty::Share,
            "Least share of the due samples that hold a value; 0.9 by default.",
        ),
        opt(
            "gap",
            Ty::Positive,
            "Largest time without a value; 5 paces, at least 1 s, by default.",
        ),
    ],
);
pub(crate) const NONE: Key = opt("none", SELECTOR, "No such fact.");
pub(crate) const COUNT_KEY: Key = opt(
    "count",
    SELECTOR,
    "The number of such facts, with an operator.",
);
pub(crate) const PROBE_KEY: Key = opt(
    "probe",
    PROBE,
    "A value sampled at a fixed pace, with an operator.",
);
pub(crate) static EXPECT: Table = Table {
    name: "expect",
    keys: &[
        req("id", Ty::Id, "Unique in the drill."),
        req(
            "what",
            Ty::Text,
            "The expectation in words, for the report.",
        ),
        SOURCE_LINE,
        opt(
            "precondition",
            Ty::Bool,
            "If it doesn't hold the drill is INCONCLUSIVE, not FAIL.",
        ),
        PROBE_KEY,
        opt(
            "growth",
            Ty::Word(&["total", "per_second"]),
            "Judge how much the probe's counter grew over the window, not its samples.",
        ),
        NONE,
        COUNT_KEY,
        opt(
            "sequence",
            Ty::Some(&SELECTOR),
            "Log lines of one service, in this order.",
        ),
        EQUALS,
        ONE_OF,
        AT_MOST,
        BELOW,
        AT_LEAST,
        ABOVE,
        MATCHES,
        opt(
            "when",
            WHEN,
            "Temporal operator; throughout the drill by default.",
        ),
        opt(
            "coverage",
            Ty::Table(&COVERAGE),
            "How much of the window must have been seen.",
        ),
    ],
    exactly_one: &[&["probe", "none", "count", "sequence"]],
};
pub(crate) static MARK: Table = Table {
    name: "mark",
    keys: &[
        req("id", Ty::Id, "Unique in the drill; edges name it as @id."),
        req("in", Ty::Id, "Phase in which it is looked for."),
        PROBE_KEY,
        COUNT_KEY,
        EQUALS,
        ONE_OF,
        AT_MOST,
        BELOW,
        AT_LEAST,
        ABOVE,
        MATCHES,
    ],
    exactly_one: &[&["probe", "count"]],
};
