//! Recorded series, and what a criterion makes of them. Judged as a live gate would have: in order of time,
//! without knowing what comes.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use firedrill_journal::{
    Edge, EdgeKind, Envelope, Event, Fact, FactSource, Header, Journal, RunKind, Sample,
    SampleResult,
};
use firedrill_plan::{Criterion, Policy, Predicate, Scope};
use serde_json::Value;

use crate::heartbeat::{Heart, beat_of, limits};
use crate::model::Outcome;
use crate::plans::Plans;
use crate::predicate::{Observed, Test, number_of, worse};
use crate::words::{count, duration, ms, number, value};

/// Least share of the due values that must be there.
const COVERAGE_MIN: f64 = 0.9;
/// Largest gap, in steps between two due values.
const GAP_STEPS_MAX: u64 = 3;
/// How often a watch asks whose policy doesn't say it.
const EVERY: Duration = Duration::from_secs(15);

/// One due value.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Nanoseconds since the run's start.
    pub at: u64,
    /// `None`: nothing was observed.
    pub value: Option<Value>,
}

/// Series by the id of their probe and the field of its samples.
pub trait SeriesSource {
    /// In order of time; `None` where it was never recorded.
    fn series(&self, id: &str, field: &str) -> Option<&[Point]>;
    /// Fault windows, from requested to healed.
    fn faults(&self) -> &[(u64, u64)];
}

/// What a journal recorded of the series that a policy asks for.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    pub series: BTreeMap<(String, String), Vec<Point>>,
    pub faults: Vec<(u64, u64)>,
    /// Nanoseconds between two questions of a watch; the series of other runs have paces of their own.
    pub every: Option<u64>,
}

impl SeriesSource for Recorded {
    fn series(&self, id: &str, field: &str) -> Option<&[Point]> {
        let key = (id.to_owned(), field.to_owned());
        self.series.get(&key).map(Vec::as_slice)
    }

    fn faults(&self) -> &[(u64, u64)] {
        &self.faults
    }
}

impl Recorded {
    /// Takes the series that a policy asks for out of a journal.
    pub fn of(journal: &Journal, policy: &Policy) -> Recorded {
        Recorded::read(&journal.header, &journal.events, policy)
    }

    /// The same line by line; of the lines only the samples that are asked for are kept.
    pub fn read<E: Borrow<Envelope>>(
        header: &Header,
        lines: impl IntoIterator<Item = E>,
        policy: &Policy,
    ) -> Recorded {
        let observes = header.run.kind == RunKind::Observe;
        let mut recorded = Recorded {
            every: observes.then(|| every_of(policy)),
            ..Recorded::default()
        };
        let names = crate::plans::target(header).map(|t| t.metric);
        let wanted = probes(policy, &names.unwrap_or_default());
        let mut samples: BTreeMap<String, Vec<(u64, Sample)>> = BTreeMap::new();
        let mut open: BTreeMap<(u32, String), u64> = BTreeMap::new();
        let (mut end, mut told) = (0, None);
        for line in lines {
            let line = line.borrow();
            end = end.max(line.mono_ns);
            match &line.event {
                Event::Sample(sample) if wanted.contains_key(&sample.probe) => {
                    let of = samples.entry(sample.probe.clone()).or_default();
                    of.push((line.seq, sample.clone()));
                }
                Event::Fact(fact) => told = told.or(asked_every(fact)),
                Event::Edge(edge) => recorded.edge(edge, &mut open),
                _ => {}
            }
        }
        if observes {
            recorded.every = told.or(recorded.every);
        }
        // A fault that was never healed lasts to the end.
        recorded
            .faults
            .extend(open.into_values().map(|from| (from, end)));
        recorded.faults.sort_unstable();
        recorded.put_all(samples, header, &wanted);
        recorded
    }

    fn edge(&mut self, edge: &Edge, open: &mut BTreeMap<(u32, String), u64>) {
        let key = (edge.episode, edge.phase.clone());
        match edge.kind {
            EdgeKind::Requested if edge.fault.is_some() => {
                open.entry(key).or_insert(edge.at_ns);
            }
            EdgeKind::Healed if edge.fault.is_some() => {
                let from = open.remove(&key);
                self.faults.extend(from.map(|from| (from, edge.at_ns)));
            }
            _ => {}
        }
    }

