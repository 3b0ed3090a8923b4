//! Makes the journal of a simulated soak of a day, to measure the judge with: what a recorded soak holds is
//! repeated, tile after tile, until the hours are full.
//!
//! `day_journal RECORDED_RUN OUT_DIR [HOURS]`, by default 24 hours. Then `firedrill judge OUT_DIR`.
//!
//! A tile is what was recorded from the soak's beginning until its tables were read. Each later one is shifted in time,
//! and all that has a name in it gets another one, the same wherever it is used: 32-byte words are changed in two of
//! their middle bytes, the run's id in its last letters, and numbers of intents, operations, nonces, blocks and episodes
//! are moved up by what the recording used of them. So the audit has the signals, transactions and rows of a day to
//! reconcile, and as many reasons to find fault with them as in the recording. What stands once in a journal stays once:
//! the header, the streams' beginnings and ends, the tables, which hold the rows of all tiles. Watches are added until
//! there are forty series; their samples are noise around a level.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Seek, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use firedrill_journal::{
    DocumentRole, End, EndReason, Envelope, Event, Fact, FactSource, GENESIS, Header, Op, SEGMENTS,
    Sample, SampleResult, StreamState, Writer, act, open, sha256_hex,
};
use firedrill_plan::{
    HEARTBEAT_FIELD, Planned, PlannedCheckpoint, RECORD_ORDER, Rate, Schedule, Watch,
};
use firedrill_verdict::Plans;
use serde_json::{Value, json};

type Fail = Box<dyn Error>;
/// By table: its rows, on disk, and how many they are.
type Tables = BTreeMap<String, (BufWriter<File>, u64)>;

const SECOND_NS: u64 = 1_000_000_000;
const MS_NS: u64 = 1_000_000;
/// Series that are watched in the end.
const WATCHED: usize = 40;
/// Of their noise.
const SEED: u64 = 40;
/// Columns that name a signal, an intent or a position.
const NAMES: [&str; 5] = ["key", "id", "intent", "opened_by", "closed_by"];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let given = match args.as_slice() {
        [recording, out] => Some((recording, out, 24.0)),
        [recording, out, hours] => hours.parse().ok().map(|hours| (recording, out, hours)),
        _ => None,
    };
    let Some((recording, out, hours)) =
        given.filter(|(.., h): &(_, _, f64)| h.is_finite() && *h > 0.0)
    else {
        eprintln!("usage: day_journal RECORDED_RUN OUT_DIR [HOURS], hours above zero");
        return ExitCode::from(64);
    };
    match make(Path::new(recording), Path::new(out), hours) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("day_journal: {why}");
            ExitCode::FAILURE
        }
    }
}

fn make(recording: &Path, folder: &Path, hours: f64) -> Result<(), Fail> {
    fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let (recorded, survey, tables) = survey(recording, folder)?;
    let beyond = (hours * 3600.0 * SECOND_NS as f64 - survey.length as f64).max(0.0);
    let tiles = 1 + (beyond / survey.period as f64).ceil() as u64;
    if tiles > u64::from(u16::MAX) {
        return Err(format!("{tiles} tiles: their names can't be told apart").into());
    }
    let origin = recorded.run.started_at;
    let (header, series) = header(recorded, &survey, tiles)?;
    let mut out = Out {
        writer: Writer::segments(folder)?,
        origin,
        last: 0,
        lines: 0,
        bytes: 0,
        series,
        random: SEED,
        due: survey.began,
        until: survey.began + (tiles - 1) * survey.period + survey.length,
    };
    out.put(0, Event::Header(Box::new(header)))?;
    for number in 0..tiles {
        let tile = Tile::new(&survey, number);
        tile.write(recording, number + 1 == tiles, &mut out)?;
    }
    close(recording, (&survey, tiles), tables, &mut out)?;
    let (lines, bytes) = (out.lines, out.bytes);
    out.writer.seal()?;
    let files = fs::read_dir(folder.join(SEGMENTS))?.collect::<Result<Vec<_>, _>>()?;
    let sizes = files.iter().map(|f| f.metadata().map(|m| m.len()));
    let compressed = sizes.sum::<Result<u64, _>>()?;
    println!("{tiles} tiles, {lines} lines, {bytes} bytes, {compressed} bytes compressed");
    Ok(())
}

