//! Names as digests: the audit joins texts of any length by twelve bytes and a small number each.

use std::cell::RefCell;

use sha2::{Digest, Sha256};

use crate::chunked::Chunked;

/// Ninety-six bits of SHA-256. The texts come from the target, so that a hash which could be
/// steered would let two of them pass for one; at a million names two meet by chance in one of 10¹⁷
/// runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name([u32; 3]);

impl Name {
    /// The name of a text, taken as it stands.
    pub fn of(text: &str) -> Name {
        Name::digest(text.as_bytes())
    }

    /// The name of a 32-byte word, whatever the case of its digits; other texts as they stand.
    pub fn word(text: &str) -> Name {
        parse_word(text).map_or_else(|| Name::of(text), |word| Name::digest(&word))
    }

    fn digest(bytes: &[u8]) -> Name {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let at = |i: usize| u32::from_le_bytes([0, 1, 2, 3].map(|k| digest[4 * i + k]));
        Name([at(0), at(1), at(2)])
    }
}

/// 32 bytes from hexadecimal digits, `0x` or not.
pub fn parse_word(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let mut word = [0; 32];
    const_hex::decode_to_slice(digits, &mut word).ok()?;
    Some(word)
}

/// Texts to numbers from 0, in the order of their coming; of a text its name is kept. Open addressing over the numbers alone,
/// so that a name costs its twelve bytes and between five and seven more.
#[derive(Debug)]
pub struct Interner {
    /// What names a text.
    of: fn(&str) -> Name,
    names: Chunked<Name>,
    /// Number plus one below, the name's own bits above, so that most strangers are told apart
    /// without a look at their names; 0 is free.
    slots: Vec<u32>,
    /// The bits of a slot that hold the number.
    mask: u32,
    /// The text that was asked for last, and its number: most are asked for more than once in a row.
    last: RefCell<(String, u32)>,
}

/// Names that stand around the one that was asked for last: the chain and the record speak of them in about the order in
/// which they came, and memory that was read a moment ago is near.
const AROUND: [i32; 6] = [1, 0, 2, -1, 3, -2];

impl Interner {
    pub fn new(of: fn(&str) -> Name) -> Self {
        Interner {
            of,
            names: Chunked::default(),
            slots: Vec::new(),
            mask: 0,
            last: RefCell::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn name(&self, id: u32) -> Option<Name> {
        self.names.get(id as usize).copied()
    }

    pub fn intern(&mut self, text: &str) -> u32 {
        self.known(text).unwrap_or_else(|name| {
            if (self.names.len() + 1) * 5 > self.slots.len() * 4 {
                self.grow();
            }
            let slot = self.slot(name);
            self.names.push(name);
            // A journal holds fewer than four billion lines, and a line at most a few names.
            self.slots[slot] = self.names.len() as u32 | name.0[1] & !self.mask;
            self.note(text, self.names.len() as u32 - 1)
        })
    }

    /// The number of a text that has come already.
    pub fn find(&self, text: &str) -> Option<u32> {
        self.known(text).ok()
    }

    /// Its number, or the name of one that has not come.
    fn known(&self, text: &str) -> Result<u32, Name> {
        let last = self.last.borrow();
        let (known, near) = (last.0 == text && self.names.first().is_some(), last.1);
        drop(last);
        if known {
            return Ok(near);
        }
        let name = (self.of)(text);
        let around = AROUND.iter().filter_map(|d| near.checked_add_signed(*d));
        let mut around = around.filter(|id| self.name(*id) == Some(name));
        let id = around.next().or_else(|| {
            let slot = (!self.slots.is_empty()).then(|| self.slot(name))?;
            (self.slots[slot] & self.mask).checked_sub(1)
        });
        id.map(|id| self.note(text, id)).ok_or(name)
    }

    fn note(&self, text: &str, id: u32) -> u32 {
        let mut last = self.last.borrow_mut();
        last.0.clear();
        last.0.push_str(text);
        last.1 = id;
        id
    }

    /// Nothing more will be asked for by name.
    pub fn seal(&mut self) {
        self.slots = Vec::new();
    }

    fn grow(&mut self) {
        let size = (self.slots.len() / 4 * 5).max(64);
        // The old table goes before the new one comes: only one of them is ever held.
        self.slots = Vec::new();
        self.slots = vec![0; size];
        self.mask = u32::MAX >> (size as u32).leading_zeros();
        for id in 0..self.names.len() {
            let name = self.names[id];
            let mut slot = self.first(name);
            while self.slots[slot] != 0 {
                slot = self.next(slot);
            }
            self.slots[slot] = (id as u32 + 1) | name.0[1] & !self.mask;
        }
    }

    /// Where the name stands, or would stand. A free slot always exists.
    fn slot(&self, name: Name) -> usize {
        let mut slot = self.first(name);
        loop {
            let found = self.slots[slot];
            let alike = (found ^ name.0[1]) & !self.mask == 0;
            if found == 0 || alike && self.names[(found & self.mask) as usize - 1] == name {
                return slot;
            }
            slot = self.next(slot);
        }
    }

    fn first(&self, name: Name) -> usize {
        ((u64::from(name.0[0]) * self.slots.len() as u64) >> 32) as usize
    }

    fn next(&self, slot: usize) -> usize {
        if slot + 1 == self.slots.len() {
            0
        } else {
            slot + 1
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_text_keeps_its_number_in_whatever_order_it_is_asked_for() {
        let mut interner = Interner::new(Name::of);
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut ask = |text: String| {
            assert_eq!(interner.find(&text), numbers.get(&text).copied(), "{text}");
            let next = numbers.len() as u32;
            let number = *numbers.entry(text.clone()).or_insert(next);
            assert_eq!(interner.intern(&text), number, "{text}");
            // The text that was asked for last is known without a look at its name.
            assert_eq!(interner.find(&text), Some(number), "{text}");
        };
        ask(String::new());
        for n in 0..3_000_u32 {
            // New ones, their neighbours, and some from long ago.
            for known in [
                n,
                n.saturating_sub(2),
                n.wrapping_mul(2_654_435_761) % (n + 1),
                n + 1,
            ] {
                ask(format!("text {known}"));
            }
        }
        ask(String::new());
        assert_eq!(interner.len(), 3_002);
    }

    #[test]
    fn a_word_is_the_same_with_digits_of_either_case_and_another_one_is_not() {
        let mut words = Interner::new(Name::word);
        let word = format!("0x{}", "aB".repeat(32));
        assert_eq!(words.find(""), None);
        assert_eq!(words.intern(&word), 0);
        assert_eq!(words.find(&word.to_lowercase()), Some(0));
        assert_eq!(words.find(&word[2..]), Some(0));
        assert_eq!(words.intern(&word.replace('B', "c")), 1);
        assert_eq!(words.find("ab"), None);
    }
}
