//! A journal in segments: nothing is lost where one ends, and what was cut is read up to the cut.

use std::fs;
use std::path::Path;

use super::*;

fn starved(n: u64) -> Event {
    Event::Starved {
        from_ns: n,
        to_ns: n + 1,
    }
}

fn header() -> Event {
    let wall = jiff::Timestamp::UNIX_EPOCH;
    Event::Header(Box::new(Header {
        schema: SCHEMA,
        run: RunInfo {
            id: "r".into(),
            kind: RunKind::Soak,
            profile: "p".into(),
            seed: 1,
            target: "t".into(),
            runtime: "docker".into(),
            argv: Vec::new(),
            started_at: wall,
        },
        documents: Vec::new(),
        subject: subject(),
        images: Default::default(),
        versions: Default::default(),
        episodes: Vec::new(),
    }))
}

fn subject() -> Subject {
    Subject {
        name: "t".into(),
        digest: "d".into(),
        version: "v".into(),
        git_revision: None,
        dirty: None,
        defect: None,
    }
}

fn put(writer: &mut Writer, event: Event) {
    let wall = jiff::Timestamp::UNIX_EPOCH;
    writer.append(0, wall, event).expect("it is written");
}

fn end(writer: &mut Writer) {
    let counts = writer.counts().clone();
    let end = End {
        reason: EndReason::Completed,
        detail: None,
        at_ns: 0,
        counts,
    };
    put(writer, Event::End(end));
}

/// Four segments, ended.
fn recorded(run: &Path) -> Seal {
    let mut writer = Writer::segments_of(run, 2_000).expect("it is created");
    put(&mut writer, header());
    for n in 0..40 {
        put(&mut writer, starved(n));
    }
    end(&mut writer);
    writer.seal().expect("it is sealed")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn segments_are_one_chain_and_lose_no_line() {
    let run = folder();
    let seal = recorded(run.path());
    let files = fs::read_dir(run.path().join(SEGMENTS)).expect("it is a folder");
    assert!(files.count() >= 4);
    let journal = read_run(run.path()).expect("it is readable");
    assert_eq!(journal.truncation, None);
    assert_eq!(
        (journal.events.len() as u64, &journal.head),
        (seal.lines, &seal.head)
    );
}

#[test]
fn a_segment_that_is_missing_or_swapped_is_seen() {
    let run = folder();
    recorded(run.path());
    let at = |n: u32| writer::segment(&run.path().join(SEGMENTS), n);
    let second = fs::read(at(2)).expect("it is there");
    fs::copy(at(3), at(2)).expect("it is copied");
    let journal = read_run(run.path()).expect("it is readable");
    let cut = journal.truncation.expect("it is seen");
    assert!(cut.why.starts_with("sequence number"), "{}", cut.why);
    fs::write(at(2), second).expect("it is written");
    assert_eq!(read_run(run.path()).expect("readable").truncation, None);
    fs::remove_file(at(4)).expect("it is removed");
    assert!(read_run(run.path()).expect("readable").truncation.is_some());
}

#[test]
fn cut_at_any_byte_it_is_read_up_to_the_cut() {
    let run = folder();
    let mut writer = Writer::segments(run.path()).expect("it is created");
    put(&mut writer, header());
    let path = writer::segment(&run.path().join(SEGMENTS), 1);
    // What was flushed survives, whatever was written of the rest.
    let mut flushed = vec![(0, 0)];
    for n in 0..20 {
        writer.flush().expect("it is flushed");
        let length = fs::metadata(&path).expect("it is there").len() as usize;
        flushed.push((length, n + 1));
        put(&mut writer, starved(n));
    }
    end(&mut writer);
    writer.seal().expect("it is sealed");
    let bytes = fs::read(&path).expect("it is there");
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).expect("it is written");
        let least = flushed.iter().rev().find(|(at, _)| *at <= length);
        let least = least.map_or(0, |(_, lines)| *lines);
        match read_run(run.path()) {
            Ok(journal) => {
                assert!(journal.events.len() as u64 >= least, "at byte {length}");
                assert!(journal.truncation.is_some(), "at byte {length}");
            }
            Err(error) => assert!(least == 0, "at byte {length}: {error}"),
        }
    }
}

