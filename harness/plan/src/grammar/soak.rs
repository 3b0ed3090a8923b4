//! What a soak profile says about its schedule and the shape of its load.

use super::*;

static RAMP: Table = table(
    "ramp",
    &[
        req(
            "signals_per_s",
            Ty::Rate,
            "Rate at the top, in the middle of the stretch.",
        ),
        req(
            "share",
            Ty::Share,
            "Share of the quiet stretches that are a ramp.",
        ),
    ],
);
static BURST: Table = table(
    "burst",
    &[
        req("signals_per_s", Ty::Rate, "Rate of the burst."),
        req(
            "lasts",
            Ty::Positive,
            "How long it lasts, in the middle of the stretch.",
        ),
        req(
            "share",
            Ty::Share,
            "Share of the quiet stretches that hold a burst.",
        ),
    ],
);
pub(crate) static SOAK_LOAD: Table = table(
    "load of a soak",
    &[
        req(
            "signals_per_s",
            Ty::Rate,
            "Signals per second: open loop, signed, distinct.",
        ),
        opt(
            "ramp",
            Ty::Table(&RAMP),
            "Some quiet stretches climb to this rate and come down again.",
        ),
        opt(
            "burst",
            Ty::Table(&BURST),
            "Some quiet stretches hold a burst.",
        ),
    ],
);
pub(crate) const MIX: Key = opt(
    "mix",
    Ty::Map(&Ty::Int { min: 1, max: 1_000 }),
    "Drills by name and weight, drawn from the seed; instead of drills in order. Needs duration.",
);
pub(crate) const QUIET_SHARE: Key = opt(
    "quiet_share",
    Ty::Share,
    "Least share of the time outside of drills; 0.5 by default. Goes with mix.",
);
pub(crate) const FIRST_QUIET: Key = opt(
    "first_quiet",
    Ty::Positive,
    "Before the first drill; quiet by default. Goes with mix.",
);
pub(crate) const CHECKPOINTS: Key = opt(
    "checkpoints",
    Ty::Some(&Ty::Positive),
    "Times after the start at which the soak is looked at.",
);
pub(crate) const DISK_MAX: Key = opt(
    "disk_max",
    Ty::Size,
    "Bytes that the run's folder may take before the soak ends INCONCLUSIVE; 4GiB by default.",
);
pub(crate) const MODE: Key = opt(
    "mode",
    Ty::Text,
    "Mode that every service with one shows before the load begins.",
);
pub(crate) const ENV: Key = opt(
    "env",
    Ty::Map(&STRINGS),
    "Environment by service, for the whole soak.",
);
