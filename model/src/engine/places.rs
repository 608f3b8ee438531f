//! Which tokens of the arena are taken.

use std::ops::Range;

/// The ranges of an arena that are taken, each by one sequence.
#[derive(Debug, Clone)]
pub(super) struct Places {
    capacity: usize,
    /// In order; they do not overlap.
    taken: Vec<Range<usize>>,
}

impl Places {
    /// An arena with room for a number of tokens, all of it free.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            taken: Vec::new(),
        }
    }

    /// Takes a range of a length where it fits best: the free range that it leaves least of.
    pub fn take(&mut self, length: usize) -> Option<Range<usize>> {
        let mut best: Option<(usize, usize, usize)> = None;
        for index in 0..=self.taken.len() {
            let start = match index {
                0 => 0,
                _ => self.taken[index - 1].end,
            };
            let room = self.end_of_room(index) - start;
            if room >= length && best.is_none_or(|(least, ..)| room < least) {
                best = Some((room, index, start));
            }
        }
        let (_, index, start) = best?;
        let place = start..start + length;
        self.taken.insert(index, place.clone());
        Some(place)
    }

    /// Where the free range before the taken range of an index ends.
    fn end_of_room(&self, index: usize) -> usize {
        self.taken
            .get(index)
            .map_or(self.capacity, |next| next.start)
    }

    /// Gives a taken range another end, if nothing is in the way.
    pub fn resize(&mut self, place: &Range<usize>, end: usize) -> Option<Range<usize>> {
        let index = self.index(place)?;
        if end > self.end_of_room(index + 1) || end < place.start {
            return None;
        }
        self.taken[index].end = end;
        Some(self.taken[index].clone())
    }

    /// Frees a range.
    pub fn free(&mut self, place: &Range<usize>) {
        if let Some(index) = self.index(place) {
            self.taken.remove(index);
        }
    }

    /// Tokens that are taken.
    pub fn taken(&self) -> usize {
        self.taken.iter().map(Range::len).sum()
    }

    fn index(&self, place: &Range<usize>) -> Option<usize> {
        self.taken.iter().position(|taken| taken == place)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_go_where_they_leave_least() {
        let mut places = Places::new(20);
        let first = places.take(5).unwrap();
        let second = places.take(3).unwrap();
        let third = places.take(6).unwrap();
        assert_eq!(places.take(7), None);
        places.free(&second);
        assert_eq!(places.take(2).unwrap(), 5..7);
        assert_eq!(places.resize(&first, 6), None);
        assert_eq!(places.resize(&third, 20).unwrap(), 8..20);
        assert_eq!(places.taken(), 5 + 2 + 12);
    }

    proptest! {
        #[test]
        fn ranges_never_overlap(steps in prop::collection::vec((0..3u8, 1..12usize), 1..60)) {
            let mut places = Places::new(40);
            let mut held: Vec<Range<usize>> = Vec::new();
            for (step, number) in steps {
                match step {
                    0 => held.extend(places.take(number)),
                    1 if !held.is_empty() => places.free(&held.remove(number % held.len())),
                    _ if !held.is_empty() => {
                        let index = number % held.len();
                        let end = held[index].start + number;
                        if let Some(place) = places.resize(&held[index], end) {
                            held[index] = place;
                        }
                    }
                    _ => {}
                }
                let mut owned = [0; 40];
                held.iter().for_each(|place| owned[place.clone()].iter_mut().for_each(|n| *n += 1));
                prop_assert!(owned.iter().all(|&n| n <= 1));
                prop_assert_eq!(places.taken(), held.iter().map(Range::len).sum::<usize>());
            }
        }
    }
}
