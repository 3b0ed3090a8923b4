//! The geometry of the timeline: small multiples over one time axis, fault windows across all of
//! them. It only computes coordinates; the template draws.

use std::fmt::Write as _;

use firedrill_verdict::{Timeline, TimelineSeries, TimelineStates, TimelineWindow};
use serde::Serialize;

use crate::words::{ms, plain};

/// Width of the drawing in its own units, its left gutter for labels, its right margin.
const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 132.0;
const RIGHT: f64 = 12.0;
/// Height of the strip of phases, of a lane of states, of a lane of a series, and between lanes.
const STRIP: f64 = 34.0;
const STATES: f64 = 18.0;
const SERIES: f64 = 58.0;
const GAP: f64 = 14.0;
/// Width of a tick's label at the most.
const LABEL: f64 = 40.0;
/// Room for the axis below the lanes.
const AXIS: f64 = 30.0;
/// Least width of a window whose edges are drawn.
const EDGES_MIN: f64 = 8.0;
/// Mean width of a character of a label.
const CHARACTER: f64 = 5.6;
/// Minutes that are round on a clock.
const ROUND_MIN: [f64; 9] = [2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 240.0, 360.0];
/// Most of each that is drawn; the format promises less.
const BINS_MAX: usize = 600;
const LANES_MAX: usize = 12;
const WINDOWS_MAX: usize = 400;
const SPANS_MAX: usize = 400;

#[derive(Serialize)]
pub(crate) struct Drawing {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    /// Upper and lower end of the lanes.
    top: f64,
    bottom: f64,
    windows: Vec<Band>,
    states: Vec<StatesLane>,
    series: Vec<SeriesLane>,
    ticks: Vec<Tick>,
    /// What is not drawn, in words; empty if all is.
    omitted: Vec<String>,
}

/// A phase or fault across all lanes.
#[derive(Serialize)]
struct Band {
    fault: bool,
    requested: f64,
    proven: Option<f64>,
    heal_requested: Option<f64>,
    healed: Option<f64>,
    /// The stretch in force, from proven to heal requested.
    force_x: f64,
    force_width: f64,
    end: f64,
    /// Too narrow for edges, which would cover what they frame: a shade alone.
    narrow: bool,
    phase: String,
    label: String,
}

#[derive(Serialize)]
struct StatesLane {
    name: String,
    y: f64,
    height: f64,
    spans: Vec<Span>,
}

#[derive(Serialize)]
struct Span {
    x: f64,
    width: f64,
    /// `None` where the state was not observed.
    value: Option<String>,
    label: String,
    /// Which of four fills: the same value has the same one in every lane.
    shade: usize,
}

#[derive(Serialize)]
struct SeriesLane {
    name: String,
    y: f64,
    bottom: f64,
    max: String,
    path: String,
    /// Where nothing was observed.
    gaps: String,
    empty: bool,
}

#[derive(Serialize)]
struct Tick {
    x: f64,
    /// `middle`, or `end` at the right edge, which would cut it.
    anchor: &'static str,
    label: String,
}

/// Maps milliseconds to the drawing; bad numbers end up at its edges.
struct Axis {
    start: f64,
    span: f64,
}

impl Axis {
    fn x(&self, at_ms: f64) -> f64 {
        let share = ((at_ms - self.start) / self.span).clamp(0.0, 1.0);
        let share = if share.is_nan() { 0.0 } else { share };
        round(LEFT + share * (WIDTH - LEFT - RIGHT))
    }
}

/// The drawing, or nothing if there is no time to draw over.
pub(crate) fn draw(timeline: &Timeline) -> Option<Drawing> {
    let span = timeline.end_ms - timeline.start_ms;
    if !span.is_finite() || span <= 0.0 {
        return None;
    }
    let axis = Axis {
        start: timeline.start_ms,
        span,
    };
    let mut y = STRIP;
    let mut shades = Vec::new();
    let mut states = Vec::new();
    for lane in timeline.states.iter().take(LANES_MAX) {
        states.push(states_lane(&axis, lane, y, &mut shades));
        y += STATES + GAP / 2.0;
    }
    y += GAP / 2.0;
    let mut series = Vec::new();
    for lane in timeline.series.iter().take(LANES_MAX) {
        series.push(series_lane(&axis, timeline, lane, y));
        y += SERIES + GAP;
    }
    let windows = shown(timeline);
    Some(Drawing {
        width: WIDTH,
        height: y + AXIS - GAP,
        left: LEFT,
        right: WIDTH - RIGHT,
        top: STRIP,
        bottom: y - GAP,
        windows: windows
            .into_iter()
            .map(|window| band(&axis, timeline, window))
            .collect(),
        states,
        series,
        ticks: ticks(&axis),
        omitted: omitted(timeline),
    })
}

