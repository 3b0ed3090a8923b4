//! The files that ship parse as they are, match their own schemas, and no damage to them panics.

use std::fs;
use std::path::{Path, PathBuf};

use firedrill_plan::{
    Diagnostics, Drill, EdgeRef, FactSelector, FileKind, Known, Observe, Parsed, Policy, ProbeKind,
    Profile, Target, TargetSeries, When, parse_attestations, parse_drill, parse_policy,
    parse_profile, parse_target, parse_waivers, schema,
};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The TOML files of a folder, at least one.
fn files(folder: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = fs::read_dir(root().join(folder))
        .unwrap_or_else(|e| panic!("{folder}: {e}"))
        .map(|entry| format!("{folder}/{}", entry.expect("entry").file_name().display()))
        .filter(|path| path.ends_with(".toml"))
        .map(|path| (path.clone(), read(&path)))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no file in {folder}");
    files
}

fn target_from(text: &str) -> Result<Parsed<Target>, Diagnostics> {
    parse_target("fixtures/targets/reference.toml", text, &|_| {
        Ok("SELECT 1".into())
    })
}

fn target() -> Target {
    clean(target_from(&read("fixtures/targets/reference.toml")))
}

fn clean<T>(parsed: Result<Parsed<T>, Diagnostics>) -> T {
    let parsed = parsed.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(parsed.warnings, []);
    parsed.value
}

fn drill_names() -> Vec<String> {
    files("drills")
        .iter()
        .map(|(path, _)| path["drills/".len()..path.len() - ".toml".len()].to_string())
        .collect()
}

fn known() -> Known {
    let target = target();
    let series = TargetSeries {
        series: target.series(),
        names: target.metric,
    };
    Known {
        drills: drill_names(),
        targets: [("reference".to_owned(), series)].into(),
    }
}

fn drill(name: &str) -> Drill {
    let path = format!("drills/{name}.toml");
    clean(parse_drill(&path, &read(&path), &target()))
}

#[test]
fn every_shipped_file_parses_without_a_warning() {
    let target = target();
    for (path, text) in files("drills") {
        clean(parse_drill(&path, &text, &target));
    }
    for (path, text) in files("drills/profiles") {
        let profile: Profile = clean(parse_profile(&path, &text, &drill_names(), &target));
        assert!(!profile.drill_names().is_empty());
    }
    for (path, text) in files("drills/gates") {
        let policy: Policy = clean(parse_policy(&path, &text, &known()));
        assert!(
            !policy.rules.is_empty() || !policy.audits.is_empty(),
            "{path}"
        );
    }
}

/// A drill is read by people who decide whether to trust it.
#[test]
fn no_drill_is_longer_than_a_person_reads() {
    let drills = files("drills");
    assert!(
        drills.len() >= 15,
        "only {} drills were found",
        drills.len()
    );
    for (path, text) in drills {
        let lines = text.lines().count();
        assert!(lines <= 120, "{path}: {lines} lines; 120 at most");
    }
}

#[test]
fn probes_are_shared_and_take_the_faster_pace() {
    let drill = drill("redis-outage");
    assert_eq!(drill.name, "redis-outage");
    let ids: Vec<&str> = drill.probes.iter().map(|p| p.id.as_str()).collect();
    assert_eq!(ids, ["http:worker:/health", "http:webhook:/health"]);
    let worker = drill.probe("http:worker:/health").expect("probe");
    assert_eq!(worker.every.as_millis(), 50);
    let ProbeKind::Http { pointers, .. } = &worker.kind else {
        panic!("{worker:?}");
    };
    assert_eq!(
        pointers,
        &[
            "/execution_mode/redis_health_streak",
            "/execution_mode/mode"
        ]
    );
}

#[test]
fn several_services_make_one_check_each() {
    let drill = drill("redis-outage");
    let crashes: Vec<&str> = drill
        .expects
        .iter()
        .filter(|e| {
            matches!(
                &e.observe,
                Observe::Count {
                    facts: FactSelector::Engine { .. },
                    ..
                }
            )
        })
        .map(|e| e.id.as_str())
        .collect();
    assert_eq!(
        crashes,
        ["no-crash/webhook", "no-crash/worker", "no-crash/tpsl"]
    );
}

