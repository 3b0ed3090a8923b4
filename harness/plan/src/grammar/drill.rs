//! Drill files: phases, faults, acts.

use super::*;

pub(crate) static NEEDS: Table = table(
    "needs",
    &[
        opt(
            "mode",
            Ty::Text,
            "Mode that every service with one must show.",
        ),
        opt("executing", COUNT, "First sends the chain must have seen."),
        opt(
            "accepted",
            COUNT,
            "Signals that must have been acknowledged.",
        ),
    ],
);
pub(crate) static BY_PROFILE: Table = table(
    "hold",
    &[
        req("quick", Ty::Positive, "In the quick profile."),
        req(
            "full",
            Ty::Positive,
            "In the full profile; no shorter than quick.",
        ),
    ],
);
pub(crate) const HOLD: Ty = Ty::TextOr(&Ty::Positive, &Ty::Table(&BY_PROFILE));

// Faults.
pub(crate) const TARGET_KEY: Key = req(
    "target",
    Ty::Id,
    "Service, or service behind the proxied route.",
);
pub(crate) static FAULT_PLAIN: Table = table("fault", &[TARGET_KEY]);
pub(crate) static FAULT_KILL: Table = table(
    "fault kill",
    &[
        TARGET_KEY,
        opt(
            "between",
            Ty::Pair(&Ty::Duration),
            "At a moment drawn from the run's seed between these two times after the phase's acts; at once by default.",
        ),
    ],
);
pub(crate) static FAULT_REDIS_SET: Table = table(
    "fault redis_set",
    &[
        TARGET_KEY,
        req("key", Ty::Text, "Key to set."),
        req("value", Ty::AnyText, "Value to set."),
        req("heal", Ty::AnyText, "Value that heals, by compare-and-set."),
    ],
);
pub(crate) static FAULT_LATENCY: Table = table(
    "fault latency",
    &[
        TARGET_KEY,
        req("latency", Ty::Positive, "Delay added to each answer."),
        opt(
            "jitter",
            Ty::Duration,
            "Random part of the delay; none by default.",
        ),
    ],
);
pub(crate) static FAULT_BANDWIDTH: Table = table(
    "fault bandwidth",
    &[
        TARGET_KEY,
        req("bytes_per_s", Ty::Size, "Bytes per second."),
    ],
);
pub(crate) static FAULT_LIMIT: Table = table(
    "fault limit",
    &[
        TARGET_KEY,
        req(
            "bytes",
            Ty::Size,
            "Bytes after which the connection closes.",
        ),
    ],
);
pub(crate) static FAULT_HTTP_ERROR: Table = table(
    "fault http_error",
    &[
        TARGET_KEY,
        req("status", STATUS, "Status of the answer."),
        opt(
            "retry_after",
            Ty::Duration,
            "Retry-After header, in whole seconds.",
        ),
        opt(
            "methods",
            TEXTS,
            "JSON-RPC methods that are hit; all by default.",
        ),
        opt("path", Ty::Path, "Path that is hit; every path by default."),
        opt(
            "drop_response",
            Ty::Bool,
            "Let the request through, drop the answer.",
        ),
    ],
);
pub(crate) static FAULTS: &[(&str, &Table)] = &[
    ("pause", &FAULT_PLAIN),
    ("kill", &FAULT_KILL),
    ("stop", &FAULT_PLAIN),
    ("restart", &FAULT_PLAIN),
    ("disconnect", &FAULT_PLAIN),
    ("redis_set", &FAULT_REDIS_SET),
    ("latency", &FAULT_LATENCY),
    ("bandwidth", &FAULT_BANDWIDTH),
    ("timeout", &FAULT_PLAIN),
    ("reset", &FAULT_PLAIN),
    ("down", &FAULT_PLAIN),
    ("limit", &FAULT_LIMIT),
    ("http_error", &FAULT_HTTP_ERROR),
];

