//! Watched series, without their texts: what each watch's field was at each look, or why nothing was seen.

use std::collections::{BTreeMap, HashMap};

use firedrill_journal::SampleView;
use firedrill_plan::{Probe, ProbeKind, Watch};

use crate::heartbeat::{Beat, Heart, beat_of, still_max};
use crate::operators::Obs;
use crate::predicate::{Observed, number_of};
use crate::window::said;
use crate::words;

/// Reasons that are kept apart per series; from then on they are one.
const REASONS_MAX: usize = 1_000;

/// One look at a probe, in twenty bytes.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    due: [u32; 2],
    took: [u32; 2],
    /// A journal holds fewer than four billion lines.
    seq: u32,
}

fn halves(n: u64) -> [u32; 2] {
    [n as u32, (n >> 32) as u32]
}

fn whole([low, high]: [u32; 2]) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

impl Look {
    fn of(seq: u64, sample: &SampleView<'_>) -> Self {
        Look {
            due: halves(sample.due_ns),
            took: halves(sample.took_ns),
            seq: u32::try_from(seq).unwrap_or(u32::MAX),
        }
    }

    pub fn due(&self) -> u64 {
        whole(self.due)
    }

    /// Number of its line.
    pub fn seq(&self) -> u64 {
        u64::from(self.seq)
    }

    pub fn end(&self) -> u64 {
        self.due().saturating_add(whole(self.took))
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

/// The looks at one probe of the profile.
#[derive(Debug)]
struct Series {
    fields: Vec<String>,
    http: bool,
    still_max: Option<u64>,
    looks: Vec<Look>,
    /// Values, all fields of a look side by side. NaN: none, and `lacks` says why.
    cells: Vec<f64>,
    lacks: HashMap<u32, u32>,
    beats: Vec<Beat>,
    reasons: Vec<String>,
    known: HashMap<String, u32>,
}

/// The looks at all of them.
#[derive(Debug, Default)]
pub struct Watched {
    series: BTreeMap<String, Series>,
}

impl Series {
    fn of(probe: &Probe) -> Self {
        Series {
            fields: Vec::new(),
            http: matches!(probe.kind, ProbeKind::Http { .. }),
            still_max: still_max(probe),
            looks: Vec::new(),
            cells: Vec::new(),
            lacks: HashMap::new(),
            beats: Vec::new(),
            reasons: Vec::new(),
            known: HashMap::new(),
        }
    }

    fn see(&mut self, seq: u64, sample: &SampleView<'_>) {
        self.looks.push(Look::of(seq, sample));
        for at in 0..self.fields.len() {
            let field = &self.fields[at];
            let number = match said(sample.result, field, self.http) {
                Observed::Value(value) => number_of(value)
                    .ok_or_else(|| format!("`{field}` is {}, no number", words::value(value))),
                Observed::Number(n) => Ok(n),
                Observed::Unavailable => Err("the service gave no answer".to_owned()),
                Observed::Missing(why) => Err(why),
            };
            let cell = self.cells.len() as u32;
            self.cells.push(*number.as_ref().unwrap_or(&f64::NAN));
            if let Err(why) = number {
                let reason = self.reason(why);
                self.lacks.insert(cell, reason);
            }
        }
        if self.still_max.is_some() {
            self.beats.push(beat_of(sample.result));
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
            let (mut heart, width) = (Heart::new(still_max), self.fields.len());
            for at in 0..self.looks.len() {
                let look = self.looks[at];
                let Some(stale) = heart.see(self.beats[at], look.due(), look.end()) else {
                    continue;
                };
                let reason = self.reason(stale.words());
                for cell in at * width..(at + 1) * width {
                    self.cells[cell] = f64::NAN;
                    self.lacks.insert(cell as u32, reason);
                }
            }
        }
        self.beats = Vec::new();
    }

    /// Most series have come in order.
    fn sort(&mut self) {
        let key = |look: &Look| (look.due(), look.seq);
        if self.looks.is_sorted_by_key(key) {
            return;
        }
        let width = self.fields.len();
        let mut order: Vec<usize> = (0..self.looks.len()).collect();
        order.sort_by_key(|at| key(&self.looks[*at]));
        let cells = || order.iter().flat_map(|at| at * width..(at + 1) * width);
        let lacks = cells().enumerate();
        let lacks = lacks.filter_map(|(to, from)| {
            let why = self.lacks.get(&(from as u32))?;
            Some((to as u32, *why))
        });
        self.lacks = lacks.collect();
        self.cells = cells().map(|from| self.cells[from]).collect();
        self.looks = order.iter().map(|at| self.looks[*at]).collect();
        self.beats = order
            .iter()
            .filter_map(|at| self.beats.get(*at).copied())
            .collect();
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
            if !series.fields.contains(&watch.field) {
                series.fields.push(watch.field.clone());
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
        let looks = series.map_or(&[][..], |s| &s.looks);
        let start = looks.partition_point(|l| l.due() < from);
        let end = looks.partition_point(|l| l.due() <= to);
        let field = series.and_then(|s| s.fields.iter().position(|f| *f == watch.field));
        let of = move |(at, look): (usize, &Look)| {
            let series = series?;
            let cell = (start + at) * series.fields.len() + field?;
            let value = match series.lacks.get(&(cell as u32)) {
                None => Ok(*series.cells.get(cell)?),
                Some(why) => Err(series.reasons.get(*why as usize).map_or("", String::as_str)),
            };
            Some((*look, value))
        };
        let looks = looks[start..end.max(start)].iter();
        looks.enumerate().filter_map(of)
    }
}
