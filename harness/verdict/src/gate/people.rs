//! What people confirm, and what they let pass.

use std::time::Duration;

use firedrill_plan::{Attest, Signed, Waiver};

use super::signatures::SIGNATURES;
use super::{Cx, item};
use crate::model::{GateItem, Outcome, SignedItem, TriggerFired};
use crate::words::duration;

impl Cx<'_> {
    pub(super) fn confirmed(&self, items: &[GateItem], fired: &[TriggerFired]) -> Vec<GateItem> {
        let wanted: Vec<&str> = self.wanted().iter().map(|s| s.id.as_str()).collect();
        let mut all: Vec<GateItem> = Vec::new();
        for attest in &self.policy.attest {
            let of_stage = attest.stage.as_deref();
            if of_stage.is_some_and(|s| !wanted.contains(&s)) || !self.asked(attest.after, fired) {
                continue;
            }
            let (verdict, observed) = match self.signature(attest, fired) {
                Err(why) => (Outcome::Inconclusive, why),
                Ok(signed) => match self.prepared(attest, items, &all) {
                    Err(why) => (Outcome::Inconclusive, why),
                    Ok(()) => (
                        Outcome::Pass,
                        format!("signed by {} on {}", signed.name, signed.date),
                    ),
                },
            };
            let id = match of_stage {
                Some(stage) => format!("{}@{stage}", attest.id),
                None => attest.id.clone(),
            };
            let result = item(&id, &attest.text, verdict)
                .expected(format!("signed by {}", attest.role))
                .observed(observed);
            all.push(result.source(&attest.source));
        }
        all
    }

    /// The signature of an item, if there is one that counts.
    fn signature(&self, attest: &Attest, fired: &[TriggerFired]) -> Result<&Signed, String> {
        let mut given = self.around.signed.iter().filter(|s| s.item == attest.id);
        let Some(signed) = given.next_back() else {
            return Err("not signed".to_owned());
        };
        if signed.subject != self.subject {
            return Err(format!("signed for another subject, {}", signed.subject));
        }
        if signed.role != attest.role {
            return Err(format!("signed as {}, not as {}", signed.role, attest.role));
        }
        let date: jiff::Timestamp = signed
            .date
            .parse()
            .map_err(|_| format!("signed on {:?}, which is no time", signed.date))?;
        if date > self.now {
            return Err("signed in the future".to_owned());
        }
        let ends = self
            .usable
            .iter()
            .filter_map(|r| r.verdict.run.ended_at.parse().ok());
        let last: Option<jiff::Timestamp> = ends.max();
        if last.is_some_and(|last| date < last) {
            return Err("signed before the evidence was complete".to_owned());
        }
        if let Some(document) = attest.shows.as_ref().filter(|_| signed.evidence.is_none()) {
            return Err(format!("signed without the digest of {document}"));
        }
        if let Some(due) = attest.due {
            in_time(due, date, fired)?;
        }
        Ok(signed)
    }

    /// Whether what must come before a signature is there, each of it by another person.
    fn prepared(
        &self,
        attest: &Attest,
        items: &[GateItem],
        signed: &[GateItem],
    ) -> Result<(), String> {
        for name in &attest.requires {
            let own = items.iter().chain(signed).filter(|i| i.base() == name);
            if Outcome::worst(own.map(|i| i.verdict)) != Outcome::Pass {
                return Err(format!("signed, but \"{name}\" does not hold"));
            }
        }
        let names = attest.requires.iter().filter_map(|name| {
            // The one that counts: see `signature`.
            let mut given = self.around.signed.iter().filter(|s| s.item == *name);
            Some(given.next_back()?.name.trim().to_lowercase())
        });
        let mut seen = std::collections::BTreeSet::new();
        for name in names {
            if !seen.insert(name.clone()) {
                return Err(format!("{name} signed twice for what several must sign"));
            }
        }
        Ok(())
    }

    pub(super) fn signed(&self) -> Vec<SignedItem> {
        let own = |s: &&Signed| s.subject == self.subject;
        let all = self.around.signed.iter().filter(own);
        all.map(|s| SignedItem {
            item: s.item.clone(),
            name: s.name.clone(),
            role: s.role.clone(),
            date: s.date.clone(),
            note: s.note.clone(),
            evidence: s.evidence.clone(),
        })
        .collect()
    }

    /// Lets items pass that someone waived; returns every waiver of the policy in words.
    pub(super) fn waive(&self, items: &mut [GateItem]) -> Vec<String> {
        let mut words = Vec::new();
        let own = |w: &&Waiver| w.policy == self.policy.name;
        for waiver in self.around.waivers.iter().filter(own) {
            let text = format!(
                "{}: {} (approved by {}, expires {})",
                waiver.item, waiver.reason, waiver.approver, waiver.expires
            );
            words.push(match self.waiver(waiver, items) {
                Ok(passed) => format!("{text}: used for {passed}"),
                Err(why) => format!("{text}: not used, {why}"),
            });
        }
        words
    }

    fn waiver(&self, waiver: &Waiver, items: &mut [GateItem]) -> Result<String, String> {
        let expires: jiff::Timestamp = waiver
            .expires
            .parse()
            .map_err(|_| "its expiry is no time".to_owned())?;
        if expires <= self.now {
            return Err("expired".to_owned());
        }
        // That evidence can't be trusted is nothing that a person can let pass.
        if waiver.item == "evidence" || waiver.item.starts_with("evidence ") {
            return Err("evidence that can't serve can't be waived".to_owned());
        }
        if waiver.item == SIGNATURES {
            return Err("what must be signed can't be waived without a signature".to_owned());
        }
        let mut used = Vec::new();
        for item in items.iter_mut() {
            let named = item.id == waiver.item || item.base() == waiver.item;
            if named && item.verdict != Outcome::Pass && !item.passed_over {
                item.passed_over = true;
                item.observed = format!("waived by {}: {}", waiver.approver, item.observed);
                used.push(format!("{} {}", item.verdict.word(), item.id));
            }
        }
        match used.is_empty() {
            true => Err("no item of that name blocks".to_owned()),
            false => Ok(used.join(", ")),
        }
    }
}

/// A signature that is due some time after a trigger has fired.
fn in_time(due: Duration, date: jiff::Timestamp, fired: &[TriggerFired]) -> Result<(), String> {
    let times = fired
        .iter()
        .filter_map(|t| t.fired_at.as_ref()?.parse().ok());
    let Some(first) = times.min() else {
        return Ok(());
    };
    let first: jiff::Timestamp = first;
    match date.duration_since(first) <= jiff::SignedDuration::try_from(due).unwrap_or_default() {
        true => Ok(()),
        false => Err(format!(
            "signed later than {} after the trigger",
            duration(due)
        )),
    }
}
