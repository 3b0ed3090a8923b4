//! The section of a soak as a whole, in every format.

// The other tests use the rest of it.
#[allow(dead_code)]
mod sample;

use std::error::Error;

use firedrill_report::{Extras, html, junit, markdown, text_soak};
use firedrill_verdict::{
    DriftVerdict, IntentShares, Interval, Outcome, SoakVerdict, Verdict, WatchVerdict,
};

fn watch(id: &str, verdict: Outcome) -> WatchVerdict {
    let slope = Interval {
        value: 12.5,
        low: 12.0,
        high: 13.0,
        p: 1e-6,
        p_kendall: 1e-7,
        effective_samples: 40.0,
    };
    WatchVerdict {
        id: id.to_owned(),
        what: "no descriptor is left open".to_owned(),
        source: Some("contract".to_owned()),
        verdict,
        expected: "not on its way to 1024 within 24 h".to_owned(),
        observed: "<b>+12.5 per h</b>: the limit 1024 is reached in 5 h".to_owned(),
        samples: 700,
        coverage: Some(0.98),
        largest_gap_ms: Some(4_000.0),
        least: Some(10.0),
        most: Some(14.0),
        drift: Some(DriftVerdict {
            verdict,
            limit: 12.0,
            horizon_h: 24.0,
            slope_per_h: Some(slope),
            shift_per_fault: None,
            level: Some(14.0),
            hours_to_limit: Some(5.0),
        }),
        bins_from_ms: 0.0,
        bin_ms: 5_000.0,
        bins: vec![Some(10.0), Some(11.0), None, None, Some(14.0)],
        evidence: vec![7],
    }
}

fn soak() -> Verdict {
    Verdict {
        verdict: Outcome::Fail,
        soak: Some(SoakVerdict {
            verdict: Outcome::Fail,
            reasons: vec!["watch fds: it leaks".to_owned()],
            duration_ms: 25_000.0,
            quiet_ms: 20_000.0,
            quiet_share: Some(0.8),
            settle_ms: 10_000.0,
            faults: 2,
            faults_proven: 2,
            intents: IntentShares {
                total: 10,
                executed: 9,
                executed_share: Some(0.9),
                rest: [("REJECTED: emergency_stop".to_owned(), 1)].into(),
            },
            watches: vec![watch("memory", Outcome::Pass), watch("fds", Outcome::Fail)],
            disturbed: vec![[10_000.0, 20_000.0]],
        }),
        ..sample::passing()
    }
}

#[test]
fn every_format_shows_the_soak_failures_first() -> Result<(), Box<dyn Error>> {
    let verdict = soak();
    let page = html(&verdict, None, &Extras::default())?;
    assert!(page.contains("Soak as a whole"), "{page}");
    assert!(page.find("<code>fds</code>") < page.find("<code>memory</code>"));
    assert_eq!(page.matches("timeline watch").count(), 2);
    // Two stretches were seen, with a hole between them.
    assert_eq!(
        page.matches("M0 66H120V51H240M480 6H600").count(),
        2,
        "{page}"
    );
    assert!(!page.contains("<b>+12.5"), "the target's text is escaped");
    let comment = markdown(&verdict, None);
    assert!(comment.contains("### Soak as a whole: ✗ FAIL"), "{comment}");
    assert!(
        comment.contains("9 of 10 intents executed (90 %)"),
        "{comment}"
    );
    let text = text_soak(&verdict).unwrap_or_default();
    let wanted = "1 intents REJECTED: emergency_stop";
    assert!(
        text.contains(wanted) && text.contains("2 of 2 faults proven"),
        "{text}"
    );
    let xml = junit(&[verdict])?;
    assert!(
        xml.contains("classname=\"soak\"") && xml.contains("<failure"),
        "{xml}"
    );
    Ok(())
}

#[test]
fn a_drill_has_no_such_section() -> Result<(), Box<dyn Error>> {
    let verdict = sample::passing();
    assert_eq!(text_soak(&verdict), None);
    let page = html(&verdict, None, &Extras::default())?;
    assert!(!page.contains("Soak as a whole"));
    assert!(!markdown(&verdict, None).contains("Soak as a whole"));
    Ok(())
}
