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
        req(
            "container",
            Ty::Id,
            "Service; \"harness\" is firedrill itself.",
        ),
        req(
            "field",
            Ty::Word(&[
                "running",
                "paused",
                "restarts",
                "oom_killed",
                "rss_bytes",
                "cpu_percent",
                "threads",
                "fds",
                "disk_bytes",
            ]),
            "What is looked at.",
        ),
        EVERY,
        DEADLINE,
    ],
);
pub(crate) static PROBE_LOAD: Table = table(
    "probe load",
    &[
        req(
            "load",
            Ty::Word(&["latency_p50_ms", "latency_p95_ms", "answers"]),
            "What the background load saw since the sample before: latency from the intended time.",
        ),
        EVERY,
        DEADLINE,
    ],
);
pub(crate) static PROBE_PROMQL: Table = table(
    "probe promql",
    &[
        req(
            "promql",
            Ty::Text,
            "Instant query to the stack's Prometheus; one series or a scalar. No series, several, NaN and a target that isn't scraped are missing data.",
        ),
        EVERY,
        DEADLINE,
    ],
);
pub(crate) static PROBE_ALERT: Table = table(
    "probe alert",
    &[
        req(
            "alert",
            Ty::Text,
            "Rule of the file under [alerts]; its value is inactive, pending, firing, or \"blind: …\" where it reads a series that doesn't exist.",
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
    &PROBE_LOAD,
    &PROBE_PROMQL,
    &PROBE_ALERT,
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
pub(crate) const ORIGIN: Key = opt(
    "origin",
    Ty::Text,
    "Only of signals that came from here: load, or the id of an act.",
);
pub(crate) static SELECT_CHAIN: Table = table(
    "selector chain",
    &[
        req(
            "chain",
            Ty::Word(&["first_send", "submission"]),
            "First arrivals, or any submission.",
        ),
        opt(
            "outcome",
            Ty::Word(&["accepted", "refused"]),
            "What the chain made of it; both by default.",
        ),
        SIGNALS_OF,
        ORIGIN,
        FIELD_ABOVE,
        FIELD_BELOW,
    ],
);
pub(crate) static SELECT_LOG: Table = table(
    "selector log",
    &[
        req("log", Ty::Id, "Service whose log is read."),
        req("matches", Ty::Regex, "Lines that count."),
        opt(
            "like",
            Ty::Text,
            "A line as the service would write it, which `matches` must match; where finding none is a pass, it shows that one could be found.",
        ),
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
        opt(
            "names",
            Ty::Text,
            "What the answer says is wrong, such as a field or a cap.",
        ),
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
        ORIGIN,
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
        opt(
            "each",
            SOME_IDS,
            "One check for each of these, called `id/value`; {each} stands for the value in every text.",
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
