//! Each class of mistake: its place, what is said, and what is suggested.

use std::fs;
use std::path::Path;

use firedrill_plan::{
    Diagnostic, Known, Severity, Target, parse_drill, parse_policy, parse_profile, parse_target,
};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn reference() -> String {
    read("fixtures/targets/reference.toml")
}

fn target() -> Target {
    parse_target("t.toml", &reference(), &|_| Ok(String::new()))
        .unwrap_or_else(|e| panic!("{e}"))
        .value
}

/// A small drill that has no fault of its own.
const DRILL: &str = r#"title = "t"
why = "w"
source = []
needs = { mode = "LIVE" }
[catches]
fails-open = "mode"
[load]
signals_per_s = 10
[[phase]]
id = "baseline"
hold = "5s"
[[phase]]
id = "outage"
fault = { kind = "pause", target = "redis" }
hold = { quick = "8s", full = "60s" }
[[phase]]
id = "recovery"
hold = "8s"
[[mark]]
id = "first-read"
in = "recovery"
probe = { http = "worker", path = "/health", json = "/a" }
at_least = 1
[[expect]]
id = "mode"
what = "x"
probe = { http = "worker", path = "/health", json = "/mode" }
equals = "DRY"
when = { within = "2s", of = "outage.proven" }
[[expect]]
id = "earned"
what = "x"
none = { chain = "first_send" }
when = { not_before = "200ms", of = "@first-read", in = "recovery" }
"#;

fn drill_errors(text: &str) -> Vec<Diagnostic> {
    match parse_drill("d.toml", text, &target()) {
        Ok(parsed) => parsed.warnings,
        Err(errors) => errors.0,
    }
}

/// Replaces `good` by `bad`: exactly one diagnostic follows, at the place of `at` within `bad`, with
/// this text.
fn expect_one(base: &str, good: &str, bad: &str, at: &str, errors: &[Diagnostic], text: &str) {
    let start = base.find(good).unwrap_or_else(|| panic!("no {good}"));
    let offset = bad.find(at).unwrap_or_else(|| panic!("no {at}"));
    let broken = base.replacen(good, bad, 1);
    let before = &broken[..start + offset];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [format!("d.toml:{line}:{column}: {text}")], "{bad}");
}

fn drill_case(good: &str, bad: &str, at: &str, text: &str) {
    let errors = drill_errors(&DRILL.replacen(good, bad, 1));
    expect_one(DRILL, good, bad, at, &errors, text);
}

#[test]
fn the_base_is_clean() {
    assert_eq!(drill_errors(DRILL), []);
}

#[test]
fn an_unknown_key_is_suggested() {
    drill_case(
        "signals_per_s = 10",
        "signal_per_s = 10\nsignals_per_s = 10",
        "signal_per_s",
        "unknown key \"signal_per_s\" in load; expected signals_per_s; did you mean \"signals_per_s\"?",
    );
    drill_case(
        "quick = \"8s\"",
        "quick = \"8s\", ful = \"1s\"",
        "ful ",
        "unknown key \"ful\" in hold; expected quick or full; did you mean \"full\"?",
    );
    drill_case(
        "within = \"2s\"",
        "withn = \"2s\"",
        "withn",
        "unknown key \"withn\" in when; expected within, not_before, in, from, to or op; did you mean \"within\"?",
    );
}

#[test]
fn types_and_missing_keys() {
    drill_case(
        "why = \"w\"",
        "why = 3",
        "3",
        "\"why\" is an integer; expected text",
    );
    let missing = drill_errors(&DRILL.replace("why = \"w\"\n", ""));
    let shown: Vec<String> = missing.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["d.toml:1:1: missing key \"why\" in a drill; expected text"]
    );
}

