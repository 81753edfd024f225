//! How many records a device says it has, asked before it sends them, against those that came. Pure.
//!
//! Promises: fewer than it said is noticed; a device that does not answer, or says no, is read as before. More are no
//! difference: it may have measured meanwhile. Must never: count what cannot be told apart.

use std::collections::BTreeSet;

use super::gap::Gap;

/// Of one request.
#[derive(Debug, Default)]
pub(super) struct Count {
    stage: Stage,
    came: BTreeSet<u16>,
    /// Something came that has no number.
    unknown: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Not asked, or not answered.
    #[default]
    Open,
    /// It does not say.
    Untold,
    /// It says so many.
    Told(u32),
}

impl Count {
    /// It is still to be asked, or its answer is waited for.
    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// What the control point says; `false`: that is no answer to this.
    pub(super) fn response(&mut self, bytes: &[u8]) -> bool {
        self.stage = match *bytes {
            [5, 0, n] => Stage::Told(n.into()),
            [5, 0, a, b] => Stage::Told(u16::from_le_bytes([a, b]).into()),
            [5, 0, a, b, c, d] => Stage::Told(u32::from_le_bytes([a, b, c, d])),
            // It does not know the request, has none, or cannot now.
            [6, 0, 4, _] => Stage::Untold,
            _ => return false,
        };
        true
    }

    /// No answer came, and none is waited for.
    pub(super) fn give_up(&mut self) {
        self.stage = Stage::Untold;
    }

    /// A value came with the numbers of its records.
    pub(super) fn came(&mut self, numbers: &[u16]) {
        self.unknown |= numbers.is_empty();
        self.came.extend(numbers);
    }

    /// Fewer came than it said.
    pub(super) fn short(&self) -> Option<Gap> {
        let Stage::Told(told) = self.stage else { return None };
        let came = u32::try_from(self.came.len()).unwrap_or(u32::MAX);
        (came < told && !self.unknown).then_some(Gap::Fewer { told, came })
    }

    /// By how many.
    pub(super) fn short_by(&self) -> Option<u32> {
        let Some(Gap::Fewer { told, came }) = self.short() else { return None };
        told.checked_sub(came)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_than_it_said_is_a_gap_and_nothing_else_is() {
        let short = |answer: &[u8], came: &[&[u16]]| {
            let mut count = Count::default();
            assert!(count.response(answer) && !count.is_open());
            came.iter().for_each(|numbers| count.came(numbers));
            count.short()
        };
        assert_eq!(short(&[5, 0, 3, 0], &[&[7], &[8]]), Some(Gap::Fewer { told: 3, came: 2 }));
        assert_eq!(short(&[5, 0, 3], &[&[7], &[7], &[8]]), Some(Gap::Fewer { told: 3, came: 2 }), "the same again");
        assert_eq!(short(&[5, 0, 3, 0, 0, 0], &[&[7, 8], &[9]]), None);
        assert_eq!(short(&[5, 0, 2, 0], &[&[7], &[8], &[9]]), None, "measured meanwhile");
        assert_eq!(short(&[5, 0, 2, 0], &[&[]]), None, "what has no number is not counted");
        assert_eq!(short(&[6, 0, 4, 2], &[&[7]]), None);
    }

    #[test]
    fn other_answers_are_not_taken_for_it() {
        let mut count = Count::default();
        for other in [&[6, 0, 1, 1][..], &[5, 0], &[5, 0, 1, 2, 3], &[]] {
            assert!(!count.response(other) && count.is_open());
        }
        count.give_up();
        assert!(!count.is_open() && count.short().is_none());
    }
}
