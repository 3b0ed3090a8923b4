//! Soak profiles and gate policies.

use super::*;

/// A soak profile file.
pub static PROFILE: Table = table(
    "a profile",
    &[
        req("title", Ty::Text, "One line."),
        req(
            "class",
            Ty::Word(&["smoke", "nightly", "release"]),
            "What its verdict may claim.",
        ),
        req(
            "pace",
            Ty::Word(&["quick", "full"]),
            "Which form of the drills.",
        ),
        opt(
            "duration",
            Ty::Positive,
            "How long it lasts; the sum of its parts by default.",
        ),
        req("quiet", Ty::Duration, "Before, between and after drills."),
        req("drills", IDS, "Drills by name, in order."),
        ACCEPT,
        req("load", Ty::Table(&LOAD), "Background load."),
    ],
);

// Policy files.
pub(crate) static REQUIRES: Table = table(
    "requires",
    &[
        opt("drills", IDS, "Drills that must have passed."),
        opt(
            "profile",
            Ty::Id,
            "Profile that the run must have had; any by default.",
        ),
        opt(
            "runtime",
            Ty::Word(&["docker", "compose", "process"]),
            "Runtime; any by default.",
        ),
        opt(
            "allow_dirty",
            Ty::Bool,
            "Whether uncommitted changes are acceptable; no by default.",
        ),
        opt(
            "fresh_within",
            Ty::Positive,
            "Evidence older than this is refused.",
        ),
    ],
);
pub(crate) static ATTEST: Table = table(
    "attest",
    &[
        req("id", Ty::Id, "Unique in the policy."),
        req("text", Ty::Text, "What is confirmed."),
        req("role", Ty::Text, "Role that confirms it."),
        SOURCE_LINE,
    ],
);
pub(crate) static RULE: Table = Table {
    name: "rule",
    keys: &[
        req("id", Ty::Id, "Unique in the policy."),
        req("what", Ty::Text, "The rule in words."),
        SOURCE_LINE,
        req(
            "figure",
            Ty::Text,
            "Figure of the verdict that is looked at.",
        ),
        EQUALS,
        ONE_OF,
        AT_MOST,
        BELOW,
        AT_LEAST,
        ABOVE,
        MATCHES,
        opt(
            "samples_min",
            COUNT,
            "Fewest samples that the figure rests on; 1 by default.",
        ),
    ],
    exactly_one: &[&OPERATORS],
};
/// A gate policy file.
pub static POLICY: Table = table(
    "a policy",
    &[
        req("title", Ty::Text, "One line."),
        req(
            "class",
            Ty::Word(&["smoke", "release"]),
            "Only release can say GO.",
        ),
        opt("roles", TEXTS, "Roles that sign."),
        ACCEPT,
        opt(
            "requires",
            Ty::Table(&REQUIRES),
            "What the runs must have been.",
        ),
        opt(
            "rule",
            Ty::Some(&Ty::Table(&RULE)),
            "Thresholds on figures.",
        ),
        opt(
            "attest",
            Ty::Some(&Ty::Table(&ATTEST)),
            "What only a person can confirm.",
        ),
    ],
);
