//! Histories of states as shapes: how often each legal step was made, whatever the order in which
//! the rows were read. Few shapes exist however many intents do, so that an intent keeps one number.

use std::collections::HashMap;

/// A state of the target file, by number.
pub type State = u16;

/// A state that the target file doesn't know.
pub const UNKNOWN_STATE: State = u16::MAX;

/// No step at all.
pub const EMPTY: u32 = 0;
/// A step was illegal: such a history leads nowhere, and was counted at the step.
pub const BROKEN: u32 = 1;

/// Steps (from, to), each with its count, sorted.
type Steps = Vec<((State, State), u32)>;

#[derive(Debug)]
pub struct Shapes {
    shapes: Vec<Steps>,
    ids: HashMap<Steps, u32>,
    next: HashMap<(u32, State, State), u32>,
}

impl Shapes {
    pub fn new() -> Self {
        Shapes {
            // BROKEN has no steps of its own; no list leads to it.
            shapes: vec![Vec::new(), Vec::new()],
            ids: HashMap::from([(Vec::new(), EMPTY)]),
            next: HashMap::new(),
        }
    }

    /// The shape with one more legal step.
    pub fn add(&mut self, shape: u32, from: State, to: State) -> u32 {
        if shape == BROKEN {
            return BROKEN;
        }
        if let Some(next) = self.next.get(&(shape, from, to)) {
            return *next;
        }
        let mut steps = self.shapes[shape as usize].clone();
        match steps.binary_search_by_key(&(from, to), |(step, _)| *step) {
            // How often a state follows itself makes no difference to where a history leads.
            Ok(_) if from == to => {}
            Ok(at) => steps[at].1 = steps[at].1.saturating_add(1),
            Err(at) => steps.insert(at, ((from, to), 1)),
        }
        let id = *self.ids.entry(steps.clone()).or_insert_with(|| {
            self.shapes.push(steps);
            self.shapes.len() as u32 - 1
        });
        self.next.insert((shape, from, to), id);
        id
    }

    /// Whether the steps, in some order, form one path from the first state to the last: each state
    /// is left as often as it is entered but for the ends, and all steps hang together.
    pub fn leads(&self, shape: u32, first: State, last: State) -> bool {
        let steps = &self.shapes[shape as usize];
        let mut balance: HashMap<State, i64> = HashMap::new();
        for ((from, to), n) in steps {
            *balance.entry(*from).or_default() += i64::from(*n);
            *balance.entry(*to).or_default() -= i64::from(*n);
        }
        *balance.entry(first).or_default() -= 1;
        *balance.entry(last).or_default() += 1;
        let mut reached = vec![first];
        let mut next = 0;
        while let Some(state) = reached.get(next).copied() {
            next += 1;
            for ((from, to), _) in steps {
                if *from == state && !reached.contains(to) {
                    reached.push(*to);
                }
            }
        }
        shape != BROKEN
            && balance.values().all(|n| *n == 0)
            && steps.iter().all(|((from, _), _)| reached.contains(from))
    }
}
