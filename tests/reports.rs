//! The reports of recorded runs: what a browser would load, and what a CI server would accept.

mod support;

use std::collections::BTreeMap;
use std::fs;

use firedrill_report::Extras;
use firedrill_verdict::{Outcome, Verdict};
use support::{Recorded, copy, ended, firedrill};
use tempfile::TempDir;

fn html(verdict: &Verdict) -> String {
    let extras = Extras {
        last_log_lines: BTreeMap::from([(
            "worker".to_owned(),
            vec!["<script src=\"http://evil.example/x.js\"></script>&'\"".to_owned()],
        )]),
        journal_path: "journal.jsonl".to_owned(),
        rerun: "firedrill run".to_owned(),
        files: vec![("journal.jsonl".to_owned(), "0".repeat(64))],
        ..Extras::default()
    };
    firedrill_report::html(verdict, None, &extras).expect("it is rendered")
}

fn junit(verdict: &Verdict) -> Element {
    let text = firedrill_report::junit(std::slice::from_ref(verdict)).expect("it is rendered");
    parse(&text)
}

/// An element of XML. Text is kept only as to whether there is any.
#[derive(Debug, Default)]
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    children: Vec<Element>,
    text: String,
}

impl Element {
    fn all(&self, name: &str) -> Vec<&Element> {
        let mut found: Vec<&Element> = self.children.iter().flat_map(|c| c.all(name)).collect();
        if self.name == name {
            found.push(self);
        }
        found
    }

    fn number(&self, name: &str) -> usize {
        let value = self
            .attributes
            .get(name)
            .unwrap_or_else(|| panic!("{} has no {name}", self.name));
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} of {} is {value:?}", self.name))
    }
}

/// Reads XML as far as a report uses it: a declaration, elements, attributes, text, the five named and
/// the numeric entities. Panics on whatever isn't well-formed.
fn parse(text: &str) -> Element {
    let body = text.trim_start();
    let declaration = body
        .strip_prefix("<?xml ")
        .expect("it starts with a declaration");
    let (_, mut rest) = declaration.split_once("?>").expect("the declaration ends");
    let mut open = vec![Element::default()];
    while let Some((before, after)) = rest.split_once('<') {
        open.last_mut()
            .expect("something is open")
            .text
            .push_str(&plain(before));
        let (tag, after) = after.split_once('>').expect("a tag ends");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            let closed = open.pop().expect("something is open");
            assert_eq!(closed.name, name.trim_end(), "the element that is closed");
            open.last_mut()
                .expect("the root stays open")
                .children
                .push(closed);
            continue;
        }
        let (tag, empty) = tag
            .strip_suffix('/')
            .map_or((tag, false), |tag| (tag, true));
        let element = element(tag);
        match empty {
            true => open
                .last_mut()
                .expect("something is open")
                .children
                .push(element),
            false => open.push(element),
        }
    }
    assert!(
        plain(rest).trim().is_empty(),
        "text after the end: {rest:?}"
    );
    assert_eq!(
        open.len(),
        1,
        "not closed: {:?}",
        open.last().map(|e| &e.name)
    );
    let mut document = open.remove(0);
    assert_eq!(document.children.len(), 1, "one root");
    assert!(document.text.trim().is_empty(), "text beside the root");
    document.children.remove(0)
}

/// The name and the attributes of a start tag.
fn element(tag: &str) -> Element {
    let (name, mut rest) = tag.split_at(tag.find(char::is_whitespace).unwrap_or(tag.len()));
    assert!(
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
        "{tag:?}"
    );
    let mut element = Element {
        name: name.to_owned(),
        ..Element::default()
    };
    while !rest.trim().is_empty() {
        let (key, after) = rest
            .trim_start()
            .split_once("=\"")
            .expect("an attribute has a value");
        let (value, after) = after.split_once('"').expect("a value ends");
        let twice = element.attributes.insert(key.to_owned(), plain(value));
        assert!(twice.is_none(), "{key} stands twice in {tag:?}");
        rest = after;
    }
    element
}

/// Text with its entities replaced. XML 1.0 allows no control characters but three.
fn plain(text: &str) -> String {
    let allowed = |c: char| c >= ' ' && c != '\u{fffe}' && c != '\u{ffff}' || "\t\n\r".contains(c);
    assert!(
        text.chars().all(allowed),
        "a character that XML 1.0 has no place for in {text:?}"
    );
    let mut parts = text.split('&');
    let mut out = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let (entity, rest) = part.split_once(';').expect("an entity ends");
        let number = || {
            entity
                .strip_prefix("#x")
                .and_then(|hex| u32::from_str_radix(hex, 16).ok())
        };
        let decimal = || {
            entity
                .strip_prefix('#')
                .and_then(|digits| digits.parse().ok())
        };
        out.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => number()
                .or_else(decimal)
                .and_then(char::from_u32)
                .expect("a known entity"),
        });
        out.push_str(rest);
    }
    out
}

