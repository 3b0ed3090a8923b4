//! The comparison on made series: what must never be a regression, and what must be one.

use super::*;
use crate::model::{AuditVerdict, LoadFigures, Outcome, Run, SCHEMA_VERSION, Timeline};

/// Seeds that each property is tried with.
const SEEDS: u64 = 200;

/// SplitMix64, so that a seed gives the same series for ever.
struct Draw(u64);

impl Draw {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

fn empty() -> Verdict {
    Verdict {
        schema_version: SCHEMA_VERSION,
        run: Run {
            id: "r".to_owned(),
            kind: "soak".to_owned(),
            profile: "smoke".to_owned(),
            seed: 7,
            target: "t".to_owned(),
            runtime: "docker".to_owned(),
            started_at: String::new(),
            ended_at: String::new(),
            duration_ms: 0,
            documents: BTreeMap::new(),
        },
        subject: Subject {
            name: "bot".to_owned(),
            digest: "sha256:0".to_owned(),
            version: "1".to_owned(),
            git_revision: None,
            dirty: Some(false),
            defect: None,
        },
        verdict: Outcome::Pass,
        reasons: Vec::new(),
        drills: Vec::new(),
        observe: None,
        audit: AuditVerdict {
            verdict: Outcome::Pass,
            reasons: Vec::new(),
            accepted: 0,
            rejected: 0,
            unknown: 0,
            failed: 0,
            states: BTreeMap::new(),
            first_sends: 0,
            mined: 0,
            lost_by_restore: None,
            checks: Vec::new(),
        },
        soak: None,
        load: LoadFigures::default(),
        timeline: Timeline::default(),
        journal_head: String::new(),
        not_exercised: Vec::new(),
    }
}

/// A series by AR(1) around a level.
fn series(draw: &mut Draw, level: f64, sd: f64, rho: f64) -> Vec<Option<f64>> {
    let mut state = draw.normal();
    (0..300)
        .map(|_| {
            state = rho * state + (1.0 - rho * rho).sqrt() * draw.normal();
            Some(level + sd * state)
        })
        .collect()
}

fn of(bins: &[Option<f64>], worse: Toward) -> Figure {
    let mut verdict = empty();
    let name = match worse {
        Toward::Up => "latency p95 (ms)",
        Toward::Down => "acknowledged/s",
    };
    verdict.timeline.bin_ms = 1_000.0;
    verdict.timeline.end_ms = 1_000.0 * bins.len() as f64;
    verdict.timeline.series = vec![crate::model::TimelineSeries {
        name: name.to_owned(),
        values: bins.to_vec(),
    }];
    figures::figures(&verdict).remove(0)
}

fn shift(was: &[Option<f64>], is: &[Option<f64>], worse: Toward) -> Shift {
    change(&of(was, worse), Some(&of(is, worse))).shift
}

#[test]
fn a_run_against_itself_never_regresses() {
    for seed in 0..SEEDS {
        let mut draw = Draw(seed);
        let rho = draw.uniform() * 0.99;
        let bins = series(&mut draw, 10.0, 3.0, rho);
        for worse in [Toward::Up, Toward::Down] {
            assert_eq!(shift(&bins, &bins, worse), Shift::Same, "seed {seed}");
        }
    }
}

#[test]
fn runs_of_one_level_rarely_differ() {
    let wrong = (0..SEEDS).filter(|seed| {
        let mut draw = Draw(*seed);
        let rho = draw.uniform() * 0.9;
        let was = series(&mut draw, 10.0, 3.0, rho);
        let is = series(&mut draw, 10.0, 3.0, rho);
        shift(&was, &is, Toward::Up) != Shift::Same
    });
    assert!(wrong.count() <= 1);
}

#[test]
fn a_shift_of_two_standard_deviations_is_found() {
    for seed in 0..SEEDS {
        let mut draw = Draw(seed);
        let rho = draw.uniform() * 0.5;
        let was = series(&mut draw, 10.0, 2.0, rho);
        let is = series(&mut draw, 14.0, 2.0, rho);
        assert_eq!(shift(&was, &is, Toward::Up), Shift::Worse, "seed {seed}");
        assert_eq!(shift(&is, &was, Toward::Up), Shift::Better, "seed {seed}");
        assert_eq!(shift(&is, &was, Toward::Down), Shift::Worse, "seed {seed}");
    }
}

#[test]
fn a_small_change_is_none_however_significant() {
    let mut draw = Draw(7);
    let was = series(&mut draw, 100.0, 1.0, 0.0);
    let is = series(&mut draw, 115.0, 1.0, 0.0);
    let found = change(&of(&was, Toward::Up), Some(&of(&is, Toward::Up)));
    assert!(found.p.is_some_and(|p| p < ALPHA) && found.effect == Some(1.0));
    assert_eq!(found.shift, Shift::Same);
}

#[test]
fn a_level_that_hardly_moves_is_compared_all_the_same() {
    // A resident set: a slow walk of 1 % around its level, and half as much again in the other run.
    let mut draw = Draw(7);
    let was = series(&mut draw, 100.0, 1.0, 0.99);
    let is = series(&mut draw, 150.0, 1.0, 0.99);
    assert_eq!(shift(&was, &is, Toward::Up), Shift::Worse);
}

#[test]
fn what_was_not_seen_is_not_compared() {
    let mut draw = Draw(7);
    let mut bins = series(&mut draw, 10.0, 1.0, 0.0);
    let whole = of(&bins, Toward::Up);
    bins[19..].fill(None);
    let thin = change(&whole, Some(&of(&bins, Toward::Up)));
    assert_eq!(thin.shift, Shift::Unknown);
    assert!(thin.why.is_some_and(|why| why.contains("19 in this one")));
    let none = change(&whole, None);
    assert_eq!((none.shift, none.is), (Shift::Unknown, None));
}

#[test]
fn faults_are_left_out() {
    let mut draw = Draw(7);
    let mut bins = series(&mut draw, 10.0, 1.0, 0.0);
    let calm = of(&bins, Toward::Up);
    bins[100..200].fill(Some(5_000.0));
    let mut verdict = empty();
    verdict.timeline = crate::model::Timeline {
        start_ms: 0.0,
        end_ms: 300_000.0,
        bin_ms: 1_000.0,
        series: vec![crate::model::TimelineSeries {
            name: "latency p95 (ms)".to_owned(),
            values: bins,
        }],
        windows: vec![crate::model::TimelineWindow {
            episode: 0,
            phase: "outage".to_owned(),
            fault: Some("pause of redis".to_owned()),
            requested: 100_000.0,
            proven: None,
            heal_requested: None,
            healed: Some(195_000.0),
        }],
        states: Vec::new(),
    };
    let found = figures::figures(&verdict).remove(0);
    assert_eq!(found.blocks.len(), 200);
    assert_eq!(change(&calm, Some(&found)).shift, Shift::Same);
}

#[test]
fn what_shaped_the_run_is_compared_by_its_digest() {
    let mut verdict = empty();
    verdict.run.documents = BTreeMap::from([
        ("a.toml".to_owned(), "1".to_owned()),
        ("b.toml".to_owned(), "1".to_owned()),
    ]);
    let accepted = Accepted {
        run: "r".to_owned(),
        manifest_sha256: "m".to_owned(),
        started_at: "t".to_owned(),
    };
    let baseline = Baseline::of(&[(&verdict, accepted)], "now".to_owned());
    let baseline = baseline.unwrap_or_else(|| panic!("a run has figures"));
    assert!(compare(&baseline, &verdict).documents.is_empty());
    let documents = [("a.toml", "2"), ("c.toml", "1")];
    verdict.run.documents = documents.map(|(p, d)| (p.to_owned(), d.to_owned())).into();
    let changed = compare(&baseline, &verdict).documents;
    let words: Vec<String> = changed
        .iter()
        .map(|d| format!("{} {}", d.path, d.how))
        .collect();
    assert_eq!(words, ["a.toml changed", "c.toml added", "b.toml gone"]);
}
