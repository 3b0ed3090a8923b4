//! The gate: what blocks, and what is never called GO.

use crate::support::Run;
use firedrill_plan::{Known, Policy, PolicyClass, Signed, Waiver, parse_policy};
use firedrill_verdict::{
    Accepted, Around, Baseline, Content, GateDecision, GateOutcome, GateRun, Imported, NoGo,
    Outcome, Point, Recorded, Timeline, TimelineSeries, gate,
};
use serde_json::{Value, json};

pub(crate) fn parsed(text: &str) -> Policy {
    let known = Known {
        drills: vec!["outage".into(), "other".into()],
        ..Known::default()
    };
    let parsed = parse_policy("p.toml", text, &known).unwrap_or_else(|e| panic!("{e}\n{text}"));
    parsed.value
}

fn policy(class: PolicyClass) -> Policy {
    let mut policy = parsed(&format!("{HEAD}{}", rule("audit.lost", 10)));
    policy.class = class;
    policy
}

pub(crate) const HEAD: &str = r#"
title = "P"
class = "release"
release = "1.0"
roles = ["lead"]
[requires]
drills = ["outage"]
profile = "quick"
runtime = "docker"
fresh_within = "1h"
"#;

fn rule(figure: &str, min_samples: u64) -> String {
    format!(
        "[[rule]]\nid = \"r\"\nwhat = \"r\"\nfigure = \"{figure}\"\nequals = 0\nmin_samples = {min_samples}\n"
    )
}

pub(crate) fn run() -> GateRun {
    GateRun {
        manifest_sha256: "m".into(),
        sealed: Ok(()),
        verdict: Run::healthy().judge(),
        files: vec!["report.md".into()],
        recorded: Recorded::default(),
    }
}

pub(crate) fn decide(policy: &Policy, runs: &[GateRun]) -> GateDecision {
    decide_with(policy, runs, &Around::default())
}

pub(crate) fn decide_with(policy: &Policy, runs: &[GateRun], around: &Around) -> GateDecision {
    let now = NOW.parse().unwrap();
    gate(policy, "digest", "sha256:aa", runs, around, now)
}

pub(crate) const NOW: &str = "2026-11-21T00:30:00Z";

#[track_caller]
fn blocked(policy: &Policy, runs: &[GateRun], outcome: GateOutcome) {
    let decision = decide(policy, runs);
    assert_eq!(decision.outcome, outcome, "{:?}", decision.reasons);
    assert!(!decision.reasons.is_empty());
}

#[test]
fn only_a_release_policy_says_go() {
    let go = decide(&policy(PolicyClass::Release), &[run()]);
    assert_eq!(
        (go.headline.as_str(), go.outcome),
        ("GO", GateOutcome::Go),
        "{:?}",
        go.reasons
    );
    let smoke = decide(&policy(PolicyClass::Smoke), &[run()]);
    assert_eq!(
        (smoke.headline.as_str(), smoke.outcome),
        ("SMOKE PASS", GateOutcome::SmokePass)
    );
}

#[test]
fn unusable_evidence_is_inconclusive() {
    let policy = policy(PolicyClass::Release);
    blocked(&policy, &[], GateOutcome::Inconclusive);
    let spoil: [fn(&mut GateRun); 8] = [
        |r| r.sealed = Err("journal.jsonl was changed".into()),
        |r| r.verdict.subject.digest = "sha256:bb".into(),
        |r| r.verdict.subject.defect = Some("fails-open".into()),
        |r| r.verdict.subject.dirty = Some(true),
        |r| r.verdict.subject.dirty = None,
        |r| r.verdict.run.profile = "smoke".into(),
        |r| r.verdict.run.runtime = "process".into(),
        |r| r.verdict.run.ended_at = "2026-11-20T00:00:00Z".into(),
    ];
    for (n, spoil) in spoil.iter().enumerate() {
        let mut bad = run();
        spoil(&mut bad);
        let decision = decide(&policy, &[bad]);
        assert_eq!(
            decision.outcome,
            GateOutcome::Inconclusive,
            "{n}: {:?}",
            decision.reasons
        );
    }
}

