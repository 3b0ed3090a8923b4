//! Watched series, without their texts: what each watch's field was at each look, or why nothing was seen.

use std::collections::{BTreeMap, HashMap};

use firedrill_journal::SampleView;
use firedrill_plan::{Probe, ProbeKind, Watch};

use super::numbers::Numbers;
use super::stamp::Stamp;
use crate::chunked::Chunked;
use crate::heartbeat::{Beat, Heart, beat_of, still_max};
use crate::operators::Obs;
use crate::predicate::{Observed, number_of};
use crate::window::said;
use crate::words;

/// Reasons that are kept apart per series; from then on they are one.
const REASONS_MAX: usize = 1_000;

/// One look at a probe, in eighteen bytes.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    due: Stamp,
    end: Stamp,
    /// A journal holds fewer than four billion lines.
    seq: [u8; 4],
}

impl Look {
    fn of(seq: u64, sample: &SampleView<'_>) -> Self {
        Look {
            due: Stamp::of(sample.due_ns),
            end: Stamp::of(sample.due_ns.saturating_add(sample.took_ns)),
            seq: u32::try_from(seq).unwrap_or(u32::MAX).to_le_bytes(),
        }
    }

    pub fn due(&self) -> u64 {
        self.due.ns()
    }

    /// Number of its line.
    pub fn seq(&self) -> u64 {
        u64::from(u32::from_le_bytes(self.seq))
    }

    pub fn end(&self) -> u64 {
        self.end.ns()
    }

    pub fn obs(&self, seen: bool) -> Obs {
        Obs {
            due: self.due(),
            end: self.end(),
            ok: seen.then_some(true),
            seq: self.seq(),
        }
    }
}

/// What was seen of one field, look by look.
#[derive(Debug)]
struct Field {
    name: String,
    /// NaN: none, and `lacks` says why, by the look's place.
    values: Numbers,
    lacks: HashMap<u32, u32>,
}

/// The looks at one probe of the profile.
#[derive(Debug)]
struct Series {
    fields: Vec<Field>,
    http: bool,
    still_max: Option<u64>,
    looks: Chunked<Look>,
    /// As their numbers.
    beats: Numbers,
    reasons: Vec<String>,
    known: HashMap<String, u32>,
}

/// The looks at all of them.
#[derive(Debug, Default)]
pub struct Watched {
    series: BTreeMap<String, Series>,
}

impl Field {
    fn of(name: String) -> Self {
        Field {
            name,
            values: Numbers::default(),
            lacks: HashMap::new(),
        }
    }

    fn said(&self, sample: &SampleView<'_>, http: bool) -> Result<f64, String> {
        match said(sample.result, &self.name, http) {
            Observed::Value(value) => number_of(value).ok_or_else(|| {
                let value = words::value(value);
                format!("`{}` is {value}, no number", self.name)
            }),
            Observed::Number(n) => Ok(n),
            Observed::Unavailable => Err("the service gave no answer".to_owned()),
            Observed::Missing(why) => Err(why),
        }
    }

    fn remove(&mut self, at: usize, reason: u32) {
        self.values.remove(at);
        self.lacks.insert(at as u32, reason);
    }

    /// The same in another order.
    fn sorted(&self, order: &[usize]) -> Field {
        let lacks = order.iter().enumerate();
        let lacks = lacks.filter_map(|(to, from)| {
            let why = self.lacks.get(&(*from as u32))?;
            Some((to as u32, *why))
        });
        let values = order.iter().filter_map(|from| self.values.get(*from));
        Field {
            name: self.name.clone(),
            lacks: lacks.collect(),
            values: values.collect(),
        }
    }
}

impl Series {
    fn of(probe: &Probe) -> Self {
        Series {
            fields: Vec::new(),
            http: matches!(probe.kind, ProbeKind::Http { .. }),
            still_max: still_max(probe),
            looks: Chunked::default(),
            beats: Numbers::default(),
            reasons: Vec::new(),
            known: HashMap::new(),
        }
    }

    fn see(&mut self, seq: u64, sample: &SampleView<'_>) {
        let look = self.looks.len() as u32;
        self.looks.push(Look::of(seq, sample));
        for at in 0..self.fields.len() {
            let said = self.fields[at].said(sample, self.http);
            self.fields[at]
                .values
                .push(*said.as_ref().unwrap_or(&f64::NAN));
            if let Err(why) = said {
                let reason = self.reason(why);
                self.fields[at].lacks.insert(look, reason);
            }
        }
        if self.still_max.is_some() {
            self.beats.push(beat_of(sample.result).to_number());
        }
    }

    fn reason(&mut self, why: String) -> u32 {
        if let Some(known) = self.known.get(&why) {
            return *known;
        }
        let crowded = self.reasons.len() >= REASONS_MAX;
        let why = if crowded {
            "of another kind".to_owned()
        } else {
            why
        };
        let next = self.reasons.len() as u32;
        let id = *self.known.entry(why.clone()).or_insert(next);
        if id == next {
            self.reasons.push(why);
        }
        id
    }

    /// In order of due times, and without the values that a heartbeat doesn't vouch for.
    fn close(&mut self) {
        self.sort();
        if let Some(still_max) = self.still_max {
            let mut heart = Heart::new(still_max);
            for at in 0..self.looks.len() {
                let look = self.looks[at];
                let beat = Beat::of_number(self.beats.get(at).unwrap_or(f64::NAN));
                let Some(stale) = heart.see(beat, look.due(), look.end()) else {
                    continue;
                };
                let reason = self.reason(stale.words());
                for field in &mut self.fields {
                    field.remove(at, reason);
                }
            }
        }
        self.beats = Numbers::default();
    }

