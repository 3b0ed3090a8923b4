//! The files' keys: name, type, doc. The checker, the JSON Schema and the reference read this.

mod drill;
mod gate;
mod observe;
mod policy;
mod signatures;
mod soak;
mod target;
mod watch;

pub use drill::DRILL;
pub use gate::PROFILE;
pub use policy::{ATTESTATIONS, POLICY, WAIVERS};
pub use target::TARGET;

use crate::spec::{Key, Table, Ty, opt, req};
use observe::{EXPECT, MARK};
use watch::WATCH;

const ONE_TO_MILLION: Ty = Ty::Int {
    min: 1,
    max: 1_000_000,
};
const STATUS: Ty = Ty::Int { min: 100, max: 599 };
const COUNT: Ty = Ty::Int {
    min: 0,
    max: i64::MAX as u64,
};
const IDS: Ty = Ty::List(&Ty::Id);
const SOME_IDS: Ty = Ty::Some(&Ty::Id);
const TEXTS: Ty = Ty::List(&Ty::Text);
const STRINGS: Ty = Ty::Map(&Ty::AnyText);
const ACCEPT: Key = opt(
    "accept",
    Ty::Text,
    "Why the file's lints are accepted; silences them.",
);
const SOURCE_LINE: Key = opt(
    "source",
    Ty::Text,
    "Where it comes from: a line of the seed map, or a section of the contract.",
);

const fn table(name: &'static str, keys: &'static [Key]) -> Table {
    Table {
        name,
        keys,
        exactly_one: &[],
    }
}

// Operators, shared by marks, expectations and rules.
pub(crate) const OPERATORS: [&str; 7] = [
    "equals", "one_of", "at_most", "below", "at_least", "above", "matches",
];
const EQUALS: Key = opt("equals", Ty::Scalar, "The value is this one.");
const ONE_OF: Key = opt(
    "one_of",
    Ty::Some(&Ty::Scalar),
    "The value is one of these.",
);
const AT_MOST: Key = opt("at_most", Ty::Number, "The number is this or less.");
const BELOW: Key = opt("below", Ty::Number, "The number is less than this.");
const AT_LEAST: Key = opt("at_least", Ty::Number, "The number is this or more.");
const ABOVE: Key = opt("above", Ty::Number, "The number is more than this.");
const MATCHES: Key = opt("matches", Ty::Regex, "The text matches this.");

static LOAD: Table = table(
    "load",
    &[req(
        "signals_per_s",
        Ty::Rate,
        "Signals per second: open loop, signed, distinct.",
    )],
);
