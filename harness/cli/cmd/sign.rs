//! `firedrill sign`: an attestation beside sealed runs. What doesn't verify isn't signed.

use std::path::{Path, PathBuf};

use firedrill_journal::sha256_hex;
use firedrill_verdict::{GateDecision, Outcome, Verdict};

use crate::args::SignArgs;
use crate::attest::{self, Attested, Decided, Statement, Whole};
use crate::decision::{contradiction, word};
use crate::evidence::parts;
use crate::evidence::{self, Rejudged};
use crate::exit::{Exit, Stop};
use crate::inspect::{self, Finding};
use crate::{files, keys, planned};

pub fn sign(args: &SignArgs) -> Result<Exit, Stop> {
    let key = keys::private(&args.key)?;
    let signer = named("--signer", &args.signer)?;
    let role = args
        .role
        .as_deref()
        .map(|r| named("--role", r))
        .transpose()?;
    let mut gathered = Gathered {
        store: store_of(&args.runs)?,
        ..Gathered::default()
    };
    for run in &args.runs {
        gathered.add(run)?;
    }
    if !gathered.findings.is_empty() {
        return Ok(refuse(&gathered.findings));
    }
    let subject = gathered.subject()?;
    let decision = match &args.decision {
        Some(folder) => Some(decided(folder, &subject, &gathered)?),
        None => None,
    };
    let statement = Statement {
        subject,
        runs: gathered.attested.clone(),
        wholes: gathered.wholes.clone(),
        decision,
        signer,
        role,
        signed_at: jiff::Timestamp::now(),
    };
    let attestation = attest::sign(statement, &key)?;
    let path = attest::store(&gathered.store, &attestation)?;
    println!(
        "signed by {} with key {}: {}",
        attestation.by(),
        attestation.key,
        path.display()
    );
    let statement = &attestation.statement;
    println!("  subject {}", statement.subject);
    for run in &statement.runs {
        println!("  {} {} ({})", run.verdict.word(), run.run, run.profile);
    }
    if let Some(decision) = &statement.decision {
        let (folder, policy) = (&decision.folder, &decision.policy);
        let word = word(decision.outcome);
        println!("  decision {folder} under {policy}: {word}");
    }
    Ok(Exit::Pass)
}

fn named(option: &str, text: &str) -> Result<String, Stop> {
    let text = text.trim();
    match text.is_empty() || text.chars().any(char::is_control) {
        true => Err(Stop::Usage(format!("{option}: expected a name"))),
        false => Ok(text.to_owned()),
    }
}

fn refuse(findings: &[Finding]) -> Exit {
    let worst = Outcome::worst(findings.iter().map(|f| f.verdict));
    println!(
        "{} not signed: what doesn't verify isn't attested",
        worst.word()
    );
    findings.iter().for_each(|f| println!("  - {}", f.why));
    worst.into()
}

/// The innermost folder that all of the runs lie in: from there an attestation names them.
fn store_of(runs: &[PathBuf]) -> Result<PathBuf, Stop> {
    let mut common: Option<PathBuf> = None;
    for run in runs {
        let whole = planned::whole(run);
        let above = whole.parent().unwrap_or(&whole).to_owned();
        common = match common {
            None => Some(above),
            Some(store) => {
                let mut folders = store.ancestors();
                folders.find(|f| above.starts_with(f)).map(Path::to_owned)
            }
        };
    }
    let store = common.unwrap_or_default();
    match runs.len() > 1 && store == Path::new("/") {
        true => Err(Stop::Usage(
            "the runs lie in no common folder; sign those of one store at a time".to_owned(),
        )),
        false => Ok(store),
    }
}

/// The runs that are signed, looked at.
#[derive(Default)]
struct Gathered {
    runs: Vec<Rejudged>,
    attested: Vec<Attested>,
    wholes: Vec<Whole>,
    findings: Vec<Finding>,
    /// The folder that all of the runs lie in.
    store: PathBuf,
}