#[test]
fn a_part_goes_on_after_a_cut_and_only_a_part_may() {
    for part in [true, false] {
        let run = folder();
        let mut writer = Writer::segments(run.path()).expect("it is created");
        put(&mut writer, header());
        put(&mut writer, starved(1));
        writer.flush().expect("it is flushed");
        std::mem::forget(writer);
        let mut lines = open(run.path()).expect("it is readable");
        assert_eq!((&mut lines).count(), 2);
        assert!(lines.truncation().is_some(), "it was cut");
        let mut writer = Writer::resume(run.path(), &lines.position()).expect("it goes on");
        let event = Part {
            number: 2,
            from_ns: 1,
            at_ns: 5,
            lost: None,
            episode: 0,
            subject: subject(),
            argv: Vec::new(),
        };
        put(
            &mut writer,
            if part {
                Event::Part(Box::new(event))
            } else {
                starved(2)
            },
        );
        end(&mut writer);
        writer.seal().expect("it is sealed");
        let journal = read_run(run.path()).expect("it is readable");
        assert_eq!(journal.truncation.is_none(), part);
        assert_eq!(journal.events.len(), if part { 4 } else { 2 });
    }
}

/// All that a reader says of a journal.
fn told(mut lines: Lines) -> (Vec<Envelope>, Option<Truncation>, Position) {
    let all = (&mut lines).collect();
    (all, lines.truncation().cloned(), lines.position())
}

/// The same by lines that are shown.
fn shown(mut lines: Lines) -> (Vec<Envelope>, Option<Truncation>, Position) {
    let mut all = Vec::new();
    let mut held = None;
    lines.each(&mut |line| {
        let whole = line.envelope().expect("it is readable");
        line.hold_in(&mut held);
        assert_eq!(held.as_ref().and_then(Held::envelope), Some(whole.clone()));
        assert_eq!(line.keep().event().as_ref(), Some(&whole.event));
        assert_eq!((line.seq, line.mono_ns), (whole.seq, whole.mono_ns));
        all.push(whole);
    });
    (all, lines.truncation().cloned(), lines.position())
}

#[test]
fn read_ahead_or_line_by_line_a_journal_says_the_same() {
    let run = folder();
    recorded(run.path());
    let segments: Vec<_> = (1..=4)
        .map(|n| run.path().join(format!("journal/{n:06}.jsonl.zst")))
        .collect();
    let texts: Vec<Vec<u8>> = segments
        .iter()
        .map(|path| zstd::decode_all(&fs::read(path).expect("readable")[..]).expect("unpacked"))
        .collect();
    let both = |what: &str| {
        let plain = told(open(run.path()).expect("readable").plain());
        assert_eq!(told(open(run.path()).expect("readable")), plain, "{what}");
        assert_eq!(shown(open(run.path()).expect("readable")), plain, "{what}");
        plain
    };
    let (all, cut, _) = both("as it was written");
    assert_eq!((all.len(), cut), (42, None));
    let mut damaged = 0;
    for (path, text) in segments.iter().zip(&texts) {
        for at in (0..text.len()).step_by(37) {
            for byte in [b'0', b'"', b'\n', b'{'] {
                let mut changed = text.clone();
                changed[at] = byte;
                let packed = zstd::encode_all(&changed[..], 1).expect("packed");
                fs::write(path, packed).expect("written");
                let (_, cut, _) = both(&format!("{} with {byte} at {at}", path.display()));
                damaged += usize::from(cut.is_some());
            }
        }
        fs::write(path, zstd::encode_all(&text[..], 1).expect("packed")).expect("written");
    }
    assert!(damaged > 500, "{damaged}");
    assert_eq!(both("put back").1, None);
}