// Acts.
pub(crate) const ACT_ID: Key = opt(
    "id",
    Ty::Id,
    "Unique in the drill; phase/number by default.",
);
pub(crate) static ACT_REDIS_SET: Table = table(
    "act redis_set",
    &[
        ACT_ID,
        TARGET_KEY,
        req("key", Ty::Text, "Key to set."),
        req("value", Ty::AnyText, "Value to set."),
    ],
);
pub(crate) static ACT_RESTART: Table = table(
    "act restart",
    &[ACT_ID, req("services", SOME_IDS, "Services to restart.")],
);
pub(crate) static ACT_RECREATE: Table = table(
    "act recreate",
    &[
        ACT_ID,
        req(
            "services",
            SOME_IDS,
            "Services whose containers are removed and made anew.",
        ),
        opt(
            "env",
            STRINGS,
            "Environment that differs from the one of bring-up; values may hold ${secret.NAME}.",
        ),
    ],
);
pub(crate) static ACT_DUMP: Table = table("act dump", &[ACT_ID]);
pub(crate) static ACT_RESTORE: Table = table("act restore", &[ACT_ID]);
pub(crate) static ACT_HTTP: Table = table(
    "act http",
    &[
        ACT_ID,
        req("service", Ty::Id, "Service that is asked."),
        opt("port", Ty::Id, "Name of its port; main by default."),
        opt(
            "method",
            Ty::Word(&["GET", "POST", "PUT", "PATCH", "DELETE"]),
            "GET by default.",
        ),
        req("path", Ty::Path, "Path and query."),
        opt(
            "headers",
            STRINGS,
            "Headers; values may hold ${secret.NAME}.",
        ),
        opt("body", Ty::AnyText, "Body; none by default."),
        opt(
            "status",
            Ty::OneOrMany(&STATUS),
            "Status that the answer must have, or several that it may have; 200 by default.",
        ),
    ],
);
pub(crate) static ACT_BURST: Table = table(
    "act burst",
    &[
        ACT_ID,
        req("count", ONE_TO_MILLION, "Distinct signals, all at once."),
        opt(
            "concurrency",
            ONE_TO_MILLION,
            "In flight at most; 64 by default.",
        ),
    ],
);
pub(crate) static ACT_DUPLICATE: Table = table(
    "act duplicate",
    &[
        ACT_ID,
        req(
            "copies",
            ONE_TO_MILLION,
            "Copies in all, dealt out to the services in turn.",
        ),
        opt(
            "services",
            SOME_IDS,
            "Services; the signals' service by default.",
        ),
        opt(
            "overrides",
            STRINGS,
            "Template variables that differ from the load's.",
        ),
        opt(
            "as_act",
            Ty::Text,
            "Resend exactly what that earlier act sent.",
        ),
        opt(
            "meet_at",
            Ty::Text,
            "SQL lock at which the copies meet before they are stored.",
        ),
    ],
);
pub(crate) static ACT_TWINS: Table = table(
    "act twins",
    &[
        ACT_ID,
        req(
            "count",
            ONE_TO_MILLION,
            "Distinct signals with equal parameters.",
        ),
    ],
);
pub(crate) static ACT_MALFORMED: Table = table(
    "act malformed",
    &[
        ACT_ID,
        req(
            "class",
            Ty::Word(&crate::model::MALFORMED),
            "What is wrong with them; all but those of class signature are signed as they should be.",
        ),
        req(
            "count",
            Ty::Int {
                min: 1,
                max: 10_000,
            },
            "Requests, made from the run's seed; none of them is a valid signal.",
        ),
        opt(
            "overrides",
            STRINGS,
            "Template variables that differ from the load's.",
        ),
    ],
);
pub(crate) static ACT_AWAIT: Table = table(
    "act await",
    &[
        ACT_ID,
        req("http", Ty::Id, "Service whose answer is looked at."),
        req("path", Ty::Path, "Path and query."),
        req(
            "json",
            Ty::Pointer,
            "JSON pointer to a scalar in the answer.",
        ),
        req("equals", Ty::AnyText, "What it must be, as text."),
        req(
            "within",
            Ty::Positive,
            "Deadline; a wait that ends by it ends the drill, INCONCLUSIVE.",
        ),
    ],
);
pub(crate) static ACTS: &[(&str, &Table)] = &[
    ("await", &ACT_AWAIT),
    ("redis_set", &ACT_REDIS_SET),
    ("restart", &ACT_RESTART),
    ("recreate", &ACT_RECREATE),
    ("dump", &ACT_DUMP),
    ("restore", &ACT_RESTORE),
    ("http", &ACT_HTTP),
    ("burst", &ACT_BURST),
    ("duplicate", &ACT_DUPLICATE),
    ("twins", &ACT_TWINS),
    ("malformed", &ACT_MALFORMED),
];

pub(crate) static PHASE: Table = table(
    "phase",
    &[
        req("id", Ty::Id, "Unique in the drill."),
        req(
            "hold",
            HOLD,
            "How long it lasts once its faults are proven.",
        ),
        opt(
            "load",
            Ty::Table(&LOAD),
            "Rate during this phase, where it differs.",
        ),
        opt(
            "act",
            Ty::OneOrMany(&Ty::Kind(ACTS)),
            "Done in order when the phase starts; not healed.",
        ),
        opt(
            "fault",
            Ty::OneOrMany(&Ty::Kind(FAULTS)),
            "Injected after the acts, proven, healed, healing proven.",
        ),
        opt(
            "until",
            Ty::Id,
            "Phase at whose end the faults are healed; this one by default.",
        ),
    ],
);

pub(crate) static ALERTS: Table = table(
    "alerts",
    &[req(
        "rules",
        Ty::Text,
        "Prometheus rules file, relative to this one; the stack's Prometheus loads it as it is.",
    )],
);

/// A drill file.
pub static DRILL: Table = table(
    "a drill",
    &[
        req("title", Ty::Text, "One line."),
        req("why", Ty::Text, "Why it matters."),
        req("source", TEXTS, "Ids of lines of the seed map."),
        ACCEPT,
        opt(
            "needs",
            Ty::Table(&NEEDS),
            "Checked before the first fault.",
        ),
        opt(
            "catches",
            Ty::Map(&Ty::Text),
            "Defect = the expectation that must be the one to fail, or audit/same/ID of the target file's audit.same.",
        ),
        opt("env", Ty::Map(&STRINGS), "Environment by service."),
        opt(
            "replicas",
            Ty::Map(&Ty::Int { min: 1, max: 8 }),
            "Instances by service, where not one.",
        ),
        opt("load", Ty::Table(&LOAD), "Background load."),
        opt(
            "alerts",
            Ty::Table(&ALERTS),
            "Alert rules that the drill is about.",
        ),
        opt(
            "quiesce",
            Ty::Positive,
            "How long what was accepted may take to finish; 20 s by default.",
        ),
        req(
            "phase",
            Ty::Some(&Ty::Table(&PHASE)),
            "The phases, in order.",
        ),
        opt("mark", Ty::Some(&Ty::Table(&MARK)), "Named moments."),
        req("expect", Ty::Some(&Ty::Table(&EXPECT)), "The expectations."),
    ],
);
