use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;

const SECRET: &[u8] = b"secret";

fn signals() -> Signals {
    let text = |longest, matches: Option<&str>| Field {
        optional: false,
        takes: Takes::Text {
            longest,
            matches: matches.map(str::to_owned),
        },
    };
    let number = |zero, optional| Field {
        optional,
        takes: Takes::Number { zero },
    };
    let integer = Field {
        optional: false,
        takes: Takes::Integer,
    };
    let side = Field {
        optional: false,
        takes: Takes::Word {
            of: vec!["BUY".to_owned(), "SELL".to_owned()],
        },
    };
    Signals {
        service: "bot".to_owned(),
        port: "main".to_owned(),
        path: "/take".to_owned(),
        body: r#"{"from":"desk","id":"{run}-{seq}","user":123,"side":"BUY","amount":5,"slip":0.5}"#
            .to_owned(),
        variables: BTreeMap::new(),
        signature_header: "X-Sign".to_owned(),
        secret: "KEY".to_owned(),
        key: "{run}-{seq}".to_owned(),
        deadline: Duration::from_secs(1),
        word: "/word".to_owned(),
        reason: "/reason".to_owned(),
        names: Vec::new(),
        fields: BTreeMap::from([
            ("from".to_owned(), text(64, Some("^[a-z]+$"))),
            ("id".to_owned(), text(128, None)),
            ("user".to_owned(), integer),
            ("side".to_owned(), side),
            ("amount".to_owned(), number(false, false)),
            ("slip".to_owned(), number(true, true)),
            ("limit".to_owned(), number(false, true)),
        ]),
        unknown_reasons: Vec::new(),
        max_in_flight: 1,
    }
}

fn bodies(signals: &Signals, count: usize) -> Vec<String> {
    let none = BTreeMap::new();
    let body = |n| signals.signal("run", n, &none).map(|s| s.body);
    (0..count as u64)
        .map(|n| body(n).expect("the template is complete"))
        .collect()
}

fn requests(signals: &Signals, class: Malformed, seed: u64, count: usize) -> Vec<Request> {
    let mut maker = Malformer::new(signals, SECRET, class, seed, "act");
    bodies(signals, count)
        .iter()
        .map(|body| maker.make(body).expect("a request"))
        .collect()
}

/// What a server that keeps to the contract does, written down independently: nothing here reads the
/// declaration of the fields.
fn is_valid(request: &Request) -> bool {
    let signatures: Vec<&Vec<u8>> = request
        .headers
        .iter()
        .filter(|(name, _)| name == "X-Sign")
        .map(|(_, value)| value)
        .collect();
    let signed = matches!(signatures.as_slice(), [one] if **one == signature(SECRET, &request.body).into_bytes());
    let routed = request.method == "POST" && request.path == "/take";
    signed && routed && is_signal(&request.body)
}

fn is_signal(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else {
        return false;
    };
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(text) else {
        return false;
    };
    // None of the bodies holds a key within a text.
    let once = |name: &String| text.matches(&format!("{}:", quoted(name))).count() == 1;
    let of = |name: &str| fields.get(name).filter(|v| !v.is_null());
    let text_of = |name: &str| of(name).and_then(Value::as_str);
    let above =
        |name: &str| of(name).is_none_or(|v| v.as_f64().is_some_and(|n| n > 0.0 && n < 1e300));
    fields.keys().all(once)
        && text_of("from").is_some_and(|t| {
            t.len() <= 64 && !t.is_empty() && t.bytes().all(|b| b.is_ascii_lowercase())
        })
        && text_of("id").is_some_and(|t| {
            let length = t.chars().count();
            length > 0 && length <= 128 && !t.chars().any(char::is_control)
        })
        && of("user").is_some_and(|v| v.as_i64().is_some())
        && text_of("side").is_some_and(|t| t == "BUY" || t == "SELL")
        && of("amount").is_some()
        && above("amount")
        && above("limit")
        && of("slip").is_none_or(|v| v.as_f64().is_some_and(|n| (0.0..1e300).contains(&n)))
}

#[test]
fn the_validator_takes_a_valid_signal() {
    let signals = signals();
    let maker = Malformer::new(&signals, SECRET, Malformed::Body, 1, "act");
    for body in bodies(&signals, 3) {
        assert!(is_valid(&maker.signed(String::new(), body.into_bytes())));
    }
}

#[test]
fn nothing_that_is_made_is_a_valid_signal() {
    let signals = signals();
    for seed in 0..100 {
        for class in Malformed::ALL {
            let count = if class == Malformed::Huge { 3 } else { 70 };
            for request in requests(&signals, class, seed, count) {
                assert!(!is_valid(&request), "seed {seed}, {class:?}: {request:?}");
            }
        }
    }
}

#[test]
fn the_same_seed_makes_the_same_bytes_and_another_seed_others() {
    let signals = signals();
    for class in Malformed::ALL {
        let first = requests(&signals, class, 7, 50);
        assert_eq!(first, requests(&signals, class, 7, 50), "{class:?}");
        assert_ne!(first, requests(&signals, class, 8, 50), "{class:?}");
    }
}

#[test]
fn every_change_of_a_class_comes_and_every_field_as_often() {
    let signals = signals();
    let whats = |class, count: usize| -> BTreeSet<String> {
        let made = requests(&signals, class, 3, count);
        made.into_iter().map(|r| r.what).collect()
    };
    assert_eq!(whats(Malformed::Signature, 60).len(), SIGNATURES.len());
    assert_eq!(whats(Malformed::Body, 44).len(), BODIES.len());
    assert_eq!(whats(Malformed::Huge, 3).len(), HUGES.len());
    assert_eq!(whats(Malformed::Path, 14).len(), PATHS.len());
    assert_eq!(whats(Malformed::Method, 12).len(), METHODS.len());
    let fields = whats(Malformed::Field, 280);
    assert!(fields.len() >= 60, "{fields:?}");
    let mut by_field: BTreeMap<String, usize> = BTreeMap::new();
    for request in requests(&signals, Malformed::Field, 3, 70) {
        let (name, _) = request.what.split_once(':').expect("field: change");
        *by_field.entry(name.to_owned()).or_default() += 1;
    }
    assert_eq!(by_field.len(), signals.fields.len());
    assert!(by_field.values().all(|n| *n == 10), "{by_field:?}");
}

#[test]
fn what_is_not_about_the_signature_is_signed_as_it_should_be() {
    let signals = signals();
    for class in Malformed::ALL {
        for request in requests(&signals, class, 5, 40) {
            let right = signature(SECRET, &request.body).into_bytes();
            let given: Vec<_> = request.headers.iter().filter(|h| h.0 == "X-Sign").collect();
            let signed = matches!(given.as_slice(), [one] if one.1 == right);
            assert_eq!(signed, class != Malformed::Signature, "{request:?}");
        }
    }
}
