//! Target files.

use super::*;

pub(crate) static SECRET_RANDOM: Table = table(
    "secret random",
    &[req(
        "random",
        Ty::Int { min: 8, max: 1024 },
        "Bytes, as hexadecimal, new for each run.",
    )],
);
pub(crate) static SECRET_ENV: Table = table(
    "secret env",
    &[req("env", Ty::Text, "Environment variable that holds it.")],
);
pub(crate) static SECRET_FIXED: Table = table(
    "secret fixed",
    &[req("fixed", Ty::Text, "A throw-away value.")],
);
pub(crate) const SECRET: Ty = Ty::Either(&[&SECRET_RANDOM, &SECRET_ENV, &SECRET_FIXED]);
pub(crate) static DEFECTS: Table = table(
    "defects",
    &[
        req(
            "env",
            Ty::Text,
            "Environment variable that switches one on.",
        ),
        req("services", SOME_IDS, "Services that get it."),
        req("names", SOME_IDS, "The defects."),
    ],
);
pub(crate) const IMAGE_NAME: Key = req(
    "name",
    Ty::Text,
    "name:tag; present, else pulled, else built.",
);
pub(crate) const RECIPE: Key = opt(
    "recipe",
    Ty::Id,
    "Recipe that builds it from the distribution's packages.",
);
pub(crate) static IMAGE_POSTGRES: Table = table(
    "image",
    &[
        req("database", Ty::Text, "Database that is made."),
        IMAGE_NAME,
        RECIPE,
        req("user", Ty::Text, "Its owner."),
        req("password", Ty::Text, "The owner's password."),
        req(
            "schema",
            Ty::Text,
            "SQL file, relative to this one; applied once at image time.",
        ),
    ],
);
pub(crate) static IMAGE_NAMED: Table = table("image", &[IMAGE_NAME, RECIPE]);
pub(crate) static HEALTHY_HTTP: Table = table(
    "healthy http",
    &[
        req("http", Ty::Id, "Name of the port."),
        req("path", Ty::Path, "Path that answers 200."),
    ],
);
pub(crate) static HEALTHY_REDIS: Table = table(
    "healthy redis",
    &[req("redis", Ty::Id, "Name of the port that answers PING.")],
);
pub(crate) static HEALTHY_POSTGRES: Table = table(
    "healthy postgres",
    &[
        req(
            "postgres",
            Ty::Id,
            "Name of the port that answers SELECT 1.",
        ),
        opt(
            "url",
            Ty::Text,
            "Connection URL with {host} and {port}; from the image by default.",
        ),
    ],
);
pub(crate) static HEALTHY_TCP: Table = table(
    "healthy tcp",
    &[req(
        "tcp",
        Ty::Id,
        "Name of the port that accepts a connection.",
    )],
);
pub(crate) static HEARTBEAT: Table = table(
    "heartbeat",
    &[
        req(
            "metric",
            Ty::Series,
            "Series that holds when a loop was last alive; of several that match the oldest counts.",
        ),
        opt(
            "path",
            Ty::Path,
            "Path of the metrics that it vouches for; /metrics by default.",
        ),
        req(
            "still_max",
            Ty::Positive,
            "Longest time for which it may stand still; samples after that are missing data.",
        ),
        req("source", Ty::Text, "Where that time comes from."),
    ],
);
pub(crate) static SERVICE: Table = table(
    "service",
    &[
        req("name", Ty::Id, "Unique in the target."),
        req(
            "role",
            Ty::Word(&["redis", "postgres", "chain", "proxy", "app"]),
            "What it is.",
        ),
        req(
            "image",
            Ty::TextOr(
                &Ty::Word(&["self"]),
                &Ty::Either(&[&IMAGE_POSTGRES, &IMAGE_NAMED]),
            ),
            "self, the running executable, or an image by name.",
        ),
        opt("command", Ty::List(&Ty::AnyText), "Arguments."),
        opt(
            "env",
            STRINGS,
            "Environment; values may hold ${secret.NAME} and ${run.id}.",
        ),
        req(
            "ports",
            Ty::Map(&Ty::Int { min: 1, max: 65535 }),
            "Port name = port; the service's own is main.",
        ),
        req(
            "healthy",
            Ty::Either(&[
                &HEALTHY_HTTP,
                &HEALTHY_REDIS,
                &HEALTHY_POSTGRES,
                &HEALTHY_TCP,
            ]),
            "How it shows that it is up.",
        ),
        opt("logs", Ty::Bool, "Whether its log is followed."),
        opt(
            "heartbeat",
            Ty::Table(&HEARTBEAT),
            "What shows that its metrics are kept up to date.",
        ),
        opt(
            "expected_errors",
            Ty::List(&Ty::Regex),
            "Error lines that are always expected.",
        ),
        opt("memory_max", Ty::Size, "Memory limit."),
    ],
);
// Fields of a signal.
pub(crate) const OPTIONAL: Key = opt(
    "optional",
    Ty::Bool,
    "It may be left out, or null; no by default.",
);
pub(crate) static FIELD_TEXT: Table = table(
    "field text",
    &[
        req(
            "longest",
            ONE_TO_MILLION,
            "Most characters; there is at least one, and none is a control character.",
        ),
        opt("matches", Ty::Regex, "The text matches this."),
        OPTIONAL,
    ],
);
pub(crate) static FIELD_WORD: Table = table(
    "field word",
    &[
        req("of", Ty::Some(&Ty::Text), "One of these words."),
        OPTIONAL,
    ],
);
pub(crate) static FIELD_INTEGER: Table = table("field integer", &[OPTIONAL]);
pub(crate) static FIELD_NUMBER: Table = table(
    "field number",
    &[
        opt(
            "zero",
            Ty::Bool,
            "It may be 0; no by default. It is never negative.",
        ),
        OPTIONAL,
    ],
);
pub(crate) static FIELDS: &[(&str, &Table)] = &[
    ("text", &FIELD_TEXT),
    ("word", &FIELD_WORD),
    ("integer", &FIELD_INTEGER),
    ("number", &FIELD_NUMBER),
];
pub(crate) static SIGNALS: Table = table(
    "signals",
    &[
        req("service", Ty::Id, "Service that takes them."),
        opt("port", Ty::Id, "Name of its port; main by default."),
        req("path", Ty::Path, "Path of the POST."),
        req(
            "body",
            Ty::Text,
            "JSON with {run}, {seq} and the variables.",
        ),
        opt(
            "variables",
            STRINGS,
            "Variable = value; values may hold {run} and {seq}.",
        ),
        req(
            "key",
            Ty::Text,
            "Key under which the target stores a signal.",
        ),
        req("signature_header", Ty::Text, "Header of the signature."),
        req(
            "secret",
            Ty::Text,
            "Secret of the HMAC-SHA256 over the raw body.",
        ),
        opt(
            "deadline",
            Ty::Positive,
            "How long an answer may take; 5 s by default.",
        ),
        req("word", Ty::Pointer, "JSON pointer of the answer's word."),
        req(
            "reason",
            Ty::Pointer,
            "JSON pointer of the answer's reason.",
        ),
        opt(
            "names",
            Ty::Some(&Ty::Pointer),
            "JSON pointers of what a refusal names, such as a field; the first that holds text counts.",
        ),
        opt(
            "fields",
            Ty::Map(&Ty::Kind(FIELDS)),
            "What the fields of a body may hold: what else they hold is malformed.",
        ),
        opt(
            "unknown_reasons",
            TEXTS,
            "Reasons of a 503 after which the signal may have been stored all the same.",
        ),
        opt(
            "max_in_flight",
            ONE_TO_MILLION,
            "Signals in flight at most; 256 by default.",
        ),
    ],
);
pub(crate) static MODE: Table = table(
    "mode",
    &[
        req("services", SOME_IDS, "Services that show it."),
        req("path", Ty::Path, "Path of the GET."),
        req("json", Ty::Pointer, "JSON pointer of the mode."),
    ],
);
pub(crate) static PROMETHEUS: Table = table(
    "prometheus",
    &[
        req("image", Ty::Table(&IMAGE_NAMED), "Its image."),
        req(
            "services",
            SOME_IDS,
            "Services that are scraped, each as a job of its name.",
        ),
        opt(
            "path",
            Ty::Path,
            "Path of the metrics on the main port; /metrics by default.",
        ),
        opt(
            "scrape_every",
            Ty::Positive,
            "Pace of scrapes and rules, at least 100 ms; 1 s by default.",
        ),
    ],
);
pub(crate) static AUDIT_POSTGRES: Table = table(
    "audit.postgres",
    &[
        req("service", Ty::Id, "Service of role postgres."),
        req("url", Ty::Text, "Connection URL with {host} and {port}."),
    ],
);
pub(crate) static AUDIT_CHAIN: Table = table(
    "audit.chain",
    &[
        req("service", Ty::Id, "Service of role chain."),
        req("port", Ty::Id, "Name of the port of its audit API."),
    ],
);
pub(crate) static STATES: Table = table(
    "audit.states",
    &[
        req("terminal", TEXTS, "States that an intent ends in."),
        req("executed", TEXTS, "States that mean it was executed."),
        req("not_sent", TEXTS, "States that mean nothing was sent."),
        req(
            "transitions",
            Ty::List(&Ty::Pair(&Ty::Text)),
            "Allowed transitions, from and to.",
        ),
    ],
);
pub(crate) static METRIC: Table = table(
    "audit.metric",
    &[
        req("id", Ty::Id, "Unique in the target."),
        req("series", Ty::Series, "Series that must agree."),
        req("services", SOME_IDS, "Services over which it is summed."),
        req("sql", Ty::Text, "Query whose number it must equal."),
    ],
);
pub(crate) static SAME: Table = table(
    "audit.same",
    &[
        req("id", Ty::Id, "Unique in the target."),
        req("what", Ty::Text, "What is claimed, in words."),
        req(
            "table",
            Ty::Text,
            "Fact name of audit.sql. A row with a column tx is compared with that transaction, any other with the transactions of its signal.",
        ),
        req("column", Ty::Text, "Column of the query."),
        req(
            "field",
            Ty::Text,
            "Field of the chain's event of a transaction that is in a block; events without it are not compared.",
        ),
    ],
);
pub(crate) static AUDIT: Table = table(
    "audit",
    &[
        opt(
            "postgres",
            Ty::Table(&AUDIT_POSTGRES),
            "How the database is reached.",
        ),
        opt(
            "chain",
            Ty::Table(&AUDIT_CHAIN),
            "How the chain's record is reached.",
        ),
        opt(
            "pending",
            Ty::Text,
            "Query whose number is 0 once nothing is left to do.",
        ),
        opt(
            "sql",
            Ty::Map(&Ty::Text),
            "Fact name = query; columns become keys.",
        ),
        opt(
            "states",
            Ty::Table(&STATES),
            "Words for the states of an intent.",
        ),
        opt(
            "metric",
            Ty::Some(&Ty::Table(&METRIC)),
            "Metrics that must agree with the database.",
        ),
        opt(
            "same",
            Ty::Some(&Ty::Table(&SAME)),
            "What the database and the chain must say alike of a trade.",
        ),
    ],
);
pub(crate) static BACKUP: Table = table(
    "backup",
    &[
        req(
            "service",
            Ty::Id,
            "Service in whose container the commands run.",
        ),
        req(
            "dump",
            Ty::Some(&Ty::Text),
            "Command that writes the dump, to a file in the container.",
        ),
        req(
            "restore",
            Ty::Some(&Ty::Text),
            "Command that puts the database back to what the dump holds.",
        ),
        opt(
            "deadline",
            Ty::Positive,
            "How long each may take; 30 s by default.",
        ),
    ],
);