/// Where the lines go. Their times never go back.
struct Out {
    writer: Writer,
    /// The wall clock when the run's began.
    origin: jiff::Timestamp,
    last: u64,
    lines: u64,
    bytes: u64,
    /// What is watched besides, from when until when, once a second.
    series: Vec<Series>,
    random: u64,
    due: u64,
    until: u64,
}

impl Out {
    fn put(&mut self, mono_ns: u64, event: Event) -> Result<(), Fail> {
        self.last = self.last.max(mono_ns);
        let line = Envelope {
            seq: self.lines,
            mono_ns: self.last,
            wall: self.origin.checked_add(Duration::from_nanos(self.last))?,
            // As long as any.
            prev: GENESIS.to_owned(),
            event,
        };
        self.bytes += serde_json::to_vec(&line)?.len() as u64 + 1;
        self.lines += 1;
        self.writer.append(line.mono_ns, line.wall, line.event)?;
        Ok(())
    }

    /// Writes what was watched besides, up to that time.
    fn watch(&mut self, mono_ns: u64) -> Result<(), Fail> {
        while self.due <= self.until && self.due + 50 * MS_NS <= mono_ns {
            let mut all = std::mem::take(&mut self.series);
            for (at, series) in all.iter_mut().enumerate() {
                let sample = Sample {
                    probe: series.probe.clone(),
                    due_ns: self.due + at as u64 * MS_NS,
                    took_ns: 2 * MS_NS + (share(&mut self.random) * 8e6) as u64,
                    result: SampleResult::Value(series.step(&mut self.random)),
                };
                self.put(sample.due_ns + sample.took_ns, Event::Sample(sample))?;
            }
            self.series = all;
            self.due += SECOND_NS;
        }
        Ok(())
    }
}

/// What one look over the recording says: what of it is repeated, and how much of everything it uses.
#[derive(Default)]
struct Survey {
    run: String,
    episodes: u64,
    /// The first line of what is repeated, and the first one after it.
    first: u64,
    closing: u64,
    /// When the soak began, and how long it was until its load ended.
    began: u64,
    length: u64,
    /// From tile to tile: until all that the load had begun was over. Whole milliseconds.
    period: u64,
    /// Time of the last line about the tables.
    told: u64,
    ops: u64,
    ids: u64,
    blocks: u64,
    /// By sender.
    nonces: BTreeMap<String, u64>,
}

/// Looks over the recording, and lays the rows of its tables aside.
fn survey(recording: &Path, folder: &Path) -> Result<(Header, Survey, Tables), Fail> {
    let mut lines = open(recording)?;
    let first = lines.next().ok_or("the recording is empty")?;
    let Event::Header(header) = first.event else {
        return Err("the recording begins without a header".into());
    };
    let mut survey = Survey {
        run: header.run.id.clone(),
        episodes: header.episodes.len() as u64,
        ..Survey::default()
    };
    let (mut tables, mut last) = (Tables::new(), 0);
    for line in &mut lines {
        if is_attached(&line.event) {
            (survey.closing, survey.period) = (line.seq, last);
            tables.clear();
        }
        last = line.mono_ns;
        match &line.event {
            Event::Fact(fact) if fact.source == FactSource::Sql => {
                survey.used(fact);
                survey.told = line.mono_ns;
                lay_aside(&mut tables, &line, fact, folder)?;
            }
            Event::Part(_) => return Err("the recording was resumed, on another stack".into()),
            event => survey.see(line.seq, event),
        }
    }
    if let Some(cut) = lines.truncation() {
        return Err(format!("the recording is cut at line {}: {}", cut.line, cut.why).into());
    }
    if survey.first == 0 || survey.length == 0 || tables.is_empty() {
        return Err("a soak's begin, its end or its tables are missing in the recording".into());
    }
    let period = survey.period.saturating_sub(survey.began);
    survey.period = period.max(survey.length).div_ceil(MS_NS) * MS_NS;
    Ok((*header, survey, tables))
}

/// Whether the tables come next.
fn is_attached(event: &Event) -> bool {
    matches!(event, Event::Stream(s) if s.id == "sql" && s.state == StreamState::Attached)
}