#[test]
fn mixed_subjects_block() {
    let mut other = run();
    other.verdict.subject.digest = "sha256:bb".into();
    blocked(
        &policy(PolicyClass::Release),
        &[run(), other],
        GateOutcome::Inconclusive,
    );
}

#[test]
fn a_fail_of_any_run_blocks() {
    let mut failed = run();
    failed.verdict.verdict = Outcome::Fail;
    failed.verdict.run.profile = "full".into();
    let policy = policy(PolicyClass::Release);
    blocked(&policy, &[run(), failed.clone()], GateOutcome::NoGo);
}

#[test]
fn an_inconclusive_run_is_made_good_by_a_later_one_of_its_kind_only() {
    let policy = policy(PolicyClass::Release);
    let mut open = run();
    open.verdict.verdict = Outcome::Inconclusive;
    let later = |change: fn(&mut GateRun)| {
        let mut good = run();
        good.verdict.run.ended_at = "2026-11-21T00:25:00Z".into();
        change(&mut good);
        decide(&policy, &[good, open.clone()]).outcome
    };
    assert_eq!(later(|_| {}), GateOutcome::Go);
    let others: [fn(&mut GateRun); 4] = [
        |r| r.verdict.run.ended_at = run().verdict.run.ended_at,
        |r| r.verdict.run.ended_at = "yesterday".into(),
        |r| r.verdict.run.profile = "full".into(),
        |r| r.verdict.run.kind = "soak".into(),
    ];
    for (n, other) in others.iter().enumerate() {
        assert_eq!(later(*other), GateOutcome::Inconclusive, "{n}");
    }
}

#[test]
fn a_figure_trigger_fires_on_one_run_and_is_silent_on_samples_only() {
    let policy = parsed(&format!(
        "{HEAD}[[trigger]]\nid = \"t\"\nwhat = \"t\"\nclass = \"critical\"\nfigure = \"audit.lost\"\nabove = 0\nmin_samples = 10\nact = \"ask\"\n"
    ));
    // Fired, silent or unknown: a person is asked, so that what fires blocks without failing.
    let fired = |runs: &[GateRun]| {
        let decision = decide(&policy, runs);
        let own = decision
            .items
            .iter()
            .find(|i| i.id.starts_with("trigger t"));
        match (own.unwrap().verdict, decision.triggers.is_empty()) {
            (Outcome::Pass, true) => Some(false),
            (Outcome::Inconclusive, false) => Some(true),
            (Outcome::Inconclusive, true) => None,
            other => panic!("{other:?}"),
        }
    };
    let mut lost = run();
    lost.verdict.audit.checks[0].violations = 1;
    let mut empty = run();
    empty.verdict.audit.checks[0].samples = 0;
    assert_eq!(fired(&[run()]), Some(false));
    assert_eq!(fired(&[run(), lost.clone()]), Some(true));
    assert_eq!(fired(&[lost, run()]), Some(true));
    assert_eq!(fired(&[empty]), None);
}

#[test]
fn what_several_must_sign_is_counted_by_the_signatures_that_count() {
    let text = format!(
        "{HEAD}{ATTEST}[[attest]]\nid = \"b\"\ntext = \"b\"\nrole = \"lead\"\n[[attest]]\nid = \"c\"\ntext = \"c\"\nrole = \"lead\"\nrequires = [\"a\", \"b\"]\n"
    );
    let policy = parsed(&text);
    let by = |item: &str, name: &str, subject: &str| Signed {
        item: item.into(),
        name: name.into(),
        subject: subject.into(),
        ..signed()
    };
    let outcome = |second: &str| {
        let own = "sha256:aa";
        let around = Around {
            // Ann signed for an older build: that signature doesn't count.
            signed: vec![
                by("a", "Ann", "sha256:bb"),
                by("a", "Bob", own),
                by("b", second, own),
                by("c", "Eve", own),
            ],
            ..Around::default()
        };
        decide_with(&policy, &[run()], &around).outcome
    };
    assert_eq!(outcome("Cid"), GateOutcome::Go);
    assert_eq!(outcome("Bob"), GateOutcome::Inconclusive);
    assert_eq!(outcome(" bob"), GateOutcome::Inconclusive);
}