#[test]
fn misspelt_words_and_names() {
    drill_case(
        "target = \"redis\"",
        "target = \"rediss\"",
        "\"rediss\"",
        "unknown service \"rediss\"; expected redis, postgres, rpc, proxy, webhook, worker or tpsl; did you mean \"redis\"?",
    );
    drill_case(
        "\"outage.proven\"",
        "\"outag.proven\"",
        "\"outag",
        "unknown phase \"outag\"; expected baseline, outage or recovery; did you mean \"outage\"?",
    );
    drill_case(
        "\"outage.proven\"",
        "\"outage.provn\"",
        "\"outage",
        "unknown edge \"provn\"; expected requested, proven, heal_requested or healed; did you mean \"proven\"?",
    );
    drill_case(
        "fails-open = \"mode\"",
        "fails-opn = \"mode\"",
        "fails-opn",
        "unknown defect \"fails-opn\"; expected one of 60 names; did you mean \"fails-open\"?",
    );
    drill_case(
        "fails-open = \"mode\"",
        "fails-open = \"mod\"",
        "\"mod\"",
        "unknown expectation \"mod\"; expected mode or earned; did you mean \"mode\"?",
    );
    drill_case(
        "fails-open = \"mode\"",
        "fails-open = \"audit/same/price-payd\"",
        "\"audit/",
        "unknown agreement of audit.same \"audit/same/price-payd\"; expected audit/same/symbol-as-asked, audit/same/side-as-asked, audit/same/size-as-asked, audit/same/side-of-position or audit/same/price-paid; did you mean \"audit/same/price-paid\"?",
    );
    drill_case(
        "\"first_send\"",
        "\"first_sent\"",
        "\"first_sent\"",
        "unknown chain \"first_sent\"; expected first_send or submission; did you mean \"first_send\"?",
    );
}

#[test]
fn misspelt_kinds_and_marks() {
    let kinds = "pause, kill, stop, restart, disconnect, redis_set, latency, bandwidth, timeout, reset, down, limit or http_error";
    drill_case(
        "\"pause\"",
        "\"pauze\"",
        "\"pauze\"",
        &format!("unknown fault kind \"pauze\"; expected {kinds}; did you mean \"pause\"?"),
    );
    drill_case(
        "hold = \"5s\"",
        "hold = \"5s\"\nact = { kind = \"brust\", count = 1 }",
        "\"brust\"",
        "unknown act kind \"brust\"; expected await, redis_set, restart, recreate, dump, restore, http, burst, duplicate, twins or malformed; did you mean \"burst\"?",
    );
    drill_case(
        "{ http = \"worker\", path = \"/health\", json = \"/mode\" }",
        "{ htp = \"worker\", path = \"/health\", json = \"/mode\" }",
        "htp",
        "unknown key \"htp\" in probe; expected http, metric, sql, redis, container, load, promql or alert; did you mean \"http\"?",
    );
    drill_case(
        "\"@first-read\"",
        "\"@frist-read\"",
        "\"@frist",
        "unknown mark \"frist-read\"; expected first-read; did you mean \"first-read\"?",
    );
}

#[test]
fn numbers_durations_and_patterns() {
    let rate = "\"signals_per_s\" is out of range; expected a finite number from 0 up";
    for bad in ["nan", "-1", "inf"] {
        drill_case(
            "signals_per_s = 10",
            &format!("signals_per_s = {bad}"),
            bad,
            rate,
        );
    }
    let positive = "a duration above zero such as 250ms, 2s, 1.5s, 3m or 1h";
    drill_case(
        "hold = \"5s\"",
        "hold = \"5 s\"",
        "\"5 s\"",
        &format!("\"5 s\" isn't a duration; expected {positive}"),
    );
    drill_case(
        "hold = \"5s\"",
        "hold = \"0s\"",
        "\"0s\"",
        &format!("\"hold\" is zero; expected {positive}"),
    );
    drill_case(
        "quick = \"8s\", full = \"60s\"",
        "quick = \"80s\", full = \"60s\"",
        "\"80s\"",
        "quick is longer than full; expected the shorter one as quick",
    );
    drill_case(
        "equals = \"DRY\"",
        "matches = \"(DRY\"",
        "\"(DRY\"",
        "bad regular expression: unclosed group; expected a regular expression",
    );
}

#[test]
fn duplicates_and_order() {
    drill_case(
        "id = \"earned\"",
        "id = \"mode\"",
        "\"mode\"",
        "expect \"mode\" is there twice",
    );
    drill_case(
        "hold = { quick",
        "until = \"baseline\"\nhold = { quick",
        "\"baseline\"",
        "until \"baseline\" is before its phase \"outage\"; expected \"outage\" or a later phase",
    );
    drill_case(
        "{ within = \"2s\", of = \"outage.proven\" }",
        "{ from = \"outage\", to = \"baseline\" }",
        "\"baseline\"",
        "the window ends with \"baseline\", which is before \"outage\"; expected \"outage\" or a later phase",
    );
}

#[test]
fn operators() {
    drill_case(
        "equals = \"DRY\"",
        "equals = \"DRY\"\nat_most = 3",
        "3",
        "two operators, \"equals\" and \"at_most\"; expected one; the other in an expectation of its own",
    );
    drill_case(
        "{ within = \"2s\", of = \"outage.proven\" }",
        "{ within = \"2s\" }",
        "{",
        "missing key \"of\" in when within; expected text",
    );
}