fn lay_aside(all: &mut Tables, line: &Envelope, row: &Fact, folder: &Path) -> Result<(), Fail> {
    if row.what == "not_collected" {
        return Err("the recording lacks a table".into());
    }
    let told = row.what == "collected";
    let name = if told { text(row, "table") } else { &row.what };
    if !all.contains_key(name) {
        let spool = BufWriter::new(tempfile::tempfile_in(folder)?);
        all.insert(name.to_owned(), (spool, 0));
    }
    if let Some((spool, count)) = all.get_mut(name).filter(|_| !told) {
        serde_json::to_writer(&mut *spool, line)?;
        spool.write_all(b"\n")?;
        *count += 1;
    }
    Ok(())
}

fn text<'f>(fact: &'f Fact, key: &str) -> &'f str {
    fact.keys.get(key).and_then(Value::as_str).unwrap_or("")
}

/// Whose nonces a row or an event of the chain speaks of.
fn sender(fact: &Fact) -> String {
    let row = fact.source == FactSource::Sql;
    text(fact, if row { "sender" } else { "from" }).to_lowercase()
}

impl Survey {
    fn see(&mut self, seq: u64, event: &Event) {
        match event {
            Event::Op(op) => self.ops = self.ops.max(op.id + 1),
            Event::Fact(fact) if fact.source == FactSource::Act => match fact.what.as_str() {
                act::BEGINS => (self.began, self.first) = (fact.at_ns, seq + 1),
                act::ENDS => self.length = fact.at_ns.saturating_sub(self.began),
                _ => {}
            },
            Event::Fact(fact) if fact.source == FactSource::Chain => self.used(fact),
            _ => {}
        }
    }

    fn used(&mut self, fact: &Fact) {
        let number = |name: &str| {
            let value = fact.keys.get(name)?;
            value.as_u64().or_else(|| value.as_str()?.parse().ok())
        };
        let blocks = ["block", "block_number"].into_iter().filter_map(number);
        self.blocks = blocks.map(|block| block + 1).fold(self.blocks, u64::max);
        let ids = NAMES.into_iter().filter_map(number);
        self.ids = ids.map(|id| id + 1).fold(self.ids, u64::max);
        if let Some(nonce) = number("nonce") {
            let known = self.nonces.entry(sender(fact)).or_default();
            *known = (*known).max(nonce + 1);
        }
    }
}

/// One repetition: how each name and time in it is told apart from those of the others.
struct Tile<'s> {
    survey: &'s Survey,
    number: u64,
    shift: u64,
    run: String,
}

/// A run's id with other digits at its end, four as before; number 0 is the recording's own.
fn run_id(recorded: &str, number: u64) -> String {
    let kept = recorded.get(..recorded.len().saturating_sub(4));
    let kept = kept.filter(|_| number > 0);
    kept.map_or_else(|| recorded.to_owned(), |kept| format!("{kept}{number:04x}"))
}

impl<'s> Tile<'s> {
    fn new(survey: &'s Survey, number: u64) -> Self {
        Tile {
            survey,
            number,
            shift: number * survey.period,
            run: run_id(&survey.run, number),
        }
    }

    /// The recording's lines as they are in this tile. What comes before the soak stands in the first one only, the
    /// soak's end in the last one.
    fn write(&self, recording: &Path, is_last: bool, out: &mut Out) -> Result<(), Fail> {
        let lines = open(recording)?.skip(1);
        for line in lines.take_while(|line| line.seq < self.survey.closing) {
            let before = line.seq < self.survey.first;
            let ends = matches!(&line.event, Event::Fact(f) if f.what == act::ENDS);
            if before && self.number > 0 || ends && !is_last {
                continue;
            }
            let mono_ns = line.mono_ns + self.shift;
            out.watch(mono_ns)?;
            out.put(mono_ns, self.event(line.event))?;
        }
        Ok(())
    }

