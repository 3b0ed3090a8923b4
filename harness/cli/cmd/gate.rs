//! `firedrill gate`: from evidence to GO, NO-GO or INCONCLUSIVE. Never trusts a `verdict.json`: every
//! run's manifest is verified and its journal judged again.

use std::path::{Path, PathBuf};

use firedrill_verdict::{GateDecision, GateRun, gate};

use crate::args::GateArgs;
use crate::cmd::run::parts;
use crate::evidence::{self, Rejudged};
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
    decide(&args.policy, &subject, &args.runs, &args.out)
}

/// Decides, writes the decision beside the runs and prints it.
pub fn decide(
    policy_path: &Path,
    subject: &str,
    runs: &[PathBuf],
    out: &Path,
) -> Result<Exit, Stop> {
    let policy = files::policy(policy_path, &files::drill_names()?)?;
    let mut rejudged: Vec<Rejudged> = Vec::new();
    for dir in runs {
        for part in parts(dir)? {
            rejudged.push(evidence::rejudge(&part)?);
        }
    }
    let evidence: Vec<GateRun> = rejudged
        .iter()
        .map(|r| GateRun {
            manifest_sha256: r.sealed.manifest_sha256.clone(),
            sealed: r.sealed.intact.clone(),
            verdict: r.verdict.clone(),
        })
        .collect();
    let now = jiff::Timestamp::now();
    let decision = gate(
        &policy.value,
        &policy.document.sha256,
        subject,
        &evidence,
        now,
    );
    let verdicts: Vec<_> = rejudged.into_iter().map(|r| r.verdict).collect();
    let folder = store(&decision, &verdicts, out)?;
    println!("{}", decision.headline);
    println!("  policy {} ({})", decision.policy, decision.policy_title);
    println!("  subject {}", decision.subject);
    for reason in &decision.reasons {
        println!("  - {reason}");
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
