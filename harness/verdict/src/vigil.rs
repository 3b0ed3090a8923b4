//! What must never happen in a soak, whatever is broken at the time: a service that ends though nothing ends
//! it, a kill for want of memory, one intent sent twice, a send where nothing may be sent.
//!
//! Seen event by event, in the order of the journal and in bounded memory: so who looks on while the soak
//! goes on and who judges it afterwards say the same.

use std::collections::{BTreeMap, HashMap, VecDeque};

use firedrill_journal::{Edge, EdgeKind, Event, FactSource, FactView, View, act};
use firedrill_plan::{Drill, Expect, FactSelector, FaultKind, Observe, Predicate, When};

use crate::audit::Name;
use crate::words::{ms, quote};

/// Intents whose first send is remembered, to see a second one under another nonce.
const INTENTS: usize = 20_000;
/// Stretches that are remembered after their end: facts come later than the edges around them.
const STRETCHES: usize = 256;
/// The engine stamps its events by the wall clock, which is carried over to the run's.
const SLACK_NS: u64 = 50_000_000;

/// Something that must never happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misdeed {
    pub rule: &'static str,
    pub why: String,
    /// On the run's clock.
    pub at_ns: u64,
}

impl Misdeed {
    /// As it is recorded, and shown.
    pub fn words(&self) -> String {
        format!("{}: {}", self.rule, self.why)
    }
}

/// What a phase of a drill means for the rules.
#[derive(Clone, Debug, Default)]
struct Rules {
    /// Services that its acts end.
    ends: Vec<String>,
    /// Nothing may be sent first that much after it was proven, and what says so.
    silent: Option<(u64, String)>,
}

/// A stretch of time, open as long as its end isn't known.
#[derive(Debug)]
struct Stretch {
    key: (u32, String, Option<u32>),
    /// The service that may end, or what forbids to send.
    what: String,
    from: u64,
    to: Option<u64>,
}

impl Stretch {
    fn holds(&self, at: u64, slack: u64) -> bool {
        let to = self.to.unwrap_or(u64::MAX);
        at.saturating_add(slack) >= self.from && at <= to.saturating_add(slack)
    }
}

/// Looks at a soak's events. It asks nothing before the soak begins.
pub struct Vigil {
    /// By episode and phase.
    rules: Vec<BTreeMap<String, Rules>>,
    begun: bool,
    ending: VecDeque<Stretch>,
    silent: VecDeque<Stretch>,
    /// Nonce of an intent's first send, and the intents in the order of their coming.
    sends: HashMap<Name, u64>,
    sent: VecDeque<Name>,
}