    fn event(&self, event: Event) -> Event {
        match event {
            Event::Edge(mut edge) => {
                edge.episode += self.episodes();
                edge.at_ns += self.shift;
                edge.proof = edge.proof.map(|text| self.text(text));
                Event::Edge(edge)
            }
            Event::Op(op) => Event::Op(self.op(op)),
            Event::Sample(mut sample) => {
                sample.due_ns += self.shift;
                if let SampleResult::Value(fields) = &mut sample.result
                    && let Some(beat) = fields.get_mut(HEARTBEAT_FIELD)
                    && let Some(at) = beat.as_f64()
                {
                    *beat = json!(at + self.shift as f64 / SECOND_NS as f64);
                }
                Event::Sample(sample)
            }
            Event::Fact(mut fact) => {
                fact.at_ns += self.shift;
                self.keys(&mut fact);
                Event::Fact(fact)
            }
            Event::Stream(mut stream) => {
                stream.at_ns += self.shift;
                Event::Stream(stream)
            }
            Event::Starved { from_ns, to_ns } => Event::Starved {
                from_ns: from_ns + self.shift,
                to_ns: to_ns + self.shift,
            },
            other => other,
        }
    }

    fn episodes(&self) -> u32 {
        u32::try_from(self.survey.episodes * self.number).unwrap_or(u32::MAX)
    }

    fn op(&self, mut op: Op) -> Op {
        op.id += self.number * self.survey.ops;
        op.intended_ns += self.shift;
        op.at_ns += self.shift;
        if let Some(signal) = &mut op.signal {
            signal.key = self.name(std::mem::take(&mut signal.key));
            signal.tag = self.text(std::mem::take(&mut signal.tag));
            signal.episode += self.episodes();
        }
        op
    }

    fn keys(&self, fact: &mut Fact) {
        let row = fact.source == FactSource::Sql;
        let nonces = self.survey.nonces.get(&sender(fact));
        let nonces = nonces.copied().unwrap_or(0);
        for (name, value) in &mut fact.keys {
            let up = match name.as_str() {
                "nonce" => nonces * self.number,
                "block" | "block_number" => self.survey.blocks * self.number,
                name if name.ends_with("_ns") => self.shift,
                _ => 0,
            };
            *value = match (name.as_str(), value.take()) {
                (column, Value::String(name)) if row && NAMES.contains(&column) => {
                    json!(self.name(name))
                }
                (_, Value::String(text)) => match text.parse::<u64>() {
                    Ok(number) if up > 0 => json!((number + up).to_string()),
                    _ => json!(self.text(text)),
                },
                (_, value) => match value.as_u64() {
                    Some(number) if up > 0 => json!(number + up),
                    _ => value,
                },
            };
        }
    }

    /// The name of a signal, an intent or a position: a number, a text that the run's id or a word makes its own, or
    /// any other.
    fn name(&self, name: String) -> String {
        if let Ok(number) = name.parse::<u64>() {
            return (number + self.number * self.survey.ids).to_string();
        }
        let other = self.text(name.clone());
        if other == name && self.number > 0 {
            return format!("{name}~{}", self.number);
        }
        other
    }

    /// A text that may name signals, transactions and positions of the run.
    fn text(&self, text: String) -> String {
        let text = match text.contains(&self.survey.run) {
            true => text.replace(&self.survey.run, &self.run),
            false => text,
        };
        if !text.contains("0x") {
            return text;
        }
        let mut bytes = text.into_bytes();
        let mut at = 0;
        while at + 2 < bytes.len() {
            if !bytes[at..].starts_with(b"0x") {
                at += 1;
                continue;
            }
            let digits = bytes[at + 2..].iter();
            let digits = digits.take_while(|b| b.is_ascii_hexdigit()).count();
            // A word by itself, or a call: four bytes and then words.
            let selector = digits % 64;
            let (from, to) = (at + 2 + selector, at + 2 + digits);
            if matches!(selector, 0 | 8) {
                let words = bytes[from..to].chunks_exact_mut(64);
                words.for_each(|word| self.word(word));
            }
            at = to;
        }
        // Digits were put in the places of digits: it is as much a text as before.
        String::from_utf8(bytes).unwrap_or_default()
    }

    /// A 32-byte word, unless it is a number or a text: those begin or end with zeros.
    fn word(&self, word: &mut [u8]) {
        let zero = |part: &[u8]| part.iter().all(|b| *b == b'0');
        if zero(&word[..16]) || zero(&word[48..]) {
            return;
        }
        for (place, digit) in word[28..32].iter_mut().rev().enumerate() {
            let by = self.number >> (4 * place) & 15;
            if let (Some(value), true) = (char::from(*digit).to_digit(16), by > 0) {
                *digit = b"0123456789abcdef"[(u64::from(value) ^ by) as usize];
            }
        }
    }
}