/// Lines of the kinds that are borrowed, with texts and values of every sort.
const BORROWED: [&str; 7] = [
    r#"{"type":"op","id":7,"state":"invoked","intended_ns":1,"at_ns":2,"signal":{"key":"k\"1\u00e9","tag":"0x0","payload":"p","episode":0,"phase":"a","origin":"load","service":"webhook"}}"#,
    r#"{"type":"op","id":7,"state":"ok","intended_ns":1,"at_ns":2,"status":202,"detail":"queued","names":"n"}"#,
    r#"{"type":"op","id":8,"state":"failed","intended_ns":1,"at_ns":2,"signal":{"key":"k","tag":"t","payload":"p","episode":1,"phase":"a","origin":"o","service":"s","malformed":"m"},"status":null,"detail":null}"#,
    r#"{"type":"sample","probe":"p","due_ns":1,"took_ns":2,"result":{"value":{"a":1,"b":-2,"c":1.5e300,"d":"NaN","e":null,"f":true,"g":[1,{"z":1,"y":[]}],"h":{"z":2,"y":1},"a":3}}}"#,
    r#"{"type":"sample","probe":"p","due_ns":1,"took_ns":2,"result":{"missing":"deadline\n"}}"#,
    r#"{"type":"fact","source":"sql","what":"intent","at_ns":3,"keys":{"id":"1","key":"\ud83d\ude00","n":18446744073709551615,"big":18446744073709551616}}"#,
    r#"{"type":"fact","source":"chain","what":"mined","at_ns":3,"keys":{}}"#,
];

/// Everything that a view shows.
fn spelled(view: View<'_>) -> String {
    match view {
        View::Op(op) => format!("{op:?}"),
        View::Sample(sample) => {
            let result = match sample.result {
                ResultView::Value(keys) => SampleResult::Value(keys.to_map()),
                ResultView::Missing(why) => SampleResult::Missing(why.to_owned()),
            };
            let (probe, due_ns, took_ns) = (sample.probe, sample.due_ns, sample.took_ns);
            format!("{probe} {due_ns} {took_ns} {result:?}")
        }
        View::Fact(fact) => {
            let owned = fact.to_fact();
            for (name, value) in &owned.keys {
                assert_eq!(fact.keys.get(name), Some(Scalar::from(value)), "{name}");
            }
            let mut names = Vec::new();
            fact.keys.each_name(&mut |name| names.push(name));
            assert!(names.iter().all(|name| owned.keys.contains_key(*name)));
            format!("{owned:?}")
        }
        View::Other(event) => format!("{event:?}"),
    }
}

#[test]
fn a_line_shows_what_it_holds_and_is_refused_where_the_whole_of_it_is() {
    let (mut read, mut refused) = (0, 0);
    for line in BORROWED {
        let kind = &line[9..9 + line[9..].find('"').expect("it has a type")];
        let mut compare = |text: &str| {
            let whole = line::event(kind, text);
            let sight = line::Sight::of(kind, text);
            let sight = sight.as_ref().map(|sight| spelled(sight.view()));
            let whole = whole.as_ref().map(|event| spelled(View::of(event)));
            assert_eq!(sight, whole, "{text}");
            *if whole.is_some() {
                &mut read
            } else {
                &mut refused
            } += 1;
        };
        compare(line);
        for at in (0..line.len()).filter(|at| line.is_char_boundary(at + 1)) {
            compare(&format!("{}{}", &line[..at], &line[at + 1..]));
            for other in ["0", "\"", "{", "x", "-", " "] {
                compare(&format!("{}{other}{}", &line[..at], &line[at + 1..]));
            }
        }
    }
    assert!(
        read > 1_000 && refused > 1_000,
        "{read} read, {refused} refused"
    );
}