    /// Most series have come in order.
    fn sort(&mut self) {
        let key = |look: &Look| (look.due(), look.seq());
        if self.looks.iter().is_sorted_by_key(key) {
            return;
        }
        let mut order: Vec<usize> = (0..self.looks.len()).collect();
        order.sort_by_key(|at| key(&self.looks[*at]));
        self.fields = self.fields.iter().map(|f| f.sorted(&order)).collect();
        self.looks = order.iter().map(|at| self.looks[*at]).collect();
        let beats = order.iter().filter_map(|at| self.beats.get(*at));
        self.beats = beats.collect();
    }
}

impl Watched {
    pub fn new<'w>(watches: impl IntoIterator<Item = &'w Watch>) -> Self {
        let mut all = Watched::default();
        for watch in watches {
            let id = watch.probe.id.clone();
            let series = all
                .series
                .entry(id)
                .or_insert_with(|| Series::of(&watch.probe));
            if !series.fields.iter().any(|f| f.name == watch.field) {
                series.fields.push(Field::of(watch.field.clone()));
            }
        }
        all
    }

    pub fn see(&mut self, seq: u64, sample: &SampleView<'_>) {
        if let Some(series) = self.series.get_mut(sample.probe) {
            series.see(seq, sample);
        }
    }

    pub fn close(&mut self) {
        self.series.values_mut().for_each(Series::close);
    }

    /// When the first and the last look of any watch was due.
    pub fn ends(&self) -> Option<(u64, u64)> {
        let ends = |s: &Series| Some((s.looks.first()?.due(), s.looks.last()?.due()));
        let all = self.series.values().filter_map(ends);
        all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// The looks of a watch that were due within `[from, to]`, each with its value or the reason for none.
    pub fn within<'s>(
        &'s self,
        watch: &Watch,
        from: u64,
        to: u64,
    ) -> impl Iterator<Item = (Look, Result<f64, &'s str>)> {
        let series = self.series.get(&watch.probe.id);
        let field = series.and_then(|s| s.fields.iter().find(|f| f.name == watch.field));
        let of_watch = series.zip(field).into_iter();
        of_watch.flat_map(move |(series, field)| {
            let start = series.looks.partition_point(|l| l.due() < from);
            let end = series.looks.partition_point(|l| l.due() <= to);
            let looks = series.looks.range(start, end).zip(start..);
            looks.filter_map(move |(look, at)| {
                let value = match field.lacks.get(&(at as u32)) {
                    None => Ok(field.values.get(at)?),
                    Some(why) => Err(series.reasons.get(*why as usize).map_or("", String::as_str)),
                };
                Some((*look, value))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use firedrill_journal::SampleResult;
    use firedrill_plan::HEARTBEAT_FIELD;
    use serde_json::json;

    use super::*;

    const LOOKS: u64 = 3_000;

    /// What a look saw: nothing each seventh time, and a heartbeat that stands still for a while.
    fn result(n: u64) -> SampleResult {
        if n.is_multiple_of(7) {
            return SampleResult::Missing("no answer".to_owned());
        }
        let beat = if (500..600).contains(&n) { 500 } else { n };
        let fields = [("n", json!(n as f64 / 3.0)), (HEARTBEAT_FIELD, json!(beat))];
        let fields = fields.map(|(name, value)| (name.to_owned(), value));
        SampleResult::Value(fields.into())
    }

    fn closed(order: impl IntoIterator<Item = u64>) -> Series {
        let mut series = Series {
            fields: vec![Field::of("n".to_owned())],
            http: false,
            still_max: Some(20),
            looks: Chunked::default(),
            beats: Numbers::default(),
            reasons: Vec::new(),
            known: HashMap::new(),
        };
        for n in order {
            let result = result(n);
            let sample = SampleView {
                probe: "p",
                due_ns: n,
                took_ns: n % 5,
                result: (&result).into(),
            };
            series.see(n, &sample);
        }
        series.close();
        series
    }

    /// Due, end and line of each look, and its value or why there is none.
    fn told(series: &Series) -> Vec<(u64, u64, u64, Result<u64, &str>)> {
        let field = &series.fields[0];
        let look = |(at, look): (usize, &Look)| {
            let value = field.values.get(at).expect("each look has a place");
            let value = match field.lacks.get(&(at as u32)) {
                Some(why) => Err(series.reasons[*why as usize].as_str()),
                None => Ok(value.to_bits()),
            };
            (look.due(), look.end(), look.seq(), value)
        };
        series.looks.iter().enumerate().map(look).collect()
    }

    #[test]
    fn looks_that_came_out_of_order_say_what_they_say_in_order() {
        let ordered = closed(0..LOOKS);
        let told_of = |n: u64| told(&ordered)[n as usize];
        assert_eq!(told_of(4), (4, 8, 4, Ok((4.0_f64 / 3.0).to_bits())));
        assert!(told_of(7).3.is_err(), "there was no answer");
        assert!(told_of(599).3.is_err(), "the heartbeat stood still");
        // Each pair the other way round, then the second half before the first.
        let swapped = (0..LOOKS).map(|n| n ^ 1);
        let halves = (LOOKS / 2..LOOKS).chain(0..LOOKS / 2);
        assert_eq!(told(&closed(swapped)), told(&ordered));
        assert_eq!(told(&closed(halves)), told(&ordered));
    }
}
