//! Drift: whether a series is on its way to a limit, by its quiet time alone.
//!
//! Pure and deterministic. Two shapes are looked for: a slope over time, and a level that rises from
//! fault to fault. Each is a Theil–Sen line (Sen 1968) with a standard error that holds for
//! autocorrelated noise, and must be significant twice: by the slope's own t, and by Mann–Kendall on
//! the prewhitened series. Then it must matter: the lower end of the slope's interval reaches the
//! limit within the horizon, and the growth goes on in both halves of the soak. What happened once (a step, a warm-up) is no drift. What can't be told from a drift
//! is INCONCLUSIVE, never PASS.
//!
//! The variance corrections by summed autocorrelations (Hamed & Rao 1998; Yue & Wang 2004) are not used: S is at
//! most n(n−1)/2, so that with its variance n³/9 stretched by n over the effective number of bins m, z is at most
//! 1.5·√m. With six effective bins or fewer no leak, however plain, could reach `ALPHA`.

mod bins;
mod kendall;
mod slope;
mod student;

pub use bins::{BINS_MAX, Bin, Binned, Point, bin};

pub(crate) use bins::median;
use slope::{COSINES, Line, fit};
pub(crate) use student::normal_tail;
use student::{student_quantile, student_tail};

/// Largest p-value of a trend that is believed: a soak holds dozens of series, and a false alarm costs
/// a night. One for each of the two shapes.
const ALPHA: f64 = 1e-4;
/// The same for Mann–Kendall. It only has to agree: prewhitening by one lag blows slow waves up, and at
/// the level above plain leaks would be missed.
const ALPHA_KENDALL: f64 = 0.01;
/// Tail on each side of the slope's interval.
const TAIL: f64 = 0.025;
/// Fewest bins that a verdict rests on.
const BINS_MIN: usize = 24;
/// Fewest faults after which a level can be said to rise from fault to fault.
const FAULTS_MIN: usize = 3;
/// Share of the whole slope that each half must show, and by how many of its standard errors.
const PERSISTS: f64 = 0.4;
const PART_T: f64 = 2.0;
/// Share of the faults after which the level must have risen.
const RISES_MIN: f64 = 2.0 / 3.0;

/// A series in its quiet time, and what it must not reach. Times are hours since the soak's start.
#[derive(Clone, Debug)]
pub struct Series<'a> {
    pub binned: &'a Binned,
    /// When faults were healed; a level is compared before and after.
    pub faults: &'a [f64],
    pub limit: f64,
    /// Whether the limit lies above the series.
    pub upward: bool,
    /// Hours from the soak's end within which a growth that is certain must not reach the limit.
    pub horizon: f64,
    /// Hours from the soak's end for which it must be certain that none does: a short soak can't rule out as much.
    pub sight: f64,
    /// Whether a level that rises from fault to fault counts.
    pub steps: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The limit isn't reached within the horizon, and that is known.
    Holds,
    Drifts,
    /// Too little was seen, or too much noise.
    Unknown,
}

/// A slope with its interval (95 %).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slope {
    pub value: f64,
    pub low: f64,
    pub high: f64,
    /// Of the slope's t; one-sided, towards the limit.
    pub p: f64,
    /// Of Mann–Kendall on the prewhitened series.
    pub p_kendall: f64,
    /// How many independent bins would say as much.
    pub effective: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    pub answer: Answer,
    /// Per hour, in the series' own direction.
    pub slope: Option<Slope>,
    /// Per fault.
    pub shift: Option<Slope>,
    /// The level at the soak's end by the fitted line.
    pub level: Option<f64>,
    /// Hours from the soak's end to the limit, at the slope or the shifts; `None`: never.
    pub hours: Option<f64>,
    /// What decided it, in words.
    pub reason: Reason,
}

/// Why the answer is what it is. Words are the caller's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    FewBins {
        found: usize,
        wanted: usize,
    },
    Constant,
    Beyond,
    Slope,
    Shift {
        faults: usize,
    },
    Flat,
    /// It grew, and has stopped.
    Settled,
    /// It grew for certain, and not all the time.
    Uneven,
    /// The interval reaches the limit.
    Unsure,
}