/// What an element may hold by the `junit-10.xsd` of Jenkins' xUnit plugin: attributes that must be
/// there, attributes that may be, children.
fn allowed(
    name: &str,
) -> (
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
) {
    match name {
        "testsuites" => (
            &[],
            &["name", "time", "tests", "failures", "errors"],
            &["testsuite"],
        ),
        "testsuite" => (
            &["name", "tests", "failures", "errors"],
            &[
                "group",
                "time",
                "skipped",
                "timestamp",
                "hostname",
                "id",
                "package",
                "file",
                "log",
                "url",
                "version",
            ],
            &[
                "testsuite",
                "properties",
                "testcase",
                "system-out",
                "system-err",
            ],
        ),
        "testcase" => (
            &["name"],
            &["time", "classname", "group"],
            &["skipped", "error", "failure", "system-out", "system-err"],
        ),
        "properties" => (&[], &[], &["property"]),
        "property" => (&["name", "value"], &[], &[]),
        "failure" | "error" | "skipped" => (&[], &["type", "message"], &[]),
        "system-out" | "system-err" => (&[], &[], &[]),
        other => panic!("the schema knows no {other}"),
    }
}

fn valid(element: &Element) {
    let (must, may, children) = allowed(&element.name);
    for name in must {
        assert!(
            element.attributes.contains_key(*name),
            "{} has no {name}",
            element.name
        );
    }
    for (name, value) in &element.attributes {
        let known = must.contains(&name.as_str()) || may.contains(&name.as_str());
        assert!(known, "{} must have no {name}", element.name);
        if name == "time" {
            let (whole, part) = value.split_once('.').unwrap_or((value, ""));
            let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
            assert!(
                digits(whole) && digits(part) && part.len() <= 3,
                "time is {value:?}"
            );
        }
    }
    if !matches!(
        element.name.as_str(),
        "failure" | "error" | "skipped" | "system-out" | "system-err"
    ) {
        assert!(element.text.trim().is_empty(), "text in {}", element.name);
    }
    for child in &element.children {
        assert!(
            children.contains(&child.name.as_str()),
            "{} in {}",
            child.name,
            element.name
        );
        valid(child);
    }
}

/// Figures of a suite or of the whole are those of its cases.
fn adds_up(element: &Element) {
    let cases = element.all("testcase");
    let with = |what: &str| {
        cases
            .iter()
            .filter(|case| !case.all(what).is_empty())
            .count()
    };
    assert_eq!(
        element.number("tests"),
        cases.len(),
        "{:?}",
        element.attributes
    );
    assert_eq!(
        element.number("failures"),
        with("failure"),
        "{:?}",
        element.attributes
    );
    assert_eq!(
        element.number("errors"),
        with("error"),
        "{:?}",
        element.attributes
    );
}

#[test]
fn the_page_loads_nothing_and_runs_nothing() {
    for recorded in Recorded::all() {
        let verdict = recorded.verdict();
        // A pattern or a clip path of the page itself is no request.
        let page = html(&verdict).to_lowercase().replace("url(#", "(#");
        let name = &recorded.name;
        for word in [
            "<script",
            "<iframe",
            "<link",
            "<object",
            "<embed",
            "<img",
            "<base",
            "@import",
            "url(",
            "javascript:",
            "http-equiv=\"refresh",
        ] {
            assert!(!page.contains(word), "{name}: {word} in the page");
        }
        for tag in page.split('<').filter_map(|rest| rest.split('>').next()) {
            for attribute in [
                "src=", "srcset=", "action=", "poster=", "data=", "onload=", "onclick=", "onerror=",
            ] {
                assert!(!tag.contains(&format!(" {attribute}")), "{name}: <{tag}>");
            }
            if let Some((_, link)) = tag.split_once("href=") {
                assert!(!link.contains("//"), "{name}: <{tag}>");
            }
        }
        // The only addresses are names, not places: the namespace of SVG, and what the target wrote.
        for (at, _) in page.match_indices("://") {
            let around: String = page[..at]
                .chars()
                .rev()
                .take(20)
                .collect::<String>()
                .chars()
                .rev()
                .collect();
            let namespace = page[at..].starts_with("://www.w3.org/");
            let quoted = page[at..].starts_with("://evil.example");
            assert!(namespace || quoted, "{name}: an address after {around:?}");
        }
    }
}

