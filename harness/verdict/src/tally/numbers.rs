//! Numbers one after another, in half of the bytes where that loses nothing.

/// How many are packed together.
const EACH: usize = 1_024;

/// A list of numbers.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    packed: Vec<Packed>,
    /// The last of them, fewer than are packed together.
    open: Vec<f64>,
}

#[derive(Clone, Debug)]
enum Packed {
    /// All of them are this one.
    Same(f64),
    /// Counts, and sizes in whole pages, are exact in single precision more often than not.
    Single(Box<[f32]>),
    Double(Box<[f64]>),
}

impl Packed {
    fn of(all: &[f64]) -> Self {
        let first = all.first().copied().unwrap_or(f64::NAN);
        if all.iter().all(|n| n.to_bits() == first.to_bits()) {
            return Packed::Same(first);
        }
        let exact = |n: &f64| n.is_nan() || f64::from(*n as f32).to_bits() == n.to_bits();
        match all.iter().all(exact) {
            true => Packed::Single(all.iter().map(|n| *n as f32).collect()),
            false => Packed::Double(all.into()),
        }
    }

    fn get(&self, at: usize) -> Option<f64> {
        match self {
            Packed::Same(n) => Some(*n),
            Packed::Single(all) => all.get(at).map(|n| f64::from(*n)),
            Packed::Double(all) => all.get(at).copied(),
        }
    }

    fn remove(&mut self, at: usize) {
        if let Packed::Same(n) = *self {
            *self = Packed::Double(vec![n; EACH].into());
        }
        match self {
            Packed::Same(_) => {}
            Packed::Single(all) => all.get_mut(at).into_iter().for_each(|n| *n = f32::NAN),
            Packed::Double(all) => all.get_mut(at).into_iter().for_each(|n| *n = f64::NAN),
        }
    }
}

impl Numbers {
    pub fn push(&mut self, number: f64) {
        self.open.push(number);
        if self.open.len() == EACH {
            self.packed.push(Packed::of(&self.open));
            self.open.clear();
        }
    }

    pub fn get(&self, at: usize) -> Option<f64> {
        match self.packed.get(at / EACH) {
            Some(packed) => packed.get(at % EACH),
            None => self
                .open
                .get(at.checked_sub(self.packed.len() * EACH)?)
                .copied(),
        }
    }

    /// Puts NaN in its place.
    pub fn remove(&mut self, at: usize) {
        let open = at.checked_sub(self.packed.len() * EACH);
        match (self.packed.get_mut(at / EACH), open) {
            (Some(packed), _) => packed.remove(at % EACH),
            (None, Some(open)) => self
                .open
                .get_mut(open)
                .into_iter()
                .for_each(|n| *n = f64::NAN),
            (None, None) => {}
        }
    }
}

impl FromIterator<f64> for Numbers {
    fn from_iter<I: IntoIterator<Item = f64>>(all: I) -> Self {
        let mut numbers = Numbers::default();
        all.into_iter().for_each(|n| numbers.push(n));
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that single precision can't hold, in the second pack of four; the last pack stands still.
    fn odd() -> Vec<f64> {
        let still = |n: usize| n.min(3 * EACH) as f64 * 4096.0;
        let mut all: Vec<f64> = (0..4 * EACH + 5).map(still).collect();
        all[EACH + 7] = 0.1;
        all[3] = f64::NAN;
        all[4] = -0.0;
        all[2 * EACH..2 * EACH + 20].fill(f64::INFINITY);
        all
    }

    #[test]
    fn every_number_comes_back_to_the_bit() {
        let all = odd();
        let numbers: Numbers = all.iter().copied().collect();
        for (at, n) in all.iter().enumerate() {
            let back = numbers.get(at).expect("it was put there");
            assert!(
                back.to_bits() == n.to_bits() || back.is_nan() && n.is_nan(),
                "{at}: {back}"
            );
        }
        assert_eq!(numbers.get(all.len()), None);
        let bytes = |p: &Packed| match p {
            Packed::Same(_) => 0,
            Packed::Single(_) => 4,
            Packed::Double(_) => 8,
        };
        let bytes: Vec<u64> = numbers.packed.iter().map(bytes).collect();
        assert_eq!(bytes, [4, 8, 4, 0]);
    }

    #[test]
    fn what_is_removed_is_gone_and_its_neighbours_stay() {
        let mut numbers: Numbers = odd().into_iter().collect();
        let removed = [0, EACH + 7, 3 * EACH + 9, 4 * EACH + 4];
        for at in removed.into_iter().chain([4 * EACH + 5]) {
            numbers.remove(at);
        }
        for (at, n) in odd().into_iter().enumerate() {
            let is = numbers.get(at).expect("it has a place");
            let gone = removed.contains(&at) || n.is_nan();
            assert_eq!((is.is_nan(), is == n), (gone, !gone), "{at}");
        }
    }
}
