//! Generated documentation is compared with what would be generated now. `just bless` writes it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use firedrill_plan::{FileKind, parse_drill, parse_target, reference};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

const INTRO: &str = "# Drills

This page is generated from the drill files and from the grammar's own declaration (`just bless`); a test compares it.

A drill is a TOML file: what is broken, when, and what must hold meanwhile. `firedrill check` validates it (unknown keys are
errors, with line, column and the nearest name); `firedrill run NAME` runs it; `cargo test --test drills NAME` does too.

- **Phases** follow one another. A phase does its acts, injects its faults, holds once they are *proven*, and heals them at its
  end, or at the end of the phase that `until` names.
- **Edges** are `PHASE.requested`, `.proven`, `.heal_requested`, `.healed`; `@MARK` is the first time that a mark's condition holds.
  Upper bounds count from proven edges, lower bounds from requested ones. A phase's window runs from proven to heal-requested.
- **A check counts only with data.** Too few samples, a gap, a field that isn't there, a stream that wasn't attached:
  INCONCLUSIVE. A `precondition` that doesn't hold is INCONCLUSIVE, not FAIL.
- **`each = [...]`** makes one expectation stand for several, called `id/value`, with `{each}` filled in. Phases and expectations
  can be written as `[[phase]]`, `[[expect]]` blocks or as lists, `phase = [...]`, `expect = [...]`, as reads best.
- **`[catches]`** says which deliberate bug of the target must make which expectation fail.
- Each bound's `source` is a line of the seed documents or a section of the bot's contract.

## The drills

| drill | what it shows | phases, quick / full | catches |
|---|---|---|---|
";

const POLICY: &str = "A policy says what a release must have shown. Which statement of the seed documents each of its items carries stands in
[gates/SOURCES.md](gates/SOURCES.md).

- **Figures** come from verdicts, **expressions** from recorded samples: a sample of the probe `promql:DIGEST` (of the
  expression with the target's names filled in), field `value`. Other series: `log:errors` and `log:warnings` (unexpected lines a minute), `setting:NAME`, both with
  field `value`; `step:ID`, field `verified`, for each step of a stage or roll-back; `trigger:ID`, fields `reason` and `role`, for one pulled by hand.
- **A run is evidence of the stage** whose `profile` it has. An item with `stage` is judged in each of them by its own runs.
- **What nothing recorded is INCONCLUSIVE**, and so is a window with less than nine tenths of its due values, a gap of more than three
  steps, or a value with fewer events behind it than `min_volume`. A gap also starts `for` anew, and what may have lasted through it is INCONCLUSIVE.
- **Lints** are warnings; `accept = \"reason\"` on the item silences its own, and must silence something.

";

#[test]
fn the_drill_reference_is_what_would_be_generated_now() {
    let path = root().join("drills/README.md");
    let wanted = generated();
    if std::env::var_os("FIREDRILL_BLESS").is_some() {
        fs::write(&path, &wanted).expect("drills/README.md is writable");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "drills/README.md is not what would be generated: run `just bless`"
    );
}

fn generated() -> String {
    let read = |path: &Path| fs::read_to_string(path).expect("a shipped file is readable");
    let targets = root().join("fixtures/targets");
    let text = read(&targets.join("reference.toml"));
    let beside = |name: &str| fs::read_to_string(targets.join(name)).map_err(|e| e.to_string());
    let target = parse_target("reference.toml", &text, &beside)
        .expect("it is valid")
        .value;
    let mut paths: Vec<PathBuf> = fs::read_dir(root().join("drills"))
        .expect("the drills are there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    paths.sort();
    let mut out = INTRO.to_owned();
    for path in &paths {
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let drill = parse_drill(&name, &read(path), &target)
            .expect("it is valid")
            .value;
        let quick: f64 = drill
            .phases
            .iter()
            .map(|p| p.hold.quick.as_secs_f64())
            .sum();
        let full: f64 = drill.phases.iter().map(|p| p.hold.full.as_secs_f64()).sum();
        let catches: Vec<&str> = drill.catches.keys().map(String::as_str).collect();
        let row = format!(
            "| [{}]({name}) | {} | {quick} s / {full} s | {} |",
            drill.name,
            drill.title,
            catches.join(", ")
        );
        writeln!(out, "{row}").expect("writing to a string");
    }
    out.push_str("\n## Grammar of a drill\n\nKeys in bold are required.\n\n");
    out.push_str(&reference(FileKind::Drill));
    out.push_str("## Grammar of a profile\n\n");
    out.push_str(&reference(FileKind::Profile));
    out.push_str("## Grammar of a policy\n\n");
    out.push_str(POLICY);
    out.push_str(&reference(FileKind::Policy));
    out.push_str("## Grammar of waivers (`drills/gates/waivers.toml`, `gate --waiver FILE`)\n\n");
    out.push_str(&reference(FileKind::Waivers));
    out.push_str("## Grammar of attestations (`gate --attestations FILE`)\n\n");
    out.push_str(&reference(FileKind::Attestations));
    out
}
