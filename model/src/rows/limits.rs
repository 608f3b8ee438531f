//! How long a row may be, and what is cut off from a longer one.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::tokenizer::Mode;

/// Tokens that every row has beside source and target: `[gMASK]`, `<sop>` and the end.
const SPECIALS: usize = 3;
/// What the role layouts keep free of a row's length instead.
const ROLE_RESERVE: usize = 6;
/// Tokens of a source where nothing else is asked for.
const MAX_SRC_LEN: usize = 256;

/// Limits of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LayoutLimits {
    /// Most tokens of a row.
    pub max_len: usize,
    /// Most tokens of its source.
    pub max_src_len: usize,
}

impl LayoutLimits {
    /// The limits that were asked for; without one for the source, 256 tokens or what leaves room for a
    /// target. They are not [checked](Self::validate).
    pub fn new(mode: Mode, max_len: usize, max_src_len: Option<usize>) -> Self {
        let longest = max_len.saturating_sub(taken(mode)).min(MAX_SRC_LEN);
        Self {
            max_len,
            max_src_len: max_src_len.unwrap_or(longest),
        }
    }

    /// Checks the limits for a mode.
    ///
    /// # Errors
    /// [`Error::Request`] if they leave no room for the special tokens, for a source or for a target.
    pub fn validate(&self, mode: Mode) -> Result<()> {
        let Self {
            max_len,
            max_src_len,
        } = *self;
        let least_source = tail(mode) + 1;
        let least = taken(mode) + least_source;
        if max_len < least {
            return Err(Error::Request(format!(
                "max_len is {max_len}, mode {mode} needs at least {least}"
            )));
        }
        if max_src_len < least_source {
            return Err(Error::Request(format!(
                "max_src_len is {max_src_len}, mode {mode} needs at least {least_source}"
            )));
        }
        let most = max_len - taken(mode);
        if max_src_len > most {
            return Err(Error::Request(format!(
                "max_src_len is {max_src_len} and max_len {max_len}: a source of that length leaves no room for a \
                 token of the answer; give --max_src_len {most} or less, or --max_len {} or more",
                max_src_len.saturating_add(taken(mode))
            )));
        }
        Ok(())
    }

    /// Cuts a source to its limit and keeps its last tokens; tells whether it was longer.
    pub(super) fn cut_source(&self, mode: Mode, source: &mut Vec<u32>) -> bool {
        let (limit, tail) = (self.max_src_len, tail(mode));
        if source.len() <= limit {
            return false;
        }
        let kept_tail = source.split_off(source.len() - tail.min(limit));
        source.truncate(limit - kept_tail.len());
        source.extend(kept_tail);
        true
    }

    /// Cuts a target to what a source leaves; tells whether it was longer.
    pub(super) fn cut_target(&self, mode: Mode, source: usize, target: &mut Vec<u32>) -> bool {
        let room = self.max_len.saturating_sub(reserve(mode) + source);
        let is_longer = target.len() > room;
        target.truncate(room);
        is_longer
    }
}

/// Tokens of the source's end that survive truncation: those of `答：` with what surrounds it.
fn tail(mode: Mode) -> usize {
    match mode {
        Mode::Glm => 3,
        Mode::Glm2 => 4,
        Mode::Glm3 | Mode::Glm4 => 0,
    }
}

/// Tokens of `max_len` that neither source nor target may use.
fn reserve(mode: Mode) -> usize {
    match mode.has_roles() {
        true => ROLE_RESERVE,
        false => SPECIALS,
    }
}

/// Most tokens with which a target begins before its answer: the role and its line break.
fn opening(mode: Mode) -> usize {
    match mode {
        Mode::Glm | Mode::Glm2 => 0,
        // The line break is two pieces: the space that opens every text, and a byte.
        Mode::Glm3 => 3,
        Mode::Glm4 => 2,
    }
}

/// Tokens of a row that its source cannot have if there is to be a token of the answer.
fn taken(mode: Mode) -> usize {
    reserve(mode) + opening(mode) + 1
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn truncation_keeps_the_tail() {
        let cut = |max_src_len: usize, mode: Mode| {
            let limits = LayoutLimits {
                max_len: 100,
                max_src_len,
            };
            let mut source: Vec<u32> = (0..10).collect();
            (limits.cut_source(mode, &mut source), source)
        };
        assert_eq!(cut(6, Mode::Glm), (true, vec![0, 1, 2, 7, 8, 9]));
        assert_eq!(cut(10, Mode::Glm), (false, (0..10).collect()));
        assert_eq!(cut(4, Mode::Glm3), (true, vec![0, 1, 2, 3]));
        assert_eq!(cut(2, Mode::Glm), (true, vec![8, 9]));
    }

    fn check(mode: Mode, max_len: usize, max_src_len: Option<usize>) -> Result<usize> {
        let limits = LayoutLimits::new(mode, max_len, max_src_len);
        limits.validate(mode).map(|()| limits.max_src_len)
    }

    #[test]
    fn limits_without_room_are_refused() {
        for mode in Mode::ALL {
            assert!(check(mode, 3, Some(2)).is_err());
            assert!(check(mode, 3, None).is_err());
            assert!(check(mode, 10, Some(200)).is_err());
            let error = check(mode, 100, Some(200)).unwrap_err();
            assert!(error.to_string().contains("leaves no room"), "{error}");
        }
        // The limits of the Python project's command lines.
        for (max_len, max_src_len) in [(1560, 1024), (768, 512), (768, 450), (1024, 256)] {
            for mode in Mode::ALL {
                assert!(check(mode, max_len, Some(max_src_len)).is_ok());
            }
        }
        assert_eq!(check(Mode::Glm2, 64, None).unwrap(), 60);
        assert_eq!(check(Mode::Glm2, 1024, None).unwrap(), 256);
    }

    proptest! {
        #[test]
        fn accepted_limits_leave_a_token_of_the_answer(
            max_len in 0usize..64,
            max_src_len in 0usize..80,
            mode in prop::sample::select(Mode::ALL.to_vec()),
        ) {
            let limits = LayoutLimits::new(mode, max_len, Some(max_src_len));
            if limits.validate(mode).is_err() {
                return Ok(());
            }
            let mut source = vec![0; 200];
            limits.cut_source(mode, &mut source);
            let mut target = vec![0; 200];
            limits.cut_target(mode, source.len(), &mut target);
            prop_assert!(target.len() > opening(mode));
            prop_assert!(source.len() + target.len() + SPECIALS <= max_len);
        }
    }
}
