//! A log file that is followed from its present end: how many lines at which level, in the last minute.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// Bytes of a file that are held at a time.
const CHUNK: u64 = 4 << 20;
/// Bytes of a file that are read in one round; what is more waits for the next one, which is said.
const ROUND_MAX: u64 = 64 << 20;
/// Longest line that is kept while its end hasn't come.
const LINE_MAX: usize = 64 * 1024;
/// Lines that are handed on of one reading.
const LINES_MAX: usize = 200;
const MINUTE_NS: u64 = 60_000_000_000;
/// Words by which a line says its level, as a field or by itself.
const ERRORS: [&str; 4] = ["ERROR", "CRITICAL", "FATAL", "PANIC"];
const WARNINGS: [&str; 2] = ["WARN", "WARNING"];
const OTHERS: [&str; 4] = ["INFO", "NOTICE", "DEBUG", "TRACE"];
/// Words that are a level only where a field says so.
const ERRORS_OF_FIELDS: [&str; 5] = ["ERR", "ALERT", "EMERG", "EMERGENCY", "SEVERE"];
/// Fields that hold a line's level, first come first.
const FIELDS: [&str; 3] = ["level", "severity", "lvl"];

/// What a line says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Error,
    Warning,
    Other,
}

pub struct Tail {
    path: PathBuf,
    /// Name of the file, without its folder.
    pub name: String,
    /// Id of the stream.
    pub stream: String,
    /// Device and inode of the file that is followed.
    file: (u64, u64),
    at: u64,
    rest: Vec<u8>,
    /// When lines were read, and how many at which level.
    counts: VecDeque<(u64, u64, u64)>,
    /// Bytes that may be read in one round.
    round_max: u64,
    /// Bytes that the last round left unread.
    unread: u64,
    /// Lines that came, and those of them that say their level.
    seen: (u64, u64),
    /// Why it can't be read any more: from then on its silence means nothing.
    pub gone: Option<String>,
}

impl Tail {
    pub fn open(path: &Path, now_ns: u64) -> Self {
        let name = path.file_name();
        let name = name.map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let mut tail = Self {
            path: path.to_owned(),
            stream: format!("log:{name}"),
            name,
            file: (0, 0),
            at: 0,
            rest: Vec::new(),
            counts: VecDeque::from([(now_ns, 0, 0)]),
            round_max: ROUND_MAX,
            unread: 0,
            seen: (0, 0),
            gone: None,
        };
        match std::fs::metadata(path) {
            Ok(meta) if !meta.is_file() => {
                tail.gone = Some(format!("{}: it is no plain file", path.display()));
            }
            Ok(meta) => (tail.file, tail.at) = ((meta.dev(), meta.ino()), meta.len()),
            Err(error) => tail.gone = Some(format!("{}: {error}", path.display())),
        }
        tail
    }

    /// Reads on. Returns the lines at the two levels.
    pub fn read(&mut self, now_ns: u64) -> Vec<(&'static str, String)> {
        let mut told = Vec::new();
        if self.gone.is_some() {
            return told;
        }
        if let Err(why) = self.more(now_ns, &mut told) {
            self.gone = Some(format!("{}: {why}", self.path.display()));
        }
        told
    }

    /// Why the counts of the last round aren't all that was logged.
    pub fn missing(&self) -> Option<String> {
        let path = self.path.display();
        match (&self.gone, self.unread, self.seen) {
            (Some(why), _, _) => Some(why.clone()),
            (None, 1.., _) => Some(format!("{path}: {} bytes not read", self.unread)),
            (None, 0, (1.., 0)) => Some(format!(
                "{path}: no line so far says its level, as a word or in a JSON field `level`"
            )),
            (None, 0, _) => None,
        }
    }