/// Looks for a drift.
pub fn drift(series: &Series<'_>) -> Drift {
    let sign = if series.upward { 1.0 } else { -1.0 };
    let points = &series.binned.points;
    let unjudged = |answer, reason, level| Drift {
        answer,
        slope: None,
        shift: None,
        level,
        hours: None,
        reason,
    };
    if points.len() < BINS_MIN {
        let (found, wanted) = (points.len(), BINS_MIN);
        return unjudged(Answer::Unknown, Reason::FewBins { found, wanted }, None);
    }
    let data = Data::new(series, sign);
    let limit = sign * series.limit;
    if let Some(same) = data.constant() {
        let level = Some(sign * same);
        return match same >= limit {
            true => unjudged(Answer::Drifts, Reason::Beyond, level),
            false => unjudged(Answer::Holds, Reason::Constant, level),
        };
    }
    let Some(slope) = Trend::of(&data.at, &data.hours, &data.hours, &data.values) else {
        return unjudged(Answer::Unknown, Reason::Unsure, None);
    };
    let shift = series.steps.then(|| data.shift()).flatten();
    let level = slope.line.intercept + slope.line.slope * data.end;
    let judged = judge(series, &data, &slope, shift.as_ref(), limit - level);
    let (answer, reason, hours) = judged;
    Drift {
        answer,
        slope: Some(slope.shown(sign)),
        shift: shift.map(|s| s.shown(sign)),
        level: Some(sign * level),
        hours,
        reason,
    }
}

/// The headroom is what is left at the end.
fn judge(
    series: &Series<'_>,
    data: &Data,
    slope: &Trend,
    shift: Option<&Trend>,
    headroom: f64,
) -> (Answer, Reason, Option<f64>) {
    let hours = |rate: f64| (rate > 0.0).then(|| headroom / rate);
    let within = |hours: f64| move |rate: f64| rate * hours >= headroom;
    let (reaches, in_sight) = (within(series.horizon), within(series.sight));
    if headroom <= 0.0 {
        return (Answer::Drifts, Reason::Beyond, Some(0.0));
    }
    // Faults per hour, as the soak had them.
    let pace = data.faults as f64 / data.end.max(f64::MIN_POSITIVE);
    let goes_on = || data.persists(slope.line.slope);
    let by_fault = shift.filter(|s| {
        s.significant() && reaches(s.low() * pace) && data.rises(s.line.slope) && goes_on()
    });
    let by_time = slope.significant() && reaches(slope.low()) && goes_on();
    if let Some(shift) = by_fault
        && (!by_time || shift.misfit() < slope.misfit())
    {
        let faults = data.faults;
        return (
            Answer::Drifts,
            Reason::Shift { faults },
            hours(shift.line.slope * pace),
        );
    }
    if by_time {
        return (Answer::Drifts, Reason::Slope, hours(slope.line.slope));
    }
    let rate = hours(slope.line.slope);
    // What has grown for certain isn't out of danger because a short soak sees no further.
    let grows = slope.p < ALPHA && reaches(slope.low());
    let far = if grows { reaches } else { in_sight };
    if !far(slope.high()) {
        return (Answer::Holds, Reason::Flat, rate);
    }
    let late = [0.5, 0.75]
        .into_iter()
        .filter_map(|from| data.part(from, 1.0))
        .find(|late| !far(late.high()));
    match late {
        Some(late) => (Answer::Holds, Reason::Settled, hours(late.line.slope)),
        None if grows => (Answer::Unknown, Reason::Uneven, rate),
        None => (Answer::Unknown, Reason::Unsure, rate),
    }
}

/// A line and whether the series rises along it.
struct Trend {
    line: Line,
    p: f64,
    p_kendall: f64,
}

impl Trend {
    fn of(at: &[usize], hours: &[f64], x: &[f64], y: &[f64]) -> Option<Trend> {
        let line = fit(hours, x, y)?;
        let t = match line.error > 0.0 {
            true => line.slope / line.error,
            false if line.slope > 0.0 => f64::INFINITY,
            false => 0.0,
        };
        let (wx, wy) = kendall::prewhitened(at, x, y, &line.residuals);
        Some(Trend {
            line,
            p: student_tail(t, COSINES),
            p_kendall: kendall::rises(&wx, &wy),
        })
    }