    /// In order of time. A value that its heartbeat doesn't vouch for is none. A journal without plans has no probe
    /// that a heartbeat vouches for.
    fn put_all(
        &mut self,
        samples: BTreeMap<String, Vec<(u64, Sample)>>,
        header: &Header,
        wanted: &Wanted,
    ) {
        let plans = Plans::of(header).ok();
        let limits = plans.as_ref().map(limits).unwrap_or_default();
        for (probe, mut all) in samples {
            all.sort_by_key(|(seq, sample)| (sample.due_ns, *seq));
            let mut heart = limits.get(probe.as_str()).map(|still| Heart::new(*still));
            for (_, sample) in &all {
                let end = sample.due_ns.saturating_add(sample.took_ns);
                let beat = beat_of((&sample.result).into());
                let stale = heart.as_mut().and_then(|h| h.see(beat, sample.due_ns, end));
                match stale {
                    Some(_) => self.put(sample, None, wanted),
                    None => self.take(sample, wanted),
                }
            }
        }
        for points in self.series.values_mut() {
            points.sort_by_key(|p| p.at);
        }
    }

    /// Takes a sample into each series that it belongs to.
    pub(super) fn take(&mut self, sample: &Sample, wanted: &Wanted) {
        match &sample.result {
            SampleResult::Value(fields) => self.put(sample, Some(fields), wanted),
            SampleResult::Missing(_) => self.put(sample, None, wanted),
        }
    }

    /// `fields`: what the sample says; `None`: nothing.
    fn put(&mut self, sample: &Sample, fields: Option<&BTreeMap<String, Value>>, wanted: &Wanted) {
        for key in wanted.get(&sample.probe).into_iter().flatten() {
            let value = fields.and_then(|fields| fields.get(&key.1)).cloned();
            let value = value.filter(|v| !v.is_null());
            let at = sample.due_ns;
            let series = self.series.entry(key.clone()).or_default();
            series.push(Point { at, value });
        }
    }
}

/// How often a watch asked, in nanoseconds, where its journal says it.
fn asked_every(fact: &Fact) -> Option<u64> {
    if fact.source != FactSource::Act || fact.what != "observe" {
        return None;
    }
    let ms = fact.keys.get("every_ms")?.as_u64().filter(|ms| *ms > 0)?;
    Some(ms.saturating_mul(1_000_000))
}

/// How often a watch under that policy asks, in nanoseconds.
pub(super) fn every_of(policy: &Policy) -> u64 {
    nanos(policy.canary.as_ref().map_or(EVERY, |c| c.every))
}

#[derive(Default)]
struct Walk<'v> {
    judged: u64,
    worst: Option<f64>,
    last: Option<&'v Value>,
    /// When it had lasted long enough, since when, and the value.
    hit: Option<(u64, u64, &'v Value)>,
}

/// What a criterion found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub verdict: Outcome,
    pub observed: String,
    /// When it was broken, nanoseconds since the run's start.
    pub at: Option<u64>,
    /// The first sample of the stretch that ended there.
    pub since: Option<u64>,
    pub value: Option<f64>,
}

impl Finding {
    fn open(observed: impl Into<String>) -> Finding {
        Finding {
            verdict: Outcome::Inconclusive,
            observed: observed.into(),
            at: None,
            since: None,
            value: None,
        }
    }
}

/// A criterion with everything that its judgement needs.
pub(super) struct Look<'a> {
    pub criterion: &'a Criterion,
    pub points: &'a [Point],
    pub volume: Option<&'a [Point]>,
    pub faults: &'a [(u64, u64)],
    /// Part of the run that is judged; all of it by default.
    pub window: Option<(u64, u64)>,
    /// Median of the baseline, where bounds are multiples of it.
    pub baseline: Option<f64>,
    /// How often was asked, where that is known.
    pub every: Option<u64>,
}

