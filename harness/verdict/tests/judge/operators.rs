//! The temporal operators against slow evaluators that say what is meant, word by word.

use firedrill_verdict::{Decision, Obs, Span, eventually, not_before, throughout, within};
use proptest::prelude::*;

fn observations() -> impl Strategy<Value = Vec<Obs>> {
    let one = (0_u64..40, 0_u64..12, prop::option::of(any::<bool>()));
    prop::collection::vec(one, 0..14).prop_map(|mut all| {
        all.sort_by_key(|(due, _, _)| *due);
        let numbered = all.into_iter().enumerate();
        numbered
            .map(|(seq, (due, took, ok))| Obs {
                due,
                end: due + took,
                ok,
                seq: seq as u64,
            })
            .collect()
    })
}

fn span() -> impl Strategy<Value = Span> {
    (0_u64..50, 0_u64..50).prop_map(|(a, b)| Span {
        from: a.min(b),
        to: a.max(b),
    })
}

/// The first of all observations for which it holds, tried one by one.
fn first(all: &[Obs], holds: impl Fn(&Obs) -> bool) -> Option<Obs> {
    let mut found = None;
    for obs in all {
        if found.is_none() && holds(obs) {
            found = Some(*obs);
        }
    }
    found
}

fn in_span(obs: &Obs, from: u64, to: u64) -> bool {
    from <= obs.due && obs.end <= to
}

fn slow_within(all: &[Obs], edge: u64, bound: u64, until: Option<u64>) -> Decision {
    let Some(hit) = first(all, |o| o.due >= edge && o.ok == Some(true)) else {
        // Never seen to hold: broken for certain only where it is seen not to hold after the bound.
        let late = |o: &Obs| until.is_some_and(|to| in_span(o, edge + bound, to));
        return match first(all, |o| late(o) && o.ok == Some(false)) {
            Some(broken) => Decision::Violated(broken),
            None => Decision::Unseen,
        };
    };
    if hit.end > edge + bound {
        return Decision::Violated(hit);
    }
    let later = |o: &Obs| o.seq > hit.seq && until.is_some_and(|to| o.end <= to);
    match first(all, |o| later(o) && o.ok == Some(false)) {
        Some(broken) => Decision::Violated(broken),
        None => Decision::Holds(Some(hit)),
    }
}

fn slow_not_before(all: &[Obs], edge: u64, bound: u64, until: u64) -> Decision {
    let seen = |o: &Obs| in_span(o, edge, until) && o.ok == Some(true);
    if let Some(early) = first(all, |o| seen(o) && o.end < edge + bound) {
        return Decision::Violated(early);
    }
    match first(all, seen) {
        Some(hit) => Decision::Holds(Some(hit)),
        None => Decision::Unseen,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn throughout_means_every_one(all in observations(), span in span()) {
        let broken = first(&all, |o| in_span(o, span.from, span.to) && o.ok == Some(false));
        let wanted = broken.map_or(Decision::Holds(None), Decision::Violated);
        prop_assert_eq!(throughout(&all, span), wanted);
    }

    #[test]
    fn eventually_means_one(all in observations(), span in span()) {
        let hit = first(&all, |o| in_span(o, span.from, span.to) && o.ok == Some(true));
        let wanted = hit.map_or(Decision::Unseen, |o| Decision::Holds(Some(o)));
        prop_assert_eq!(eventually(&all, span), wanted);
    }

    #[test]
    fn within_means_in_time_and_to_stay(
        all in observations(), edge in 0_u64..50, bound in 0_u64..30, until in prop::option::of(0_u64..60)
    ) {
        prop_assert_eq!(within(&all, edge, bound, until), slow_within(&all, edge, bound, until));
    }

    #[test]
    fn not_before_means_no_earlier_and_found(
        all in observations(), edge in 0_u64..50, bound in 0_u64..30, until in 0_u64..60
    ) {
        let wanted = slow_not_before(&all, edge, bound, until);
        prop_assert_eq!(not_before(&all, edge, bound, until), wanted);
    }
}
