//! `firedrill gate`: from evidence to GO, NO-GO or INCONCLUSIVE. Never trusts a `verdict.json`: every
//! run's manifest is verified and its journal judged again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use firedrill_plan::{PolicyClass, Requires};
use firedrill_verdict::{Around, GateDecision, GateRun, Lack, Outcome, gate};

use crate::args::GateArgs;
use crate::around::around;
use crate::evidence::parts;
use crate::evidence::{self, Rejudged};
use crate::exit::{Exit, Stop};
use crate::files;
use crate::planned;
use crate::store::Stores;

pub fn run(args: &GateArgs) -> Result<Exit, Stop> {
    let subject = subject(&args.subject)?;
    let policy = files::policy(&args.policy, &files::drill_names()?)?;
    let around = around(args, &policy.value)?;
    decide(&args.policy, &subject, &args.runs, &args.out, around)
}

/// The digest that is asked for, or the one of a folder: of its first run, or of its plan where no run came about.
fn subject(given: &str) -> Result<String, Stop> {
    if given.starts_with("sha256:") {
        return Ok(given.to_owned());
    }
    let folder = Path::new(given);
    match (parts(folder), planned::read(folder)) {
        (Ok(mut parts), _) => Ok(evidence::rejudge(&parts.remove(0))?
            .run
            .verdict
            .subject
            .digest),
        (Err(_), Some(Ok(planned))) => Ok(planned.subject),
        (Err(why), _) => Err(why),
    }
}

/// The runs in the folders that were given. Where drills were planned and none left a journal there is none: what is
/// lacking is said.
fn given(folders: &[PathBuf]) -> Result<Vec<PathBuf>, Stop> {
    let mut runs = Vec::new();
    for folder in folders {
        match parts(folder) {
            Ok(parts) => runs.extend(parts),
            Err(_) if planned::read(folder).is_some() => {}
            Err(why) => return Err(why),
        }
    }
    Ok(runs)
}

/// What stands against the evidence as a whole: a subject that names no build, and runs of several drills that aren't
/// as they were planned and sealed, whichever of their parts were given.
fn lacks(subject: &str, given: &[PathBuf], runs: &[PathBuf]) -> Vec<Lack> {
    let mut lacks = Vec::new();
    if !evidence::is_digest(subject) {
        lacks.push(Lack {
            of: "subject".to_owned(),
            why: format!("{subject:?} names no build: expected sha256: and 64 hexadecimal digits"),
        });
    }
    let folders = given.iter().chain(runs);
    let wholes: BTreeSet<PathBuf> = folders.map(|folder| planned::whole(folder)).collect();
    for whole in wholes {
        let of = evidence::folder_name(&whole);
        let doubts = planned::doubts(&whole).into_iter();
        lacks.extend(doubts.map(|why| Lack {
            of: of.clone(),
            why,
        }));
    }
    lacks
}

/// Whether a run that was found, not given, says nothing: it passed and its folder is whole, but it is too old to count, or
/// of a work tree with changes. Against the subject there is nothing in it.
fn is_idle(needs: &Requires, run: &Rejudged, now: jiff::Timestamp) -> bool {
    let verdict = run.verdict();
    let dirty = !needs.allow_dirty && verdict.subject.dirty != Some(false);
    let stale = needs.fresh_within.is_some_and(|limit| {
        let end = verdict.run.ended_at.parse::<jiff::Timestamp>();
        end.is_ok_and(|end| {
            let age = now.as_millisecond().saturating_sub(end.as_millisecond());
            i128::from(age) > limit.as_millis() as i128
        })
    });
    verdict.verdict == Outcome::Pass && run.sealed.intact.is_ok() && (dirty || stale)
}

/// Decides, writes the decision beside the runs and prints it.
pub fn decide(
    policy_path: &Path,
    subject: &str,
    runs: &[PathBuf],
    out: &Path,
    mut around: Around,
) -> Result<Exit, Stop> {
    let policy = files::policy(policy_path, &files::drill_names()?)?;
    let mut folders = given(runs)?;
    let asked = folders.len();
    // A smoke policy says something about one run; a release is judged by all that was seen of it.
    let release = policy.value.class == PolicyClass::Release;
    let embargo = policy
        .value
        .stages
        .iter()
        .any(|s| s.retry_embargo.is_some());
    if release || embargo {
        let mut stores = Stores::of(out, runs);
        if release {
            folders.extend(stores.others(subject, &folders));
        }
        around.no_gos = stores.no_gos();
        around.lacks.append(&mut stores.lacks);
    }
    around.lacks.extend(lacks(subject, runs, &folders));
    let now = jiff::Timestamp::now();
    let mut evidence = Vec::new();
    let mut shown = None;
    for (at, part) in folders.iter().enumerate() {
        let run = evidence::rejudge(part)?;
        if at >= asked && is_idle(&policy.value.requires, &run, now) {
            continue;
        }
        if shown.is_none() {
            shown = Some(evidence::extras(part, &run.run)?);
        }
        let recorded = run.recorded(&policy.value)?;
        evidence.push(GateRun {
            manifest_sha256: run.sealed.manifest_sha256,
            sealed: run.sealed.intact,
            recorded,
            verdict: run.run.verdict,
            files: match run.sealed.manifest {
                Some(manifest) => manifest.files.into_keys().collect(),
                None => Vec::new(),
            },
        });
    }
    let decision = gate(
        &policy.value,
        &policy.document.sha256,
        subject,
        &evidence,
        &around,
        now,
    );
    let verdicts: Vec<_> = evidence.into_iter().map(|r| r.verdict).collect();
    let folder = store(&decision, &verdicts, out)?;
    // The first run that was given, under the decision.
    if let (Some(first), Some(extras)) = (verdicts.first(), shown) {
        let page = firedrill_report::html(first, Some(&decision), &extras);
        let page = page.map_err(|e| Stop::Internal(e.to_string()))?;
        evidence::write(&folder.join("report.html"), &page)?;
    }
    print(&decision);
    println!("decision: {}", folder.display());
    Ok(decision.outcome.into())
}

fn print(decision: &GateDecision) {
    println!("{}", decision.headline);
    println!("  policy {} ({})", decision.policy, decision.policy_title);
    println!("  subject {}", decision.subject);
    for run in &decision.evidence {
        println!(
            "  run {} ({}): {}",
            run.run,
            run.profile,
            run.verdict.word()
        );
    }
    for trigger in &decision.triggers {
        println!("  trigger {} fired: {}", trigger.id, trigger.observed);
    }
    for reason in &decision.reasons {
        println!("  - {reason}");
    }
    for waiver in &decision.waivers {
        println!("  waiver {waiver}");
    }
}

fn store(
    decision: &GateDecision,
    verdicts: &[firedrill_verdict::Verdict],
    out: &Path,
) -> Result<PathBuf, Stop> {
    let folder = out
        .join("gates")
        .join(evidence::run_id(&decision.policy, 0));
    evidence::create(&folder)?;
    let json = serde_json::to_string_pretty(decision).map_err(|e| Stop::Internal(e.to_string()))?;
    evidence::write(&folder.join("decision.json"), &(json + "\n"))?;
    let text = firedrill_report::go_no_go(decision, verdicts);
    evidence::write(&folder.join("go-no-go.md"), &text)?;
    Ok(folder)
}
