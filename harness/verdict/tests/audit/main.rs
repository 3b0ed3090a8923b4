//! The audit against a slow one that is obviously right, on generated histories, and against
//! violations that were planted one by one.

mod case;
mod plants;
mod reference;

use case::{Case, build};
use firedrill_verdict::{Gaps, Outcome};
use proptest::prelude::*;

/// A source that the history may lack, and all of the gaps that follow.
const SOURCES: [&str; 8] = [
    "chain",
    "intent",
    "send",
    "receipt",
    "execution",
    "transition",
    "position",
    "states",
];

pub fn gaps(missing: Option<&'static str>, complete: bool) -> Gaps {
    Gaps {
        missing: missing
            .map(|s| (s, format!("no {s}")))
            .into_iter()
            .collect(),
        complete,
        required: true,
    }
}

/// Name, samples, violations and verdict of each equation.
pub type Outcomes = Vec<(&'static str, u64, u64, Outcome)>;

pub fn fast(case: &Case, gaps: &Gaps) -> Outcomes {
    let findings = case.feed().finish();
    let outcome = |f: &firedrill_verdict::Finding| {
        assert_eq!(f.least().is_some(), f.violations() > 0, "{}", f.id);
        (f.id, f.samples(), f.violations(), f.conclude(gaps).0)
    };
    findings.iter().map(outcome).collect()
}

fn kinds() -> impl Strategy<Value = Vec<(u8, u16)>> {
    prop::collection::vec((0_u8..case::KINDS, any::<u16>()), 1..30)
}

fn spoils() -> impl Strategy<Value = Vec<(u8, u16, u16)>> {
    prop::collection::vec((0_u8..case::SPOILS, any::<u16>(), any::<u16>()), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_slow_one(kinds in kinds(), spoils in spoils(), gap in 0_usize..24, cut in 0_u8..8) {
        let mut case = build(&kinds);
        for (what, a, b) in spoils {
            case.spoil(what, a as usize, b as usize);
        }
        let gaps = gaps(SOURCES.get(gap).copied(), cut != 0);
        prop_assert_eq!(fast(&case, &gaps), reference::audit(&case, &gaps));
    }

    #[test]
    fn honest_histories_hold(kinds in kinds()) {
        let mut case = build(&kinds);
        case.operate("always", "one", firedrill_journal::OpState::Ok, false);
        case.intents.push(("one".into(), "always".into(), "SIMULATED".into()));
        case.transitions.push(("one".into(), "CREATED".into(), "SIMULATED".into()));
        for (id, _, violations, outcome) in fast(&case, &gaps(None, true)) {
            prop_assert_eq!((violations, outcome), (0, Outcome::Pass), "{}", id);
        }
    }
}