#[test]
fn faults_have_their_own_keys() {
    drill_case(
        "target = \"redis\" }",
        "target = \"redis\", latency = \"1s\" }",
        "latency",
        "unknown key \"latency\" in fault; expected target",
    );
    drill_case(
        "{ kind = \"pause\", target = \"redis\" }",
        "{ kind = \"latency\", target = \"redis\" }",
        "{",
        "missing key \"latency\" in fault latency; expected a duration above zero such as 250ms, 2s, 1.5s, 3m or 1h",
    );
}

#[test]
fn a_random_moment_lies_between_two_times() {
    let kill =
        |between: &str| format!("{{ kind = \"kill\", target = \"worker\", between = {between} }}");
    let pause = "{ kind = \"pause\", target = \"redis\" }";
    drill_case(
        pause,
        &kill("[\"2s\", \"1s\"]"),
        "[",
        "no moment lies between these two; expected the earlier one first",
    );
    let good = drill_errors(&DRILL.replacen(pause, &kill("[\"0s\", \"1s\"]"), 1));
    assert_eq!(good, []);
    drill_case(
        "target = \"redis\" }",
        "target = \"redis\", between = [\"0s\", \"1s\"] }",
        "between",
        "unknown key \"between\" in fault; expected target",
    );
}

#[test]
fn a_restore_needs_a_dump_and_a_target_that_says_how() {
    let hold = "hold = \"5s\"";
    let act = |kind: &str| format!("hold = \"5s\"\nact = {{ kind = \"{kind}\" }}");
    drill_case(
        hold,
        &act("restore"),
        "\"restore\"",
        "nothing was dumped before this restore; expected an act of kind dump in an earlier place",
    );
    assert_eq!(drill_errors(&DRILL.replacen(hold, &act("dump"), 1)), []);
    let mut bare = target();
    bare.backup = None;
    let text = DRILL.replacen(hold, &act("dump"), 1);
    let errors = parse_drill("d.toml", &text, &bare).map(|_| ()).unwrap_err();
    let shown: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "d.toml:12:16: the target doesn't say how it is backed up; expected [backup] in the target file"
        ]
    );
}

#[test]
fn environment_and_templates() {
    drill_case(
        "[load]",
        "[env.webhok]\nA = \"1\"\n[load]",
        "webhok",
        "unknown service \"webhok\"; expected redis, postgres, rpc, proxy, webhook, worker or tpsl; did you mean \"webhook\"?",
    );
    let act = |token: &str| {
        format!(
            "hold = \"5s\"\nact = {{ kind = \"http\", service = \"webhook\", path = \"/\", headers = {{ A = \"${{secret.{token}}}\" }} }}"
        )
    };
    drill_case(
        "hold = \"5s\"",
        &act("ADMIN_TOKN"),
        "\"${",
        "unknown placeholder \"secret.ADMIN_TOKN\"; expected secret.ADMIN_TOKEN, secret.PRIVATE_KEY, secret.RPC_KEY, secret.WEBHOOK_HMAC_SECRET or run.id; did you mean \"secret.ADMIN_TOKEN\"?",
    );
}

#[test]
fn a_growth_is_a_number_over_a_window() {
    drill_case(
        "when = { within = \"2s\", of = \"outage.proven\" }",
        "growth = \"total\"\nwhen = { within = \"2s\", of = \"outage.proven\" }",
        "{ within",
        "a growth is one number for its whole window; expected when = { in = … } or { from = …, to = … }, without op",
    );
    let counter =
        "probe = { metric = \"c_total\", service = \"worker\" }\ngrowth = \"per_second\"\n";
    let http = "probe = { http = \"worker\", path = \"/health\", json = \"/mode\" }\n";
    let when = "when = { within = \"2s\", of = \"outage.proven\" }";
    let base = DRILL
        .replacen(http, counter, 1)
        .replacen(when, "when = { in = \"outage\" }", 1);
    let number = base.replacen("equals = \"DRY\"", "at_most = 4.5", 1);
    assert_eq!(drill_errors(&number), []);
    let text = base.replacen("equals = \"DRY\"", "matches = \"4\"", 1);
    let errors = drill_errors(&text);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].message.starts_with("\"matches\" of a growth"));
    drill_case(
        "none = { chain = \"first_send\" }",
        "none = { chain = \"first_send\" }\ngrowth = \"total\"",
        "\"total\"",
        "\"growth\" without a probe; expected probe = …",
    );
}