#[test]
fn missing_drills_figures_and_signatures_are_inconclusive() {
    let mut drills = policy(PolicyClass::Release);
    drills.requires.drills.push("other".into());
    blocked(&drills, &[run()], GateOutcome::Inconclusive);
    let figures = parsed(&format!("{HEAD}{}", rule("audit.nonsense", 1)));
    blocked(&figures, &[run()], GateOutcome::Inconclusive);
    assert!(decide(&figures, &[run()]).reasons[0].contains("audit.nonsense"));
    let figures = parsed(&format!("{HEAD}{}", rule("audit.lost", 1000)));
    blocked(&figures, &[run()], GateOutcome::Inconclusive);
    let mut lost = run();
    lost.verdict.audit.checks[0].violations = 1;
    blocked(&figures, &[lost], GateOutcome::NoGo);
}

const ATTEST: &str = "[[attest]]\nid = \"a\"\ntext = \"on call\"\nrole = \"lead\"\n";

fn signed() -> Signed {
    Signed {
        item: "a".into(),
        subject: "sha256:aa".into(),
        name: "N".into(),
        role: "lead".into(),
        date: "2026-11-21T00:20:00Z".into(),
        note: None,
        evidence: None,
    }
}

#[test]
fn a_signature_counts_for_its_subject_role_and_time_only() {
    let policy = parsed(&format!("{HEAD}{ATTEST}"));
    blocked(&policy, &[run()], GateOutcome::Inconclusive);
    let with = |signed: Signed| {
        let around = Around {
            signed: vec![signed],
            ..Around::default()
        };
        decide_with(&policy, &[run()], &around).outcome
    };
    assert_eq!(with(signed()), GateOutcome::Go);
    let spoil: [fn(&mut Signed); 6] = [
        |s| s.item = "b".into(),
        |s| s.subject = "sha256:bb".into(),
        |s| s.role = "deployer".into(),
        |s| s.date = "2026-11-20T00:00:00Z".into(),
        |s| s.date = "2026-11-22T00:00:00Z".into(),
        |s| s.date = "today".into(),
    ];
    for (n, spoil) in spoil.iter().enumerate() {
        let mut bad = signed();
        spoil(&mut bad);
        assert_eq!(with(bad), GateOutcome::Inconclusive, "{n}");
    }
}

#[test]
fn a_waiver_lets_its_item_pass_until_it_expires() {
    let policy = policy(PolicyClass::Release);
    let mut lost = run();
    lost.verdict.audit.checks[0].violations = 1;
    let with = |item: &str, expires: &str| {
        let waiver = Waiver {
            item: item.into(),
            policy: "p".into(),
            reason: "known".into(),
            approver: "N".into(),
            expires: expires.into(),
        };
        let around = Around {
            waivers: vec![waiver],
            ..Around::default()
        };
        decide_with(&policy, std::slice::from_ref(&lost), &around)
    };
    let passed = with("r", "2026-11-22T00:00:00Z");
    assert_eq!(passed.outcome, GateOutcome::Go, "{:?}", passed.reasons);
    assert!(
        passed.waivers[0].contains("known (approved by N")
            && passed.waivers[0].contains("used for FAIL r")
    );
    let expired = with("r", "2026-11-21T00:00:00Z");
    assert_eq!(expired.outcome, GateOutcome::NoGo);
    assert!(
        expired.waivers[0].contains("not used, expired"),
        "{:?}",
        expired.waivers
    );
    for other in ["s", "evidence"] {
        assert_eq!(
            with(other, "2026-11-22T00:00:00Z").outcome,
            GateOutcome::NoGo,
            "{other}"
        );
    }
}

/// A run of a stage, with a series of one value each 15 s from 0; `None`: missing. It lasts as long as its longest
/// series, or an hour.
pub(crate) fn staged(profile: &str, series: &[(&str, &[Option<Value>])]) -> GateRun {
    let mut run = run();
    run.verdict.run.profile = profile.into();
    let longest = series.iter().map(|(_, values)| values.len()).max();
    run.verdict.run.duration_ms = longest.map_or(3_600_000, |n| (n as u64 - 1) * 15_000);
    for (id, values) in series {
        let points = values.iter().enumerate().map(|(n, value)| Point {
            at: n as u64 * 15_000_000_000,
            value: value.clone(),
        });
        let field = match id.starts_with("step:") {
            true => "verified",
            false => "value",
        };
        run.recorded
            .series
            .insert(((*id).to_owned(), field.to_owned()), points.collect());
    }
    run
}

