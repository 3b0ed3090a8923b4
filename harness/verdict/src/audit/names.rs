//! Names as digests: the audit joins texts of any length by twelve bytes and a small number each.

use sha2::{Digest, Sha256};

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

/// Names to numbers from 0, in the order of their coming. Open addressing over the numbers alone,
/// so that a name costs its twelve bytes and between five and seven more.
#[derive(Debug, Default)]
pub struct Interner {
    names: Vec<Name>,
    /// Number plus one below, the name's own bits above, so that most strangers are told apart
    /// without a look at their names; 0 is free.
    slots: Vec<u32>,
    /// The bits of a slot that hold the number.
    mask: u32,
}

impl Interner {
    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn name(&self, id: u32) -> Option<Name> {
        self.names.get(id as usize).copied()
    }

    pub fn intern(&mut self, name: Name) -> u32 {
        if (self.names.len() + 1) * 5 > self.slots.len() * 4 {
            self.grow();
        }
        let slot = self.slot(name);
        if self.slots[slot] == 0 {
            self.names.push(name);
            // A journal holds fewer than four billion lines, and a line at most a few names.
            self.slots[slot] = self.names.len() as u32 | name.0[1] & !self.mask;
        }
        (self.slots[slot] & self.mask) - 1
    }

    /// The number of a name that has come already.
    pub fn find(&self, name: Name) -> Option<u32> {
        let slot = (!self.slots.is_empty()).then(|| self.slot(name))?;
        (self.slots[slot] & self.mask).checked_sub(1)
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
