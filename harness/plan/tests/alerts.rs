//! Drills that ask a Prometheus something: what is refused, what is warned of, and what the stack is given.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use firedrill_plan::{
    Diagnostics, Drill, Parsed, ProbeKind, Role, Target, parse_drill, parse_drill_with,
    parse_rules, parse_target, promql,
};

fn target() -> Target {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/targets/reference.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    parse_target("t.toml", &text, &|_| Ok(String::new()))
        .unwrap_or_else(|e| panic!("{e}"))
        .value
}

const RULES: &str = "groups:\n- name: g\n  rules:\n  - alert: Down\n    expr: up == 0\n";

const DRILL: &str = r#"title = "t"
why = "w"
source = []
needs = { mode = "LIVE" }
catches = { fails-open = "fires" }
[alerts]
rules = "r.yml"
[[phase]]
id = "baseline"
hold = "5s"
[[phase]]
id = "outage"
fault = { kind = "pause", target = "redis" }
hold = "8s"
[[expect]]
id = "silent"
what = "x"
probe = { alert = "Down" }
one_of = ["inactive", "pending"]
when = { in = "baseline" }
[[expect]]
id = "fires"
what = "x"
probe = { alert = "Down" }
equals = "firing"
when = { within = "5s", of = "outage.proven" }
[[expect]]
id = "value"
what = "x"
probe = { promql = "min(up)" }
equals = 1
"#;

fn parsed(drill: &str, rules: &str) -> Result<Parsed<Drill>, Diagnostics> {
    parse_drill_with("d.toml", drill, &target(), &|name| match name {
        "r.yml" => Ok(rules.to_owned()),
        _ => Err("no such file".to_owned()),
    })
}

