//! Points in time in seven bytes: a day has millions of them.

/// Nanoseconds since the run began, for two years and a hundred days; what lies beyond counts as their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp([u8; 7]);

impl Stamp {
    /// None of them.
    pub const NEVER: Stamp = Stamp([u8::MAX; 7]);
    const LAST: u64 = (1 << 56) - 2;

    pub fn of(ns: u64) -> Self {
        let [kept @ .., _] = ns.min(Self::LAST).to_le_bytes();
        Stamp(kept)
    }

    pub fn ns(self) -> u64 {
        let [a, b, c, d, e, f, g] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, 0])
    }

    pub fn known(self) -> Option<u64> {
        (self != Stamp::NEVER).then(|| self.ns())
    }
}

#[cfg(test)]
mod tests {
    use super::Stamp;

    #[test]
    fn a_stamp_is_kept_to_the_nanosecond_and_one_beyond_them_all_is_the_last() {
        for ns in [
            0,
            1,
            255,
            256,
            86_400_000_000_001,
            Stamp::LAST - 1,
            Stamp::LAST,
        ] {
            assert_eq!(Stamp::of(ns).known(), Some(ns));
        }
        for beyond in [Stamp::LAST + 1, u64::MAX] {
            assert_eq!(Stamp::of(beyond).known(), Some(Stamp::LAST));
        }
        assert_eq!(Stamp::NEVER.known(), None);
        assert_eq!(size_of::<Stamp>(), 7);
    }
}
