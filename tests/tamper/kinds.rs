//! Kinds of tampering.

use std::fs;
use std::path::Path;

use firedrill_journal::{Envelope, Event, sha256_hex};
use serde_json::Value;

use crate::evidence;
use crate::stage::{Stage, conclude, part, reseal, seal, segment, sign};
use crate::support::copy;

pub struct Kind {
    pub what: &'static str,
    /// Whether the folder alone shows it.
    pub without_key: bool,
    pub apply: fn(&mut Stage),
}

const fn found(what: &'static str, apply: fn(&mut Stage)) -> Kind {
    Kind {
        what,
        without_key: true,
        apply,
    }
}

const fn needs_key(what: &'static str, apply: fn(&mut Stage)) -> Kind {
    Kind {
        what,
        without_key: false,
        apply,
    }
}

fn remove(path: &Path) {
    fs::remove_file(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// Any log of the run.
fn log(stage: &Stage) -> String {
    let entries = fs::read_dir(stage.run.join("logs")).expect("there are logs");
    let mut names: Vec<String> = entries
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    format!("logs/{}", names[0])
}

/// Lets another run's file stand in for this one's.
fn foreign(stage: &Stage, name: &str) {
    copy(&stage.other.join(name), &stage.run.join(name));
}

/// Changes the header's text of a drill, and its digest with it.
fn drill_text(line: &mut String, with_digest: bool) {
    let mut first: Envelope = serde_json::from_str(line).expect("the header");
    let Event::Header(header) = &mut first.event else {
        panic!("the first line is the header");
    };
    let document = header.documents.last_mut().expect("a drill");
    document.text = document.text.replacen("equals", " equals", 1);
    if with_digest {
        document.sha256 = sha256_hex(document.text.as_bytes());
    }
    *line = serde_json::to_string(&first).expect("it is encoded");
}

fn renamed(line: &mut String, from: &str, to: &str) {
    *line = line.replacen(from, to, 1);
}

fn cut_file(path: &Path, keep: impl Fn(usize) -> usize) {
    let bytes = fs::read(path).expect("it is readable");
    fs::write(path, &bytes[..keep(bytes.len())]).expect("it is written");
}

fn attested(stage: &Stage, change: impl FnOnce(&mut Value)) {
    let path = stage.attestation(&stage.run);
    let text = fs::read_to_string(&path).expect("it is there");
    let mut json: Value = serde_json::from_str(&text).expect("it is JSON");
    change(&mut json);
    fs::write(path, json.to_string()).expect("it is written");
}

/// The run's name with another end.
const REPLAYED: &str = "20261122t090000z-drill-7-zzzz";

pub const KINDS: &[Kind] = &[
    found("a line of the journal edited", |s| {
        s.edit(&s.run.join("journal.jsonl"), "\"sample\"", "\"sampel\"");
    }),
    found("`verdict.json` edited", |s| {
        s.edit(&s.run.join("verdict.json"), "\"fail\"", "\"pass\"");
    }),
    found("`report.html` edited", |s| {
        s.edit(&s.run.join("report.html"), "FAIL", "PASS")
    }),
    found("`report.md` edited", |s| {
        s.edit(&s.run.join("report.md"), "FAIL", "PASS")
    }),
    found("`junit.xml` edited", |s| {
        s.edit(&s.run.join("junit.xml"), "<failure", "<skipped");
    }),
    found("a log edited", |s| s.edit(&s.run.join(log(s)), "ms", "sm")),
    found("the ledger of faults edited", |s| {
        s.edit(&s.run.join("ledger.jsonl"), "injecting", "healed");
    }),
    found("the journal removed", |s| {
        remove(&s.run.join("journal.jsonl"))
    }),
    found("`verdict.json` removed", |s| {
        remove(&s.run.join("verdict.json"))
    }),
    found("a report removed", |s| remove(&s.run.join("report.html"))),
    found("a log removed", |s| remove(&s.run.join(log(s)))),
    found("a file added", |s| {
        fs::write(s.run.join("note.md"), "all is well").expect("it is written");
    }),
    found("the manifest removed", |s| {
        remove(&s.run.join("manifest.json"))
    }),
    found("a digest of the manifest edited", |s| {
        let digest = sha256_hex(&fs::read(s.run.join("report.md")).expect("it is readable"));
        s.edit(&s.run.join("manifest.json"), &digest, &sha256_hex(b"x"));
    }),
    found("the manifest's chain head edited", |s| {
        let journal = firedrill_journal::read_run(&s.run).expect("a journal");
        s.edit(
            &s.run.join("manifest.json"),
            &journal.head,
            &sha256_hex(b"x"),
        );
    }),
    found("an entry taken out of the manifest, its file edited", |s| {
        s.edit(&s.run.join("junit.xml"), "<failure", "<skipped");
        let path = s.run.join("manifest.json");
        let text = fs::read(&path).expect("it is readable");
        let mut json: Value = serde_json::from_slice(&text).expect("it is JSON");
        json["files"]
            .as_object_mut()
            .expect("a table")
            .remove("junit.xml");
        fs::write(path, json.to_string()).expect("it is written");
    }),
    found("journal and manifest edited together", |s| {
        s.edit_both("journal.jsonl", "\"took_ns\":", "\"took_ns\":1");
    }),
    found("the verdict upgraded, all digests made anew", |s| {
        s.edit_both(
            "verdict.json",
            "\"verdict\": \"fail\"",
            "\"verdict\": \"pass\"",
        );
    }),
    found("`junit.xml` edited, manifest made anew", |s| {
        s.edit_both("junit.xml", "<failure", "<skipped");
    }),
    found("`report.html` edited, manifest made anew", |s| {
        s.edit_both("report.html", "FAIL", "PASS");
    }),
    found("`report.md` edited, manifest made anew", |s| {
        s.edit_both("report.md", "FAIL", "PASS")
    }),
    found("a log edited, manifest made anew", |s| {
        s.edit_both(&log(s), "ms", "sm")
    }),
    found("the ledger edited, manifest made anew", |s| {
        s.edit_both("ledger.jsonl", "injecting", "healed");
    }),
    found("a file added, manifest made anew", |s| {
        fs::write(s.run.join("note.md"), "all is well").expect("it is written");
        reseal(&s.run);
    }),
    found("a log removed, manifest made anew", |s| {
        remove(&s.run.join(log(s)));
        reseal(&s.run);
    }),
    found("another run's report, manifest made anew", |s| {
        foreign(s, "report.html");
        reseal(&s.run);
    }),
    found("another run's verdict, manifest made anew", |s| {
        foreign(s, "verdict.json");
        reseal(&s.run);
    }),
    found("another run's folder in its place", |s| {
        fs::remove_dir_all(&s.run).expect("it is removed");
        copy(&s.other, &s.run);
    }),
    found(
        "another run's folder in its place, manifest made anew",
        |s| {
            fs::remove_dir_all(&s.run).expect("it is removed");
            copy(&s.other, &s.run);
            reseal(&s.run);
        },
    ),
    found("the folder renamed", |s| {
        let to = s.run.with_file_name(REPLAYED);
        fs::rename(&s.run, &to).expect("it is renamed");
        s.target = to;
    }),
    found("an old run under a new name, manifest made anew", |s| {
        let to = s.run.with_file_name(REPLAYED);
        copy(&s.run, &to);
        reseal(&to);
        s.target = to;
    }),
    needs_key(
        "an old run under a new name, journal chained and all made anew",
        |s| {
            let to = s.run.with_file_name(REPLAYED);
            copy(&s.run, &to);
            let from = evidence::folder_name(&s.run);
            s.run.clone_from(&to);
            s.chained(|lines| renamed(&mut lines[0], &from, REPLAYED));
            seal(&to);
            s.target = to;
        },
    ),
    found("the journal's last line cut, manifest made anew", |s| {
        s.lines(|lines| {
            lines.pop();
        });
        reseal(&s.run);
    }),
    found("the journal's last line cut, all made anew", |s| {
        s.lines(|lines| {
            lines.pop();
        });
        seal(&s.run);
    }),
    found("the journal cut within a line, manifest made anew", |s| {
        cut_file(&s.run.join("journal.jsonl"), |length| length - 9);
        reseal(&s.run);
    }),
    found("two lines swapped, manifest made anew", |s| {
        s.lines(|lines| lines.swap(3, 4));
        reseal(&s.run);
    }),
    found(
        "two lines swapped and chained anew, manifest made anew",
        |s| {
            s.chained(|lines| lines.swap(3, 4));
            reseal(&s.run);
        },
    ),
    needs_key("two lines swapped and chained anew, all made anew", |s| {
        s.chained(|lines| lines.swap(3, 4));
        seal(&s.run);
    }),
    found(
        "the drill's text in the header edited, manifest made anew",
        |s| {
            s.lines(|lines| drill_text(&mut lines[0], true));
            reseal(&s.run);
        },
    ),
    needs_key(
        "the drill's text in the header edited, all made anew",
        |s| {
            s.chained(|lines| drill_text(&mut lines[0], true));
            seal(&s.run);
        },
    ),
    needs_key(
        "the whole run made of another run's journal, under its id",
        |s| {
            let id = evidence::folder_name(&s.run);
            let other = evidence::folder_name(&s.other);
            foreign(s, "journal.jsonl");
            fs::remove_dir_all(s.run.join("logs")).expect("they are removed");
            s.chained(|lines| renamed(&mut lines[0], &other, &id));
            seal(&s.run);
        },
    ),
    found("two segments swapped, manifest made anew", |s| {
        let (a, b) = (segment(&s.segments, 1), segment(&s.segments, 2));
        let kept = a.with_extension("kept");
        fs::rename(&a, &kept).expect("it is renamed");
        fs::rename(&b, &a).expect("it is renamed");
        fs::rename(&kept, &b).expect("it is renamed");
        reseal(&s.segments);
        s.target = s.segments.clone();
    }),
    found("a segment in the middle removed, manifest made anew", |s| {
        remove(&segment(&s.segments, 2));
        reseal(&s.segments);
        s.target = s.segments.clone();
    }),
    found("the last segment removed, manifest made anew", |s| {
        remove(&segment(&s.segments, 3));
        reseal(&s.segments);
        s.target = s.segments.clone();
    }),
    found("a segment cut within its frame, manifest made anew", |s| {
        cut_file(&segment(&s.segments, 3), |length| length / 2);
        reseal(&s.segments);
        s.target = s.segments.clone();
    }),
    found("a segment added, manifest made anew", |s| {
        copy(&segment(&s.segments, 3), &segment(&s.segments, 4));
        reseal(&s.segments);
        s.target = s.segments.clone();
    }),
    found("one drill of several removed, manifest made anew", |s| {
        let part = part(&s.several);
        fs::remove_dir_all(part).expect("it is removed");
        reseal(&s.several);
        s.target = s.several.clone();
    }),
    found(
        "the common `junit.xml` of several drills edited, manifest made anew",
        |s| {
            s.edit(&s.several.join("junit.xml"), "<testcase", "<testcase  ");
            reseal(&s.several);
            s.target = s.several.clone();
        },
    ),
    needs_key(
        "one drill of several removed, plan and all made anew",
        |s| {
            let gone = part(&s.several);
            let kept = others(&s.several, &gone);
            fs::remove_dir_all(gone).expect("it is removed");
            conclude(&s.several, &kept);
            s.target = s.several.clone();
        },
    ),
    needs_key("the attestation removed", |s| {
        remove(&s.attestation(&s.run))
    }),
    needs_key("the attestation of another run in its place", |s| {
        copy(&s.attestation(&s.other), &s.attestation(&s.run));
    }),
    needs_key("the attested verdict edited", |s| {
        attested(s, |json| {
            json["statement"]["runs"][0]["verdict"] = "pass".into()
        });
    }),
    needs_key("the attested signer edited", |s| {
        attested(s, |json| json["statement"]["signer"] = "Grace".into());
    }),
    needs_key("the signature stripped", |s| {
        attested(s, |json| json["signature"] = "".into())
    }),
    needs_key("another key's signature", |s| {
        remove(&s.attestation(&s.run));
        sign(s.dir(), &evidence::folder_name(&s.run), "theirs", "Ada");
    }),
    needs_key(
        "another key's signature that claims the key's fingerprint",
        |s| {
            let text = fs::read(s.attestation(&s.run)).expect("it is there");
            let ours: Value = serde_json::from_slice(&text).expect("it is JSON");
            remove(&s.attestation(&s.run));
            sign(s.dir(), &evidence::folder_name(&s.run), "theirs", "Ada");
            attested(s, |json| json["key"] = ours["key"].clone());
        },
    ),
    needs_key("verified with another key than it was signed with", |s| {
        s.key = "theirs.pub"
    }),
    needs_key(
        "the run made anew, its attestation pointed at the new manifest",
        |s| {
            s.chained(|lines| lines.swap(3, 4));
            seal(&s.run);
            let manifest = fs::read(s.run.join("manifest.json")).expect("it is readable");
            let digest = sha256_hex(&manifest);
            attested(s, |json| {
                json["statement"]["runs"][0]["manifest_sha256"] = digest.into();
            });
        },
    ),
];

/// The other parts: drill and subject.
fn others(several: &Path, gone: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(several).expect("it is readable");
    let parts = entries
        .map(|e| e.expect("an entry").path())
        .filter(|path| path.is_dir() && path != gone);
    parts
        .map(|path| {
            let header = evidence::header(&path).expect("it has a header");
            (evidence::folder_name(&path), header.subject.digest)
        })
        .collect()
}