/// What comes after the tiles: the tables of all of them, the equations, and the streams' ends.
fn close(
    recording: &Path,
    (survey, tiles): (&Survey, u64),
    mut tables: Tables,
    out: &mut Out,
) -> Result<(), Fail> {
    let mut last = Tile::new(survey, tiles - 1);
    for line in open(recording)?.filter(|line| line.seq >= survey.closing) {
        let mono_ns = line.mono_ns + last.shift;
        let attached = is_attached(&line.event);
        match last.event(line.event) {
            Event::Fact(fact) if fact.source == FactSource::Sql => {}
            Event::Fact(mut fact) if fact.source == FactSource::Metric => {
                for side in ["metric", "database"] {
                    let count = fact.keys.get(side).and_then(Value::as_f64);
                    let whole = count.map(|n| (side.to_owned(), json!(n * tiles as f64)));
                    fact.keys.extend(whole);
                }
                out.put(mono_ns, Event::Fact(fact))?;
            }
            Event::End(_) => {
                let end = End {
                    reason: EndReason::Completed,
                    detail: None,
                    at_ns: mono_ns,
                    counts: out.writer.counts().clone(),
                };
                out.put(mono_ns, Event::End(end))?;
            }
            other => out.put(mono_ns, other)?,
        }
        if attached {
            // Those first that the others are read with.
            let names = RECORD_ORDER.map(str::to_owned).into_iter();
            let rest: Vec<String> = tables.keys().cloned().collect();
            for name in names.chain(rest) {
                if let Some(rows) = tables.remove(&name) {
                    table((survey, tiles), &name, rows, out)?;
                }
            }
            // What follows comes as long after the tables as it was recorded.
            last.shift = out.last.saturating_sub(survey.told);
        }
    }
    Ok(())
}

/// The rows of one table in all tiles, each as long after the one before as it was recorded.
fn table(
    (survey, tiles): (&Survey, u64),
    name: &str,
    (spool, count): (BufWriter<File>, u64),
    out: &mut Out,
) -> Result<(), Fail> {
    let at_ns = out.last;
    let mut spool = spool.into_inner()?;
    for number in 0..tiles {
        let tile = Tile::new(survey, number);
        spool.rewind()?;
        let mut before = None;
        for line in BufReader::new(&spool).lines() {
            let line: Envelope = serde_json::from_str(&line?)?;
            let took = line.mono_ns - before.replace(line.mono_ns).unwrap_or(line.mono_ns);
            if let Event::Fact(mut row) = tile.event(line.event) {
                row.at_ns = at_ns;
                out.put(out.last + took, Event::Fact(row))?;
            }
        }
    }
    let keys = [("table", json!(name)), ("rows", json!(count * tiles))];
    let collected = Fact {
        source: FactSource::Sql,
        what: "collected".to_owned(),
        at_ns,
        keys: keys.map(|(key, value)| (key.to_owned(), value)).into(),
    };
    out.put(out.last, Event::Fact(collected))
}

/// The header of the whole: the recording's, with its episodes and its schedule as often as there are tiles, and with
/// the watches that it lacks. With them the levels of their noise.
fn header(mut header: Header, survey: &Survey, tiles: u64) -> Result<(Header, Vec<Series>), Fail> {
    let plans = Plans::of(&header)?;
    let missing = "the recording carries no schedule, or no profile";
    let both = plans.profile.as_ref().zip(plans.schedule.as_ref());
    let (profile, schedule) = both.ok_or(missing)?;
    let lacking = WATCHED.saturating_sub(profile.watches.len());
    let more: Vec<(String, f64)> = watches(&plans).into_iter().take(lacking).collect();
    let mut whole = repeated(schedule, tiles, survey.period / MS_NS);
    let checkpoints = profile.checkpoints.iter().map(|c| c.as_millis() as u64);
    let within = checkpoints.filter(|at_ms| *at_ms <= whole.length_ms);
    whole.checkpoints = within.map(|at_ms| PlannedCheckpoint { at_ms }).collect();
    for document in &mut header.documents {
        match document.role {
            DocumentRole::Schedule => document.text = serde_json::to_string_pretty(&whole)?,
            DocumentRole::Profile => more.iter().for_each(|(text, _)| document.text += text),
            _ => continue,
        }
        document.sha256 = sha256_hex(document.text.as_bytes());
    }
    header.run.id = run_id(&survey.run, tiles);
    header.run.argv = std::env::args().collect();
    let one = header.episodes.clone();
    header.episodes.extend((1..tiles).flat_map(|_| one.clone()));
    let plans = Plans::of(&header)?;
    let watched = plans.profile.map(|p| p.watches).unwrap_or_default();
    let (n, added) = (watched.len(), more.len());
    println!("{n} series are watched, {added} of them added");
    let added = watched.iter().skip(n - added);
    let mut series: Vec<Series> = Vec::new();
    for (Watch { probe, field, .. }, (_, level)) in added.zip(&more) {
        let walk = (field.clone(), *level, *level);
        match series.iter_mut().find(|s| s.probe == probe.id) {
            Some(known) => known.walks.push(walk),
            None => series.push(Series {
                probe: probe.id.clone(),
                walks: vec![walk],
            }),
        }
    }
    Ok((header, series))
}

