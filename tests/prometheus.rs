//! What is said of PromQL here holds on a real Prometheus: the image's own server and its promtool decide.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use firedrill_plan::promql::{LintKind, lint};
use firedrill_plan::{ExportedRule, Fires, Predicate, export_rules};

mod support;

const IMAGE: &str = "firedrill-prometheus:2";
const SCRAPE_S: u64 = 15;

/// Runs a script in a container of the image; the variables are what it works on.
fn in_image(script: &str, variables: &[(&str, &str)]) -> (bool, String) {
    let images = support::ended(support::firedrill(&support::root()).arg("images"));
    assert_eq!(images.code, Some(0), "{images:?}");
    let mut command = Command::new("docker");
    command.args(["run", "--rm", "--network", "none"]);
    for (name, value) in variables {
        command.arg("--env").arg(format!("{name}={value}"));
    }
    command.args([IMAGE, "sh", "-c", script]);
    let output = command.output().expect("the docker client starts");
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    (output.status.success(), format!("{out}{err}"))
}

fn promtool_takes(rules: &str) -> (bool, String) {
    let script = r#"printf %s "$RULES" > /tmp/r.yml && exec promtool check rules /tmp/r.yml"#;
    in_image(script, &[("RULES", rules)])
}

#[test]
fn promtool_takes_what_is_exported_and_the_shipped_rules() {
    let rule = |id: &str, expr: &str, fires: Option<Fires>| ExportedRule {
        id: id.to_owned(),
        what: format!("{id} \"must\" hold: {{{{ $value }}}} 'and' more"),
        expr: expr.to_owned(),
        fires: fires.expect("it is about numbers"),
        hold: Duration::from_millis(1500),
        severity: "critical".to_owned(),
    };
    let (low, high) = (Predicate::AtMost(1e-9), Predicate::AtMost(0.4));
    let some = Predicate::OneOf(vec![1.into(), 2.into()]);
    let p95 = "histogram_quantile(0.95, sum by (le) (rate(a_bucket[5m])))";
    let share = r#"sum(rate(a{status=~"5.."}[5m])) / sum(rate(a[5m]))"#;
    let rules = [
        rule("p95-latency", p95, Fires::unless(&high)),
        rule("5xx", share, Fires::unless(&high)),
        rule("live", r#"min(mode{mode="LIVE"})"#, Fires::unless(&some)),
        rule("small", "sum(rate(a[5m]))", Fires::when(&low)),
        rule("scalar", "scalar(a) - 1", Fires::when(&some)),
    ];
    let exported = export_rules("gate \"spark\"", &rules);
    let (taken, said) = promtool_takes(&exported);
    assert!(
        taken && said.contains("10 rules found"),
        "{said}\n{exported}"
    );

    let shipped = support::root().join("drills/alerts/vanta.yml");
    let shipped = std::fs::read_to_string(shipped).expect("the rules are shipped");
    let (taken, said) = promtool_takes(&shipped);
    assert!(taken, "{said}");
    let (taken, said) = promtool_takes(&shipped.replace("== 0", "== 0 for 3m"));
    assert!(!taken, "a check that takes anything: {said}");
}

/// `check POLICY --export-rules FILE`: what the command writes of each shipped policy is loaded as it is.
#[test]
fn promtool_takes_the_rules_of_every_shipped_policy() {
    let folder = tempfile::tempdir().expect("a folder");
    let gates = support::root().join("drills/gates");
    let policies = std::fs::read_dir(gates).expect("the policies are shipped");
    let policies = policies.map(|entry| entry.expect("an entry is readable").path());
    let mut written = Vec::new();
    for policy in policies.filter(|p| p.extension().is_some_and(|e| e == "toml")) {
        let into = folder.path().join("rules.yml");
        let mut command = support::firedrill(&support::root());
        command
            .arg("check")
            .arg(&policy)
            .arg("--export-rules")
            .arg(&into);
        let ran = support::ended(&mut command);
        let name = policy
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if ["smoke", "catalogue"].contains(&name.as_str()) {
            assert_eq!(
                ran.code,
                Some(64),
                "it has no rule that can be written: {ran:?}"
            );
            continue;
        }
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let rules = std::fs::read_to_string(&into).expect("it is written");
        let (taken, said) = promtool_takes(&rules);
        assert!(taken, "{name}: {said}");
        assert!(
            ran.out.contains("not written: "),
            "imports can't be written: {ran:?}"
        );
        written.push(name);
    }
    written.sort();
    let all = ["decision-template", "mm-bot", "ops-api", "spark", "vanta"];
    assert_eq!(written, all);
}

/// Ten minutes of counters as OpenMetrics text: one server of whose answers 5 % are 5xx, and one that has
/// never answered with one.
fn history(end_s: u64) -> String {
    let mut text = String::new();
    for (name, rates) in [
        ("http_requests", [("200", 95), ("500", 5)].as_slice()),
        ("quiet_requests", &[("200", 100)]),
    ] {
        writeln!(text, "# TYPE {name} counter").expect("writing to a string");
        for (status, per_scrape) in rates {
            for scrape in 0..=40 {
                let at = end_s - (40 - scrape) * SCRAPE_S;
                let value = scrape * per_scrape;
                writeln!(text, "{name}_total{{status=\"{status}\"}} {value} {at}")
                    .expect("writing to a string");
            }
        }
    }
    text + "# EOF\n"
}

/// What a real Prometheus with that history answers to each expression, in their order.
fn asked(expressions: &[&str]) -> Vec<String> {
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is set")
        .as_secs();
    let script = r#"
printf %s "$HISTORY" > /tmp/h.om
printf 'global: {}\n' > /tmp/p.yml
promtool tsdb create-blocks-from openmetrics /tmp/h.om /tmp/data > /tmp/made 2>&1 || exit 3
prometheus --config.file=/tmp/p.yml --storage.tsdb.path=/tmp/data --web.listen-address=127.0.0.1:9090 --log.level=error &
server=$!
ask() { promtool query instant --time="$AT" http://127.0.0.1:9090 "$1"; }
left=200
until ask 'vector(1)' > /tmp/ready 2>&1; do left=$((left - 1)); [ "$left" -gt 0 ] || exit 4; done
printf %s "$EXPRESSIONS" | while IFS= read -r expression; do echo "answer:"; ask "$expression"; done
kill "$server"
"#;
    let lines: String = expressions.iter().map(|e| format!("{e}\n")).collect();
    let at = now_s.to_string();
    let (ran, said) = in_image(
        script,
        &[
            ("HISTORY", &history(now_s)),
            ("EXPRESSIONS", &lines),
            ("AT", &at),
        ],
    );
    assert!(ran, "{said}");
    let answers = said.split("answer:\n").skip(1);
    let answers: Vec<String> = answers.map(|a| a.trim().to_owned()).collect();
    assert_eq!(answers.len(), expressions.len(), "{said}");
    answers
}

/// The value of an answer of one series without labels: `{} => 0.05 @[1700000000]`.
fn number(answer: &str) -> f64 {
    let value = answer
        .strip_prefix("{} => ")
        .and_then(|a| a.split(' ').next());
    let value = value.and_then(|v| v.parse().ok());
    value.unwrap_or_else(|| panic!("{answer:?} isn't one series without labels"))
}

/// Seed 002, lines 194 and 216 (002.71, 002.78): `rate(5xx) / rate(all)` as written, and corrected.
#[test]
fn a_ratio_of_5xx_as_written_sees_1_or_nothing_and_the_corrected_one_sees_5_percent() {
    let written = |name: &str| format!(r#"rate({name}{{status=~"5.."}}[5m]) / rate({name}[5m])"#);
    let corrected = |name: &str| {
        format!(
            r#"(sum(rate({name}{{status=~"5.."}}[5m])) or 0 * sum(rate({name}[5m]))) / sum(rate({name}[5m]))"#
        )
    };
    let (busy, quiet) = ("http_requests_total", "quiet_requests_total");
    let expressions = [
        written(busy),
        corrected(busy),
        written(quiet),
        corrected(quiet),
    ];
    let answers = asked(&expressions.each_ref().map(String::as_str));
    assert!(
        answers[0].starts_with(r#"{status="500"} => 1 @"#),
        "5 % of errors look like all of them: {}",
        answers[0]
    );
    assert!((number(&answers[1]) - 0.05).abs() < 1e-6, "{}", answers[1]);
    assert_eq!(answers[2], "", "no error, no series, no gate");
    assert_eq!(number(&answers[3]), 0.0);

    let scrape = Duration::from_secs(SCRAPE_S);
    let kinds = |expr: &str| -> Vec<LintKind> {
        let found = lint(expr, scrape, &[]).expect("it is PromQL");
        found.into_iter().map(|l| l.kind).collect()
    };
    assert_eq!(
        kinds(&format!("{} > 0.03", expressions[0])),
        [LintKind::Matching]
    );
    assert_eq!(kinds(&format!("{} > 0.03", expressions[1])), []);
}
