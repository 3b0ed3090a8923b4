//! Temporal operators: phases, edges, marks.

use std::time::Duration;

use crate::diag::{Problem, Sink, nearest};
use crate::model::*;
use crate::names::known;
use crate::node::{Node, Text};

const EDGES: [(&str, Edge); 4] = [
    ("requested", Edge::Requested),
    ("proven", Edge::Proven),
    ("heal_requested", Edge::HealRequested),
    ("healed", Edge::Healed),
];

/// The moments that a drill names.
pub(crate) struct Moments<'a> {
    /// Ids of the phases, in order.
    pub phases: Vec<&'a str>,
    /// Phases with a fault of their own.
    pub faulty: Vec<&'a str>,
    /// Ids of the marks and the phases they lie in.
    pub marks: Vec<(&'a str, &'a str)>,
}

impl Moments<'_> {
    pub fn index(&self, phase: &str) -> Option<usize> {
        self.phases.iter().position(|p| *p == phase)
    }

    /// The phase that a key names, reported if there is none.
    pub fn phase(&self, sink: &mut Sink<'_>, node: Node<'_>, key: &str) -> Option<String> {
        let name = node.text(key)?;
        known(sink, "phase", name, &self.phases);
        Some(name.owned())
    }

    /// Phases in which signals were sent.
    pub fn signals_of(&self, sink: &mut Sink<'_>, node: Node<'_>) -> Vec<String> {
        let phases = node.texts("signals_of");
        for phase in &phases {
            known(sink, "phase", *phase, &self.phases);
        }
        phases.iter().map(Text::owned).collect()
    }

    /// The operator; throughout the drill where there is none.
    pub fn when(&self, sink: &mut Sink<'_>, node: Option<Node<'_>>) -> Option<When> {
        let whole = Window {
            from: None,
            to: None,
            grace: Duration::ZERO,
        };
        let Some(node) = node else {
            return Some(When::Throughout { window: whole });
        };
        if let Some(bound) = node.duration("within") {
            return Some(When::Within {
                bound,
                of: self.edge(sink, node)?,
                then_throughout: node.has("then"),
            });
        }
        let window = self.window(sink, node);
        if let Some(bound) = node.duration("not_before") {
            let of = self.edge(sink, node)?;
            self.edge_in_time(sink, node, &of, &window);
            return Some(When::NotBefore { bound, of, window });
        }
        let op = node.text("op").map_or("throughout", |op| op.value);
        Some(match op {
            "eventually" => When::Eventually { window },
            "never" => When::Never { window },
            _ => When::Throughout { window },
        })
    }

    fn window(&self, sink: &mut Sink<'_>, node: Node<'_>) -> Window {
        let within = self.phase(sink, node, "in");
        let from = within.clone().or_else(|| self.phase(sink, node, "from"));
        let to = within.or_else(|| self.phase(sink, node, "to"));
        if let (Some(from), Some(to)) = (&from, &to)
            && let (Some(first), Some(last)) = (self.index(from), self.index(to))
            && last < first
        {
            let message = format!("the window ends with \"{to}\", which is before \"{from}\"");
            let expected = format!("\"{from}\" or a later phase");
            sink.error(node.at("to"), Problem::new(message).expected(expected));
        }
        Window {
            from,
            to,
            grace: node.duration("grace").unwrap_or_default(),
        }
    }

    /// A lower bound that counts from after the window's end can never be looked at.
    fn edge_in_time(&self, sink: &mut Sink<'_>, node: Node<'_>, of: &EdgeRef, window: &Window) {
        let phase = match of {
            EdgeRef::Phase { phase, .. } => Some(phase.as_str()),
            EdgeRef::Mark { id } => self.marks.iter().find(|m| m.0 == id).map(|m| m.1),
        };
        if let Some(edge) = phase.and_then(|p| self.index(p))
            && let Some(last) = window.to.as_deref().and_then(|to| self.index(to))
            && last < edge
        {
            let message = "the window ends before the phase of its edge";
            sink.error(node.at("in"), Problem::new(message));
        }
    }

    /// The edge under `of`.
    fn edge(&self, sink: &mut Sink<'_>, node: Node<'_>) -> Option<EdgeRef> {
        let of = node.text("of")?;
        if let Some(mark) = of.value.strip_prefix('@') {
            let marks: Vec<&str> = self.marks.iter().map(|m| m.0).collect();
            let mark = Text {
                value: mark,
                at: of.at,
            };
            return known(sink, "mark", mark, &marks).then(|| EdgeRef::Mark { id: mark.owned() });
        }
        let Some((phase, edge)) = of.value.rsplit_once('.') else {
            let problem = Problem::new(format!("\"{}\" isn't an edge", of.value));
            let close = nearest(of.value, &self.phases).map(|phase| format!("{phase}.proven"));
            let expected =
                "phase.requested, phase.proven, phase.heal_requested, phase.healed or @mark";
            sink.error(of.at, problem.expected(expected).nearest(close));
            return None;
        };
        let place = |value| Text { value, at: of.at };
        let phase_known = known(sink, "phase", place(phase), &self.phases);
        let names: Vec<&str> = EDGES.iter().map(|e| e.0).collect();
        let edge_known = known(sink, "edge", place(edge), &names);
        let (_, edge) = EDGES.iter().find(|e| e.0 == edge)?;
        if *edge == Edge::Healed && phase_known && !self.faulty.contains(&phase) {
            let message =
                format!("phase \"{phase}\" has no fault, so nothing is healed at its end");
            sink.lint(of.at, message);
        }
        (phase_known && edge_known).then(|| EdgeRef::Phase {
            phase: phase.to_string(),
            edge: *edge,
        })
    }
}
