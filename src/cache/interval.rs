//! Which bytes of a blob are there: a set of ranges that never touch or overlap.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of byte offsets, kept as the fewest ranges. Empty ranges are never in it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Intervals {
    /// End by start.
    ranges: BTreeMap<u64, u64>,
    total: u64,
}

impl Intervals {
    /// Adds a range; returns how many of its bytes were not in the set.
    pub fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.start >= range.end {
            return 0;
        }
        let before = self.total;
        let (mut start, mut end) = (range.start, range.end);
        // All that touch it, from the last one that begins at or before its end.
        while let Some((&from, &to)) = self.ranges.range(..=end).next_back() {
            if to < start {
                break;
            }
            start = start.min(from);
            end = end.max(to);
            self.ranges.remove(&from);
            self.total -= to - from;
        }
        self.ranges.insert(start, end);
        self.total += end - start;
        self.total - before
    }

    /// Takes a range out.
    pub fn remove(&mut self, range: &Range<u64>) {
        if range.start >= range.end {
            return;
        }
        // All that overlap it, from the last one that begins before its end.
        while let Some((&from, &to)) = self.ranges.range(..range.end).next_back() {
            if to <= range.start {
                break;
            }
            self.ranges.remove(&from);
            self.total -= to - from;
            for kept in [from..range.start, range.end..to] {
                self.insert(kept);
            }
            if from <= range.start {
                break;
            }
        }
    }

    /// Returns the number of bytes in the set.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Returns the end of the range that an offset lies in.
    #[must_use]
    pub fn end_of(&self, offset: u64) -> Option<u64> {
        let (_, &end) = self.ranges.range(..=offset).next_back()?;
        (end > offset).then_some(end)
    }

    /// Returns what of a range is not in the set, in order.
    #[must_use]
    pub fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut missing = Vec::new();
        let mut at = range.start;
        while at < range.end {
            if let Some(end) = self.end_of(at) {
                at = end;
                continue;
            }
            let next = self.ranges.range(at..).next().map(|(&start, _)| start);
            let end = next.unwrap_or(range.end).min(range.end);
            missing.push(at..end);
            at = end;
        }
        missing
    }

    /// Returns the ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }

    /// Forgets everything from an offset on.
    pub fn truncate(&mut self, end: u64) {
        let kept: Vec<_> = self
            .iter()
            .map(|range| range.start.min(end)..range.end.min(end))
            .collect();
        *self = kept.into_iter().collect();
    }
}

impl FromIterator<Range<u64>> for Intervals {
    fn from_iter<T: IntoIterator<Item = Range<u64>>>(ranges: T) -> Self {
        let mut set = Self::default();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_become_one() {
        let mut set = Intervals::default();
        assert_eq!(set.insert(10..20), 10);
        assert_eq!(set.insert(30..40), 10);
        assert_eq!(set.insert(20..30), 10);
        assert_eq!(set.iter().next(), Some(10..40));
        assert_eq!(set.iter().count(), 1);
        assert_eq!(set.insert(15..45), 5);
        assert_eq!(set.insert(7..7), 0);
        assert_eq!(set.missing(0..50), [0..10, 45..50]);
        assert_eq!(
            (set.end_of(10), set.end_of(45), set.end_of(9)),
            (Some(45), None, None)
        );
    }

    proptest! {
        #[test]
        fn it_is_the_same_as_a_row_of_flags(
            ranges in prop::collection::vec((0_u64..120, 0_u64..40), 0..40),
            probe in (0_u64..150, 0_u64..60),
            gone in (0_u64..150, 0_u64..60),
            cut in 0_u64..160,
        ) {
            let mut flags = vec![false; 256];
            let mut set = Intervals::default();
            for (start, length) in ranges {
                let range = start..start + length;
                let new = range.clone().filter(|at| !flags[*at as usize]).count() as u64;
                for at in range.clone() {
                    flags[at as usize] = true;
                }
                prop_assert_eq!(set.insert(range), new);
            }
            let check = |set: &Intervals, flags: &[bool]| {
                assert_eq!(set.total(), flags.iter().filter(|flag| **flag).count() as u64);
                let mut last = None;
                for range in set.iter() {
                    assert!(range.start < range.end);
                    assert!(last.is_none_or(|end| end < range.start), "they touch");
                    last = Some(range.end);
                    assert!(range.clone().all(|at| flags[at as usize]));
                    assert_eq!(set.end_of(range.start), Some(range.end));
                }
            };
            check(&set, &flags);
            let probe = probe.0..probe.0 + probe.1;
            let missing: Vec<u64> = set.missing(probe.clone()).into_iter().flatten().collect();
            let expected: Vec<u64> = probe.filter(|at| !flags[*at as usize]).collect();
            prop_assert_eq!(missing, expected);
            let gone = gone.0..gone.0 + gone.1;
            set.remove(&gone);
            flags[gone.start as usize..gone.end as usize].fill(false);
            check(&set, &flags);
            set.truncate(cut);
            flags[cut as usize..].fill(false);
            check(&set, &flags);
        }
    }
}