/// All windows, or, of too many, those of faults.
fn shown(timeline: &Timeline) -> Vec<&TimelineWindow> {
    let few = timeline.windows.len() <= WINDOWS_MAX;
    let wanted = |w: &&TimelineWindow| few || w.fault.is_some();
    let windows = timeline.windows.iter().filter(wanted);
    windows.take(WINDOWS_MAX).collect()
}

fn band(axis: &Axis, timeline: &Timeline, window: &TimelineWindow) -> Band {
    let requested = axis.x(window.requested);
    let end_ms = window
        .healed
        .or(window.heal_requested)
        .unwrap_or(timeline.end_ms);
    let end = axis.x(end_ms);
    let force_x = window.proven.map_or(end, |at| axis.x(at));
    let force_end = axis.x(window.heal_requested.unwrap_or(end_ms));
    let room = end - requested;
    Band {
        fault: window.fault.is_some(),
        requested,
        proven: window.proven.map(|at| axis.x(at)),
        heal_requested: window.heal_requested.map(|at| axis.x(at)),
        healed: window.healed.map(|at| axis.x(at)),
        force_x,
        force_width: round((force_end - force_x).max(0.0)),
        end,
        narrow: room < EDGES_MIN,
        phase: fit(&window.phase, room),
        label: fit(window.fault.as_deref().unwrap_or(""), room),
    }
}

fn states_lane(axis: &Axis, lane: &TimelineStates, y: f64, shades: &mut Vec<String>) -> StatesLane {
    let spans = lane.spans.iter().take(SPANS_MAX).map(|span| {
        let x = axis.x(span.from_ms);
        let width = round((axis.x(span.to_ms) - x).max(0.0));
        let shade = span.value.as_ref().map_or(0, |value| {
            shades
                .iter()
                .position(|known| known == value)
                .unwrap_or_else(|| {
                    shades.push(value.clone());
                    shades.len() - 1
                })
        });
        let value = span.value.clone();
        Span {
            x,
            width,
            label: fit(value.as_deref().unwrap_or("?"), width),
            value,
            shade: shade % 4,
        }
    });
    StatesLane {
        name: fit(&lane.name, LEFT),
        y,
        height: STATES,
        spans: spans.collect(),
    }
}

fn series_lane(axis: &Axis, timeline: &Timeline, lane: &TimelineSeries, y: f64) -> SeriesLane {
    let values = &lane.values[..lane.values.len().min(BINS_MAX)];
    let seen = || {
        values
            .iter()
            .flatten()
            .copied()
            .filter(|value| value.is_finite())
    };
    let max = seen().fold(0.0_f64, f64::max);
    let bottom = y + SERIES;
    let scale = if max > 0.0 { (SERIES - 6.0) / max } else { 0.0 };
    let (mut path, mut gaps) = (String::new(), String::new());
    let mut drawing = false;
    for (index, value) in values.iter().enumerate() {
        let x = axis.x(timeline.start_ms + index as f64 * timeline.bin_ms);
        let end = axis.x(timeline.start_ms + (index + 1) as f64 * timeline.bin_ms);
        // A bin is a level, not a point: levels are joined only where both sides were observed.
        match value.filter(|value| value.is_finite()) {
            Some(value) => {
                let level = round(bottom - value.max(0.0) * scale);
                let joint = if drawing {
                    format!("V{level}")
                } else {
                    format!("M{x} {level}")
                };
                let _infallible = write!(path, "{joint}H{end}");
                drawing = true;
            }
            None => {
                let _infallible = write!(gaps, "M{x} {bottom}H{end}");
                drawing = false;
            }
        }
    }
    let empty = seen().next().is_none();
    let max = if empty {
        crate::words::NOT_APPLICABLE.to_owned()
    } else {
        plain(Some(max))
    };
    SeriesLane {
        name: fit(&lane.name, LEFT),
        y,
        bottom,
        max,
        path,
        gaps,
        empty,
    }
}

