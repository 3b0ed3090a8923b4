//! The drill's own course.

use super::*;

/// Says of the healed fault whether anything of the target met it.
fn felt(felt: bool) -> impl Fn(Run) -> Run {
    move |run| {
        run.edit(|event| {
            if let Event::Edge(edge) = event
                && edge.fault.is_some()
                && edge.kind == EdgeKind::Healed
            {
                edge.felt = Some(felt);
            }
            true
        })
    }
}

/// The drill's own course: its fault, its phases.
pub(super) fn rules() -> Vec<Rule> {
    let alive = |id: &str, judged: Judged| rule(id, ALIVE.to_owned()).about(judged);
    vec![
        alive("fault-proof", Judged::Fault)
            .fail("lost at 600 ms: frozen", |mut run| {
                run.edge(600, "fault", true, EdgeKind::Lost);
                run
            })
            .missing("it was never proven", edgeless(EdgeKind::Proven)),
        alive("fault-observation", Judged::Fault)
            .fail("it was never requested", edgeless(EdgeKind::Requested))
            .missing("no observation is given", |run| {
                run.edit(|event| {
                    if let Event::Edge(edge) = event {
                        edge.proof = None;
                    }
                    true
                })
            }),
        alive("fault-healed", Judged::Fault)
            .fail("healing was never requested", edgeless(EdgeKind::HealRequested))
            .missing("healing was never proven", edgeless(EdgeKind::Healed)),
        alive("fault-felt", Judged::Fault)
            .pass(felt(true))
            .fail("nothing of the target passed through it", felt(false))
            .missing("healing was never proven", edgeless(EdgeKind::Healed)),
        alive("fault-uninterrupted", Judged::Fault)
            .pass(|mut run| {
                run.stream(500, "engine", StreamState::Gap, None);
                run.stream(700, "engine", StreamState::Attached, Some("replayed"));
                run
            })
            .fail("interrupted: the engine recorded unpause at 600 ms", |mut run| {
                let keys = json!({"service": "redis"});
                run.fact(600, FactSource::Engine, "unpause", keys);
                run
            })
            .missing("engine was not attached from 500 ms to 700 ms", |run| {
                run.edit(|event| {
                    if let Event::Stream(stream) = event {
                        stream.detail = None;
                    }
                    true
                })
            }),
        alive("phase-length", Judged::Drill)
            .fail("phase fault lasted 500 ms instead of 1 s", |run| {
                run.edit(|event| {
                    if let Event::Edge(edge) = event
                        && edge.phase == "fault"
                        && edge.kind == EdgeKind::HealRequested
                    {
                        edge.at_ns = 630 * MS;
                    }
                    true
                })
            })
            .missing("phase before never ended", |run| {
                run.edit(|event| {
                    !matches!(event, Event::Edge(e) if e.phase == "before" && e.kind == EdgeKind::HealRequested)
                })
            }),
        alive("quiescence", Judged::Drill)
            .fail("too little data", |run| {
                run.edit(|event| {
                    !matches!(event, Event::Edge(e) if e.phase == "quiesce" && e.kind == EdgeKind::HealRequested)
                })
            })
            .missing("did not come to its quiescence", |run| {
                run.edit(|event| !matches!(event, Event::Edge(e) if e.phase == "quiesce"))
            }),
    ]
}

/// The fault without one of its edges.
pub(super) fn edgeless(kind: EdgeKind) -> impl Fn(Run) -> Run {
    move |run| {
        run.edit(|event| !matches!(event, Event::Edge(e) if e.fault.is_some() && e.kind == kind))
    }
}