#[test]
fn the_page_names_what_was_judged() {
    for recorded in Recorded::all() {
        let verdict = recorded.verdict();
        let page = html(&verdict);
        let digest = &verdict.subject.digest;
        assert!(
            digest.starts_with("sha256:") && digest.len() == 71,
            "{digest}"
        );
        assert!(page.contains(digest), "{}: no {digest}", recorded.name);
        assert!(page.contains(verdict.verdict.word()), "{}", recorded.name);
        assert!(page.contains(&verdict.run.id) && page.contains(&verdict.journal_head));
        for drill in &verdict.drills {
            for check in &drill.checks {
                assert!(
                    page.contains(&check.id),
                    "{}: no {}",
                    recorded.name,
                    check.id
                );
            }
        }
        match &verdict.subject.defect {
            Some(defect) => assert!(page.contains(defect), "{}: no {defect}", recorded.name),
            None => assert!(
                !page.to_lowercase().contains("defect fails"),
                "{}",
                recorded.name
            ),
        }
    }
}

#[test]
fn junit_keeps_to_the_schema_and_adds_up() {
    for recorded in Recorded::all() {
        let root = junit(&recorded.verdict());
        assert_eq!(root.name, "testsuites");
        valid(&root);
        adds_up(&root);
        root.all("testsuite")
            .iter()
            .for_each(|suite| adds_up(suite));
    }
}

#[test]
fn in_junit_fail_is_a_failure_and_inconclusive_an_error() {
    for recorded in Recorded::all() {
        let verdict = recorded.verdict();
        let root = junit(&verdict);
        let cases = root.all("testcase");
        for check in verdict.drills.iter().flat_map(|drill| &drill.checks) {
            let of = |case: &&&Element| case.attributes["name"] == check.id;
            let case = cases
                .iter()
                .find(of)
                .unwrap_or_else(|| panic!("no case {}", check.id));
            let kinds: Vec<&str> = case
                .children
                .iter()
                .map(|child| child.name.as_str())
                .collect();
            let wanted: &[&str] = match check.verdict {
                Outcome::Pass => &[],
                Outcome::Fail => &["failure"],
                Outcome::Inconclusive => &["error"],
            };
            assert_eq!(kinds, wanted, "{}: {}", recorded.name, check.id);
            if let Some(told) = case.children.first() {
                assert!(
                    told.attributes["message"].contains(&check.what),
                    "{:?}",
                    told.attributes
                );
            }
        }
        let bad = root.number("failures") + root.number("errors");
        assert_eq!(
            bad == 0,
            verdict.verdict == Outcome::Pass,
            "{}",
            recorded.name
        );
        if verdict.verdict == Outcome::Inconclusive {
            assert!(
                root.number("errors") > 0 && root.number("failures") == 0,
                "{}",
                recorded.name
            );
        }
    }
}

#[test]
fn a_cut_journal_makes_no_green_junit() {
    let bytes = Recorded::load("outage-honest").bytes;
    for part in [2, 3, 5] {
        let cut = bytes.len() - bytes.len() / (part * 20);
        let journal = firedrill_journal::read(&bytes[..cut]).expect("the header is whole");
        let root = junit(&firedrill_verdict::judge(&journal));
        valid(&root);
        assert!(root.number("errors") > 0, "cut at {cut}");
    }
}

#[test]
fn report_renders_beside_a_run_and_ends_as_the_run_did() {
    for (name, code) in [
        ("outage-honest", 0),
        ("stop-ignored", 1),
        ("outage-interrupted", 2),
    ] {
        let dir = TempDir::new().expect("a temporary folder");
        let run = dir.path().join("run");
        fs::create_dir(&run).expect("a folder is created");
        let recorded = Recorded::load(name);
        copy(
            &recorded.folder.join("journal.jsonl"),
            &run.join("journal.jsonl"),
        );
        let ended =
            ended(firedrill(dir.path()).args(["report", "run", "--format", "html,md,json,junit"]));
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert_eq!(
            fs::read_dir(&run).expect("it is readable").count(),
            1,
            "the run is left alone"
        );
        let read = |file: &str| fs::read_to_string(dir.path().join("run.report").join(file));
        let word = recorded.verdict().verdict.word();
        assert!(read("report.html").expect("a page").contains(word));
        assert!(read("report.md").expect("a text").contains(word));
        valid(&parse(&read("junit.xml").expect("a file for CI")));
        let kept =
            fs::read_to_string(recorded.folder.join("verdict.json")).expect("it is recorded");
        assert!(
            read("verdict.json").expect("a verdict") == kept,
            "{name}: another verdict"
        );
    }
}