    /// Reads what was there when the round began, up to a bound.
    fn more(&mut self, now_ns: u64, told: &mut Vec<(&'static str, String)>) -> Result<(), String> {
        // Opening what has taken the file's place could wait for ever.
        let meta = std::fs::metadata(&self.path).map_err(|e| e.to_string())?;
        self.same(&meta)?;
        let mut file = File::open(&self.path).map_err(|e| e.to_string())?;
        let meta = file.metadata().map_err(|e| e.to_string())?;
        self.same(&meta)?;
        file.seek(SeekFrom::Start(self.at))
            .map_err(|e| e.to_string())?;
        let end = meta.len().min(self.at + self.round_max);
        while self.at < end {
            let mut bytes = Vec::new();
            file.by_ref()
                .take(CHUNK.min(end - self.at))
                .read_to_end(&mut bytes)
                .map_err(|e| e.to_string())?;
            if bytes.is_empty() {
                return Err("it became shorter while it was read".into());
            }
            self.at += bytes.len() as u64;
            self.lines(bytes, now_ns, told);
        }
        self.unread = meta.len() - self.at;
        Ok(())
    }

    /// Fails unless it is the file that was attached, with all that was read of it.
    fn same(&self, meta: &Metadata) -> Result<(), String> {
        if (meta.dev(), meta.ino()) != self.file {
            return Err("it is another file by now; what the old one ended with is unknown".into());
        }
        if meta.len() < self.at {
            return Err("it became shorter; what was cut off is unknown".into());
        }
        Ok(())
    }

    fn lines(&mut self, bytes: Vec<u8>, now_ns: u64, told: &mut Vec<(&'static str, String)>) {
        self.rest.extend(bytes);
        let end = self
            .rest
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let end = match end {
            0 if self.rest.len() > LINE_MAX => self.rest.len(),
            end => end,
        };
        let whole: Vec<u8> = self.rest.drain(..end).collect();
        let text = String::from_utf8_lossy(&whole);
        let (mut errors, mut warnings) = (0, 0);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let level = level(line);
            self.seen.0 += 1;
            self.seen.1 += u64::from(level.is_some());
            let word = match level {
                Some(Level::Error) => {
                    errors += 1;
                    "error"
                }
                Some(Level::Warning) => {
                    warnings += 1;
                    "warning"
                }
                Some(Level::Other) | None => continue,
            };
            if told.len() < LINES_MAX {
                told.push((word, line.to_owned()));
            }
        }
        self.counts.push_back((now_ns, errors, warnings));
        while self
            .counts
            .front()
            .is_some_and(|c| c.0 + MINUTE_NS <= now_ns)
        {
            self.counts.pop_front();
        }
    }

    pub fn errors_per_minute(&self, now_ns: u64) -> u64 {
        self.last_minute(now_ns).map(|c| c.1).sum()
    }

    pub fn warnings_per_minute(&self, now_ns: u64) -> u64 {
        self.last_minute(now_ns).map(|c| c.2).sum()
    }

    fn last_minute(&self, now_ns: u64) -> impl Iterator<Item = &(u64, u64, u64)> {
        self.counts.iter().filter(move |c| c.0 + MINUTE_NS > now_ns)
    }
}

/// The level that a line says it has: by a field if it is a JSON object, else by its words.
fn level(line: &str) -> Option<Level> {
    let object = line.trim_start().starts_with('{');
    match object.then(|| serde_json::from_str::<Value>(line)) {
        Some(Ok(Value::Object(fields))) => of_fields(&fields),
        _ => of_words(line),
    }
}

/// By the field that is for it. An object without one may wrap a line, as container logs do.
fn of_fields(fields: &Map<String, Value>) -> Option<Level> {
    match FIELDS.iter().find_map(|name| fields.get(*name)) {
        Some(Value::String(word)) => of_named(word.trim()),
        // Levels as numbers, as pino and bunyan write them.
        Some(Value::Number(number)) => match number.as_u64() {
            Some(10 | 20 | 30) => Some(Level::Other),
            Some(40) => Some(Level::Warning),
            Some(50 | 60) => Some(Level::Error),
            _ => None,
        },
        Some(_) => None,
        None => fields.values().filter_map(Value::as_str).find_map(level),
    }
}

/// By a word that follows a field's name, or else by the first word that is a level.
fn of_words(line: &str) -> Option<Level> {
    let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let mut named = words.windows(2).filter(|pair| is_in(&FIELDS, pair[0]));
    let named = named.find_map(|pair| of_named(pair[1]));
    named.or_else(|| words.iter().find_map(|word| of_word(word)))
}

/// Of a word that stands in the level's own place.
fn of_named(word: &str) -> Option<Level> {
    match is_in(&ERRORS_OF_FIELDS, word) {
        true => Some(Level::Error),
        false => of_word(word),
    }
}

fn of_word(word: &str) -> Option<Level> {
    if is_in(&ERRORS, word) {
        return Some(Level::Error);
    }
    if is_in(&WARNINGS, word) {
        return Some(Level::Warning);
    }
    is_in(&OTHERS, word).then_some(Level::Other)
}

fn is_in(names: &[&str], word: &str) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn only_what_comes_after_it_was_attached_counts_and_only_for_a_minute() {
        let folder = std::env::temp_dir().join(format!("firedrill-tail-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("bot.log");
        std::fs::write(&path, "ERROR before\n").expect("written");
        let mut tail = Tail::open(&path, 0);
        let mut file = File::options().append(true).open(&path).expect("open");
        assert_eq!(tail.read(S), []);
        write!(
            file,
            "{{\"level\":\"error\"}}\ninfo: no error\n2026 WARN slow\nERR"
        )
        .expect("written");
        let told = tail.read(2 * S);
        let levels: Vec<&str> = told.iter().map(|t| t.0).collect();
        assert_eq!(levels, ["error", "warning"]);
        assert_eq!(
            (
                tail.errors_per_minute(2 * S),
                tail.warnings_per_minute(2 * S)
            ),
            (1, 1)
        );
        writeln!(file, "OR: cut in two").expect("written");
        assert_eq!(tail.read(3 * S).len(), 1);
        assert_eq!(tail.errors_per_minute(3 * S), 2);
        assert_eq!(tail.errors_per_minute(62 * S), 1);
        std::fs::write(&path, "").expect("written");
        assert_eq!(tail.read(4 * S), []);
        assert!(tail.gone.is_some(), "a file that became shorter");
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    /// An empty log in a folder of its own, followed and open for more.
    fn followed(name: &str) -> (PathBuf, File, Tail) {
        let folder = format!("firedrill-tail-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("bot.log");
        let file = File::create(&path).expect("created");
        let tail = Tail::open(&path, 0);
        (folder, file, tail)
    }

    #[test]
    fn a_burst_is_read_to_its_end_or_said_to_be_unread() {
        let (folder, mut file, mut tail) = followed("burst");
        let quiet = "INFO nothing to see here\n".repeat((CHUNK as usize + 4096) / 25);
        assert!(quiet.len() as u64 > CHUNK);
        writeln!(file, "{quiet}ERROR at the end").expect("written");
        assert_eq!(tail.read(S).len(), 1);
        assert_eq!((tail.errors_per_minute(S), tail.missing()), (1, None));

        tail.round_max = 20;
        writeln!(file, "INFO one\nINFO two\nERROR three").expect("written");
        assert_eq!(tail.read(2 * S), []);
        let missing = tail.missing().expect("not all was read");
        assert!(missing.ends_with("10 bytes not read"), "{missing}");
        assert_eq!(tail.read(3 * S).len(), 1);
        assert_eq!((tail.errors_per_minute(3 * S), tail.missing()), (2, None));
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn lines_without_a_level_are_no_absence_of_errors() {
        let (folder, mut file, mut tail) = followed("levels");
        assert_eq!(tail.read(S), []);
        assert_eq!(tail.missing(), None, "nothing was logged");
        writeln!(file, "E0102 15:04:05 glog.go:1] it broke\n").expect("written");
        assert_eq!(tail.read(2 * S), []);
        let missing = tail.missing().expect("no level was seen");
        assert!(missing.contains("says its level"), "{missing}");
        writeln!(file, "INFO started").expect("written");
        assert_eq!(tail.read(3 * S), []);
        assert_eq!(tail.missing(), None);
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn what_is_no_plain_file_is_not_opened() {
        let tail = Tail::open(&std::env::temp_dir(), 0);
        let gone = tail.gone.expect("a folder is refused");
        assert!(gone.contains("no plain file"), "{gone}");
    }

    #[test]
    fn a_level_is_what_its_field_or_the_first_such_word_says() {
        use Level::{Error, Other, Warning};
        for (line, wanted) in [
            (r#"{"trace_id":"ab","level":"error"}"#, Some(Error)),
            (r#"{"debug":false,"msg":"x","level":"error"}"#, Some(Error)),
            (r#"{"msg":"error","severity":"WARNING"}"#, Some(Warning)),
            (r#"{"msg":"error","lvl":"info"}"#, Some(Other)),
            (r#"{"level":30,"msg":"no error"}"#, Some(Other)),
            (r#"{"level":40}"#, Some(Warning)),
            (r#"{"level":50}"#, Some(Error)),
            (r#"{"level":60}"#, Some(Error)),
            (r#"{"level":"emerg"}"#, Some(Error)),
            (r#"{"level":3,"msg":"error"}"#, None),
            (r#"{"msg":"started"}"#, None),
            (
                r#"{"log":"{\"level\":\"error\"}\n","stream":"x"}"#,
                Some(Error),
            ),
            (r#"{"trace_id":"ab","level":"error"#, Some(Error)),
            ("caller=debug.go:1 level=error msg=x", Some(Error)),
            ("trace_id=1 error_count=0 ERROR it broke", Some(Error)),
            ("2026 info: no error", Some(Other)),
            ("E0102 15:04:05 it broke", None),
        ] {
            assert_eq!(level(line), wanted, "{line}");
        }
    }
}