    fn significant(&self) -> bool {
        self.p < ALPHA && self.p_kendall < ALPHA_KENDALL
    }

    fn half(&self) -> f64 {
        student_quantile(TAIL, COSINES) * self.line.error
    }

    fn low(&self) -> f64 {
        self.line.slope - self.half()
    }

    fn high(&self) -> f64 {
        self.line.slope + self.half()
    }

    /// How far the bins lie from the line.
    fn misfit(&self) -> f64 {
        self.line.residuals.iter().map(|r| r.abs()).sum()
    }

    /// In the series' own direction.
    fn shown(&self, sign: f64) -> Slope {
        let (a, b) = (sign * self.low(), sign * self.high());
        Slope {
            value: sign * self.line.slope,
            low: a.min(b),
            high: a.max(b),
            p: self.p,
            p_kendall: self.p_kendall,
            effective: self.line.effective,
        }
    }
}

/// The bins as columns, turned so that the limit lies above.
struct Data {
    at: Vec<usize>,
    hours: Vec<f64>,
    values: Vec<f64>,
    /// Faults healed before each bin.
    after: Vec<f64>,
    /// Number of faults with bins on both sides.
    faults: usize,
    end: f64,
}

impl Data {
    fn new(series: &Series<'_>, sign: f64) -> Data {
        let points = &series.binned.points;
        let mut faults = series.faults.to_vec();
        faults.sort_unstable_by(f64::total_cmp);
        let counts = points
            .iter()
            .map(|p| faults.iter().filter(|f| **f <= p.hours).count());
        // Faults without a quiet bin between them are one: their levels can't be told apart.
        let mut groups: Vec<usize> = counts.clone().collect();
        groups.dedup();
        let group = |n: usize| groups.iter().position(|g| *g == n).unwrap_or(0) as f64;
        Data {
            at: points.iter().map(|p| p.at).collect(),
            hours: points.iter().map(|p| p.hours).collect(),
            values: points.iter().map(|p| sign * p.value).collect(),
            after: counts.map(group).collect(),
            faults: groups.len().saturating_sub(1),
            end: series.binned.count as f64 * series.binned.width,
        }
    }

    /// The one value, if there is no other.
    fn constant(&self) -> Option<f64> {
        let first = *self.values.first()?;
        self.values.iter().all(|v| *v == first).then_some(first)
    }

    fn shift(&self) -> Option<Trend> {
        if self.faults < FAULTS_MIN {
            return None;
        }
        Trend::of(&self.at, &self.hours, &self.after, &self.values)
    }

    /// The trend of the bins between two shares of the time.
    fn part(&self, from: f64, to: f64) -> Option<Trend> {
        let inside = |i: &usize| (from * self.end..=to * self.end).contains(&self.hours[*i]);
        let some: Vec<usize> = (0..self.hours.len()).filter(inside).collect();
        if some.len() < BINS_MIN / 4 {
            return None;
        }
        let pick = |v: &[f64]| -> Vec<f64> { some.iter().map(|i| v[*i]).collect() };
        let at: Vec<usize> = some.iter().map(|i| self.at[*i]).collect();
        let hours = pick(&self.hours);
        Trend::of(&at, &hours, &hours, &pick(&self.values))
    }

    /// Whether the growth goes on: a step or a warm-up has a half without it.
    fn persists(&self, slope: f64) -> bool {
        let grows = |from, to| {
            self.part(from, to).is_some_and(|part| {
                let line = &part.line;
                line.slope >= PERSISTS * slope && line.slope >= PART_T * line.error
            })
        };
        grows(0.0, 0.5) && grows(0.5, 1.0)
    }

    /// Whether the level rose after most of the faults.
    fn rises(&self, per_fault: f64) -> bool {
        let mut levels: Vec<f64> = Vec::new();
        for group in 0..=self.faults {
            let of = |i: &usize| self.after[*i] == group as f64;
            let mut values: Vec<f64> = (0..self.values.len())
                .filter(of)
                .map(|i| self.values[i])
                .collect();
            levels.push(median(&mut values));
        }
        let rose = levels
            .windows(2)
            .filter(|w| w[1] - w[0] >= PERSISTS * per_fault);
        rose.count() as f64 >= RISES_MIN * self.faults as f64
    }
}
