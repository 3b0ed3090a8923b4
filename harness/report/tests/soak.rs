//! The section of a soak as a whole, in every format.

// The other tests use the rest of it.
#[allow(dead_code)]
mod sample;

use std::error::Error;

use firedrill_report::{Extras, html, junit, markdown, text_soak};
use firedrill_verdict::{
    Caught, CheckpointVerdict, DriftVerdict, IntentShares, Interval, Outcome, SoakVerdict, Verdict,
    WatchVerdict,
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
            sight_h: 24.0,
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

fn checkpoint(minutes: u64, reached: bool) -> CheckpointVerdict {
    let at_ms = (minutes * 60_000) as f64;
    CheckpointVerdict {
        at_ms,
        run_ms: reached.then_some(at_ms + 1.0),
        verdict: match reached {
            true => Outcome::Fail,
            false => Outcome::Inconclusive,
        },
        reasons: vec!["watch <b>fds</b>: too many".to_owned()],
        accepted: 2_990,
        rejected: 4,
        unknown: 3,
        first_sends: 2_700,
        mined: 2_600,
        offences: 0,
        watches: 2,
        watches_within: 1,
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
            checkpoints: vec![checkpoint(5, true), checkpoint(15, false)],
            caught: Some(Caught {
                defect: "leaks-fds".to_owned(),
                watch: "fds".to_owned(),
                failed: true,
            }),
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
    let comment = markdown(&verdict, None, &Extras::default());
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
    let row = "checkpoint at 300.0 s: ✗ FAIL, 1 of 2 watches within their bounds, 0 offences, 2,990 accepted, 4 rejected, 3 unknown, 2,700 first sends, 2,600 mined; watch <b>fds</b>: too many";
    assert!(text.contains(row), "{text}");
    assert!(
        text.contains("checkpoint at 900.0 s: ? INCONCLUSIVE; watch"),
        "{text}"
    );
    assert!(
        text.contains("the watch named for leaks-fds, fds, saw it"),
        "{text}"
    );
    assert!(comment.contains("checkpoint at 300.0 s"), "{comment}");
    assert!(page.contains("checkpoint at 300.0 s") && !page.contains("<b>fds"));
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
    assert!(!markdown(&verdict, None, &Extras::default()).contains("Soak as a whole"));
    Ok(())
}

#[test]
fn the_report_of_five_hours_is_small_whatever_the_target_says() -> Result<(), Box<dyn Error>> {
    let mut verdict = sample::night::soak();
    let page = html(&verdict, None, &sample::extras())?;
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    let hostile = "\u{1b}[31m</script>\u{202e}";
    let (flood, wave) = (hostile.repeat(70_000), hostile.repeat(140));
    for drill in &mut verdict.drills {
        for check in &mut drill.checks {
            check.observed.clone_from(&wave);
        }
    }
    if let Some(soak) = &mut verdict.soak {
        soak.watches[0].observed.clone_from(&flood);
    }
    let page = html(&verdict, None, &sample::extras())?;
    assert!(page.len() <= 5 * 1024 * 1024, "{} bytes", page.len());
    assert!(!page.contains("</script") && !page.contains('\u{1b}') && !page.contains('\u{202e}'));
    Ok(())
}

#[test]
fn the_first_page_holds_what_changed_and_each_recovery() -> Result<(), Box<dyn Error>> {
    let page = html(&sample::night::soak(), None, &sample::extras())?;
    let at = |id: &str| page.find(&format!("<h2 id=\"{id}\">")).ok_or(id.to_owned());
    assert!(at("changes")? < at("recovery")? && at("recovery")? < at("reasons")?);
    let recovery = page[at("recovery")?..at("reasons")?].replace("&#x2f;", "/");
    assert_eq!(
        recovery.matches("<svg").count(),
        1,
        "one drill has a history"
    );
    for said in [
        "15 episodes",
        "2,688 ms",
        "5,000 ms",
        "53.7 %",
        "1,900 · 2,050 · 1,980 · 2,240 · n/a · 2,110 · 2,090 · 2,300 · 2,180 · 2,260 → 2,688 ms",
        "2 runs with a deliberate defect",
    ] {
        assert!(recovery.contains(said), "{said} is not in {recovery}");
    }
    // Ten dots less the run that showed none, its cross, and this run.
    assert_eq!(recovery.matches("class=\"dot\"").count(), 9);
    assert_eq!(recovery.matches("class=\"cross\"").count(), 1);
    assert_eq!(recovery.matches("class=\"dot now\"").count(), 1);
    let comment = markdown(&sample::night::soak(), None, &sample::extras());
    assert!(comment.find("### What changed") < comment.find("### Recovery"));
    assert!(comment.find("### Recovery") < comment.find("### Reasons"));
    assert!(comment.contains("| ✗ worse | latency p95 (ms) | 18.40 | 31.90 | +73.4 % |"));
    Ok(())
}

#[test]
fn a_recovery_that_was_not_shown_is_never_within_its_budget() -> Result<(), Box<dyn Error>> {
    let mut verdict = sample::night::soak();
    verdict.drills[8].recovery_ms = None;
    let page = html(&verdict, None, &Extras::default())?;
    assert_eq!(page.matches("</i>not shown").count(), 1);
    assert_eq!(page.matches("</i>in budget").count(), 7);
    verdict.drills[9].verdict = Outcome::Fail;
    let page = html(&verdict, None, &Extras::default())?;
    assert_eq!(page.matches("</i>in budget</span></td>").count(), 6);
    assert!(page.contains("</i>in budget</span><span class=\"sub\">drill FAIL</span>"));
    let empty = html(&soak(), None, &Extras::default())?;
    assert!(empty.contains("Nothing to compare with: of kind drill, target "));
    Ok(())
}