pub(crate) fn flat(value: f64, n: usize) -> Vec<Option<Value>> {
    vec![Some(json!(value)); n]
}

pub(crate) const RELEASE: &str = r#"
title = "P"
class = "release"
release = "1.0"
no_target = "test"
[metrics]
x = "x"
n = "n"
"#;

pub(crate) fn item(decision: &GateDecision, id: &str) -> (Outcome, String) {
    let found = decision.items.iter().find(|i| i.id == id);
    let found = found.unwrap_or_else(|| panic!("no {id} in {:?}", decision.items));
    (found.verdict, found.observed.clone())
}

#[test]
fn a_trigger_fires_once_its_bound_has_held_through_for_and_grace() {
    let text = format!(
        "{RELEASE}[[stage]]\nid = \"s\"\nwhat = \"s\"\nhold = \"10m\"\n\
         [[trigger]]\nid = \"t\"\nwhat = \"t\"\nclass = \"critical\"\nstage = \"s\"\nexpr = '${{metric.x}} + ${{metric.n}}'\nabove = 5\nfor = \"1m\"\n\
         [[rollback]]\nid = \"b\"\nwhat = \"b\"\non = \"any\"\npositions = \"keep\"\n\
         [[rollback.step]]\nid = \"u\"\nwhat = \"u\"\nrun = [\"true\"]\nverify = {{ run = [\"true\"], within = \"1s\" }}\n"
    );
    let policy = parsed(&text);
    let id = "promql:${metric.x} + ${metric.n}";
    let at = |values: Vec<Option<Value>>| {
        let decision = decide(&policy, &[staged("s", &[(id, &values)])]);
        (item(&decision, "trigger t@s"), decision.triggers)
    };
    // Above from the third value on: 30 s, and a minute later it fires.
    let mut values = flat(1.0, 2);
    values.extend(flat(6.0, 20));
    let (found, fired) = at(values.clone());
    assert_eq!(found.0, Outcome::Fail, "{found:?}");
    assert_eq!(fired[0].at_ms, Some(90_000.0));
    assert_eq!(fired[0].rollback.as_deref(), Some("b"));
    // A value at the bound, or a gap, starts the clock anew.
    values.truncate(6);
    values.push(Some(json!(5.0)));
    values.extend(flat(6.0, 4));
    values.extend(flat(1.0, 20));
    assert_eq!(at(values).0.0, Outcome::Pass);
    let mut gaps = flat(6.0, 3);
    gaps.push(None);
    let gaps: Vec<_> = gaps.into_iter().cycle().take(40).collect();
    assert_eq!(at(gaps).0.0, Outcome::Inconclusive);
    let silent = decide(&policy, &[staged("s", &[])]);
    let (verdict, words) = item(&silent, "trigger t@s");
    assert_eq!(
        (verdict, words.as_str()),
        (Outcome::Inconclusive, "no run recorded this series")
    );
}

#[test]
fn a_value_with_too_few_events_behind_it_says_nothing() {
    let text = format!(
        "{RELEASE}[[stage]]\nid = \"s\"\nwhat = \"s\"\n\
         [[rule]]\nid = \"r\"\nwhat = \"r\"\nstage = \"s\"\nexpr = '${{metric.x}}'\nbelow = 5\nvolume = '${{metric.n}}'\nmin_volume = 20\n"
    );
    let policy = parsed(&text);
    let with = |x: f64, n: f64| {
        let (x, n) = (flat(x, 10), flat(n, 10));
        let series: [(&str, &[Option<Value>]); 2] =
            [("promql:${metric.x}", &x), ("promql:${metric.n}", &n)];
        item(&decide(&policy, &[staged("s", &series)]), "r@s").0
    };
    assert_eq!(with(4.9, 20.0), Outcome::Pass);
    assert_eq!(with(5.0, 20.0), Outcome::Fail);
    assert_eq!(with(4.9, 19.0), Outcome::Inconclusive);
    assert_eq!(with(5.0, 19.0), Outcome::Inconclusive);
    assert_eq!(with(f64::NAN, 20.0), Outcome::Inconclusive);
}

