//! A soak whose harness died, read so far that it can go on: same folder, same schedule, fresh stack.

use std::path::{Path, PathBuf};

use firedrill_journal::{
    Document, DocumentRole, EdgeKind, Event, FactSource, Header, Lines, Part, act, sha256_hex,
};
use firedrill_plan::Schedule;
use firedrill_runner::Resume;

use crate::exit::Stop;
use crate::files;

/// Numbers of signals and operations that are left out: more than a second of them, which is what the
/// journal can have lost, whatever the rate.
const MARGIN: u64 = 100_000;

/// What the journal of the parts before says.
pub struct Before {
    pub dir: PathBuf,
    pub header: Header,
    pub schedule: Schedule,
    pub resume: Resume,
}

/// Reads the journal, and refuses what can't go on.
pub fn read(dir: &Path) -> Result<Before, Stop> {
    let refuse = |why: &str| Stop::Usage(format!("{}: {why}", dir.display()));
    let journal = firedrill_journal::find(dir);
    match journal {
        None => return Err(refuse("no journal in it; give the folder of a soak")),
        Some(path) if !path.is_dir() => {
            return Err(refuse(
                "only a soak that draws its drills can go on; run this one again",
            ));
        }
        Some(_) => {}
    }
    let mut lines = firedrill_journal::open(dir).map_err(|e| Stop::Environment(e.to_string()))?;
    let mut seen = Seen::of(&mut lines);
    if seen.ended {
        return Err(refuse(
            "the soak came to its end; there is nothing to go on with",
        ));
    }
    let header = seen
        .header
        .take()
        .ok_or_else(|| refuse("its journal has no readable header"))?;
    let document = header
        .documents
        .iter()
        .find(|d| d.role == DocumentRole::Schedule)
        .ok_or_else(|| refuse("its journal holds no schedule"))?;
    let schedule: Schedule = serde_json::from_str(&document.text)
        .map_err(|e| refuse(&format!("its schedule can't be read: {e}")))?;
    unchanged(&header.documents)?;
    let away = jiff::Timestamp::now().duration_since(seen.wall).as_nanos();
    let away_ns = u64::try_from(away.max(0)).unwrap_or(u64::MAX);
    let done = (0..schedule.episodes.len()).find(|e| !seen.done.contains(e));
    let episode = done.unwrap_or(schedule.episodes.len());
    let part = Part {
        number: seen.parts + 2,
        from_ns: seen.mono_ns,
        at_ns: seen.mono_ns.saturating_add(away_ns),
        lost: lines.truncation().map(|t| t.why.clone()),
        episode: u32::try_from(episode).unwrap_or(u32::MAX),
        subject: header.subject.clone(),
        argv: std::env::args().collect(),
    };
    let elapsed_ms = seen.elapsed_ms();
    Ok(Before {
        dir: dir.to_owned(),
        header,
        schedule,
        resume: Resume {
            after: lines.position(),
            part,
            elapsed_ms,
            next_number: seen.number + MARGIN,
        },
    })
}

/// What has to be known of the lines before. No line is kept.
struct Seen {
    header: Option<Header>,
    mono_ns: u64,
    wall: jiff::Timestamp,
    number: u64,
    parts: u32,
    done: std::collections::BTreeSet<usize>,
    /// When the soak began in its last part, and how much of its time had passed by then.
    began: Option<(u64, u64)>,
    ended: bool,
}

impl Seen {
    fn of(lines: &mut Lines) -> Self {
        let mut seen = Seen {
            header: None,
            mono_ns: 0,
            wall: jiff::Timestamp::UNIX_EPOCH,
            number: 0,
            parts: 0,
            done: std::collections::BTreeSet::new(),
            began: None,
            ended: false,
        };
        for line in lines {
            seen.mono_ns = line.mono_ns;
            seen.wall = line.wall;
            match line.event {
                Event::Header(header) => seen.header = Some(*header),
                Event::Op(op) => seen.number = seen.number.max(op.id),
                Event::Part(_) => seen.parts += 1,
                Event::End(_) => seen.ended = true,
                Event::Edge(edge)
                    if edge.phase == "quiesce" && edge.kind == EdgeKind::HealRequested =>
                {
                    seen.done.insert(edge.episode as usize);
                }
                Event::Fact(fact) if fact.source == FactSource::Act && fact.what == act::BEGINS => {
                    let elapsed = fact.keys.get("elapsed_ms").and_then(|v| v.as_u64());
                    seen.began = Some((fact.at_ns, elapsed.unwrap_or(0)));
                }
                _ => {}
            }
        }
        seen
    }

    fn elapsed_ms(&self) -> u64 {
        let since = |(at, before): (u64, u64)| before + self.mono_ns.saturating_sub(at) / 1_000_000;
        self.began.map_or(0, since)
    }
}

/// What goes on must be what began: the same files.
fn unchanged(documents: &[Document]) -> Result<(), Stop> {
    let of_files = documents
        .iter()
        .filter(|d| d.role != DocumentRole::Schedule);
    for document in of_files {
        let text = files::read(Path::new(&document.path))?;
        if sha256_hex(text.as_bytes()) != document.sha256 {
            return Err(Stop::Usage(format!(
                "{}: it has changed since the soak began; put it back, or start a new soak",
                document.path
            )));
        }
    }
    Ok(())
}
