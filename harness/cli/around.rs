//! What a gate's decision takes into account besides the runs that it was given: signatures, waivers,
//! files of other tools, decisions of before, other runs of the subject.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use firedrill_journal::{Event, sha256_hex};
use firedrill_plan::Policy;
use firedrill_verdict::{Around, Content, GateDecision, GateOutcome, Imported, NoGo, Recorded};

use crate::args::GateArgs;
use crate::cmd::run::parts;
use crate::exit::Stop;
use crate::{evidence, files};

pub fn around(args: &GateArgs, policy: &Policy) -> Result<Around, Stop> {
    if let Some(stage) = &args.stage
        && policy.stage(stage).is_none()
    {
        let names: Vec<&str> = policy.stages.iter().map(|s| s.id.as_str()).collect();
        let nearest = firedrill_plan::nearest(stage, &names);
        let hint = nearest.map_or_else(String::new, |n| format!("; did you mean {n:?}?"));
        return Err(Stop::Usage(format!(
            "{}: no stage {stage:?}; there are {}{hint}",
            args.policy.display(),
            names.join(", ")
        )));
    }
    let waivers = match &args.waiver {
        Some(path) => files::waivers(path)?,
        None if Path::new(files::WAIVERS).exists() => files::waivers(Path::new(files::WAIVERS))?,
        None => Vec::new(),
    };
    let signed = match &args.attestations {
        Some(path) => files::attestations(path)?,
        None => Vec::new(),
    };
    let mut imports = BTreeMap::new();
    for given in &args.import {
        let (id, imported) = import(given, policy)?;
        imports.insert(id, imported);
    }
    let accepted = match &args.accepted {
        Some(dir) => Some(accepted(dir, policy)?),
        None => None,
    };
    Ok(Around {
        signed,
        waivers,
        imports,
        no_gos: no_gos(&args.out),
        accepted,
        stage: args.stage.clone(),
    })
}

fn accepted(dir: &Path, policy: &Policy) -> Result<Recorded, Stop> {
    let part = parts(dir)?.remove(0);
    let run = evidence::rejudge(&part)?;
    run.sealed
        .intact
        .map_err(|why| Stop::Usage(format!("{}: {why}", dir.display())))?;
    Ok(Recorded::of(&run.journal, policy))
}

/// `ID=FILE[@REVISION]`.
fn import(given: &str, policy: &Policy) -> Result<(String, Imported), Stop> {
    let bad = |why: String| Stop::Usage(format!("--import {given}: {why}"));
    let (id, rest) = given
        .split_once('=')
        .ok_or_else(|| bad("expected ID=FILE[@REVISION]".to_owned()))?;
    let Some(wanted) = policy.imports.iter().find(|i| i.id == id) else {
        let names: Vec<&str> = policy.imports.iter().map(|i| i.id.as_str()).collect();
        let nearest = firedrill_plan::nearest(id, &names);
        let hint = nearest.map_or_else(String::new, |n| format!("; did you mean {n:?}?"));
        return Err(bad(format!("the policy has no import {id:?}{hint}")));
    };
    let (file, revision) = match rest.rsplit_once('@') {
        Some((file, revision)) if !revision.contains('/') => (file, Some(revision.to_owned())),
        _ => (rest, None),
    };
    let text = files::read(Path::new(file))?;
    let content = match wanted.json.is_some() {
        true => Content::Json(serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?),
        false => junit(&text).map_err(bad)?,
    };
    let imported = Imported {
        sha256: sha256_hex(text.as_bytes()),
        revision,
        content,
    };
    Ok((id.to_owned(), imported))
}

/// Counts cases. A file that claims more failures than its cases show (nested suites, which aren't read, or an
/// error of the suite itself) is refused: what isn't seen may be what failed.
fn junit(text: &str) -> Result<Content, String> {
    use quick_junit::TestCaseStatus;
    let report = quick_junit::Report::deserialize_from_str(text).map_err(|e| e.to_string())?;
    let (mut tests, mut failed, mut skipped) = (0_u64, 0_u64, 0_u64);
    for case in report.test_suites.iter().flat_map(|s| &s.test_cases) {
        tests += 1;
        match case.status {
            TestCaseStatus::Success { .. } => {}
            TestCaseStatus::NonSuccess { .. } => failed += 1,
            TestCaseStatus::Skipped { .. } => skipped += 1,
        }
    }
    let suites = &report.test_suites;
    let sum = |of: fn(&quick_junit::TestSuite) -> usize| suites.iter().map(of).sum::<usize>();
    let claimed = sum(|s| s.failures + s.errors).max(report.failures + report.errors) as u64;
    let cases = sum(|s| s.tests).max(report.tests) as u64;
    if claimed > failed || cases > tests {
        return Err(format!(
            "it claims {cases} tests and {claimed} failures, and shows {tests} and {failed}: only cases directly in their suites are read"
        ));
    }
    Ok(Content::Junit {
        tests,
        failed,
        skipped,
    })
}

/// NO-GOs that were said before, as far as their files can be read.
pub fn no_gos(out: &Path) -> Vec<NoGo> {
    let Ok(entries) = fs::read_dir(out.join("gates")) else {
        return Vec::new();
    };
    let decisions = entries
        .filter_map(|e| fs::read_to_string(e.ok()?.path().join("decision.json")).ok())
        .filter_map(|text| serde_json::from_str::<GateDecision>(&text).ok());
    decisions
        .filter(|d| d.outcome == GateOutcome::NoGo)
        .filter_map(|d| {
            Some(NoGo {
                decided_at: d.decided_at.parse().ok()?,
                policy: d.policy,
                release: d.release,
            })
        })
        .collect()
}

/// Folders of the store with runs of the subject that were not given: what they say against it counts.
pub fn others(out: &Path, subject: &str, given: &[PathBuf]) -> Vec<PathBuf> {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let given: BTreeSet<PathBuf> = given.iter().map(|p| whole(p)).collect();
    let Ok(entries) = fs::read_dir(out) else {
        return Vec::new();
    };
    // `latest` is one of the others.
    let folders = entries
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| !p.is_symlink());
    let mut found: Vec<PathBuf> = folders
        .filter(|p| p.is_dir())
        .flat_map(|p| parts(&p).unwrap_or_default())
        .filter(|part| !given.contains(&whole(part)) && about(part, subject))
        .collect();
    found.sort();
    found
}

/// Whether a journal's first line names the subject.
fn about(part: &Path, subject: &str) -> bool {
    let Ok(mut lines) = firedrill_journal::open(part) else {
        return false;
    };
    match lines.next().map(|e| e.event) {
        Some(Event::Header(header)) => header.subject.digest == subject,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_that_a_junit_file_hides_are_not_passed_over() {
        let flat = |totals: &str| {
            junit(&format!(
                r#"<testsuites name="x" {totals}><testsuite name="a" tests="1" failures="0" errors="0"><testcase name="c"/></testsuite></testsuites>"#
            ))
        };
        let whole = Content::Junit {
            tests: 1,
            failed: 0,
            skipped: 0,
        };
        assert_eq!(flat(r#"tests="1" failures="0" errors="0""#), Ok(whole));
        for totals in [
            r#"tests="41" failures="0" errors="0""#,
            r#"tests="1" failures="40" errors="0""#,
            r#"tests="1" failures="0" errors="1""#,
        ] {
            assert!(flat(totals).is_err(), "{totals}");
        }
    }
}
