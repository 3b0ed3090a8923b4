//! Soak profiles.

use super::soak::*;
use super::*;

/// A soak profile file.
pub static PROFILE: Table = Table {
    name: "a profile",
    exactly_one: &[&["drills", "mix"]],
    keys: &[
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
        req(
            "quiet",
            Ty::Duration,
            "Before each drill; with a mix the least time between two.",
        ),
        opt("drills", IDS, "Drills by name, in order."),
        MIX,
        QUIET_SHARE,
        FIRST_QUIET,
        CHECKPOINTS,
        MODE,
        ENV,
        DISK_MAX,
        opt(
            "settle",
            Ty::Duration,
            "After a fault's healing this much more isn't quiet yet; 10 s by default.",
        ),
        opt(
            "look_ahead",
            Ty::Int { min: 1, max: 1_000 },
            "For how many times its own length a soak must rule a growth out; for its watches' horizons by default. One that is certain counts for the whole horizon.",
        ),
        ACCEPT,
        req("load", Ty::Table(&SOAK_LOAD), "Background load."),
        opt(
            "watch",
            Ty::Some(&Ty::Table(&WATCH)),
            "Series that are watched over the whole soak.",
        ),
        opt(
            "catches",
            Ty::Map(&Ty::Text),
            "Defect = the watch that must be among those to fail.",
        ),
    ],
};