#[test]
fn bounds_on_fields_are_numbers() {
    let bounded = DRILL.replacen(
        "{ chain = \"first_send\" }",
        "{ chain = \"first_send\", above = { max_fee_per_gas = 1_000 }, below = { gas_limit = 5 } }",
        1,
    );
    assert_eq!(drill_errors(&bounded), []);
    drill_case(
        "{ chain = \"first_send\" }",
        "{ chain = \"first_send\", above = { max_fee_per_gas = \"1 gwei\" } }",
        "\"1 gwei\"",
        "\"max_fee_per_gas\" is text; expected a finite number",
    );
}

#[test]
fn instances_exist_only_where_replicas_say_so() {
    let probe = "{ http = \"webhook-2\", path = \"/health\", json = \"/mode\" }";
    let base = "{ http = \"worker\", path = \"/health\", json = \"/mode\" }";
    let one = DRILL.replacen(base, probe, 1);
    assert_eq!(drill_errors(&one).len(), 1);
    let two = one.replacen("[load]", "[replicas]\nwebhook = 2\n[load]", 1);
    assert_eq!(drill_errors(&two), []);
}

#[test]
fn all_mistakes_are_found_at_once_in_order() {
    let text = DRILL
        .replace("signals_per_s = 10", "signals_per_s = -1")
        .replace("equals = \"DRY\"", "equels = \"DRY\"")
        .replace("target = \"redis\"", "target = \"rdis\"");
    let places: Vec<(usize, usize)> = drill_errors(&text)
        .iter()
        .map(|d| (d.line, d.column))
        .collect();
    assert_eq!(places, [(8, 17), (14, 36), (28, 1)]);
}

#[test]
fn columns_count_characters_and_syntax_errors_have_a_place() {
    let text = DRILL.replace(
        "needs = { mode = \"LIVE\" }",
        "needs = { mode = \"LIVE\", \"ü\" = 1, accepted = -1 }",
    );
    let places: Vec<(usize, usize)> = drill_errors(&text)
        .iter()
        .map(|d| (d.line, d.column))
        .collect();
    assert_eq!(places, [(4, 26), (4, 46)]);
    let syntax = drill_errors("title = \"t\"\nwhy = = 3\n");
    assert_eq!((syntax[0].line, syntax[0].column), (2, 7), "{syntax:?}");
}

#[test]
fn a_lint_is_a_warning_until_accepted() {
    let bare = DRILL.replace("fails-open = \"mode\"\n", "");
    let warnings = drill_errors(&bare);
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].severity, Severity::Warning);
    assert!(
        warnings[0]
            .message
            .starts_with("a drill that catches nothing proves nothing")
    );
    assert_eq!(
        drill_errors(&format!("accept = \"no defect yet\"\n{bare}")),
        []
    );
    let idle = drill_errors(&format!("accept = \"why not\"\n{DRILL}"));
    assert_eq!(idle.len(), 1, "an acceptance of nothing is a lint itself");
}

#[test]
fn a_pattern_that_must_not_be_found_shows_that_it_could_be() {
    let none = "none = { chain = \"first_send\" }";
    let log =
        |rest: &str| format!("none = {{ log = \"worker\", matches = \"sent \\\\d+\"{rest} }}");
    let found = |text: &str| drill_errors(&DRILL.replacen(none, text, 1));
    assert_eq!(found(&log(", like = \"sent 12 orders\"")), []);
    expect_one(
        DRILL,
        none,
        &log(", like = \"snet 12 orders\""),
        "\"snet",
        &found(&log(", like = \"snet 12 orders\"")),
        "the pattern doesn't match the line that it is to find; expected a line that \"sent \\d+\" matches",
    );
    let count = |is: &str| {
        found(
            &log("")
                .replacen("none", "count", 1)
                .replace(" }", &format!(" }}\n{is}")),
        )
    };
    for absent in [
        found(&log("")),
        count("equals = 0"),
        count("one_of = [0, 1]"),
    ] {
        let shown: Vec<String> = absent.iter().map(ToString::to_string).collect();
        assert!(
            matches!(&shown[..], [one] if one.contains("finds nothing either: add like")),
            "{shown:?}"
        );
        assert_eq!(absent[0].severity, Severity::Warning);
    }
    // What must be found shows by itself that it can be; nothing to bound is no pass.
    for is in ["at_least = 1", "at_most = 3"] {
        assert_eq!(count(is), [], "{is}");
    }
}