/// Five to ten ticks at round times.
fn ticks(axis: &Axis) -> Vec<Tick> {
    let rough = axis.span / 6.0;
    let magnitude = 10_f64.powf(rough.log10().floor());
    let clock = ROUND_MIN.into_iter().map(|minutes| minutes * 60_000.0);
    let decimal = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude);
    let step = match rough > 60_000.0 {
        true => clock.chain(decimal).find(|step| *step >= rough),
        false => decimal.into_iter().find(|step| *step >= rough),
    };
    let step = step.unwrap_or(rough);
    let first = (axis.start / step).ceil();
    let times = (0..12).map(|index| (first + f64::from(index)) * step);
    times
        .take_while(|at| *at <= axis.start + axis.span)
        .map(|at| Tick {
            x: axis.x(at),
            anchor: match axis.x(at) > WIDTH - RIGHT - LABEL / 2.0 {
                true => "end",
                false => "middle",
            },
            label: tick_label(at, step),
        })
        .collect()
}

fn tick_label(at_ms: f64, step_ms: f64) -> String {
    if step_ms >= 60_000.0 {
        let minutes = (at_ms / 60_000.0).round();
        format!("{:.0}:{:02.0} h", (minutes / 60.0).floor(), minutes % 60.0)
    } else if step_ms >= 1_000.0 {
        format!("{:.0} s", at_ms / 1_000.0)
    } else if step_ms >= 100.0 {
        format!("{:.1} s", at_ms / 1_000.0)
    } else {
        ms(Some(at_ms))
    }
}

fn omitted(timeline: &Timeline) -> Vec<String> {
    let bins = timeline
        .series
        .iter()
        .map(|lane| lane.values.len())
        .max()
        .unwrap_or(0);
    let spans = timeline
        .states
        .iter()
        .map(|lane| lane.spans.len())
        .max()
        .unwrap_or(0);
    let windows = timeline.windows.len();
    [
        ("bins", bins, BINS_MAX),
        ("series", timeline.series.len(), LANES_MAX),
        ("lanes of states", timeline.states.len(), LANES_MAX),
        ("stretches of a state", spans, SPANS_MAX),
        (
            "windows, those without a fault first,",
            windows,
            shown(timeline).len(),
        ),
    ]
    .into_iter()
    .filter(|(_, count, most)| count > most)
    .map(|(what, count, most)| format!("{} of {count} {what} are not drawn", count - most))
    .collect()
}

/// As much of a label as there is room for; nothing if not even two characters fit.
fn fit(label: &str, room: f64) -> String {
    let most = ((room - 6.0) / CHARACTER).max(0.0) as usize;
    if label.chars().count() <= most {
        return label.to_owned();
    }
    if most < 3 {
        return String::new();
    }
    let mut short: String = label.chars().take(most - 1).collect();
    short.push('…');
    short
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(values: Vec<Option<f64>>) -> Timeline {
        Timeline {
            start_ms: 0.0,
            end_ms: values.len() as f64 * 100.0,
            bin_ms: 100.0,
            series: vec![TimelineSeries {
                name: "acknowledged/s".to_owned(),
                values,
            }],
            windows: Vec::new(),
            states: Vec::new(),
        }
    }

    #[test]
    fn a_gap_is_drawn_as_a_gap() {
        let drawing = draw(&timeline(vec![Some(1.0), None, Some(f64::NAN), Some(2.0)]));
        let lane = &drawing.as_ref().map(|drawing| &drawing.series[0]);
        assert_eq!(lane.map(|lane| lane.path.matches('M').count()), Some(2));
        assert_eq!(lane.map(|lane| lane.gaps.matches('M').count()), Some(2));
    }

    #[test]
    fn no_time_means_no_drawing() {
        assert!(draw(&Timeline::default()).is_none());
        let mut bad = timeline(vec![Some(1.0)]);
        bad.end_ms = f64::NAN;
        assert!(draw(&bad).is_none());
    }

    #[test]
    fn what_is_not_drawn_is_said() {
        let drawing = draw(&timeline(vec![None; 700]));
        let omitted = drawing.map(|drawing| drawing.omitted).unwrap_or_default();
        assert_eq!(omitted, ["100 of 700 bins are not drawn"]);
    }
}
