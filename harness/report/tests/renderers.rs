//! What each renderer must show, and what no input may do to it.

// The other tests use the rest of it.
#[allow(dead_code)]
mod sample;

use std::error::Error;

use firedrill_report::{
    Extras, SensitivityCell, go_no_go, html, junit, markdown, sensitivity_html,
    sensitivity_markdown, summary_line, summary_table, text_failure,
};
use firedrill_verdict::{GateOutcome, Outcome, TimelineSeries, Verdict};
use quick_xml::events::Event;

type Tested = Result<(), Box<dyn Error>>;

const HOSTILE: &str =
    "</script></td><img src=x onerror=alert(1)> \u{1b}[31mred ]]> |`` @ops \u{202e}fdp.exe\r\n# GO";

/// Every string of the verdict that a target can influence, made hostile.
fn hostile() -> Verdict {
    let mut verdict = sample::failing();
    for text in [
        &mut verdict.run.id,
        &mut verdict.run.target,
        &mut verdict.subject.name,
        &mut verdict.subject.version,
        &mut verdict.reasons[0],
        &mut verdict.not_exercised[0],
        &mut verdict.timeline.series[0].name,
        &mut verdict.timeline.windows[1].phase,
        &mut verdict.audit.checks[1].slice[0],
    ] {
        *text = HOSTILE.to_owned();
    }
    verdict.audit.checks[1].observed = HOSTILE.to_owned();
    verdict.timeline.states[0].spans[1].value = Some(HOSTILE.to_owned());
    verdict.audit.states.insert(HOSTILE.to_owned(), 1);
    for drill in &mut verdict.drills {
        drill.name = HOSTILE.to_owned();
        drill.title = HOSTILE.to_owned();
        drill.faults[0].proof = Some(HOSTILE.to_owned());
        drill.faults[0].target = HOSTILE.to_owned();
        for check in &mut drill.checks {
            check.id = HOSTILE.to_owned();
            check.observed = HOSTILE.to_owned();
        }
    }
    verdict
}

fn hostile_extras() -> Extras {
    let mut extras = sample::extras();
    extras
        .last_log_lines
        .insert(HOSTILE.to_owned(), vec![HOSTILE.to_owned()]);
    extras.rerun = HOSTILE.to_owned();
    extras
}

/// Walks a whole document, and gives the number of elements by name.
fn elements(xml: &str, name: &str) -> Result<usize, Box<dyn Error>> {
    let mut reader = quick_xml::Reader::from_str(xml);
    let mut count = 0;
    loop {
        match reader.read_event()? {
            Event::Eof => return Ok(count),
            Event::Start(element) | Event::Empty(element) => {
                for attribute in element.attributes() {
                    attribute?;
                }
                count += usize::from(element.name().as_ref() == name.as_bytes());
            }
            _ => {}
        }
    }
}

#[test]
fn html_is_self_contained_and_complete() -> Tested {
    let verdict = sample::failing();
    let page = html(&verdict, Some(&sample::gate(&verdict)), &sample::extras())?;
    assert!(page.starts_with("<!doctype html>"), "{}", &page[..80]);
    for absent in [
        "<script",
        "http-equiv=\"refresh\"",
        "src=",
        "url(http",
        "@import",
        "<link",
    ] {
        assert!(!page.contains(absent), "the page must not hold {absent}");
    }
    for present in [
        "<meta charset=\"utf-8\">",
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
        "✗</span> NO-GO",
        "✗</i>FAIL",
        "NO-GO",
        "DEFECT fails-open",
        "RUNTIME process",
        verdict.subject.digest.as_str(),
        "2,104 ms after the edge",
        "−6 %",
        "signal 118   POST",
        "nobody has signed",
        "url(#hatch)",
        "<desc id=\"timeline-desc\">",
        "two replicas of the worker",
        "Not signed: this output is not tamper-proof",
    ] {
        assert!(page.contains(present), "the page must hold {present}");
    }
    let parts = [
        "Reasons",
        "Drills",
        "Checks and faults",
        "Timeline",
        "Audit",
        "Load",
        "Evidence",
    ];
    let places: Vec<Option<usize>> = parts
        .iter()
        .map(|part| page.find(&format!("\">{part}</h2>")))
        .collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{places:?}"
    );
    Ok(())
}

