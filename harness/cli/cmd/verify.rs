//! `firedrill verify`: whether sealed runs and attestations are what they were.
//!
//! Without a key it says what the folder alone can tell, and that this isn't much against whoever can write it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use firedrill_journal::sha256_hex;
use firedrill_report::go_no_go;
use firedrill_verdict::{GateDecision, Outcome, Verdict};

use crate::args::VerifyArgs;
use crate::attest::{self, Decided, Found};
use crate::decision::{contradiction, word};
use crate::evidence;
use crate::evidence::parts;
use crate::exit::{Exit, Stop};
use crate::inspect::{self, Finding, changed, unknown};
use crate::keys::{self, Public};
use crate::planned;

const UNSIGNED: &str = "not signed / not checked: not tamper-proof";

pub fn verify(args: &VerifyArgs) -> Result<Exit, Stop> {
    let keys: Vec<Public> = args
        .key
        .iter()
        .map(|p| keys::public(p))
        .collect::<Result<_, _>>()?;
    let mut looked = Looked {
        keys,
        ..Looked::default()
    };
    let (folders, attestations): (Vec<&PathBuf>, Vec<&PathBuf>) =
        args.what.iter().partition(|path| path.is_dir());
    for folder in &folders {
        looked.whole(folder)?;
    }
    let given = !attestations.is_empty();
    for path in attestations {
        let found = attest::read(path)?;
        looked.attestation(&found, true)?;
    }
    if !given {
        looked.beside(&folders)?;
    }
    looked.uncovered(given);
    Ok(looked.conclude(given))
}

/// A run's folder that was looked at.
struct Seen {
    dir: PathBuf,
    run: String,
    manifest_sha256: String,
    verdict: Verdict,
    files: usize,
    lines: u64,
}

#[derive(Default)]
struct Looked {
    keys: Vec<Public>,
    seen: Vec<Seen>,
    /// Folders of runs of several drills, with their manifests.
    wholes: Vec<(PathBuf, String)>,
    folders: BTreeSet<PathBuf>,
    findings: Vec<Finding>,
    notes: Vec<String>,
    /// Manifests that a signature which was checked names, and by whom.
    covered: BTreeSet<String>,
    signers: BTreeSet<String>,
}

impl Looked {
    /// Looks at a run's folder and its parts, once.
    fn whole(&mut self, given: &Path) -> Result<(), Stop> {
        let folder = given.canonicalize().unwrap_or_else(|_| given.to_owned());
        if !self.folders.insert(folder.clone()) {
            return Ok(());
        }
        let mut judged = Vec::new();
        for part in parts(&folder)? {
            // One that was given by itself is told once, and is a part of the whole all the same.
            let told = part != folder && !self.folders.insert(part.clone());
            let looked = inspect::inspect(&part)?;
            let at = |f: Finding| Finding {
                why: format!("{}: {}", part.display(), f.why),
                ..f
            };
            if !told {
                self.findings.extend(looked.findings.into_iter().map(at));
            }
            let Some(run) = looked.run else { continue };
            judged.push(inspect::with_extras(&run)?);
            if told {
                continue;
            }
            self.seen.push(Seen {
                dir: part,
                run: run.verdict().run.id.clone(),
                manifest_sha256: run.sealed.manifest_sha256,
                files: run.sealed.manifest.map_or(0, |m| m.files.len()),
                lines: run.run.lines,
                verdict: run.run.verdict,
            });
        }
        let findings = inspect::inspect_whole(&folder, &judged)?;
        self.findings.extend(findings);
        if folder.join(planned::PLAN).exists() {
            let manifest = evidence::verify(&folder).manifest_sha256;
            self.wholes.push((folder, manifest));
        }
        Ok(())
    }

    /// The run in a folder that an attestation names.
    fn seen_at(&self, found: &Found, folder: &str) -> Option<&Seen> {
        let dir = attest::locate(&found.path, folder)?;
        self.seen.iter().find(|seen| seen.dir == dir)
    }

    /// Attestations of the runs' stores: those that name one of the runs count.
    fn beside(&mut self, folders: &[&PathBuf]) -> Result<(), Stop> {
        let mut stores = BTreeSet::new();
        for folder in folders {
            let whole = planned::whole(folder);
            let above = whole.ancestors().skip(1).take(attest::STORES_MAX);
            stores.extend(above.map(Path::to_owned));
        }
        for store in stores {
            let (found, unreadable) = attest::of_store(&store)?;
            self.notes.extend(unreadable);
            for found in found {
                let mut named = found.attestation.statement.runs.iter();
                if named.any(|run| self.seen_at(&found, &run.folder).is_some()) {
                    self.attestation(&found, false)?;
                }
            }
        }
        Ok(())
    }

