//! Decisions that are signed: what can be, and what a signature is refused for.

use std::fs;

use firedrill_verdict::{GateDecision, Outcome};

use crate::stage::single;
use crate::stores::{Place, decision, says};
use crate::support::{Ended, Recorded};

/// A decision that rests on two runs at different depths of a store.
struct Case {
    place: Place,
    other: String,
    decision: String,
}

impl Case {
    fn new() -> Case {
        let place = Place::new();
        says(&place.call("keygen --out k"), 0, "key ", "");
        let other = single(&place.path("store/2026-11"), "stop-honest");
        let gated = place.gate("--out store");
        says(&gated, 0, "GO\n", &other);
        Case {
            decision: decision(&gated),
            other: format!("store/2026-11/{other}"),
            place,
        }
    }

    fn sign(&self) -> Ended {
        let (other, decision) = (&self.other, &self.decision);
        self.place.call(&format!(
            "sign RUN {other} --key k --signer Ann --decision {decision}"
        ))
    }
}

#[test]
fn a_decision_over_runs_of_several_folders_is_signed_and_verified() {
    let case = Case::new();
    let place = &case.place;
    says(&case.sign(), 0, "signed by Ann", "under policy: GO");
    for run in ["RUN", case.other.as_str()] {
        let verified = place.call(&format!("verify {run} --key k.pub"));
        says(&verified, 0, "PASS ", "under policy: GO");
    }
    // Signing again is no mistake, and overwrites nothing.
    says(&case.sign(), 0, "signed by Ann", "");
    let attestations = fs::read_dir(place.path("store/attestations"));
    let kept = attestations.expect("there are attestations").count();
    assert_eq!(kept, 2);

    let (run, away) = (place.path(&case.other), place.path("away"));
    fs::rename(&run, &away).expect("it is renamed");
    let missing = place.call("verify RUN --key k.pub");
    says(&missing, 2, "INCONCLUSIVE ", "put its folder back");
    fs::rename(&away, &run).expect("it is renamed");
    let page = place.path(&case.decision).join("report.html");
    fs::write(page, "GO").expect("it is written");
    let edited = place.call("verify RUN --key k.pub");
    says(&edited, 1, "FAIL ", "report.html: was changed since");
}

#[test]
fn a_decision_that_contradicts_itself_or_its_runs_is_not_signed() {
    let case = Case::new();
    let folder = case.place.path(&case.decision);
    let (json, page) = (folder.join("decision.json"), folder.join("go-no-go.md"));
    let text = fs::read_to_string(&json).expect("there is a decision");
    let whole: GateDecision = serde_json::from_str(&text).expect("it is JSON");
    let runs = ["outage-honest", "stop-honest"];
    let verdicts = runs.map(|name| Recorded::load(name).verdict());
    type Edit = fn(&mut GateDecision);
    let cases: [(Edit, &str); 4] = [
        (|d| d.evidence.clear(), "it rests on no run"),
        (
            |d| d.items.iter_mut().for_each(|i| i.verdict = Outcome::Fail),
            "the worst of its items is FAIL",
        ),
        (|d| d.headline = "NO-GO".to_owned(), "it says NO-GO (GO)"),
        (
            |d| d.evidence[0].verdict = Outcome::Inconclusive,
            "it says INCONCLUSIVE of the run",
        ),
    ];
    for (edit, why) in cases {
        let mut edited = whole.clone();
        edit(&mut edited);
        let own = &verdicts[..edited.evidence.len()];
        let text = serde_json::to_string_pretty(&edited).expect("it is encoded");
        fs::write(&json, text).expect("it is written");
        fs::write(&page, firedrill_report::go_no_go(&edited, own)).expect("it is written");
        let refused = case.sign();
        assert_eq!(refused.code, Some(64), "{why}: {refused:?}");
        assert!(refused.err.contains(why), "{why}: {refused:?}");
    }
}
