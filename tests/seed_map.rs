//! Every statement of the seed documents is carried by something that can be judged, or says why it is out of
//! scope. `drills/gates/source-map.tsv` is the list of statements, `drills/gates/SOURCES.md` who carries them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use firedrill_plan::{Known, Policy, Step, parse_drill, parse_policy, parse_target};

/// Statements per mechanism, as the map has them.
const COUNTS: [(&str, usize); 10] = [
    ("rule", 152),
    ("stage", 99),
    ("evidence", 76),
    ("config", 75),
    ("attest", 75),
    ("drill", 64),
    ("rollback", 39),
    ("trigger", 36),
    ("audit", 29),
    ("out", 21),
];

/// Statements that are carried by another mechanism than the map's, and why.
const MOVES: [(&str, &str, &str); 0] = [];

struct Line {
    id: String,
    mechanism: String,
    place: String,
}

/// Something that cites statements.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Carrier {
    mechanism: &'static str,
    /// Policy, or `drills`.
    file: String,
    id: String,
    lines: Vec<String>,
}

impl Carrier {
    fn name(&self) -> String {
        match self.file.as_str() {
            "drills" => format!("drill {}", self.id),
            file => format!("{} {file}/{}", self.mechanism, self.id),
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn map() -> Vec<Line> {
    let text = read("drills/gates/source-map.tsv");
    let line = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        assert_eq!(cells.len(), 5, "{line}");
        Line {
            id: cells[0].to_owned(),
            mechanism: cells[3].to_owned(),
            place: cells[4].to_owned(),
        }
    };
    text.lines().skip(1).map(line).collect()
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
    let mut names: Vec<String> = entries
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter_map(|n| n.strip_suffix(".toml").map(str::to_owned))
        .collect();
    names.sort();
    names
}

fn carriers() -> Vec<Carrier> {
    let drills = names("drills");
    let known = Known {
        drills: drills.clone(),
        ..Known::default()
    };
    let mut all = Vec::new();
    for name in names("drills/gates") {
        let path = format!("drills/gates/{name}.toml");
        let parsed = parse_policy(&path, &read(&path), &known).unwrap_or_else(|e| panic!("{e}"));
        of_policy(&parsed.value, &mut all);
    }
    let folder = root().join("fixtures/targets");
    let beside = |name: &str| fs::read_to_string(folder.join(name)).map_err(|e| e.to_string());
    let target = parse_target(
        "reference.toml",
        &read("fixtures/targets/reference.toml"),
        &beside,
    );
    let target = target.expect("it is valid").value;
    for name in drills {
        let path = format!("drills/{name}.toml");
        let drill = parse_drill(&path, &read(&path), &target).unwrap_or_else(|e| panic!("{e}"));
        all.push(Carrier {
            mechanism: "drill",
            file: "drills".to_owned(),
            id: name,
            lines: drill.value.source,
        });
    }
    all.retain(|c| !c.lines.is_empty());
    all.sort();
    all
}

fn of_policy(policy: &Policy, all: &mut Vec<Carrier>) {
    let mut put = |mechanism: &'static str, id: &str, lines: &[String]| {
        all.push(Carrier {
            mechanism,
            file: policy.name.clone(),
            id: id.to_owned(),
            lines: lines.to_vec(),
        });
    };
    policy
        .rules
        .iter()
        .for_each(|x| put("rule", &x.id, &x.source));
    policy
        .groups
        .iter()
        .for_each(|x| put("rule", &x.id, &x.source));
    policy
        .triggers
        .iter()
        .for_each(|x| put("trigger", &x.id, &x.source));
    policy
        .checkpoints
        .iter()
        .for_each(|x| put("stage", &x.id, &x.source));
    policy
        .drills
        .iter()
        .for_each(|x| put("drill", &x.id, &x.source));
    policy
        .audits
        .iter()
        .for_each(|x| put("audit", &x.id, &x.source));
    policy
        .configs
        .iter()
        .for_each(|x| put("config", &x.id, &x.source));
    policy
        .evidence
        .iter()
        .for_each(|x| put("evidence", &x.id, &x.source));
    policy
        .imports
        .iter()
        .for_each(|x| put("evidence", &x.id, &x.source));
    policy
        .attest
        .iter()
        .for_each(|x| put("attest", &x.id, &x.source));
    for stage in &policy.stages {
        put("stage", &stage.id, &stage.source);
        let steps = stage.enter.iter().chain(&stage.exit);
        steps.for_each(|x: &Step| put("stage", &x.id, &x.source));
    }
    for rollback in &policy.rollbacks {
        put("rollback", &rollback.id, &rollback.source);
        rollback
            .steps
            .iter()
            .for_each(|x| put("rollback", &x.id, &x.source));
    }
}

/// Per statement, who carries it.
fn index(carriers: &[Carrier]) -> BTreeMap<&str, Vec<&Carrier>> {
    let mut index: BTreeMap<&str, Vec<&Carrier>> = BTreeMap::new();
    for carrier in carriers {
        for line in &carrier.lines {
            index.entry(line).or_default().push(carrier);
        }
    }
    index
}

/// The table of who carries what: the record that a removed carrier is missing from.
fn table(map: &[Line], carriers: &[Carrier]) -> String {
    let mut out = "# Where each statement of the seed documents is found again\n\n\
        This page is generated (`just bless`); a test compares it. The statements themselves, and what is wrong with\n\
        some of them as written, stand in `source-map.tsv`.\n\n| mechanism | statements |\n|---|---|\n"
        .to_owned();
    for (mechanism, count) in COUNTS {
        writeln!(out, "| {mechanism} | {count} |").expect("writing to a string");
    }
    let index = index(carriers);
    out.push_str("\n| line | mechanism | carried by |\n|---|---|---|\n");
    for line in map {
        let by: Vec<String> = match line.place.strip_prefix("reason: ") {
            Some(reason) => vec![format!("out of scope: {reason}")],
            None => {
                let own = index.get(line.id.as_str()).into_iter().flatten();
                own.map(|c| c.name()).collect()
            }
        };
        let by = by.join(", ").replace('|', "\\|");
        writeln!(out, "| {} | {} | {by} |", line.id, line.mechanism).expect("writing to a string");
    }
    out
}

/// Everything that is wrong with who carries what; nothing if all is well.
fn problems(map: &[Line], carriers: &[Carrier], recorded: &str) -> Vec<String> {
    let mut found = Vec::new();
    let ids: BTreeSet<&str> = map.iter().map(|l| l.id.as_str()).collect();
    for carrier in carriers {
        for line in carrier.lines.iter().filter(|l| !ids.contains(l.as_str())) {
            found.push(format!(
                "{} cites {line}, which the map doesn't have",
                carrier.name()
            ));
        }
    }
    let index = index(carriers);
    for line in map {
        let by = index.get(line.id.as_str()).cloned().unwrap_or_default();
        let moved = MOVES.iter().find(|(id, _, _)| *id == line.id);
        let wanted = moved.map_or(line.mechanism.as_str(), |(_, to, _)| to);
        if line.mechanism == "out" {
            if !line.place.starts_with("reason: ") || line.place.len() < 20 {
                found.push(format!("{} is out of scope without a reason", line.id));
            }
            if let Some(carrier) = by.first() {
                found.push(format!(
                    "{} is out of scope, and {} cites it",
                    line.id,
                    carrier.name()
                ));
            }
        } else if by.is_empty() {
            found.push(format!(
                "{} ({}) is carried by nothing",
                line.id, line.mechanism
            ));
        } else if !by.iter().any(|c| c.mechanism == wanted) {
            found.push(format!(
                "{} is a {wanted}, and no {wanted} carries it",
                line.id
            ));
        }
    }
    let now = table(map, carriers);
    if now != recorded {
        let lines = recorded.lines().zip(now.lines());
        let changed: Vec<&str> = lines
            .filter(|(a, b)| a != b)
            .map(|(a, _)| a)
            .take(3)
            .collect();
        found.push(format!(
            "SOURCES.md says otherwise (`just bless`): {}",
            changed.join("; ")
        ));
    }
    found
}

fn recorded(map: &[Line], carriers: &[Carrier]) -> String {
    if std::env::var_os("FIREDRILL_BLESS").is_some() {
        let table = table(map, carriers);
        fs::write(root().join("drills/gates/SOURCES.md"), &table).expect("it is writable");
    }
    read("drills/gates/SOURCES.md")
}

#[test]
fn every_statement_of_the_seeds_is_carried_or_excused() {
    let (map, carriers) = (map(), carriers());
    assert_eq!(map.len(), 666);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &map {
        *counts.entry(&line.mechanism).or_default() += 1;
    }
    assert_eq!(counts, BTreeMap::from(COUNTS));
    let recorded = recorded(&map, &carriers);
    let found = problems(&map, &carriers, &recorded);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn taking_any_carrier_away_is_noticed() {
    let (map, carriers) = (map(), carriers());
    let recorded = recorded(&map, &carriers);
    let mut sole = 0;
    for gone in 0..carriers.len() {
        let mut left = carriers.clone();
        let removed = left.remove(gone);
        let found = problems(&map, &left, &recorded);
        assert!(!found.is_empty(), "{} can go unnoticed", removed.name());
        // Not by the record alone: by what it carried.
        let named = |line: &String| found.iter().any(|f| f.contains(line.as_str()));
        assert!(
            removed.lines.iter().any(named),
            "{}: {found:?}",
            removed.name()
        );
        sole += usize::from(found.iter().any(|f| f.contains("carried by nothing")));
    }
    assert!(
        sole > 300,
        "only {sole} of {} carry something alone",
        carriers.len()
    );
}

#[test]
fn a_statement_that_nothing_carries_and_one_that_is_unknown_are_noticed() {
    let (mut map, mut carriers) = (map(), carriers());
    let recorded = recorded(&map, &carriers);
    carriers[0].lines.push("009.99".to_owned());
    assert!(
        problems(&map, &carriers, &recorded)
            .iter()
            .any(|f| f.contains("009.99"))
    );
    carriers[0].lines.pop();
    let out = map
        .iter_mut()
        .find(|l| l.mechanism == "out")
        .expect("there is one");
    out.place = "reason: ".to_owned();
    let id = out.id.clone();
    let found = problems(&map, &carriers, &recorded);
    assert!(
        found
            .iter()
            .any(|f| f.contains(&id) && f.contains("without a reason")),
        "{found:?}"
    );
}