#[test]
fn failures_come_first() -> Tested {
    let verdict = sample::failing();
    let page = html(&verdict, None, &sample::extras())?;
    let table = page.split("id=\"drills\"").nth(1).unwrap_or_default();
    let at = |text: &str| table.find(&format!("<code>{text}</code>"));
    assert!(at("rpc-down") < at("emergency-stop") && at("emergency-stop") < at("redis-outage"));
    let table = summary_table(&[verdict]);
    let second = table.lines().nth(1).unwrap_or_default();
    assert!(second.starts_with("✗ FAIL"), "{table}");
    assert!(summary_table(&[]).contains("nothing was judged"));
    Ok(())
}

#[test]
fn hostile_strings_are_harmless_in_html() -> Tested {
    let verdict = hostile();
    let page = html(&verdict, Some(&sample::gate(&verdict)), &hostile_extras())?;
    for absent in ["<img", "</script", "\u{1b}", "\u{202e}", "\r"] {
        assert!(!page.contains(absent), "{absent:?} got through");
    }
    assert!(page.contains("␛[31mred") && page.contains("⟨U+202E⟩"));
    Ok(())
}

#[test]
fn hostile_strings_are_harmless_in_markdown_and_text() {
    let verdict = hostile();
    let gate = sample::gate(&verdict);
    let logs = hostile_extras().last_log_lines;
    let comment = markdown(&verdict, Some(&gate), &sample::extras());
    let page = go_no_go(&gate, std::slice::from_ref(&verdict));
    let text = text_failure(&verdict, &verdict.drills[1], &logs, HOSTILE, HOSTILE);
    for output in [
        &comment,
        &page,
        &text,
        &summary_table(std::slice::from_ref(&verdict)),
    ] {
        for absent in ["\u{1b}", "\u{202e}", "\r", "\n# GO"] {
            assert!(
                !output.contains(absent),
                "{absent:?} got through in {output}"
            );
        }
    }
    // Outside code spans markup is escaped, and a bar is so everywhere.
    assert!(comment.contains("\\<img src=x"), "{comment}");
    let rows = comment
        .lines()
        .filter(|line| line.starts_with("| ✗ FAIL |"));
    for row in rows {
        let bars = row.replace("\\|", "").matches('|').count();
        assert!([6, 7, 8].contains(&bars), "{bars} columns in {row}");
    }
}

#[test]
fn junit_is_well_formed_and_inconclusive_blocks() -> Tested {
    let verdict = sample::failing();
    let xml = junit(&[verdict.clone(), hostile()])?;
    // One failed check and one failed equation; one check and one fault without data: per run.
    assert_eq!(elements(&xml, "failure")?, 4);
    assert_eq!(elements(&xml, "error")?, 4);
    assert_eq!(elements(&xml, "testsuite")?, 8);
    // Ten checks, three faults and three equations, per run.
    assert_eq!(elements(&xml, "testcase")?, 32);
    assert!(xml.contains("<property name=\"seed\" value=\"7\"/>"));
    assert!(xml.contains("timestamp=\"2026-11-21T01:02:03.120+00:00\""));
    let root = xml.lines().nth(1).unwrap_or_default();
    assert_eq!(
        root,
        "<testsuites name=\"firedrill\" tests=\"32\" failures=\"4\" errors=\"4\">"
    );
    Ok(())
}

#[test]
fn a_red_run_is_never_a_green_file() -> Tested {
    assert_eq!(elements(&junit(&[])?, "error")?, 1);
    let mut cut = sample::passing();
    assert_eq!(elements(&junit(std::slice::from_ref(&cut))?, "error")?, 0);
    cut.verdict = Outcome::Inconclusive;
    cut.reasons = vec!["the journal was cut".to_owned()];
    let xml = junit(&[cut.clone()])?;
    assert_eq!(elements(&xml, "error")?, 1);
    assert!(xml.contains("the journal was cut"));
    cut.drills[0].checks.clear();
    cut.drills[0].faults.clear();
    cut.drills[0].verdict = Outcome::Fail;
    assert_eq!(elements(&junit(&[cut])?, "failure")?, 1);
    Ok(())
}

#[test]
fn nothing_of_nothing_is_not_applicable() -> Tested {
    let mut verdict = sample::passing();
    verdict.load = Default::default();
    for check in &mut verdict.drills[0].checks {
        check.samples = 0;
        check.coverage = Some(1.0);
    }
    let page = html(&verdict, None, &Extras::default())?;
    assert!(page.contains("0 (n&#x2f;a)") && !page.contains("100 %"));
    assert!(markdown(&verdict, None, &Extras::default()).contains("0 acknowledged (n/a)"));
    verdict.drills.clear();
    let page = html(&verdict, None, &Extras::default())?;
    assert!(page.contains("No drill was judged"));
    Ok(())
}