#[test]
fn k_of_n_counts_what_has_no_data_as_not_met_and_names_it() {
    let rules: String = ["a", "b", "c"]
        .map(|id| {
            format!("[[rule]]\nid = \"{id}\"\nwhat = \"w\"\nfigure = \"load.{id}\"\nabove = 0\n")
        })
        .concat();
    let text = |need: u8| {
        let rules = rules
            .replace("load.a", "load.sent")
            .replace("load.b", "load.shed");
        format!(
            "{RELEASE}{rules}[[group]]\nid = \"g\"\nwhat = \"g\"\nneed = {need}\nof = [\"a\", \"b\", \"c\"]\n"
        )
    };
    let mut run = run();
    run.verdict.load.sent = 10;
    let at = |need: u8| {
        item(
            &decide(&parsed(&text(need)), std::slice::from_ref(&run)),
            "g",
        )
    };
    assert_eq!(at(1).0, Outcome::Pass);
    let two = at(2);
    assert_eq!(two.0, Outcome::Inconclusive);
    assert!(
        two.1.contains("not met: b; without data, so not met: c"),
        "{two:?}"
    );
    assert_eq!(at(3).0, Outcome::Fail);
}

#[test]
fn a_stage_must_have_been_held_with_the_traffic_asked_for() {
    let text = format!(
        "{RELEASE}[canary]\nselector = 'track=\"canary\"'\nshare = '${{metric.x}} / ${{metric.n}}'\n\
         [[stage]]\nid = \"s\"\nwhat = \"s\"\nweight = 5\nhold = \"1h\"\n"
    );
    let policy = parsed(&text);
    let with = |share: f64, minutes: u64| {
        let share = flat(share, 10);
        let mut run = staged("s", &[("promql:${metric.x} / ${metric.n}", &share)]);
        run.verdict.run.duration_ms = minutes * 60_000;
        item(&decide(&policy, &[run]), "stage s").0
    };
    assert_eq!(with(0.05, 60), Outcome::Pass);
    assert_eq!(with(0.05, 59), Outcome::Inconclusive);
    assert_eq!(with(0.08, 60), Outcome::Inconclusive);
    let none = decide(&policy, &[staged("other", &[])]);
    assert_eq!(item(&none, "stage s").0, Outcome::Inconclusive);
}

#[test]
fn an_embargo_holds_for_the_release() {
    let text = format!(
        "{RELEASE}[[stage]]\nid = \"demo\"\nwhat = \"d\"\n\
         [[stage]]\nid = \"s\"\nwhat = \"s\"\nrequires = [\"demo\"]\nretry_embargo = \"48h\"\n"
    );
    let policy = parsed(&text);
    let with = |release: &str, decided_at: &str| {
        let around = Around {
            no_gos: vec![NoGo {
                policy: "p".into(),
                release: Some(release.into()),
                decided_at: decided_at.parse().unwrap(),
            }],
            ..Around::default()
        };
        let runs = [staged("demo", &[]), staged("s", &[])];
        item(&decide_with(&policy, &runs, &around), "stage s")
    };
    assert_eq!(with("1.0", "2026-11-19T00:29:00Z").0, Outcome::Pass);
    let held = with("1.0", "2026-11-19T00:31:00Z");
    assert_eq!(held.0, Outcome::Inconclusive);
    assert!(held.1.contains("embargo"), "{held:?}");
    assert_eq!(with("0.9", "2026-11-20T00:31:00Z").0, Outcome::Pass);
}

