//! The line to paste to run a recorded run again, taken from its journal's header alone: so a report that is
//! rendered again later has the same bytes.

use firedrill_journal::{Document, DocumentRole, Header, RunKind};
use firedrill_plan::Schedule;

pub fn rerun(header: &Header) -> String {
    let run = &header.run;
    let (seed, profile) = (run.seed, &run.profile);
    match run.kind {
        RunKind::Drill => {
            let drill = header.episodes.first().map_or("", |e| e.document.as_str());
            let target = document(header, DocumentRole::Target).map_or("", |d| d.path.as_str());
            let [drill, profile, target] = [drill, profile.as_str(), target].map(quoted);
            format!(
                "{}cargo run -- run {drill} --profile {profile} --target {target} --seed {seed}",
                defect(header)
            )
        }
        RunKind::Soak => {
            let (time, profile) = (length(header), quoted(profile));
            format!(
                "{}cargo run --release -- soak --profile {profile}{time} --seed {seed}",
                defect(header)
            )
        }
        RunKind::Observe => {
            let words: Vec<String> = run.argv.iter().map(|word| quoted(word)).collect();
            words.join(" ")
        }
    }
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn document(header: &Header, role: DocumentRole) -> Option<&Document> {
    header.documents.iter().find(|d| d.role == role)
}

/// `NAME=defect `, where a defect was switched on.
fn defect(header: &Header) -> String {
    let Some(defect) = &header.subject.defect else {
        return String::new();
    };
    let target = document(header, DocumentRole::Target)
        .and_then(|d| firedrill_plan::parse_target(&d.path, &d.text, &|_| Ok(String::new())).ok());
    let switch = target.and_then(|t| t.value.defects).map(|d| d.env);
    switch.map_or_else(String::new, |env| format!("{env}={defect} "))
}

/// A drawn soak's length; one whose drills have an order has none of its own.
fn length(header: &Header) -> String {
    let schedule = document(header, DocumentRole::Schedule)
        .and_then(|d| serde_json::from_str::<Schedule>(&d.text).ok());
    let Some(ms) = schedule.filter(|s| s.waits).map(|s| s.length_ms) else {
        return String::new();
    };
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = units.into_iter().find(|(per, _)| ms % per == 0);
    let (per, unit) = unit.unwrap_or((1, "ms"));
    format!(" --for {}{unit}", ms / per)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_drill_says_how_to_run_it_again() {
        let journal = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures/journals/outage-fails-open/journal.jsonl");
        let header = firedrill_journal::read_file(&journal)
            .expect("a recorded journal")
            .header;
        let line = rerun(&header);
        let seed = header.run.seed;
        assert!(
            line.contains("=fails-open cargo run -- run ")
                && line.ends_with(&format!("--seed {seed}")),
            "{line}"
        );
    }

    #[test]
    fn a_watch_s_line_can_be_pasted() {
        let journal = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures/journals/outage-honest/journal.jsonl");
        let mut header = firedrill_journal::read_file(&journal)
            .expect("a recorded journal")
            .header;
        header.run.kind = RunKind::Observe;
        let words = ["firedrill", "--selector", "track=\"canary\"", "it's", ""];
        header.run.argv = words.map(str::to_owned).to_vec();
        assert_eq!(
            rerun(&header),
            r#"firedrill --selector 'track="canary"' 'it'\''s' ''"#
        );
    }
}