#[test]
fn a_drill_carries_its_rules_and_is_read_again_without_them() {
    let drill = parsed(DRILL, RULES).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(drill.warnings, []);
    let drill = drill.value;
    assert!(drill.needs_prometheus());
    assert_eq!(drill.alerts.as_ref().map(|a| a.text.as_str()), Some(RULES));
    let alert = ProbeKind::Alert {
        alert: "Down".to_owned(),
    };
    assert!(drill.probe("alert:Down").is_some_and(|p| p.kind == alert));
    let again = parse_drill("d.toml", DRILL, &target()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(again.value.probes, drill.probes);
}

#[test]
fn each_mistake_has_a_place_and_a_remedy() {
    let cases = [
        (
            r#"{ alert = "Down" }"#,
            r#"{ alert = "Dwon" }"#,
            r#"d.toml:18:19: unknown alert "Dwon"; expected Down; did you mean "Down"?"#,
        ),
        (
            r#"rules = "r.yml""#,
            r#"rules = "s.yml""#,
            r#"d.toml:7:9: rules "s.yml" can't be read: no such file"#,
        ),
        (
            "[alerts]\nrules = \"r.yml\"\n",
            "",
            "an alert of no rules file; expected [alerts]",
        ),
        (
            r#"equals = "firing""#,
            r#"equals = "fireing""#,
            r#"did you mean "firing"?"#,
        ),
        (
            r#"equals = "firing""#,
            "equals = true",
            "an alert's state is text",
        ),
        (
            r#"equals = "firing""#,
            r#"matches = "fir""#,
            "\"matches\" of an alert",
        ),
        (
            r#"when = { in = "baseline" }"#,
            r#"when = { in = "baseline", op = "never" }"#,
            "d.toml:20:32: \"never\" would hold",
        ),
        ("min(up)", "min(up", "d.toml:30:20: not PromQL"),
        (
            "min(up)",
            "min(up) > 1 for 3m",
            "expected the duration in the rule's own \"for\"",
        ),
    ];
    for (from, to, wanted) in cases {
        let error = match parsed(&DRILL.replacen(from, to, 1), RULES) {
            Ok(_) => panic!("{to:?} is taken"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(wanted), "{wanted:?} isn't in {error:?}");
    }
    let broken = RULES.replace("expr", "exprr");
    let error = parsed(DRILL, &broken)
        .expect_err("the rules are refused")
        .to_string();
    assert!(
        error.contains("d.toml:7:9: the rules can't be used: r.yml:5:5: unknown key"),
        "{error}"
    );
}

#[test]
fn what_looks_right_and_sees_nothing_is_warned_of_until_it_is_accepted() {
    let silent = DRILL
        .find("[[expect]]")
        .zip(DRILL.find("[[expect]]\nid = \"fires\""));
    let (from, to) = silent.expect("the drill has both");
    let always = format!("{}{}", &DRILL[..from], &DRILL[to..]);
    let cases = [
        (always, RULES.to_owned(), "nowhere expected to be silent"),
        (
            DRILL.replace("min(up)", "sum(nothing_total)"),
            RULES.to_owned(),
            "exposed by no target",
        ),
        (
            DRILL.replace("min(up)", "sum(rate(vanta_signals_total[1s]))"),
            RULES.to_owned(),
            "never sees two samples",
        ),
        (
            DRILL.to_owned(),
            RULES.replace("up == 0", "vanta_exec_mod == 0"),
            "r.yml:4: Down: series vanta_exec_mod is exposed by no target; did you mean \"vanta_exec_mode\"?",
        ),
    ];
    for (drill, rules, wanted) in cases {
        let found = parsed(&drill, &rules)
            .unwrap_or_else(|e| panic!("{e}"))
            .warnings;
        let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(
            texts.len() == 1 && texts[0].contains(wanted),
            "{wanted:?}: {texts:?}"
        );
        let accepted = format!("accept = \"on purpose\"\n{drill}");
        assert_eq!(
            parsed(&accepted, &rules)
                .unwrap_or_else(|e| panic!("{e}"))
                .warnings,
            []
        );
    }
}

#[test]
fn the_stack_gets_a_prometheus_that_scrapes_every_instance() {
    let target = target();
    let drill = parsed(DRILL, RULES).unwrap_or_else(|e| panic!("{e}")).value;
    let rules = drill.alerts.expect("it has rules");
    let replicas = BTreeMap::from([("webhook".to_owned(), 2)]);
    let whole = target
        .with_prometheus(&[rules.clone(), rules], &replicas)
        .expect("it has one");
    let prometheus = whole
        .services_of(Role::Prometheus)
        .next()
        .expect("it is a service");
    let config = &prometheus.files["/etc/prometheus/prometheus.yml"];
    for wanted in [
        "scrape_interval: 1000ms",
        r#"rule_files: ["/etc/prometheus/rules-0.yml"]"#,
        r#"job_name: "webhook", metrics_path: "/metrics", static_configs: [ { targets: ["webhook:8090", "webhook-2:8090"] } ]"#,
        r#"targets: ["tpsl:8092"]"#,
    ] {
        assert!(config.contains(wanted), "{wanted:?} isn't in {config}");
    }
    assert_eq!(prometheus.files["/etc/prometheus/rules-0.yml"], RULES);
    assert!(target.services_of(Role::Prometheus).next().is_none());
}

#[test]
fn a_target_without_a_prometheus_refuses_what_needs_one() {
    let mut target = target();
    target.prometheus = None;
    assert!(target.with_prometheus(&[], &BTreeMap::new()).is_none());
    let error = parse_drill("d.toml", DRILL, &target).expect_err("it is refused");
    assert!(
        error
            .to_string()
            .contains("expected [prometheus] in the target file"),
        "{error}"
    );
}

#[test]
fn hostile_rules_are_refused_and_never_panic() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../drills/alerts/vanta.yml");
    let shipped = fs::read_to_string(shipped).expect("the rules are shipped");
    assert!(parse_rules("r.yml", &shipped).is_ok());
    for (at, _) in shipped.char_indices().step_by(7) {
        let _ = parse_rules("r.yml", &shipped[..at]);
    }
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..40 {
        let below = format!("*a{}, ", level - 1).repeat(8);
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    for hostile in [
        bomb,
        "[".repeat(100_000),
        "a: ".repeat(50_000),
        "- ".repeat(50_000),
    ] {
        assert!(parse_rules("r.yml", &hostile).is_err());
    }
    for hostile in ["(".repeat(100_000), "a+".repeat(100_000)] {
        assert!(promql::selectors(&hostile).is_err());
    }
    for deep in [
        format!("{}a{}", "(".repeat(2047), ")".repeat(2047)),
        format!("a{}", "+a".repeat(2047)),
        format!("{}a", "-".repeat(4095)),
    ] {
        let _ = promql::lint(&deep, std::time::Duration::from_secs(1), &[]);
    }
}