#[test]
fn a_large_report_is_bounded() -> Tested {
    let mut verdict = sample::failing();
    let values: Vec<Option<f64>> = (0..600)
        .map(|bin| (bin % 9 != 0).then(|| f64::from(bin * 37 % 101) + 0.37))
        .collect();
    verdict.timeline.series = (0..6)
        .map(|lane| TimelineSeries {
            name: format!("series {lane}"),
            values: values.clone(),
        })
        .collect();
    let page = html(&verdict, None, &sample::extras())?;
    assert!(page.len() < 1_000_000, "{} bytes", page.len());

    let flood = "x".repeat(1_000_000);
    verdict.reasons = vec!["short".to_owned(); 1_000];
    verdict.reasons[0] = flood.clone();
    verdict.drills = (0..2_000)
        .map(|n| sample::drill(n, "soak", Outcome::Pass))
        .collect();
    verdict.drills[1_999].verdict = Outcome::Fail;
    let mut extras = sample::extras();
    extras
        .last_log_lines
        .insert("worker".to_owned(), vec![flood; 5]);
    let page = html(&verdict, None, &extras)?;
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    assert!(page.contains("1600 more drills") && page.contains("soak #1999"));
    assert!(page.contains("… cut (1000000 characters in all)"));
    assert!(markdown(&verdict, None, &Extras::default()).contains("… 1960 more in verdict.json"));
    Ok(())
}

#[test]
fn a_failure_says_what_where_and_how_to_run_it_again() {
    let verdict = sample::failing();
    let extras = sample::extras();
    let drill = &verdict.drills[1];
    let text = text_failure(
        &verdict,
        drill,
        &extras.last_log_lines,
        "reports/latest",
        &extras.rerun,
    );
    for present in [
        "FAIL 3 drills · subject sha256:abcdabcdabcd… · target reference · profile quick · seed 7",
        "✗ FAIL  dry-at-once: falls to DRY at once",
        "expected  `/execution_mode/mode` of webhook",
        "seen      webhook still read \"LIVE\"",
        "when      7116 ms into the run, in phase outage",
        "last log lines of webhook",
        "| WARN redis: no answer in 250 ms",
        "evidence  reports/latest",
        "run again firedrill run redis-outage --profile quick --seed 7",
    ] {
        assert!(text.contains(present), "{present:?} is missing in\n{text}");
    }
    // The worker is named by no failed check.
    assert!(!text.contains("last log lines of worker"), "{text}");
}

#[test]
fn why_the_run_itself_failed_comes_before_what_follows_from_it() {
    let mut verdict = sample::failing();
    let why = "the run itself failed: act after/1: webhook was not ok within 1000 ms: degraded";
    let drill = verdict.drills[1].clone();
    verdict.reasons = vec![
        why.to_owned(),
        format!("{}: {}", drill.name, drill.reasons[0]),
    ];
    let extras = sample::extras();
    let text = text_failure(&verdict, &drill, &extras.last_log_lines, "x", "y");
    let because: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("  because   "))
        .collect();
    assert_eq!(because, [why, drill.reasons[0].as_str()]);
}

#[test]
fn the_verdict_line_names_what_was_judged() {
    assert_eq!(
        summary_line(&sample::passing()),
        "PASS redis-outage · subject sha256:abcdabcdabcd… · target reference · profile quick · \
         seed 7 · worst margin 42 %"
    );
    let line = summary_line(&sample::failing());
    assert!(
        line.ends_with("worst margin −6 % · DEFECT fails-open · RUNTIME process (no containers)")
    );
}

#[test]
fn go_no_go_is_a_page_to_sign() {
    let mut verdict = sample::failing();
    let gate = sample::gate(&verdict);
    let page = go_no_go(&gate, std::slice::from_ref(&verdict));
    assert!(page.starts_with("# ✗ NO-GO\n"), "{page}");
    for present in [
        gate.subject.as_str(),
        "| Role | Name | Date | Signature |",
        "| Operator on duty | | | |",
        "not signed: this output is not tamper-proof",
        "## Waivers\n\nNone.",
        "1 of 2 items passed.",
    ] {
        assert!(page.contains(present), "{present:?} is missing in\n{page}");
    }
    assert!(!page.contains("ANOTHER SUBJECT"));
    verdict.subject.digest = "sha256:ffff".to_owned();
    assert!(go_no_go(&gate, &[verdict]).contains("ANOTHER SUBJECT"));
}

