//! Signatures over the evidence: which roles have vouched for the very runs that are judged.
//!
//! Whether the bytes are signed was checked by the caller, who has the keys. Here it is judged what that is worth: the
//! role's own key, this subject, this policy, every run, after the last of them ended, each role another person.

use std::collections::BTreeSet;

use super::{Cx, item};
use crate::model::{GateItem, Outcome, RoleSignature};

/// Id of the item.
pub(super) const SIGNATURES: &str = "signatures";

/// What an attestation says, and whose key signed it.
#[derive(Clone, Debug)]
pub struct Attested {
    pub signer: String,
    pub role: Option<String>,
    /// RFC 3339.
    pub signed_at: jiff::Timestamp,
    pub subject: String,
    /// Manifests of the runs that it names.
    pub manifests: BTreeSet<String>,
    /// Policy of the decision that it names, if it names one.
    pub policy_sha256: Option<String>,
    /// The key that signed it; `None`: none of those that were given.
    pub key: Option<SignedBy>,
}

/// A key that was given, and the roles that it was given for.
#[derive(Clone, Debug)]
pub struct SignedBy {
    pub fingerprint: String,
    pub roles: Vec<String>,
}

impl Cx<'_> {
    /// The roles that sign, each with its signature or why there is none.
    pub(super) fn role_signatures(&self) -> Vec<RoleSignature> {
        let of = match &self.policy.signatures {
            Some(signatures) => &signatures.of,
            None => &self.policy.roles,
        };
        let mut people = BTreeSet::new();
        let mut keys = BTreeSet::new();
        let mut all = Vec::new();
        for role in of {
            let given = self.around.attested.iter();
            let own = given.filter(|a| a.role.as_ref() == Some(role));
            let mut best = RoleSignature::none(role, "not signed");
            for attested in own {
                let judged = self.counts(attested, role).and_then(|fingerprint| {
                    let person = attested.signer.trim().to_lowercase();
                    match people.contains(&person) || keys.contains(&fingerprint) {
                        true => Err(format!("{} has signed in another role", attested.signer)),
                        false => Ok((person, fingerprint)),
                    }
                });
                match judged {
                    Ok((person, fingerprint)) => {
                        people.insert(person);
                        keys.insert(fingerprint.clone());
                        best = RoleSignature {
                            role: role.clone(),
                            counts: true,
                            signer: Some(attested.signer.clone()),
                            signed_at: Some(attested.signed_at.to_string()),
                            key: Some(fingerprint),
                            why: None,
                        };
                        break;
                    }
                    Err(why) => best = RoleSignature::none(role, &why),
                }
            }
            all.push(best);
        }
        all
    }

    /// The fingerprint of the key, if the signature counts for that role.
    fn counts(&self, attested: &Attested, role: &str) -> Result<String, String> {
        let by = &attested.signer;
        let Some(key) = &attested.key else {
            return Err(format!("{by}'s signature is not by a key that was given"));
        };
        if !key.roles.iter().any(|r| r == role) {
            let fingerprint = &key.fingerprint;
            return Err(format!(
                "{by} signed with {fingerprint}, which is not the role's key"
            ));
        }
        if attested.subject != self.subject {
            return Err(format!("{by} signed for another subject"));
        }
        if let Some(policy) = &attested.policy_sha256
            && policy != self.policy_sha256
        {
            return Err(format!("{by} signed a decision under another policy"));
        }
        if attested.signed_at > self.now {
            return Err(format!("{by} signed in the future"));
        }
        if self.usable.is_empty() {
            return Err("there is no run to sign".to_owned());
        }
        for run in &self.usable {
            let id = &run.verdict.run.id;
            if !attested.manifests.contains(&run.manifest_sha256) {
                return Err(format!("{by} did not sign the run {id}"));
            }
            let ended = run.verdict.run.ended_at.parse::<jiff::Timestamp>();
            if ended.is_ok_and(|end| attested.signed_at < end) {
                return Err(format!("{by} signed before the run {id} ended"));
            }
        }
        Ok(key.fingerprint.clone())
    }

    /// k of the roles, where the policy asks for them.
    pub(super) fn signed_enough(&self, all: &[RoleSignature]) -> Option<GateItem> {
        let wanted = self.policy.signatures.as_ref()?;
        let counted = all.iter().filter(|s| s.counts).count();
        let words: Vec<String> = all.iter().map(RoleSignature::words).collect();
        let verdict = match counted >= wanted.need {
            true => Outcome::Pass,
            false => Outcome::Inconclusive,
        };
        let result = item(SIGNATURES, "the evidence is signed", verdict)
            .expected(format!("{} of {}", wanted.need, wanted.of.join(", ")))
            .observed(format!(
                "{counted} of {}; {}",
                wanted.need,
                words.join("; ")
            ));
        Some(result)
    }
}

impl RoleSignature {
    fn none(role: &str, why: &str) -> RoleSignature {
        RoleSignature {
            role: role.to_owned(),
            counts: false,
            signer: None,
            signed_at: None,
            key: None,
            why: Some(why.to_owned()),
        }
    }

    fn words(&self) -> String {
        match (&self.signer, &self.key, &self.why) {
            (Some(signer), Some(key), _) => format!("{}: {signer}, key {key}", self.role),
            (_, _, Some(why)) => format!("{}: {why}", self.role),
            _ => format!("{}: not signed", self.role),
        }
    }
}
