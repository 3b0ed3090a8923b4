//! The temporal operators, on observations alone.
//!
//! An observation that was due at `due` and ended at `end` saw its value at some moment in between.
//! So each operator takes the side of that interval that can't accuse wrongly or acquit wrongly:
//! an upper bound holds only if the observation *ended* in time and began after the edge; a lower
//! bound is broken only if the value was seen by an observation that *ended* before the bound.

/// One observation, judged by the predicate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Obs {
    /// When it was due, nanoseconds.
    pub due: u64,
    /// When it ended.
    pub end: u64,
    /// `None`: missing data.
    pub ok: Option<bool>,
    pub seq: u64,
}

/// A closed stretch of time, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub from: u64,
    pub to: u64,
}

impl Span {
    pub fn len(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }

    pub fn is_empty(&self) -> bool {
        self.to <= self.from
    }

    /// Whether an observation lies wholly within. One that straddles an end is left out: nobody
    /// knows on which side the value was seen.
    pub fn holds(&self, obs: &Obs) -> bool {
        obs.due >= self.from && obs.end <= self.to
    }
}

/// What the observations say, before coverage is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// It holds, as far as was looked; the observation that decided it, if one did.
    Holds(Option<Obs>),
    /// This observation breaks it.
    Violated(Obs),
    /// What had to be seen wasn't.
    Unseen,
}

/// Every observation in the span satisfies. Vacuous without any: coverage must reject that.
pub fn throughout(all: &[Obs], span: Span) -> Decision {
    let broken = inside(all, span).find(|o| o.ok == Some(false));
    broken.map_or(Decision::Holds(None), Decision::Violated)
}

/// Some observation in the span satisfies.
pub fn eventually(all: &[Obs], span: Span) -> Decision {
    match inside(all, span).find(|o| o.ok == Some(true)) {
        Some(first) => Decision::Holds(Some(first)),
        None => Decision::Unseen,
    }
}

/// The first satisfying observation that began at `edge` or later ends by `edge + bound`; then,
/// where `then_until` is given, all later ones up to there satisfy as well.
pub fn within(all: &[Obs], edge: u64, bound: u64, then_until: Option<u64>) -> Decision {
    let from = start(all, edge);
    let Some(at) = all[from..].iter().position(|o| o.ok == Some(true)) else {
        // What must hold throughout and is seen not to hold after the bound is broken for certain,
        // however little else was seen.
        let limit = edge.saturating_add(bound);
        let late = then_until.and_then(|until| {
            let span = Span {
                from: limit,
                to: until,
            };
            inside(all, span).find(|o| o.ok == Some(false))
        });
        return late.map_or(Decision::Unseen, Decision::Violated);
    };
    let first = all[from + at];
    if first.end > edge.saturating_add(bound) {
        return Decision::Violated(first);
    }
    if let Some(until) = then_until {
        let rest = Span {
            from: first.due,
            to: until,
        };
        if let Decision::Violated(later) = throughout(&all[from + at..], rest) {
            return Decision::Violated(later);
        }
    }
    Decision::Holds(Some(first))
}

/// No satisfying observation ends before `edge + bound` among those due from `edge` to `until`, and
/// one is found by `until`. The decisive observation is the first satisfying one.
pub fn not_before(all: &[Obs], edge: u64, bound: u64, until: u64) -> Decision {
    let span = Span {
        from: edge,
        to: until,
    };
    let limit = edge.saturating_add(bound);
    let mut first = None;
    for obs in inside(all, span).filter(|o| o.ok == Some(true)) {
        if obs.end < limit {
            return Decision::Violated(obs);
        }
        first = first.or(Some(obs));
    }
    first.map_or(Decision::Unseen, |o| Decision::Holds(Some(o)))
}

/// Observations wholly within the span, in order of their due times.
pub fn inside(all: &[Obs], span: Span) -> impl Iterator<Item = Obs> + '_ {
    all[start(all, span.from)..]
        .iter()
        .take_while(move |o| o.due <= span.to)
        .filter(move |o| span.holds(o))
        .copied()
}

fn start(all: &[Obs], from: u64) -> usize {
    all.partition_point(|o| o.due < from)
}
