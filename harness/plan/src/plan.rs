//! Questions that others ask the typed plan.

use std::time::Duration;

use crate::model::*;

impl Drill {
    /// The probe with that id.
    pub fn probe(&self, id: &str) -> Option<&Probe> {
        self.probes.iter().find(|p| p.id == id)
    }

    /// Position of the phase with that id.
    pub fn phase_index(&self, id: &str) -> Option<usize> {
        self.phases.iter().position(|p| p.id == id)
    }

    /// The mark with that id.
    pub fn mark(&self, id: &str) -> Option<&Mark> {
        self.marks.iter().find(|m| m.id == id)
    }

    /// The expectation with that id.
    pub fn expect(&self, id: &str) -> Option<&Expect> {
        self.expects.iter().find(|e| e.id == id)
    }

    /// How long its phases hold, all together: without acts, proofs and quiescence.
    pub fn hold(&self, pace: Pace) -> Duration {
        self.phases.iter().map(|p| p.hold.at(pace)).sum()
    }
}

impl Target {
    /// The service with that name, or the one that an instance's name (`webhook-2`) belongs to.
    pub fn service(&self, name: &str) -> Option<&Service> {
        let named = |name: &str| self.services.iter().find(|s| s.name == name);
        named(name).or_else(|| {
            let (base, number) = name.rsplit_once('-')?;
            let number: u32 = number.parse().ok()?;
            if number >= 2 { named(base) } else { None }
        })
    }

    /// Every instance that the drill runs, with its service: `webhook`, `webhook-2`, …
    pub fn instances<'t>(&'t self, drill: &Drill) -> Vec<(String, &'t Service)> {
        let count = |service: &Service| drill.replicas.get(&service.name).copied().unwrap_or(1);
        self.services
            .iter()
            .flat_map(|s| (1..=count(s)).map(move |n| (instance_name(&s.name, n), s)))
            .collect()
    }

    /// The services under test, as against what they rest on.
    pub fn app_services(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(|s| s.role == Role::App)
    }

    /// The services with that role.
    pub fn services_of(&self, role: Role) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(move |s| s.role == role)
    }
}

/// Name of the instance with that number, from 1.
pub(crate) fn instance_name(service: &str, number: u32) -> String {
    match number {
        1 => service.to_string(),
        n => format!("{service}-{n}"),
    }
}

impl Profile {
    /// The drills that it names, each once.
    pub fn drill_names(&self) -> Vec<&str> {
        let drawn = self.mix.iter().flat_map(|m| m.weights.keys());
        let mut names: Vec<&str> = Vec::new();
        for name in self.drills.iter().chain(drawn) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// How long the profile takes with these drills: their holds and quiescence, and the quiet time
    /// around each.
    pub fn length<'d>(&self, drills: impl IntoIterator<Item = &'d Drill>) -> Duration {
        drills.into_iter().fold(self.quiet, |sum, drill| {
            sum + drill.hold(self.pace) + drill.quiesce + self.quiet
        })
    }
}
