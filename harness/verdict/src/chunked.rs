//! A list that grows without being moved: what it holds of a day is never held twice, and little of it is spare.

use std::ops::{Index, IndexMut};

/// Bytes of a chunk at the most: so few that a short list costs little, and that the end of a long one is all it wastes.
const BYTES: usize = 16_384;

/// A list in chunks of the same length; only the last may be shorter.
#[derive(Clone, Debug)]
pub struct Chunked<T> {
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Chunked { chunks: Vec::new() }
    }
}

impl<T: Copy> Chunked<T> {
    /// How many a chunk holds.
    const EACH: usize = {
        let of = size_of::<T>();
        let each = BYTES / if of == 0 { 1 } else { of };
        if each == 0 { 1 } else { each }
    };

    pub fn len(&self) -> usize {
        let last = self.chunks.last().map_or(0, Vec::len);
        self.chunks.len().saturating_sub(1) * Self::EACH + last
    }

    pub fn push(&mut self, one: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < Self::EACH => last.push(one),
            _ => {
                let mut chunk = Vec::with_capacity(Self::EACH);
                chunk.push(one);
                self.chunks.push(chunk);
            }
        }
    }

    /// As many as that at least, the new ones all alike.
    pub fn reach(&mut self, len: usize, fill: T) {
        for _ in self.len()..len {
            self.push(fill);
        }
    }

    pub fn get(&self, at: usize) -> Option<&T> {
        self.chunks.get(at / Self::EACH)?.get(at % Self::EACH)
    }

    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        let chunk = self.chunks.get_mut(at / Self::EACH)?;
        chunk.get_mut(at % Self::EACH)
    }

    pub fn first(&self) -> Option<&T> {
        self.chunks.first()?.first()
    }

    pub fn last(&self) -> Option<&T> {
        self.chunks.last()?.last()
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        self.chunks.iter().flatten()
    }

    /// Those in `[from, to)`, as far as there are any.
    pub fn range(&self, from: usize, to: usize) -> impl Iterator<Item = &T> {
        (from..to.min(self.len())).filter_map(|at| self.get(at))
    }

    /// How many come first for which it holds; it must hold for none after them.
    pub fn partition_point(&self, mut is: impl FnMut(&T) -> bool) -> usize {
        let full = |chunk: &Vec<T>| chunk.last().is_some_and(&mut is);
        let chunk = self.chunks.partition_point(full);
        match self.chunks.get(chunk) {
            Some(last) => chunk * Self::EACH + last.partition_point(is),
            None => self.len(),
        }
    }
}

impl<T: Copy> FromIterator<T> for Chunked<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut chunks = Chunked::default();
        all.into_iter().for_each(|one| chunks.push(one));
        chunks
    }
}

/// Panics beyond the end, as a slice does.
impl<T: Copy> Index<usize> for Chunked<T> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        &self.chunks[at / Self::EACH][at % Self::EACH]
    }
}

impl<T: Copy> IndexMut<usize> for Chunked<T> {
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut self.chunks[at / Self::EACH][at % Self::EACH]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than two chunks of them, and two more.
    const MANY: usize = 2 * Chunked::<u64>::EACH + 2;

    fn even() -> Chunked<u64> {
        (0..MANY as u64).map(|n| 2 * n).collect()
    }

    #[test]
    fn each_is_found_where_it_was_put() {
        let mut list = even();
        assert_eq!(list.len(), MANY);
        assert!(list.iter().copied().eq((0..MANY as u64).map(|n| 2 * n)));
        for at in [0, 1, MANY / 2 - 2, MANY / 2 - 1, MANY / 2, MANY - 1] {
            assert_eq!(list[at], 2 * at as u64);
            assert_eq!(list.get(at), Some(&(2 * at as u64)));
        }
        assert_eq!(list.get(MANY), None);
        assert_eq!(list.get_mut(MANY), None);
        assert_eq!(
            (list.first(), list.last()),
            (Some(&0), Some(&(2 * MANY as u64 - 2)))
        );
        list[MANY / 2] = 7;
        assert_eq!(list.iter().position(|n| *n == 7), Some(MANY / 2));
    }

    #[test]
    fn it_is_filled_up_to_a_length_and_never_shortened() {
        let mut list = even();
        list.reach(MANY + 3, 9);
        assert_eq!(
            (list.len(), list[MANY - 1], list[MANY + 2]),
            (MANY + 3, 2 * MANY as u64 - 2, 9)
        );
        list.reach(5, 1);
        assert_eq!(list.len(), MANY + 3);
        let none = Chunked::<u64>::default();
        assert_eq!(
            (none.len(), none.first(), none.iter().count()),
            (0, None, 0)
        );
    }

    #[test]
    fn it_is_parted_and_cut_like_a_slice() {
        let list = even();
        let slice: Vec<u64> = list.iter().copied().collect();
        let each = Chunked::<u64>::EACH as u64;
        for bound in [
            0,
            1,
            2,
            2 * each - 2,
            2 * each,
            2 * each + 1,
            4 * each,
            4 * each + 2,
            u64::MAX,
        ] {
            let parted = list.partition_point(|n| *n < bound);
            assert_eq!(parted, slice.partition_point(|n| *n < bound), "{bound}");
        }
        assert_eq!(Chunked::<u64>::default().partition_point(|_| true), 0);
        let cut = |from: usize, to: usize| list.range(from, to).copied().collect::<Vec<_>>();
        let each = each as usize;
        assert_eq!(cut(each - 1, each + 1), slice[each - 1..each + 1]);
        assert_eq!(cut(MANY - 1, usize::MAX), slice[MANY - 1..]);
        assert!(cut(3, 2).is_empty());
    }
}
