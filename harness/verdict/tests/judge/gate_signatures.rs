//! Whose signatures over the evidence count.

use crate::gate::{HEAD, decide_with, item, parsed, run};
use firedrill_plan::{Known, Policy, parse_policy};
use firedrill_verdict::{Around, Attested, GateOutcome, Outcome, SignedBy};

fn policy(need: &str) -> Policy {
    let text = HEAD.replace(
        "roles = [\"lead\"]",
        "roles = [\"lead\", \"risk\", \"product\"]",
    );
    parsed(&format!(
        "{text}[signatures]\nof = [\"lead\", \"risk\", \"product\"]\n{need}\n"
    ))
}

fn by(signer: &str, role: &str, key: &str) -> Attested {
    Attested {
        signer: signer.to_owned(),
        role: Some(role.to_owned()),
        signed_at: "2026-11-21T00:20:00Z".parse().expect("a time"),
        subject: "sha256:aa".to_owned(),
        manifests: ["m".to_owned()].into(),
        policy_sha256: None,
        key: Some(SignedBy {
            fingerprint: key.to_owned(),
            roles: vec![role.to_owned()],
        }),
    }
}

fn with(policy: &Policy, attested: Vec<Attested>) -> (GateOutcome, (Outcome, String)) {
    let around = Around {
        attested,
        ..Around::default()
    };
    let decision = decide_with(policy, &[run()], &around);
    (decision.outcome, item(&decision, "signatures"))
}

#[test]
fn k_roles_must_have_signed_the_very_runs() {
    let two = policy("need = 2");
    let both = || vec![by("Ann", "lead", "k1"), by("Bob", "risk", "k2")];
    let (outcome, (verdict, words)) = with(&two, both());
    assert_eq!(
        (outcome, verdict),
        (GateOutcome::Go, Outcome::Pass),
        "{words}"
    );
    assert_eq!(with(&policy(""), both()).0, GateOutcome::Inconclusive);
    assert_eq!(
        with(&two, both()[..1].to_vec()).0,
        GateOutcome::Inconclusive
    );
    let spoil: [fn(&mut Attested); 10] = [
        |a| a.key = None,
        |a| a.key.as_mut().expect("a key").roles = vec!["lead".to_owned()],
        |a| a.key.as_mut().expect("a key").fingerprint = "k1".to_owned(),
        |a| a.signer = " ann".to_owned(),
        |a| a.role = None,
        |a| a.subject = "sha256:bb".to_owned(),
        |a| a.manifests = ["n".to_owned()].into(),
        |a| a.policy_sha256 = Some("another".to_owned()),
        |a| a.signed_at = "2026-11-20T00:00:00Z".parse().expect("a time"),
        |a| a.signed_at = "2026-11-22T00:00:00Z".parse().expect("a time"),
    ];
    for (n, spoil) in spoil.iter().enumerate() {
        let mut given = both();
        spoil(&mut given[1]);
        let (outcome, found) = with(&two, given);
        assert_eq!(outcome, GateOutcome::Inconclusive, "{n}: {found:?}");
    }
}

#[test]
fn a_bad_signature_does_not_hide_a_good_one() {
    let mut bad = by("Bob", "risk", "k2");
    bad.key = None;
    let given = vec![by("Ann", "lead", "k1"), bad, by("Cid", "risk", "k3")];
    assert_eq!(with(&policy("need = 2"), given).0, GateOutcome::Go);
}

#[test]
fn what_can_never_be_signed_is_refused() {
    for (lines, expected) in [
        ("of = [\"nobody\"]", "nobody"),
        ("of = [\"lead\", \"lead\"]", "lead"),
        ("of = [\"lead\"]\nneed = 2", "2 signatures of 1"),
        ("of = [\"lead\"]\nneed = 0", "0 signatures of 1"),
    ] {
        let text = format!("{HEAD}[signatures]\n{lines}\n");
        let known = Known {
            drills: vec!["outage".to_owned()],
            ..Known::default()
        };
        let refused = parse_policy("p.toml", &text, &known);
        let why = refused.expect_err("it is refused").to_string();
        assert!(why.contains(expected) && why.contains("p.toml:"), "{why}");
    }
}
