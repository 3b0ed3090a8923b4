//! What the shipped policies are for, beside the bounds that `policy_truth.rs` compares.

mod support;

use std::collections::BTreeSet;
use std::fs;

use firedrill_plan::{DrillBy, Known, Policy, PolicyClass, Stages, parse_policy};
use firedrill_verdict::{
    Around, AuditCheck, DrillVerdict, GateOutcome, GateRun, Outcome, Recorded, gate,
};
use support::{root, verdict};

/// Names of a folder's TOML files.
fn stems(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
    let names = entries.map(|e| e.expect("an entry").file_name());
    names
        .filter_map(|n| n.to_str()?.strip_suffix(".toml").map(str::to_owned))
        .collect()
}

fn policy(name: &str) -> Policy {
    let known = Known {
        drills: stems("drills").into_iter().collect(),
        ..Known::default()
    };
    let path = format!("drills/gates/{name}.toml");
    let text = fs::read_to_string(root().join(&path)).expect("it is readable");
    let parsed = parse_policy(&path, &text, &known);
    parsed.unwrap_or_else(|e| panic!("{e}")).value
}

fn passed(name: &str) -> DrillVerdict {
    DrillVerdict {
        episode: 0,
        name: name.to_owned(),
        title: String::new(),
        verdict: Outcome::Pass,
        reasons: Vec::new(),
        needs: Vec::new(),
        faults: Vec::new(),
        checks: Vec::new(),
        recovery_ms: None,
        recovery_budget_ms: None,
        worst_margin: None,
    }
}

fn clean(id: &str) -> AuditCheck {
    AuditCheck {
        id: id.to_owned(),
        what: String::new(),
        verdict: Outcome::Pass,
        samples: 1000,
        violations: 0,
        observed: String::new(),
        slice: Vec::new(),
    }
}

/// A run of five hours in which all of these passed.
fn run<'n>(profile: &str, drills: impl Iterator<Item = &'n String>) -> GateRun {
    let mut verdict = verdict(profile);
    verdict.run.started_at = "2026-11-20T19:00:00Z".to_owned();
    verdict.run.duration_ms = 18_000_000;
    verdict.drills = drills.map(|name| passed(name)).collect();
    verdict.audit.checks = vec![clean("lost"), clean("duplicates")];
    GateRun {
        manifest_sha256: "m".to_owned(),
        sealed: Ok(()),
        verdict,
        files: Vec::new(),
        recorded: Recorded::default(),
    }
}

fn decided(policy: &Policy, runs: &[GateRun]) -> GateOutcome {
    let now = "2026-11-21T00:02:00Z".parse().expect("a time");
    gate(policy, "digest", "sha256:aa", runs, &Around::default(), now).outcome
}

#[test]
fn the_catalogue_policy_names_every_drill_in_its_full_durations() {
    let policy = policy("catalogue");
    assert_eq!(policy.class, PolicyClass::Smoke, "nobody signs for a night");
    let full = |id: &String| policy.stage(id).is_some_and(|s| s.profile == "full");
    let named = policy
        .drills
        .iter()
        .filter_map(|d| match (&d.how, &d.stages) {
            (DrillBy::Drill(name), Stages::Of(stages)) if stages.iter().all(full) => {
                Some(name.clone())
            }
            _ => None,
        });
    assert_eq!(named.collect::<BTreeSet<_>>(), stems("drills"));
}

#[test]
fn a_night_passes_only_with_every_drill_and_the_soak() {
    let (policy, all) = (policy("catalogue"), stems("drills"));
    let soak = || run("nightly", std::iter::empty());
    let night = [run("full", all.iter()), soak()];
    assert_eq!(decided(&policy, &night), GateOutcome::SmokePass);
    for gone in &all {
        let left = all.iter().filter(|name| *name != gone);
        // In the soak it ran as well, for a shorter time.
        let runs = [run("full", left), run("nightly", all.iter())];
        assert_eq!(decided(&policy, &runs), GateOutcome::Inconclusive, "{gone}");
    }
    let drills = [run("full", all.iter())];
    assert_eq!(decided(&policy, &drills), GateOutcome::Inconclusive);
    let mut short = soak();
    short.verdict.run.duration_ms = 3_600_000;
    let runs = [run("full", all.iter()), short];
    assert_eq!(decided(&policy, &runs), GateOutcome::Inconclusive);
    let mut failed = soak();
    failed.verdict.verdict = Outcome::Fail;
    let runs = [run("full", all.iter()), failed];
    assert_eq!(decided(&policy, &runs), GateOutcome::SmokeFail);
    let mut dirty = run("full", all.iter());
    dirty.verdict.subject.dirty = Some(true);
    assert_eq!(
        decided(&policy, &[dirty, soak()]),
        GateOutcome::Inconclusive
    );
}

/// `observe` refuses a policy whose questions don't say whose series they are about.
#[test]
fn release_policies_with_a_hold_say_whose_series_are_watched() {
    for name in stems("drills/gates") {
        let policy = policy(&name);
        let held = policy.stages.iter().any(|s| s.hold.is_some());
        if policy.class == PolicyClass::Release && held {
            assert!(policy.canary.is_some(), "{name} has no [canary]");
        }
    }
}

#[test]
fn the_examples_for_ci_name_files_that_are_there() {
    for example in ["docs/github-actions.yml", "docs/gitlab-ci.yml"] {
        let text = fs::read_to_string(root().join(example)).expect("it is readable");
        let named = text.split_whitespace().filter(|w| w.starts_with("drills/"));
        let named: Vec<&str> = named.collect();
        assert_eq!(named, ["drills/gates/catalogue.toml"], "{example}");
        assert!(root().join(named[0]).is_file(), "{example}");
    }
}
