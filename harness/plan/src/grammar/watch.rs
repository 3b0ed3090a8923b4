//! Watches of a profile: what is sampled over the whole soak.

use super::observe::{COVERAGE, PROBE};
use super::*;

pub(crate) static WATCH: Table = table(
    "watch",
    &[
        req("id", Ty::Id, "Unique in the profile."),
        req("what", Ty::Text, "In words, for the report."),
        SOURCE_LINE,
        req(
            "probe",
            PROBE,
            "What is sampled, once a second unless it says otherwise.",
        ),
        opt(
            "limit",
            Ty::Number,
            "Where the series must not be going: the value at which the service breaks.",
        ),
        opt(
            "horizon",
            Ty::Positive,
            "A trend counts if the limit is reached within this time; goes with limit.",
        ),
        opt(
            "toward",
            Ty::Word(&["up", "down"]),
            "On which side of the series the limit lies; up by default.",
        ),
        opt(
            "steps",
            Ty::Bool,
            "Whether jumps of the level count as well as a slope; true by default.",
        ),
        opt(
            "bin",
            Ty::Word(&["median", "mean", "p95"]),
            "What stands for the samples of a bin; median by default.",
        ),
        AT_MOST,
        AT_LEAST,
        opt(
            "coverage",
            Ty::Table(&COVERAGE),
            "How much of the quiet time must have been seen; 30 samples, 0.9 and 30 s by default.",
        ),
    ],
);