    /// Looks at an attestation. One that was given must hold in full; of one that was found only its
    /// signature by a given key makes it count.
    fn attestation(&mut self, found: &Found, given: bool) -> Result<(), Stop> {
        let attestation = &found.attestation;
        let name = found.path.display().to_string();
        let mut key = None;
        for public in &self.keys {
            if attestation.is_signed_with(public)? {
                key = Some(public.fingerprint.clone());
            }
        }
        match (&key, self.keys.is_empty(), given) {
            (Some(key), ..) => self.notes.push(format!(
                "{name}: signed by {} at {} with key {key}",
                attestation.by(),
                attestation.statement.signed_at
            )),
            (None, true, given) => {
                let why = format!(
                    "{name}: says it is signed by {} with key {}: {UNSIGNED}; give --key",
                    attestation.by(),
                    attestation.key
                );
                match given {
                    true => self.findings.push(unknown(why)),
                    false => self.notes.push(why),
                }
                if !given {
                    return Ok(());
                }
            }
            (None, false, true) => {
                let why =
                    format!("{name}: its signature is not one of the given key over this text");
                self.findings.push(changed(why));
            }
            (None, false, false) if self.keys.iter().any(|k| k.fingerprint == attestation.key) => {
                let why = format!("{name}: names the given key, and isn't signed with it");
                self.findings.push(changed(why));
                return Ok(());
            }
            (None, false, false) => {
                let why = format!("{name}: not signed with the given key, passed over");
                self.notes.push(why);
                return Ok(());
            }
        }
        self.compare(found, key.is_some(), given)
    }

    /// Compares what an attestation names with what there is.
    fn compare(&mut self, found: &Found, signed: bool, given: bool) -> Result<(), Stop> {
        let statement = &found.attestation.statement;
        let name = found.path.display().to_string();
        let mut covered = Vec::new();
        let mut verdicts = Vec::new();
        let named = statement
            .runs
            .iter()
            .map(|r| (&r.folder, &r.manifest_sha256));
        let wholes = statement
            .wholes
            .iter()
            .map(|w| (&w.folder, &w.manifest_sha256));
        // A decision is held against all of its runs, whichever of them was given.
        let all = given || statement.decision.is_some();
        for (folder, manifest) in wholes.chain(named) {
            if all && let Some(dir) = attest::locate(&found.path, folder) {
                self.whole(&dir)?;
            }
            covered.push(manifest.clone());
        }
        let mut new = Vec::new();
        for attested in &statement.runs {
            let Some(seen) = self.seen_at(found, &attested.folder) else {
                let why = format!("{name}: the run {} that it names is not here", attested.run);
                new.extend(given.then(|| unknown(why)));
                continue;
            };
            if seen.manifest_sha256 != attested.manifest_sha256 {
                let dir = seen.dir.display();
                let why = format!("{dir}: not the run that {name} attests: another manifest");
                new.push(changed(why));
                continue;
            }
            if seen.verdict.verdict != attested.verdict
                || seen.verdict.subject.digest != statement.subject
            {
                let why = format!(
                    "{name}: another verdict or subject than the run {}",
                    seen.run
                );
                new.push(changed(why));
            }
            verdicts.push(seen.verdict.clone());
        }
        self.findings.extend(new);
        if let Some(decision) = &statement.decision {
            let (folder, policy) = (&decision.folder, &decision.policy);
            let word = word(decision.outcome);
            self.notes
                .push(format!("decision {folder} under {policy}: {word}"));
            self.findings.extend(decided(found, decision, &verdicts)?);
        }
        if signed {
            self.covered.extend(covered);
            self.signers.insert(found.attestation.by());
        }
        Ok(())
    }

    /// Runs that no attestation names: with a key, or beside an attestation, that is what was asked for.
    fn uncovered(&mut self, given: bool) {
        if self.keys.is_empty() && !given {
            return;
        }
        let runs = self.seen.iter().map(|s| (&s.dir, &s.manifest_sha256));
        let all = runs.chain(self.wholes.iter().map(|(dir, sha)| (dir, sha)));
        let missing = all.filter(|(_, manifest)| !self.covered.contains(*manifest));
        let new: Vec<Finding> = missing
            .map(|(dir, _)| {
                let dir = dir.display();
                unknown(format!(
                    "{dir}: no signature of a given key names its manifest"
                ))
            })
            .collect();
        self.findings.extend(new);
    }