/// A target file.
pub static TARGET: Table = table(
    "a target",
    &[
        req("name", Ty::Id, "Name of the target."),
        opt("production", Ty::Bool, "Refused for any fault."),
        opt(
            "ready_within",
            Ty::Positive,
            "How long bring-up may take; 60 s by default.",
        ),
        opt("metrics", TEXTS, "Metrics that the drills need."),
        opt(
            "metric",
            STRINGS,
            "Names of this target's series for the `${metric.NAME}` of policies.",
        ),
        ACCEPT,
        opt(
            "secrets",
            Ty::Map(&SECRET),
            "Secrets and how they come about.",
        ),
        opt(
            "defects",
            Ty::Table(&DEFECTS),
            "Deliberate bugs it can be started with.",
        ),
        req("service", Ty::Some(&Ty::Table(&SERVICE)), "The services."),
        opt("env", STRINGS, "Environment of every service of role app."),
        req(
            "signals",
            Ty::Table(&SIGNALS),
            "How a signal is made and signed.",
        ),
        opt(
            "mode",
            Ty::Table(&MODE),
            "Where a service shows its execution mode.",
        ),
        opt(
            "prometheus",
            Ty::Table(&PROMETHEUS),
            "Prometheus of the stack; started where a drill or profile asks for it.",
        ),
        opt(
            "audit",
            Ty::Table(&AUDIT),
            "How the record and the chain are read.",
        ),
        opt(
            "backup",
            Ty::Table(&BACKUP),
            "How the database is dumped and restored.",
        ),
    ],
);
