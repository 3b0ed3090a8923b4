//! `firedrill gate`: from evidence to GO, NO-GO or INCONCLUSIVE. Never trusts a `verdict.json`: every
//! run's manifest is verified and its journal judged again.

use std::path::{Path, PathBuf};

use firedrill_plan::PolicyClass;
use firedrill_verdict::{Around, GateDecision, GateRun, Recorded, gate};

use crate::args::GateArgs;
use crate::around::{around, others};
use crate::cmd::run::parts;
use crate::evidence;
use crate::exit::{Exit, Stop};
use crate::files;

pub fn run(args: &GateArgs) -> Result<Exit, Stop> {
    let subject = match args.subject.starts_with("sha256:") {
        true => args.subject.clone(),
        false => {
            let part = parts(Path::new(&args.subject))?.remove(0);
            evidence::rejudge(&part)?.verdict.subject.digest
        }
    };
    let policy = files::policy(&args.policy, &files::drill_names()?)?;
    let around = around(args, &policy.value)?;
    decide(&args.policy, &subject, &args.runs, &args.out, around)
}

/// Decides, writes the decision beside the runs and prints it.
pub fn decide(
    policy_path: &Path,
    subject: &str,
    runs: &[PathBuf],
    out: &Path,
    around: Around,
) -> Result<Exit, Stop> {
    let policy = files::policy(policy_path, &files::drill_names()?)?;
    let mut folders = Vec::new();
    for dir in runs {
        folders.extend(parts(dir)?);
    }
    // A smoke policy says something about one run; a release is judged by all that was seen of it.
    if policy.value.class == PolicyClass::Release {
        folders.extend(others(out, subject, &folders));
    }
    let mut evidence = Vec::new();
    for part in &folders {
        let run = evidence::rejudge(part)?;
        evidence.push(GateRun {
            manifest_sha256: run.sealed.manifest_sha256,
            sealed: run.sealed.intact,
            recorded: Recorded::of(&run.journal, &policy.value),
            verdict: run.verdict,
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
        jiff::Timestamp::now(),
    );
    let verdicts: Vec<_> = evidence.into_iter().map(|r| r.verdict).collect();
    let folder = store(&decision, &verdicts, out)?;
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
    println!("decision: {}", folder.display());
    Ok(decision.outcome.into())
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