fn repeated(one: &Schedule, tiles: u64, period_ms: u64) -> Schedule {
    let mut whole = one.clone();
    whole.length_ms += (tiles - 1) * period_ms;
    for by_ms in (1..tiles).map(|number| number * period_ms) {
        whole.episodes.extend(one.episodes.iter().map(|e| Planned {
            at_ms: e.at_ms + by_ms,
            ..e.clone()
        }));
        whole.rates.extend(one.rates.iter().map(|r| Rate {
            from_ms: r.from_ms + by_ms,
            ..*r
        }));
    }
    whole
}

/// What could be watched besides: tables of a profile, each of one series, and the level of each.
fn watches(plans: &Plans) -> Vec<(String, f64)> {
    let watched = plans.profile.iter().flat_map(|p| &p.watches);
    let watched: Vec<&str> = watched.map(|w| w.probe.id.as_str()).collect();
    let free = |name: &&str| !watched.contains(&format!("watch:container:{name}").as_str());
    let services = plans.target.services.iter().map(|s| s.name.as_str());
    let services: Vec<&str> = services.filter(free).collect();
    let mut all = Vec::new();
    let mut add = |probe: String, limit: u64, level: f64| {
        let id = all.len() + 1;
        let text = format!(
            "\n[[watch]]\nid = \"more-{id}\"\nwhat = \"it doesn't pile up\"\nprobe = {{ {probe}, every = \"1s\" }}\nlimit = {limit}\nhorizon = \"24h\"\n"
        );
        all.push((text, level));
    };
    for (query, limit, level) in [
        ("count(*) FROM pg_locks", 10_000, 12.0),
        ("count(*) FROM pg_ls_waldir()", 1_000, 16.0),
        ("pg_database_size(current_database())", 1 << 40, 80e6),
    ] {
        add(format!("sql = \"SELECT {query}\""), limit, level);
    }
    for (field, limit, level) in [
        ("rss_bytes", 1 << 30, 30e6),
        ("threads", 512, 8.0),
        ("fds", 4_096, 24.0),
        ("cpu_percent", 400, 5.0),
    ] {
        for service in &services {
            let probe = format!("container = \"{service}\", field = \"{field}\"");
            add(probe, limit, level);
        }
    }
    all
}

/// A probe that nobody asked, and what it would have seen.
struct Series {
    probe: String,
    /// Field, level, and where it stands.
    walks: Vec<(String, f64, f64)>,
}

impl Series {
    /// A walk that is drawn back to its level.
    fn step(&mut self, random: &mut u64) -> BTreeMap<String, Value> {
        let mut fields = BTreeMap::new();
        if self.probe.starts_with("watch:container:") {
            let said = [("running", true), ("paused", false), ("oom_killed", false)];
            fields.extend(said.map(|(name, is)| (name.to_owned(), json!(is))));
            fields.insert("restarts".to_owned(), json!(0));
        }
        for (field, level, value) in &mut self.walks {
            *value += 0.05 * (*level - *value) + (share(random) - 0.5) * (0.05 * *level + 1.0);
            fields.insert(field.clone(), json!(value.round() as u64));
        }
        fields
    }
}

/// The next number of SplitMix64 (Steele, Lea and Flood 2014), from 0 to less than 1.
fn share(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}
