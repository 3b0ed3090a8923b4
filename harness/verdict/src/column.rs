//! What many events say of one thing: two bytes each as long as few different values come, which is the rule.

use std::collections::HashMap;

use crate::chunked::Chunked;

/// Nothing was said.
const NOTHING: u16 = 0;
/// The same in eight bytes: a NaN, which no value is.
const NOTHING_WIDE: u64 = u64::MAX;

/// Values by place.
#[derive(Debug)]
pub enum Column {
    /// Numbers of values, from 1.
    Few {
        codes: Chunked<u16>,
        values: Vec<u64>,
        known: HashMap<u64, u16>,
    },
    Many(Chunked<u64>),
}

impl Default for Column {
    fn default() -> Self {
        Column::Few {
            codes: Chunked::default(),
            values: Vec::new(),
            known: HashMap::new(),
        }
    }
}

impl Column {
    /// Takes the place of what was there. A value must not be all ones.
    pub fn put(&mut self, at: usize, value: Option<u64>) {
        if let Column::Few {
            codes,
            values,
            known,
        } = self
        {
            let code = match value {
                None => Some(NOTHING),
                Some(value) => known.get(&value).copied().or_else(|| {
                    let next = u16::try_from(values.len() + 1).ok()?;
                    values.push(value);
                    known.insert(value, next);
                    Some(next)
                }),
            };
            if let Some(code) = code {
                codes.reach(at + 1, NOTHING);
                codes[at] = code;
                return;
            }
            self.widen();
        }
        if let Column::Many(all) = self {
            all.reach(at + 1, NOTHING_WIDE);
            all[at] = value.unwrap_or(NOTHING_WIDE);
        }
    }

    pub fn get(&self, at: usize) -> Option<u64> {
        match self {
            Column::Few { codes, values, .. } => {
                let code = usize::from(*codes.get(at)?);
                values.get(code.checked_sub(1)?).copied()
            }
            Column::Many(all) => all.get(at).copied().filter(|v| *v != NOTHING_WIDE),
        }
    }

    fn widen(&mut self) {
        let Column::Few { codes, .. } = self else {
            return;
        };
        let all = (0..codes.len()).map(|at| self.get(at).unwrap_or(NOTHING_WIDE));
        *self = Column::Many(all.collect());
    }
}

#[cfg(test)]
mod tests {
    use super::Column;

    /// One more than two bytes can tell apart.
    const MANY: u64 = 65_536;

    #[test]
    fn what_was_put_last_is_found_whether_few_values_came_or_many() {
        let mut column = Column::default();
        for at in 0..MANY as usize {
            // Every seventh is silent.
            let value = (!at.is_multiple_of(7)).then_some(at as u64 % 5);
            column.put(at, value);
        }
        column.put(3, Some(u64::MAX - 1));
        column.put(4, None);
        let few = |at: usize| match at {
            3 => Some(u64::MAX - 1),
            4 => None,
            _ => (!at.is_multiple_of(7)).then_some(at as u64 % 5),
        };
        assert!(matches!(column, Column::Few { .. }));
        assert!((0..MANY as usize).all(|at| column.get(at) == few(at)));
        assert_eq!(column.get(MANY as usize), None);

        for at in 0..MANY {
            column.put(MANY as usize + at as usize, Some(1_000 + at));
        }
        assert!(matches!(column, Column::Many(_)));
        assert!((0..MANY as usize).all(|at| column.get(at) == few(at)));
        assert!((0..MANY).all(|at| column.get((MANY + at) as usize) == Some(1_000 + at)));
        column.put(5, None);
        assert_eq!((column.get(5), column.get(2 * MANY as usize)), (None, None));
    }

    #[test]
    fn places_that_were_passed_over_hold_nothing() {
        let mut column = Column::default();
        column.put(70_000, Some(7));
        assert_eq!((column.get(0), column.get(69_999)), (None, None));
        assert_eq!(column.get(70_000), Some(7));
    }
}