    fn conclude(self, given: bool) -> Exit {
        let mut findings = self.findings;
        if self.seen.is_empty() && findings.is_empty() {
            findings.push(unknown("there is no run to verify"));
        }
        findings.sort_by_key(|f| std::cmp::Reverse(f.verdict));
        let runs = match self.seen.len() {
            1 => "1 run".to_owned(),
            n => format!("{n} runs"),
        };
        let signed = match (self.signers.is_empty(), self.keys.is_empty()) {
            (true, true) => UNSIGNED.to_owned(),
            (true, false) => "not signed with the given key".to_owned(),
            (false, _) => {
                let names: Vec<String> = self.signers.iter().cloned().collect();
                format!("signed by {}", names.join(", "))
            }
        };
        let worst = findings.first().map_or(Outcome::Pass, |f| f.verdict);
        println!(
            "{} {}",
            worst.word(),
            match worst {
                Outcome::Pass => format!("{runs} as sealed; {signed}"),
                Outcome::Inconclusive => format!("{runs} looked at; {signed}"),
                Outcome::Fail => format!("{runs} looked at, not as sealed or attested; {signed}"),
            }
        );
        findings
            .iter()
            .for_each(|f| println!("  - {}: {}", f.verdict.word(), f.why));
        for seen in &self.seen {
            println!(
                "  {} {}: {} files, a chain of {} lines, judged and rendered again",
                seen.verdict.verdict.word(),
                seen.run,
                seen.files,
                seen.lines
            );
        }
        self.notes.iter().for_each(|note| println!("  {note}"));
        if self.signers.is_empty() {
            println!(
                "  what a folder can't tell: whether all of it was made anew, or when; whether a run was left out; who ran it"
            );
        }
        if !given && self.keys.is_empty() {
            println!("  give --key PUB to check signatures beside the runs");
        }
        worst.into()
    }
}

/// The decision that an attestation names: the same bytes, and a page that is made of it.
fn decided(found: &Found, wanted: &Decided, verdicts: &[Verdict]) -> Result<Vec<Finding>, Stop> {
    let Some(folder) = attest::locate(&found.path, &wanted.folder) else {
        let why = format!("the decision {} is not here", wanted.folder);
        return Ok(vec![unknown(why)]);
    };
    let mut findings = Vec::new();
    let mut read = |name: &str, sha256: &str| {
        let path = folder.join(name);
        match evidence::read_plain(&path) {
            Ok(bytes) if sha256_hex(&bytes) == sha256 => Some(bytes),
            Ok(_) => {
                let why = format!("{}: was changed since it was signed", path.display());
                findings.push(changed(why));
                None
            }
            Err(error) => {
                findings.push(changed(format!("{}: {error}", path.display())));
                None
            }
        }
    };
    let json = read("decision.json", &wanted.decision_sha256);
    let page = read("go-no-go.md", &wanted.go_no_go_sha256);
    if let Some(report) = &wanted.report_sha256 {
        read(evidence::HTML, report);
    }
    let (Some(json), Some(page)) = (json, page) else {
        return Ok(findings);
    };
    let name = folder.display();
    let Ok(decision) = serde_json::from_slice::<GateDecision>(&json) else {
        findings.push(changed(format!("{name}: decision.json can't be read")));
        return Ok(findings);
    };
    let same = decision.outcome == wanted.outcome && decision.policy_sha256 == wanted.policy_sha256;
    if !same {
        findings.push(changed(format!(
            "{name}: another outcome or policy than attested"
        )));
    }
    let mut ordered = Vec::new();
    for evidence in &decision.evidence {
        match verdicts.iter().find(|v| v.run.id == evidence.run) {
            Some(verdict) => ordered.push(verdict.clone()),
            None => {
                let why = format!(
                    "{name}: it rests on the run {}, which is not here; put its folder back to where it was signed",
                    evidence.run
                );
                findings.push(unknown(why));
                return Ok(findings);
            }
        }
    }
    if let Some(why) = contradiction(&decision, &ordered) {
        findings.push(changed(format!("{name}: {why}")));
    }
    if go_no_go(&decision, &ordered).as_bytes() != page {
        findings.push(changed(format!(
            "{name}: go-no-go.md is not the page made of the decision"
        )));
    }
    Ok(findings)
}