/// Median of the numbers of a series.
pub(super) fn median(points: &[Point]) -> Option<f64> {
    let mut all: Vec<f64> = points
        .iter()
        .filter_map(|p| number_of(p.value.as_ref()?))
        .collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

impl Look<'_> {
    /// Whether the predicate holds for a value; `None`: it says nothing.
    fn holds(&self, test: &Test<'_>, seen: &Value) -> Option<bool> {
        match self.baseline {
            None => test.apply(&Observed::Value(seen.into())),
            // 0 against a baseline of 0 is no ratio; anything else against it has no end.
            Some(base) => {
                let n = number_of(seen)?;
                match n == 0.0 && base == 0.0 {
                    true => None,
                    false => test.number(n / base),
                }
            }
        }
    }

    /// Whether enough events stand behind the value at that time.
    fn backed(&self, at: u64) -> bool {
        let Some(volume) = &self.criterion.volume else {
            return true;
        };
        let Some(points) = self.volume else {
            return false;
        };
        let before = points.partition_point(|p| p.at <= at);
        let last = before.checked_sub(1).and_then(|i| points.get(i));
        last.and_then(|p| number_of(p.value.as_ref()?))
            .is_some_and(|n| n >= volume.min)
    }

    /// The due values of the window and the scope; what has too little behind it is missing.
    fn due(&self) -> Vec<(u64, Option<&Value>)> {
        let scope = self.criterion.scope;
        let faulty = |at: u64| self.faults.iter().any(|(a, b)| (*a..=*b).contains(&at));
        self.points
            .iter()
            .filter(|p| self.window.is_none_or(|(a, b)| (a..=b).contains(&p.at)))
            .filter(|p| match scope {
                Scope::All => true,
                Scope::Quiet => !faulty(p.at),
                Scope::Fault => faulty(p.at),
            })
            .map(|p| (p.at, p.value.as_ref().filter(|_| self.backed(p.at))))
            .collect()
    }

    /// Why what was seen isn't enough, if it isn't.
    fn lacks(&self, due: &[(u64, Option<&Value>)], judged: u64) -> Option<String> {
        let total = self
            .points
            .iter()
            .filter(|p| self.window.is_none_or(|(a, b)| (a..=b).contains(&p.at)))
            .count();
        if due.is_empty() {
            return Some("no run recorded this series in its window".to_owned());
        }
        let left = due.len() as f64 / total.max(1) as f64;
        if left < self.criterion.quiet_min {
            return Some(format!(
                "the scope leaves {:.0} % of the time",
                (left * 100.0).floor()
            ));
        }
        let min = self.criterion.min_samples.max(1);
        if judged < min {
            return Some(format!("{} of at least {min}", count(judged, "sample")));
        }
        let share = judged as f64 / due.len() as f64;
        if share < COVERAGE_MIN {
            let held = count(due.len() as u64, "due value");
            return Some(format!("{judged} of {held} say something"));
        }
        self.gap(due)
    }

    fn gap(&self, due: &[(u64, Option<&Value>)]) -> Option<String> {
        let values = due.iter().map(|(at, v)| (*at, v.is_some()));
        let Some(spread) = spread(values, self.window, self.every) else {
            // One value says nothing of a stretch of time.
            let (from, to) = self.window.filter(|(from, to)| from < to)?;
            return Some(format!("a gap: one due value in {}", ms(to - from)));
        };
        let fault = match self.criterion.scope {
            Scope::All => 0,
            // What the scope leaves out is no gap.
            _ => self.faults.iter().map(|(a, b)| b - a).max().unwrap_or(0),
        };
        (spread.largest > spread.step * GAP_STEPS_MAX + fault)
            .then(|| format!("a gap of {} without a value", ms(spread.largest)))
    }

    /// Goes through the due values until what is looked for has lasted long enough. A gap breaks what must last
    /// without a break; where gaps are bridged it is taken for what may have lasted through it.
    fn walk<'v>(
        &self,
        test: &Test<'_>,
        due: &[(u64, Option<&'v Value>)],
        (hit, bridged): (bool, bool),
    ) -> Walk<'v> {
        let patience = nanos(self.criterion.lasts + self.criterion.grace);
        let dues = due.iter().map(|(at, _)| (*at, true));
        let step = spread(dues, None, self.every).map_or(0, |s| s.step);
        let mut walk = Walk::default();
        let mut since: Option<u64> = None;
        let mut before: Option<u64> = None;
        for (at, seen) in due {
            let far = before.is_some_and(|before| at - before > step * GAP_STEPS_MAX);
            before = Some(*at);
            if far && !bridged {
                since = None;
            }
            let held = seen.and_then(|v| Some((v, self.holds(test, v)?)));
            let Some((seen, holds)) = held else {
                if !bridged {
                    since = None;
                }
                continue;
            };
            walk.judged += 1;
            walk.last = Some(seen);
            if let (Some(n), Some(is)) = (number_of(seen), &self.criterion.is) {
                walk.worst = Some(walk.worst.map_or(n, |w| worse(is, w, n)));
            }
            if holds != hit {
                since = None;
                continue;
            }
            let from = *since.get_or_insert(*at);
            if at - from >= patience {
                walk.hit = Some((*at, from, seen));
                return walk;
            }
        }
        walk
    }

    /// Judges a rule (its bound may not be broken for `for` + `grace`) or a trigger (it fires where its bound
    /// has held that long, which is FAIL).
    fn judge(&self, fires: bool) -> Finding {
        let Some(is) = &self.criterion.is else {
            return Finding::open("no bound");
        };
        let test = match Test::new(is) {
            Ok(test) => test,
            Err(why) => return Finding::open(why),
        };
        let due = self.due();
        let walk = self.walk(&test, &due, (fires, false));
        if let Some((at, since, seen)) = walk.hit {
            return Finding {
                verdict: Outcome::Fail,
                observed: format!("{} at {}{}", self.words(seen), ms(at), self.lasted()),
                at: Some(at),
                since: Some(since),
                value: number_of(seen),
            };
        }
        if self.baseline == Some(0.0) && walk.judged == 0 && !due.is_empty() {
            return Finding::open("0 against 0 before is no ratio");
        }
        if let Some(why) = self.lacks(&due, walk.judged) {
            return Finding::open(why);
        }
        if let Some((at, _, seen)) = self.walk(&test, &due, (fires, true)).hit {
            let seen = self.words(seen);
            return Finding::open(format!(
                "{seen} at {}, which may have lasted through a gap",
                ms(at)
            ));
        }
        let shown = match (fires, walk.worst, walk.last) {
            (true, ..) => "never".to_owned(),
            (false, Some(n), _) => self.words(&Value::from(n)),
            (false, None, Some(seen)) => self.words(seen),
            (false, None, None) => String::new(),
        };
        Finding {
            verdict: Outcome::Pass,
            observed: format!("{shown} in {}", count(walk.judged, "sample")),
            at: None,
            since: None,
            value: walk.worst,
        }
    }

    pub fn rule(&self) -> Finding {
        self.judge(false)
    }

    pub fn trigger(&self) -> Finding {
        self.judge(true)
    }

    fn lasted(&self) -> String {
        let patience = self.criterion.lasts + self.criterion.grace;
        match patience.is_zero() {
            true => String::new(),
            false => format!(", for {} without a break", duration(patience)),
        }
    }

    fn words(&self, seen: &Value) -> String {
        let shown = number_of(seen).map_or_else(|| value(seen), exact);
        match self.baseline {
            Some(base) => format!("{shown} against {} before", exact(base)),
            None => shown,
        }
    }
}