#[test]
fn a_passing_run_does_not_outshine_its_gate() -> Tested {
    let verdict = sample::passing();
    let mut gate = sample::gate(&verdict);
    gate.outcome = GateOutcome::NoGo;
    gate.headline = "NO-GO".to_owned();
    let page = html(&verdict, Some(&gate), &sample::extras())?;
    assert!(page.contains("<div class=\"band fail\">") && page.contains("<title>NO-GO"));
    assert!(markdown(&verdict, Some(&gate), &sample::extras()).starts_with("## ✗ NO-GO\n"));
    let mut silent = sample::passing();
    silent.verdict = Outcome::Inconclusive;
    let page = html(&silent, None, &sample::extras())?;
    assert!(page.contains("No reason was recorded, though the run did not pass."));
    Ok(())
}

#[test]
fn the_same_verdict_gives_the_same_bytes() -> Tested {
    let (one, two) = (sample::failing(), sample::failing());
    let extras = sample::extras();
    assert_eq!(html(&one, None, &extras)?, html(&two, None, &extras)?);
    assert_eq!(junit(&[one])?, junit(&[two])?);
    Ok(())
}

fn cell(defect: Option<&str>, as_it_should_be: bool, reason: &str) -> SensitivityCell {
    SensitivityCell {
        drill: "redis-outage".to_owned(),
        defect: defect.map(str::to_owned),
        expectation: defect.map(|_| "dry-at-once".to_owned()),
        as_it_should_be,
        reason: reason.to_owned(),
        worst_margin: Some(0.42),
    }
}

#[test]
fn the_proof_of_the_drills_gives_a_reason_for_each_cell() -> Tested {
    let cells = [
        cell(None, true, "clean"),
        cell(Some("fails-open"), true, "LIVE at 2104 ms"),
        cell(Some("redis-hang"), false, "dry-at-once is PASS"),
        cell(None, false, "FAIL: it died"),
    ];
    let table = sensitivity_markdown(&cells);
    let page = sensitivity_html(&cells)?;
    for cell in &cells {
        assert!(table.contains(&cell.reason), "{} in {table}", cell.reason);
        assert!(page.contains(&cell.reason), "{} in the page", cell.reason);
    }
    for words in ["caught", "SLIPPED THROUGH", "NOT CLEAN", "2 of 4 cells"] {
        assert!(table.contains(words) && page.contains(words), "{words}");
    }
    // What isn't as it should be comes first, and colours the band.
    assert!(table.find("SLIPPED") < table.find("caught"), "{table}");
    assert!(page.contains("class=\"band fail\""));
    assert!(sensitivity_html(&cells[..2])?.contains("class=\"band pass\""));
    assert!(sensitivity_html(&[])?.contains("class=\"band inconclusive\""));
    Ok(())
}

#[test]
fn hostile_strings_are_harmless_in_the_proof_of_the_drills() -> Tested {
    let cells = [cell(Some(HOSTILE), false, HOSTILE)];
    let page = sensitivity_html(&cells)?;
    let table = sensitivity_markdown(&cells);
    for absent in ["<img", "</script", "\u{1b}", "\u{202e}", "\r"] {
        assert!(!page.contains(absent), "{absent:?} got through");
    }
    assert!(
        table.contains("\\<img") && !table.contains(" <img"),
        "{table}"
    );
    assert!(!table.contains('\u{1b}'), "{table}");
    assert_eq!(table.lines().count(), 5, "{table}");
    Ok(())
}

#[test]
fn a_need_that_does_not_hold_is_shown() -> Tested {
    let mut verdict = sample::passing();
    let need = &mut verdict.drills[0].needs[0];
    need.verdict = Outcome::Inconclusive;
    need.observed = "DRY".to_owned();
    let text = text_failure(&verdict, &verdict.drills[0], &Default::default(), "e", "r");
    assert!(
        text.contains("need mode") && text.contains("seen      DRY"),
        "{text}"
    );
    let page = html(&verdict, None, &sample::extras())?;
    assert!(page.contains("Needs of") && page.contains("data-label=\"Seen\">DRY"));
    Ok(())
}
