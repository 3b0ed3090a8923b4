//! The table: every line of the list of false greens, how it is staged, and what is said of it.
//!
//! `drills/FALSE-GREEN.md` is written from it (`FIREDRILL_BLESS=1`) and compared with it, and each
//! test meets all of its rows: a row that nothing meets can't stand here.

use std::cell::RefCell;
use std::fs;

use crate::support::root;

/// One case.
pub struct Row {
    /// The lie, as it was met in the field.
    pub line: &'static str,
    pub staged: &'static str,
    pub test: &'static str,
    /// Tells the rows of a test apart; the id of a check where it is one.
    pub key: &'static str,
    /// `fail`, `inconclusive`, or the exit code of what is refused.
    pub verdict: &'static str,
    /// Part of the reason that is given.
    pub says: &'static str,
}

pub struct Class {
    pub title: &'static str,
    pub rows: &'static [Row],
}

/// What is not staged, and why.
pub struct Excused {
    pub line: &'static str,
    pub reason: &'static str,
}

/// The rows of one test. All of them must have been met when it is dropped.
pub struct Rows {
    test: &'static str,
    open: RefCell<Vec<&'static Row>>,
}

impl Rows {
    pub fn of(test: &'static str) -> Self {
        let all = crate::cases::CLASSES.iter().flat_map(|class| class.rows);
        let open: Vec<&Row> = all.filter(|row| row.test == test).collect();
        assert!(!open.is_empty(), "{test} has no row");
        let open = RefCell::new(open);
        Self { test, open }
    }

    /// A case was staged: the verdict and the reason are the row's.
    pub fn meets(&self, key: &str, verdict: &str, reason: &str) {
        let mut open = self.open.borrow_mut();
        let at = open.iter().position(|row| row.key == key);
        let at = at.unwrap_or_else(|| panic!("{} has no row {key} left", self.test));
        let row = open.remove(at);
        assert_eq!(row.verdict, verdict, "{key}: {reason}");
        assert!(
            reason.contains(row.says),
            "{key}: no {:?} in {reason}",
            row.says
        );
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let open: Vec<&str> = self.open.borrow().iter().map(|row| row.key).collect();
            assert!(open.is_empty(), "{} did not meet {open:?}", self.test);
        }
    }
}

/// The page is the table's, every test that it names exists, and nothing in it is green.
pub fn the_page_is_written_from_the_table(tests: &[&str]) {
    let rows = || crate::cases::CLASSES.iter().flat_map(|class| class.rows);
    for row in rows() {
        assert!(tests.contains(&row.test), "{} is no test", row.test);
        assert!(
            ["fail", "inconclusive", "exit 64"].contains(&row.verdict),
            "{}",
            row.line
        );
        assert!(!row.says.is_empty(), "{} gives no reason", row.line);
    }
    assert!(crate::cases::EXCUSED.len() <= 3);
    let path = root().join("drills/FALSE-GREEN.md");
    let page = page();
    if std::env::var_os("FIREDRILL_BLESS").is_some() {
        fs::write(&path, &page).expect("the page is written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == page, "{} is old: just bless", path.display());
}

fn page() -> String {
    let rows = || crate::cases::CLASSES.iter().flat_map(|class| class.rows);
    let mut page = format!(
        "# False green\n\n\
        This page is generated from `tests/false_green/cases.rs` (`just bless`); a test compares it.\n\n\
        How drills and gates lied in the field, and what firedrill says of the same thing. Each case is staged by a test of\n\
        `cargo test --test false_green` through the real executable; where it is about the world, on a real stack, with another\n\
        hand in it. {} cases, none of them green.\n",
        rows().count()
    );
    for class in crate::cases::CLASSES {
        page += &format!(
            "\n## {}\n\n| the lie | how it is staged | what is said | test |\n|---|---|---|---|\n",
            class.title
        );
        for row in class.rows {
            let verdict = match row.verdict {
                "exit 64" => "refused, exit 64",
                "fail" => "FAIL",
                _ => "INCONCLUSIVE",
            };
            page += &format!(
                "| {} | {} | {verdict}: “{}” | `{}` |\n",
                row.line,
                row.staged,
                row.says.replace('|', "\\|"),
                row.test
            );
        }
    }
    page += "\n## Not staged\n\n| the lie | why not |\n|---|---|\n";
    for excused in crate::cases::EXCUSED {
        page += &format!("| {} | {} |\n", excused.line, excused.reason);
    }
    page
}