impl Gathered {
    fn add(&mut self, given: &Path) -> Result<(), Stop> {
        let mut judged = Vec::new();
        for part in parts(given)? {
            let looked = inspect::inspect(&part)?;
            let at = |f: Finding| Finding {
                why: format!("{}: {}", part.display(), f.why),
                ..f
            };
            self.findings.extend(looked.findings.into_iter().map(at));
            let Some(run) = looked.run else { continue };
            judged.push(inspect::with_extras(&run)?);
            let subject = &run.verdict().subject.digest;
            if !evidence::is_digest(subject) {
                let why = format!("{}: {subject:?} names no build", part.display());
                self.findings.push(inspect::unknown(why));
            }
            self.attested.push(Attested {
                run: run.verdict().run.id.clone(),
                folder: below(&self.store, &part),
                manifest_sha256: run.sealed.manifest_sha256.clone(),
                journal_head: run.run.journal.head.clone(),
                profile: run.verdict().run.profile.clone(),
                verdict: run.verdict().verdict,
            });
            self.runs.push(run);
        }
        self.findings
            .extend(inspect::inspect_whole(given, &judged)?);
        if given.join(planned::PLAN).exists() {
            self.wholes.push(Whole {
                folder: below(&self.store, given),
                manifest_sha256: evidence::verify(given).manifest_sha256,
            });
        }
        Ok(())
    }

    fn subject(&self) -> Result<String, Stop> {
        let mut all = self.runs.iter().map(|r| &r.verdict().subject.digest);
        let first = all
            .next()
            .ok_or_else(|| Stop::Usage("no run was given".to_owned()))?;
        match all.find(|other| *other != first) {
            Some(other) => Err(Stop::Usage(format!(
                "the runs are of different subjects, {first} and {other}; sign each by itself"
            ))),
            None => Ok(first.clone()),
        }
    }
}

/// A folder's path from the store.
fn below(store: &Path, folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let path = whole.strip_prefix(store).unwrap_or(&whole);
    path.display().to_string()
}

/// A file of a decision's folder.
fn text_of(path: &Path) -> Result<String, Stop> {
    match path.exists() && !evidence::is_plain(path) {
        true => Err(Stop::Usage(format!("{}: no plain file", path.display()))),
        false => files::read(path),
    }
}

/// A decision rests on the runs that are signed, all of them, says what its items and they say, and its page is the one
/// made of it.
fn decided(folder: &Path, subject: &str, gathered: &Gathered) -> Result<Decided, Stop> {
    let path = folder.join("decision.json");
    let text = text_of(&path)?;
    let bad = |why: String| Stop::Usage(format!("{}: {why}", path.display()));
    let decision: GateDecision = serde_json::from_str(&text).map_err(|e| {
        let (line, column) = (e.line(), e.column());
        Stop::Usage(format!("{}:{line}:{column}: {e}", path.display()))
    })?;
    if decision.subject != subject {
        return Err(bad(format!(
            "it is about {}, the runs are of {subject}",
            decision.subject
        )));
    }
    let mut verdicts: Vec<Verdict> = Vec::new();
    for evidence in &decision.evidence {
        let own = gathered
            .runs
            .iter()
            .find(|r| r.sealed.manifest_sha256 == evidence.manifest_sha256);
        let run = own.ok_or_else(|| {
            bad(format!(
                "it rests on the run {}, which is not among those that are signed",
                evidence.run
            ))
        })?;
        verdicts.push(run.verdict().clone());
    }
    if let Some(why) = contradiction(&decision, &verdicts) {
        return Err(bad(format!("{why}; decide again with `firedrill gate`")));
    }
    let page = text_of(&folder.join("go-no-go.md"))?;
    if page != firedrill_report::go_no_go(&decision, &verdicts) {
        return Err(bad("go-no-go.md is not the page made of it".to_owned()));
    }
    let report = folder.join(evidence::HTML);
    let report_sha256 = match evidence::is_plain(&report) {
        true => Some(evidence::digest(&report).map_err(|e| bad(e.to_string()))?),
        false => None,
    };
    let folder = below(&gathered.store, folder);
    if Path::new(&folder).is_absolute() {
        return Err(bad(format!(
            "it lies elsewhere than the runs, which are in {0}; decide again with --out {0}",
            gathered.store.display()
        )));
    }
    Ok(Decided {
        folder,
        policy: decision.policy,
        policy_sha256: decision.policy_sha256,
        outcome: decision.outcome,
        decision_sha256: sha256_hex(text.as_bytes()),
        go_no_go_sha256: sha256_hex(page.as_bytes()),
        report_sha256,
    })
}