/// A value with as many digits as a bound may have.
fn exact(n: f64) -> String {
    let short = number(n);
    match short.parse::<f64>() {
        Ok(back) if (back - n).abs() > n.abs() * 1e-6 => format!("{n}"),
        _ => short,
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// The usual distance between due values, and the largest without a value.
struct Spread {
    step: u64,
    largest: u64,
}

/// A watch that stalls leaves due times out, so that the usual distance is at most the one that was asked for.
fn spread(
    due: impl Iterator<Item = (u64, bool)>,
    window: Option<(u64, u64)>,
    every: Option<u64>,
) -> Option<Spread> {
    let due: Vec<(u64, bool)> = due.collect();
    let mut steps: Vec<u64> = due.windows(2).map(|w| w[1].0 - w[0].0).collect();
    steps.sort_unstable();
    let usual = steps.get(steps.len() / 2).copied();
    let step = usual.into_iter().chain(every).min()?;
    let held: Vec<u64> = due.iter().filter(|d| d.1).map(|d| d.0).collect();
    let (from, to) = window.unwrap_or((due.first()?.0, due.last()?.0));
    let edges = [
        held.first()?.saturating_sub(from),
        to.saturating_sub(*held.last()?),
    ];
    let inner = held.windows(2).map(|w| w[1] - w[0]);
    let largest = inner.chain(edges).max()?;
    Some(Spread { step, largest })
}

/// Largest distance between two values of a series, in steps.
pub(super) fn largest_gap_steps(
    points: &[Point],
    window: Option<(u64, u64)>,
    every: Option<u64>,
) -> Option<f64> {
    let inside = |p: &&Point| window.is_none_or(|(a, b)| (a..=b).contains(&p.at));
    let due = points.iter().filter(inside);
    let spread = spread(due.map(|p| (p.at, p.value.is_some())), window, every)?;
    Some(spread.largest as f64 / spread.step.max(1) as f64)
}

/// Whether a series has a value at each of its due times: steps and triggers by hand are recorded as they happen.
pub(super) fn is_sampled(id: &str) -> bool {
    !["step:", "trigger:"].iter().any(|of| id.starts_with(of))
}

/// Share of a window in which a series held a value, each standing for one step. One due value stands for nothing where
/// it isn't known how often was asked.
pub(super) fn watched(points: &[Point], (from, to): (u64, u64), every: Option<u64>) -> f64 {
    let Some(spread) = spread(points.iter().map(|p| (p.at, true)), None, every) else {
        return 0.0;
    };
    let held: Vec<u64> = points
        .iter()
        .filter(|p| p.value.is_some() && (from..=to).contains(&p.at))
        .map(|p| p.at)
        .collect();
    let (Some(first), Some(last)) = (held.first(), held.last()) else {
        return 0.0;
    };
    let edges = [first.saturating_sub(from), to.saturating_sub(*last)];
    let inner = held.windows(2).map(|w| w[1] - w[0]);
    let covered: u64 = inner.chain(edges).map(|gap| gap.min(spread.step)).sum();
    covered as f64 / to.saturating_sub(from).max(1) as f64
}

/// The opposite of a trigger's bound, in words: what must not be.
pub(super) fn must_not(is: &Option<Predicate>) -> String {
    is.as_ref().map_or_else(String::new, |is| {
        format!("not {}", crate::words::predicate(is))
    })
}

/// Per probe the series that its samples belong to.
pub(super) type Wanted = BTreeMap<String, Vec<(String, String)>>;

/// Per probe of the journal the series that it is. An expression is asked for with the target's names filled
/// in, and its probe is named after that text.
pub(super) fn probes(policy: &Policy, names: &BTreeMap<String, String>) -> Wanted {
    let mut probes = Wanted::new();
    for (id, field) in series_of(policy) {
        let rendered = id.strip_prefix("promql:").map(|e| policy.render(e, names));
        let probe = match rendered {
            Some(Ok(query)) => firedrill_plan::promql_probe(&query),
            Some(Err(_)) => continue,
            None => id.clone(),
        };
        probes.entry(probe).or_default().push((id, field));
    }
    probes
}

/// Every series that a policy may ask for: its name here, and the field of the samples.
fn series_of(policy: &Policy) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    let criteria = policy.rules.iter().map(|r| &r.criterion);
    let criteria = criteria.chain(policy.triggers.iter().map(|t| &t.criterion));
    for measure in criteria
        .map(|c| &c.measure)
        .chain(policy.configs.iter().map(|c| &c.measure))
    {
        all.extend(measure.series());
    }
    for expr in policy.expressions() {
        all.insert((format!("promql:{expr}"), "value".to_owned()));
    }
    for trigger in &policy.triggers {
        for field in ["reason", "role"] {
            all.insert((format!("trigger:{}", trigger.id), field.to_owned()));
        }
    }
    let steps = policy
        .stages
        .iter()
        .flat_map(|s| s.enter.iter().chain(&s.exit));
    let steps = steps.chain(policy.rollbacks.iter().flat_map(|r| &r.steps));
    let ids = steps
        .map(|s| &s.id)
        .chain(policy.drills.iter().map(|d| &d.id));
    all.extend(ids.map(|id| (format!("step:{id}"), "verified".to_owned())));
    all
}
