//! Secrets: how they come about for a run, and how they are kept out of everything that is stored.

use std::collections::BTreeMap;

use firedrill_plan::{Secret, Target};
use rand::RngExt as _;

use crate::RunError;

/// Values shorter than this are not redacted: they would blot out unrelated text.
const SHORTEST: usize = 6;

/// Replaces secret values by their names, wherever text from the target is stored.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    /// Value and what stands in its place, longest value first.
    values: Vec<(String, String)>,
}

impl Redactor {
    pub fn new(secrets: &BTreeMap<String, String>) -> Self {
        let mut values: Vec<(String, String)> = secrets
            .iter()
            .filter(|(_, value)| value.len() >= SHORTEST)
            .flat_map(|(name, value)| {
                let bare = value.strip_prefix("0x").unwrap_or(value);
                [value.as_str(), bare].map(|v| (v.to_owned(), format!("[secret {name}]")))
            })
            .collect();
        values.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        values.dedup();
        Self { values }
    }

    pub fn clean(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for (value, name) in &self.values {
            if out.contains(value.as_str()) {
                out = out.replace(value.as_str(), name);
            }
        }
        out
    }
}

/// Gives every secret of the target its value for this run. Random ones come from the operating
/// system, never from the run's seed, which is printed.
pub fn resolve_secrets(target: &Target) -> Result<BTreeMap<String, String>, RunError> {
    let resolve = |name: &String, secret: &Secret| match secret {
        Secret::Fixed { value } => Ok(value.clone()),
        Secret::Random { bytes } => {
            let mut rng = rand::rng();
            let raw: Vec<u8> = (0..*bytes).map(|_| rng.random::<u8>()).collect();
            Ok(hex::encode(raw))
        }
        Secret::Env { var } => std::env::var(var).map_err(|_| RunError::Secret {
            name: name.clone(),
            var: var.clone(),
        }),
    };
    target
        .secrets
        .iter()
        .map(|(name, secret)| Ok((name.clone(), resolve(name, secret)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_replaced_by_its_name_wherever_it_stands() {
        let secrets = BTreeMap::from([
            ("TOKEN".to_owned(), "abcdef0123".to_owned()),
            ("KEY".to_owned(), "0xdeadbeefdead".to_owned()),
            ("SHORT".to_owned(), "abc".to_owned()),
        ]);
        let redactor = Redactor::new(&secrets);
        assert_eq!(
            redactor.clean("x=abcdef0123 y=0xdeadbeefdead z=deadbeefdead abc"),
            "x=[secret TOKEN] y=[secret KEY] z=[secret KEY] abc"
        );
    }
}