impl Vigil {
    /// `drills` are the run's, one per episode.
    pub fn new<'a>(drills: impl IntoIterator<Item = &'a Drill>) -> Self {
        Self {
            rules: drills.into_iter().map(rules).collect(),
            begun: false,
            ending: VecDeque::new(),
            silent: VecDeque::new(),
            // All that it will ever take is taken at once: a soak's own memory is watched as well.
            sends: HashMap::with_capacity(INTENTS),
            sent: VecDeque::with_capacity(INTENTS),
        }
    }

    /// Takes the journal's next event in; says if it must never happen.
    pub fn see(&mut self, event: View<'_>) -> Option<Misdeed> {
        match event {
            View::Fact(fact) => return self.fact(&fact),
            View::Other(Event::Edge(edge)) => self.edge(edge),
            // The stack of the part before is gone, and the next one isn't under way yet.
            View::Other(Event::Part(part)) => {
                self.begun = false;
                let open = self.ending.iter_mut().chain(&mut self.silent);
                open.filter(|s| s.to.is_none())
                    .for_each(|s| s.to = Some(part.from_ns));
            }
            _ => {}
        }
        None
    }

    fn edge(&mut self, edge: &Edge) {
        let index = edge.fault.as_ref().map(|f| f.index);
        let key = (edge.episode, edge.phase.clone(), index);
        let phases = self.rules.get(edge.episode as usize);
        let rules = phases.and_then(|p| p.get(&edge.phase));
        match (&edge.fault, edge.kind) {
            (Some(fault), EdgeKind::Requested)
                if FaultKind::ENDING.contains(&fault.kind.as_str()) =>
            {
                open(&mut self.ending, key, fault.target.clone(), edge.at_ns);
            }
            (Some(_), EdgeKind::Healed) | (None, EdgeKind::Proven) => {
                close(&mut self.ending, &key, edge.at_ns);
                if let (None, Some((grace, what))) =
                    (&edge.fault, rules.and_then(|r| r.silent.clone()))
                {
                    let from = edge.at_ns.saturating_add(grace);
                    open(&mut self.silent, key, what, from);
                }
            }
            (None, EdgeKind::Requested) => {
                for service in rules.map(|r| r.ends.clone()).unwrap_or_default() {
                    open(&mut self.ending, key.clone(), service, edge.at_ns);
                }
            }
            (None, EdgeKind::HealRequested) => close(&mut self.silent, &key, edge.at_ns),
            _ => {}
        }
    }

    fn fact(&mut self, fact: &FactView<'_>) -> Option<Misdeed> {
        let misdeed = |rule, why| Misdeed {
            rule,
            why,
            at_ns: fact.at_ns,
        };
        match (fact.source, fact.what) {
            (FactSource::Act, act::BEGINS) => self.begun = true,
            (FactSource::Act, act::FORCED) => self.forced(fact),
            (FactSource::Engine, "oom") if self.begun => {
                let why = format!("{} was killed by the kernel", quote(fact.text("service")?));
                return Some(misdeed("out-of-memory", why));
            }
            (FactSource::Engine, "die") if self.begun => {
                let service = fact.text("service")?;
                let mut meant = self.ending.iter();
                if !meant.any(|s| s.what == service && s.holds(fact.at_ns, SLACK_NS)) {
                    let service = quote(service);
                    let why = format!("{service} ended, and nothing in force ends it");
                    return Some(misdeed("died", why));
                }
            }
            (FactSource::Chain, "submission") => {
                let (rule, why) = self.forbidden(fact).or_else(|| self.twice(fact))?;
                return Some(misdeed(rule, why));
            }
            _ => {}
        }
        None
    }

    fn forced(&mut self, fact: &FactView<'_>) {
        let Some(service) = fact.text("service") else {
            return;
        };
        let key = (u32::MAX, service.to_owned(), None);
        match fact.text("state") {
            Some("begins") => open(&mut self.ending, key, service.to_owned(), fact.at_ns),
            _ => close(&mut self.ending, &key, fact.at_ns),
        }
    }

    /// A first send where a drill says that nothing may be sent.
    fn forbidden(&self, fact: &FactView<'_>) -> Option<(&'static str, String)> {
        if !fact.is_true("first_send") {
            return None;
        }
        let broken = self.silent.iter().find(|s| s.holds(fact.at_ns, 0))?;
        let after = ms(fact.at_ns.saturating_sub(broken.from));
        let why = format!(
            "{after} after nothing more may be sent, something was: {}",
            quote(&broken.what)
        );
        Some(("sent-while-forbidden", why))
    }

    /// One intent, accepted by the chain under two nonces: two trades.
    fn twice(&mut self, fact: &FactView<'_>) -> Option<(&'static str, String)> {
        if fact.text("outcome")? != "accepted" {
            return None;
        }
        let intent = fact.text("intent").filter(|i| !i.is_empty())?;
        let nonce = fact.keys.get("nonce")?.as_u64()?;
        let name = Name::word(intent);
        match self.sends.get(&name) {
            Some(before) if *before != nonce => {
                let intent = quote(intent);
                let why =
                    format!("the intent {intent} went out under the nonces {before} and {nonce}");
                Some(("sent-twice", why))
            }
            Some(_) => None,
            None => {
                if self.sent.len() == INTENTS
                    && let Some(oldest) = self.sent.pop_front()
                {
                    self.sends.remove(&oldest);
                }
                self.sent.push_back(name);
                self.sends.insert(name, nonce);
                None
            }
        }
    }
}

fn open(
    stretches: &mut VecDeque<Stretch>,
    key: (u32, String, Option<u32>),
    what: String,
    from: u64,
) {
    if stretches.len() == STRETCHES {
        stretches.pop_front();
    }
    stretches.push_back(Stretch {
        key,
        what,
        from,
        to: None,
    });
}

fn close(stretches: &mut VecDeque<Stretch>, key: &(u32, String, Option<u32>), at: u64) {
    let all = stretches.iter_mut();
    for stretch in all.filter(|s| s.to.is_none() && s.key == *key) {
        stretch.to = Some(at);
    }
}

fn rules(drill: &Drill) -> BTreeMap<String, Rules> {
    let of = |phase: &firedrill_plan::Phase| Rules {
        ends: phase
            .acts
            .iter()
            .flat_map(|a| a.kind.ends())
            .cloned()
            .collect(),
        silent: drill.expects.iter().find_map(|e| silence(e, &phase.id)),
    };
    let phases = drill.phases.iter();
    phases.map(|p| (p.id.clone(), of(p))).collect()
}

/// Whether the expectation says that nothing at all is sent first in that phase: the grace, and its words.
fn silence(expect: &Expect, phase: &str) -> Option<(u64, String)> {
    let (Observe::Count { facts, is }, When::Throughout { window }) =
        (&expect.observe, &expect.when)
    else {
        return None;
    };
    let anything = FactSelector::ChainFirstSend {
        outcome: None,
        signals_of: Vec::new(),
        origin: None,
        fields: Vec::new(),
    };
    let none = *is == Predicate::Equals(0.into()) && *facts == anything && !expect.precondition;
    let here = [&window.from, &window.to].map(|p| p.as_deref()) == [Some(phase); 2];
    let grace = u64::try_from(window.grace.as_nanos()).unwrap_or(u64::MAX);
    (none && here).then(|| (grace, expect.what.clone()))
}
