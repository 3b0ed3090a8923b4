//! What a gate's decision takes into account besides the runs that it was given: signatures, waivers,
//! files of other tools. What its store holds is found by `store`.

use std::collections::BTreeMap;
use std::path::Path;

use firedrill_journal::sha256_hex;
use firedrill_plan::Policy;
use firedrill_verdict::{Around, Attested, Content, Imported, Recorded, SignedBy};

use crate::args::GateArgs;
use crate::evidence::parts;
use crate::exit::Stop;
use crate::keys::{self, Public};
use crate::{attest, context, evidence, files};

pub fn around(args: &GateArgs, policy: &Policy) -> Result<Around, Stop> {
    if let Some(stage) = &args.stage
        && policy.stage(stage).is_none()
    {
        return Err(no_stage(&args.policy, policy, stage));
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
        attested: attested(args, policy)?,
        waivers,
        imports,
        accepted,
        baselines: context::baselines(&args.out)?,
        stage: args.stage.clone(),
        ..Around::default()
    })
}

/// The attestations that were given, each with the key that signed it.
fn attested(args: &GateArgs, policy: &Policy) -> Result<Vec<Attested>, Stop> {
    let mut keys: Vec<(Public, String)> = Vec::new();
    for given in &args.key {
        let bad = |why: String| Stop::Usage(format!("--key {given}: {why}"));
        let (role, file) = given
            .split_once('=')
            .ok_or_else(|| bad("expected ROLE=PUB".to_owned()))?;
        if !policy.roles.iter().any(|known| known == role) {
            let roles: Vec<&str> = policy.roles.iter().map(String::as_str).collect();
            let nearest = firedrill_plan::nearest(role, &roles);
            let hint = nearest.map_or_else(String::new, |n| format!("; did you mean {n:?}?"));
            return Err(bad(format!("the policy has no role {role:?}{hint}")));
        }
        keys.push((keys::public(Path::new(file))?, role.to_owned()));
    }
    let mut all = Vec::new();
    for path in &args.attestation {
        let attestation = attest::read(path)?.attestation;
        let mut key: Option<SignedBy> = None;
        for (public, role) in &keys {
            if attestation.is_signed_with(public)? {
                let by = key.get_or_insert_with(|| SignedBy {
                    fingerprint: public.fingerprint.clone(),
                    roles: Vec::new(),
                });
                by.roles.push(role.clone());
            }
        }
        let statement = attestation.statement;
        all.push(Attested {
            signer: statement.signer,
            role: statement.role,
            signed_at: statement.signed_at,
            subject: statement.subject,
            manifests: statement
                .runs
                .into_iter()
                .map(|r| r.manifest_sha256)
                .collect(),
            policy_sha256: statement.decision.map(|d| d.policy_sha256),
            key,
        });
    }
    Ok(all)
}

/// A stage that the policy doesn't have, with the nearest one.
pub fn no_stage(path: &Path, policy: &Policy, stage: &str) -> Stop {
    let names: Vec<&str> = policy.stages.iter().map(|s| s.id.as_str()).collect();
    let nearest = firedrill_plan::nearest(stage, &names);
    let hint = nearest.map_or_else(String::new, |n| format!("; did you mean {n:?}?"));
    Stop::Usage(format!(
        "{}: no stage {stage:?}; there are {}{hint}",
        path.display(),
        names.join(", ")
    ))
}

fn accepted(dir: &Path, policy: &Policy) -> Result<Recorded, Stop> {
    let part = parts(dir)?.remove(0);
    let run = evidence::rejudge(&part)?;
    if let Err(why) = &run.sealed.intact {
        return Err(Stop::Usage(format!("{}: {why}", dir.display())));
    }
    run.recorded(policy)
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