#[test]
fn an_import_must_be_about_the_revision_that_was_judged() {
    let text = format!("{RELEASE}[[import]]\nid = \"tests\"\nwhat = \"t\"\njunit = true\n");
    let policy = parsed(&text);
    let mut run = run();
    run.verdict.subject.git_revision = Some("abc".into());
    let with = |revision: Option<&str>, tests: u64, failed: u64| {
        let imported = Imported {
            sha256: "0123456789abcdef".into(),
            revision: revision.map(str::to_owned),
            content: Content::Junit {
                tests,
                failed,
                skipped: 0,
            },
        };
        let around = Around {
            imports: [("tests".to_owned(), imported)].into(),
            ..Around::default()
        };
        item(
            &decide_with(&policy, std::slice::from_ref(&run), &around),
            "tests",
        )
        .0
    };
    assert_eq!(with(Some("abc"), 3, 0), Outcome::Pass);
    assert_eq!(with(Some("abc"), 3, 1), Outcome::Fail);
    assert_eq!(with(Some("abc"), 0, 0), Outcome::Inconclusive);
    assert_eq!(with(Some("abd"), 3, 0), Outcome::Inconclusive);
    assert_eq!(with(None, 3, 0), Outcome::Inconclusive);
    assert_eq!(
        item(&decide(&policy, &[run.clone()]), "tests").0,
        Outcome::Inconclusive
    );
}

#[test]
fn a_rollback_must_have_been_rehearsed_and_seen_to_work() {
    let text = format!(
        "{RELEASE}[[rollback]]\nid = \"b\"\nwhat = \"b\"\non = \"any\"\npositions = \"keep\"\nrehearsed_within = \"24h\"\n\
         [[rollback.step]]\nid = \"u\"\nwhat = \"u\"\nrun = [\"true\"]\nverify = {{ run = [\"true\"], within = \"1s\" }}\n\
         [[rollback.step]]\nid = \"v\"\nwhat = \"v\"\nalternative = \"u\"\nverify = {{ run = [\"true\"], within = \"1s\" }}\n\
         [[attest]]\nid = \"x\"\ntext = \"x\"\nrole = \"lead\"\n"
    )
    .replace("no_target", "roles = [\"lead\"]\nno_target");
    let policy = parsed(&text);
    let with = |step: &str, verified: bool| {
        let seen = [Some(json!(verified))];
        item(&decide(&policy, &[staged("x", &[(step, &seen)])]), "b").0
    };
    assert_eq!(with("step:u", true), Outcome::Pass);
    assert_eq!(with("step:v", true), Outcome::Pass);
    assert_eq!(with("step:u", false), Outcome::Fail);
    assert_eq!(with("step:w", true), Outcome::Inconclusive);
}

#[test]
fn a_regression_against_the_accepted_run_blocks_and_what_was_not_compared_is_no_proof() {
    let text = format!("{HEAD}{}", rule("baseline.regressions", 0));
    let policy = parsed(&text);
    let with = |level: f64, baselines: &[Baseline]| {
        let mut run = run();
        let bins = (0..60).map(|bin| Some(level + f64::from(bin % 5)));
        run.verdict.timeline = Timeline {
            start_ms: 0.0,
            end_ms: 60_000.0,
            bin_ms: 1_000.0,
            series: vec![TimelineSeries {
                name: "latency p95 (ms)".into(),
                values: bins.collect(),
            }],
            ..Timeline::default()
        };
        let around = Around {
            baselines: baselines.to_vec(),
            ..Around::default()
        };
        let found = item(
            &decide_with(&policy, std::slice::from_ref(&run), &around),
            "r",
        );
        let accepted = Accepted {
            run: "a".into(),
            manifest_sha256: "m".into(),
            started_at: "t".into(),
        };
        let baseline = Baseline::of(&[(&run.verdict, accepted)], "now".into());
        (found, baseline.unwrap())
    };
    let (none, accepted) = with(10.0, &[]);
    assert_eq!(none.0, Outcome::Inconclusive);
    assert!(none.1.contains("was accepted"), "{none:?}");
    let accepted = [accepted];
    assert_eq!(with(10.0, &accepted).0.0, Outcome::Pass);
    assert_eq!(with(6.0, &accepted).0.0, Outcome::Pass);
    assert_eq!(with(20.0, &accepted).0.0, Outcome::Fail);
    let (unseen, _) = with(f64::NAN, &accepted);
    assert_eq!(unseen.0, Outcome::Inconclusive);
    assert!(
        unseen.1.contains("0 of the accepted run's 1 figures"),
        "{unseen:?}"
    );
    let mut other = accepted;
    other[0].profile = "full".into();
    assert_eq!(with(10.0, &other).0.0, Outcome::Inconclusive);
}