#[test]
fn a_mark_is_an_edge() {
    let drill = drill("redis-outage");
    let live = drill.expect("live-is-earned").expect("expectation");
    let When::NotBefore {
        of: EdgeRef::Mark { id },
        ..
    } = &live.when
    else {
        panic!("{:?}", live.when);
    };
    assert_eq!(id, "first-read");
}

#[test]
fn a_signal_is_filled_in() {
    let none = std::collections::BTreeMap::new();
    let signal = target().signals.signal("r1", 7, &none).expect("signal");
    assert_eq!(signal.key, "sig:drill:r1-7");
    let body: Value = serde_json::from_str(&signal.body).expect("JSON");
    assert_eq!(body["signal_id"], "r1-7");
    assert_eq!(body["collateral_usdc"], 5);
}

#[test]
fn instances_have_their_service() {
    let target = target();
    let mut drill = drill("redis-outage");
    drill.replicas.insert("webhook".into(), 2);
    let names: Vec<String> = target.instances(&drill).into_iter().map(|i| i.0).collect();
    assert_eq!(
        names,
        [
            "redis",
            "postgres",
            "rpc",
            "proxy",
            "webhook",
            "webhook-2",
            "worker",
            "tpsl"
        ]
    );
    assert_eq!(
        target.service("webhook-2").map(|s| s.name.as_str()),
        Some("webhook")
    );
    assert!(target.service("webhook-x").is_none());
}

/// Parses damaged text as every kind of file; that it returns is the test.
fn parse_as(kind: FileKind, text: &str, target: &Target) {
    let names = ["redis-outage".to_string()];
    let errors = match kind {
        FileKind::Drill => parse_drill("f.toml", text, target).err(),
        FileKind::Target => target_from(text).err(),
        FileKind::Policy => {
            let known = Known {
                drills: names.to_vec(),
                ..Known::default()
            };
            parse_policy("f.toml", text, &known).err()
        }
        FileKind::Profile => parse_profile("f.toml", text, &names, target).err(),
        FileKind::Waivers => parse_waivers("f.toml", text).err(),
        FileKind::Attestations => parse_attestations("f.toml", text).err(),
    };
    if let Some(errors) = errors {
        assert!(!errors.0.is_empty());
        for error in &errors.0 {
            assert!(error.line >= 1 && error.column >= 1, "{error}");
        }
    }
}

const WAIVERS: &str = r#"
[[waiver]]
item     = "no-duplicates"
policy   = "smoke"
reason   = "known, to be fixed in the next release"
approver = "N. N."
expires  = "2027-01-01T00:00:00Z"
"#;
const ATTESTATIONS: &str = r#"
[[signed]]
item     = "ops-notified"
subject  = "sha256:00"
name     = "N. N."
role     = "release-manager"
date     = "2026-11-21T12:00:00Z"
note     = "by phone"
evidence = "00"
"#;

fn shipped() -> Vec<(FileKind, String)> {
    let mut all = vec![(FileKind::Target, read("fixtures/targets/reference.toml"))];
    for (kind, path) in [
        (FileKind::Drill, "drills/redis-outage.toml"),
        (FileKind::Drill, "drills/emergency-stop.toml"),
        (FileKind::Drill, "drills/emergency-stop-admin.toml"),
        (FileKind::Drill, "drills/hostile-input.toml"),
        (FileKind::Policy, "drills/gates/smoke.toml"),
        (FileKind::Profile, "drills/profiles/smoke.toml"),
    ] {
        all.push((kind, read(path)));
    }
    all.push((FileKind::Waivers, WAIVERS.to_owned()));
    all.push((FileKind::Attestations, ATTESTATIONS.to_owned()));
    all
}

#[test]
fn a_file_cut_anywhere_never_panics() {
    let target = target();
    for (kind, text) in shipped() {
        for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            parse_as(kind, &text[..at], &target);
        }
    }
}