fn target_case(good: &str, bad: &str, at: &str, text: &str) {
    let base = reference();
    let errors = match parse_target("d.toml", &base.replacen(good, bad, 1), &|_| {
        Ok(String::new())
    }) {
        Ok(parsed) => parsed.warnings,
        Err(errors) => errors.0,
    };
    expect_one(&base, good, bad, at, &errors, text);
}

#[test]
fn targets() {
    target_case(
        "secret           = \"WEBHOOK_HMAC_SECRET\"",
        "secret           = \"WEBHOOK_HMAC\"",
        "\"WEBHOOK_HMAC\"",
        "unknown secret \"WEBHOOK_HMAC\"; expected ADMIN_TOKEN, PRIVATE_KEY, RPC_KEY or WEBHOOK_HMAC_SECRET; did you mean \"WEBHOOK_HMAC_SECRET\"?",
    );
    target_case(
        "\"sig:{source}:{signal_id}\"",
        "\"sig:{source}:{signalid}\"",
        "\"sig",
        "unknown placeholder \"signalid\"; expected run, seq, collateral, extra, leverage, side, signal_id, source or symbol; did you mean \"signal_id\"?",
    );
    target_case(
        "\"sig:{source}:{signal_id}\"",
        "\"sig:{source}\"",
        "\"sig",
        "key is the same for every signal; expected {seq} in it",
    );
    target_case(
        "{ redis = \"main\" }",
        "{ redis = \"mian\" }",
        "\"mian\"",
        "unknown port \"mian\"; expected main; did you mean \"main\"?",
    );
}

#[test]
fn what_must_be_said_alike_is_in_a_table_that_is_read() {
    target_case(
        "table  = \"receipt\"",
        "table  = \"receipts\"",
        "\"receipts\"",
        "unknown query of audit.sql \"receipts\"; expected execution, intent, position, receipt, send, signal or transition; did you mean \"receipt\"?",
    );
    target_case(
        "id     = \"side-as-asked\"",
        "id     = \"symbol-as-asked\"",
        "\"symbol-as-asked\"",
        "agreement \"symbol-as-asked\" is there twice",
    );
}

#[test]
fn a_heartbeat_has_its_bound_and_is_one_of_the_targets_metrics() {
    target_case(
        "'vanta_loop_heartbeat_timestamp_seconds{component",
        "'vanta_loop_heartbeat_timestamp{component",
        "'vanta",
        "warning: \"vanta_loop_heartbeat_timestamp\" isn't among the target's metrics",
    );
    let series = r#"{ metric = 'vanta_loop_heartbeat_timestamp_seconds{component="mode"}'"#;
    target_case(
        &format!("{series}, still_max = \"5s\""),
        series,
        "{ metric",
        "missing key \"still_max\" in heartbeat; expected a duration above zero such as 250ms, 2s, 1.5s, 3m or 1h",
    );
}

#[test]
fn a_schema_that_cannot_be_read_has_a_place() {
    let errors = parse_target("d.toml", &reference(), &|_| Err("no such file".into())).err();
    let shown = errors.map(|e| e.to_string()).unwrap_or_default();
    assert!(
        shown.ends_with("schema \"../bot/schema.sql\" can't be read: no such file"),
        "{shown}"
    );
}

#[test]
fn profiles_and_policies_name_drills() {
    let known = [
        "redis-outage",
        "rpc-degraded",
        "duplicate-signals",
        "emergency-stop",
    ]
    .map(String::from);
    let text = read("drills/profiles/smoke.toml").replace("\"redis-outage\"", "\"redis-outag\"");
    let errors = parse_profile("p.toml", &text, &known, &target())
        .err()
        .map(|e| e.0)
        .unwrap_or_default();
    assert_eq!(errors.len(), 1);
    assert_eq!((errors[0].line, errors[0].column), (5, 11));
    assert_eq!(errors[0].nearest.as_deref(), Some("redis-outage"));
    let text =
        read("drills/gates/smoke.toml").replacen("equals  = 0", "equals  = 0\nat_most = 1", 1);
    let errors = parse_policy(
        "p.toml",
        &text,
        &Known {
            drills: known.to_vec(),
            ..Known::default()
        },
    )
    .err()
    .map(|e| e.0)
    .unwrap_or_default();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(
        errors[0].message,
        "two operators, \"equals\" and \"at_most\""
    );
}