#[test]
fn a_flipped_byte_never_panics() {
    let target = target();
    for (kind, text) in shipped() {
        for at in (0..text.len()).step_by(3) {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << (at % 7);
            if let Ok(text) = String::from_utf8(bytes) {
                parse_as(kind, &text, &target);
            }
        }
    }
}

/// Checks a value against the part of JSON Schema that the schemas use; the first mismatch.
fn mismatch(schema: &Value, value: &Value) -> Option<String> {
    let fits = |schema: &Value| mismatch(schema, value).is_none();
    let at_fault = |what: &str| Some(format!("{what}: {value} against {schema}"));
    for (keyword, rule) in schema.as_object()? {
        let list = || rule.as_array().into_iter().flatten();
        let ok = match keyword.as_str() {
            "$schema" | "title" | "description" | "format" => true,
            "type" => list().chain([rule]).any(|name| is_type(name, value)),
            "const" => value == rule,
            "enum" => list().any(|v| v == value),
            "pattern" => value.as_str().is_none_or(|text| {
                let pattern = rule.as_str().expect("pattern");
                regex::Regex::new(pattern).expect("pattern").is_match(text)
            }),
            "minimum" => value
                .as_f64()
                .is_none_or(|n| n >= rule.as_f64().expect("minimum")),
            "maximum" => value
                .as_f64()
                .is_none_or(|n| n <= rule.as_f64().expect("maximum")),
            "minItems" => value
                .as_array()
                .is_none_or(|a| a.len() as u64 >= rule.as_u64().expect("n")),
            "maxItems" => value
                .as_array()
                .is_none_or(|a| a.len() as u64 <= rule.as_u64().expect("n")),
            "required" => list().all(|key| value.get(key.as_str().expect("key")).is_some()),
            "allOf" => list().all(fits),
            "anyOf" => list().any(fits),
            "oneOf" => list().filter(|s| fits(s)).count() == 1,
            "items" => {
                if let Some(found) = value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .find_map(|v| mismatch(rule, v))
                {
                    return Some(found);
                }
                true
            }
            "properties" | "additionalProperties" => true,
            other => panic!("keyword {other} isn't checked"),
        };
        if !ok {
            return at_fault(keyword);
        }
    }
    value.as_object().and_then(|object| {
        object.iter().find_map(|(key, value)| {
            match (
                schema["properties"].get(key),
                &schema["additionalProperties"],
            ) {
                (Some(known), _) => mismatch(known, value),
                (None, Value::Bool(false)) => Some(format!("unknown key {key}")),
                (None, Value::Object(_)) => mismatch(&schema["additionalProperties"], value),
                _ => None,
            }
        })
    })
}

fn is_type(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        _ => false,
    }
}

#[test]
fn every_shipped_file_matches_its_schema() {
    let policies = files("drills/gates").into_iter();
    let policies = policies.map(|(_, text)| (FileKind::Policy, text));
    for (kind, text) in shipped().into_iter().chain(policies) {
        let value: Value = toml::from_str(&text).expect("TOML");
        assert_eq!(mismatch(&schema(kind), &value), None, "{kind:?}");
        let mut wrong = value.clone();
        wrong["titel"] = "x".into();
        assert!(mismatch(&schema(kind), &wrong).is_some(), "{kind:?}");
    }
}

#[test]
fn the_schema_refuses_what_the_checker_refuses() {
    let text = read("drills/redis-outage.toml");
    for (good, bad) in [
        ("kind = \"pause\"", "kind = \"paws\""),
        ("hold = \"5s\"", "hold = 5"),
        ("signals_per_s = 10", "signals_per_s = -1"),
        (
            "none   = { chain",
            "probe = { http = \"worker\", path = \"/\", field = \"status\" }\nnone   = { chain",
        ),
        ("then = \"throughout\"", "then = \"always\""),
    ] {
        let broken = text.replacen(good, bad, 1);
        assert_ne!(broken, text, "{good}");
        let value: Value = toml::from_str(&broken).expect("TOML");
        assert!(
            mismatch(&schema(FileKind::Drill), &value).is_some(),
            "{bad}"
        );
        assert!(parse_drill("d.toml", &broken, &target()).is_err(), "{bad}");
    }
}
