//! Special tokens: what they are for, and what the families call them.

use std::collections::{HashMap, HashSet};

/// A token with a meaning of its own, which no text is ever encoded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpecialToken {
    /// `[MASK]`: fill in a short blank.
    Mask,
    /// `[gMASK]`: fill in a long blank; opens every prompt.
    GMask,
    /// `[sMASK]`: fill in a sentence.
    SMask,
    /// `<sop>` or `sop`: start of piece.
    Sop,
    /// `<eop>` or `eop`: end of piece; ends ChatGLM-6B's answers.
    Eop,
    /// `</s>`: ends ChatGLM2's and ChatGLM3's answers.
    Eos,
    /// `<pad>`.
    Pad,
    /// `<unk>`.
    Unk,
    /// `<|system|>`.
    System,
    /// `<|user|>`.
    User,
    /// `<|assistant|>`.
    Assistant,
    /// `<|observation|>`: the result of a tool.
    Observation,
    /// `<|endoftext|>`: ends GLM-4's answers.
    EndOfText,
}

impl SpecialToken {
    /// Every special token.
    pub const ALL: [Self; 13] = [
        Self::Mask,
        Self::GMask,
        Self::SMask,
        Self::Sop,
        Self::Eop,
        Self::Eos,
        Self::Pad,
        Self::Unk,
        Self::System,
        Self::User,
        Self::Assistant,
        Self::Observation,
        Self::EndOfText,
    ];

    /// Whether it opens a turn of a conversation.
    pub fn is_role(self) -> bool {
        matches!(
            self,
            Self::System | Self::User | Self::Assistant | Self::Observation
        )
    }

    /// The names under which the families publish this token; the first is the usual one.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Mask => &["[MASK]"],
            Self::GMask => &["[gMASK]"],
            Self::SMask => &["[sMASK]"],
            Self::Sop => &["<sop>", "sop"],
            Self::Eop => &["<eop>", "eop"],
            Self::Eos => &["</s>"],
            Self::Pad => &["<pad>"],
            Self::Unk => &["<unk>"],
            Self::System => &["<|system|>"],
            Self::User => &["<|user|>"],
            Self::Assistant => &["<|assistant|>"],
            Self::Observation => &["<|observation|>"],
            Self::EndOfText => &["<|endoftext|>"],
        }
    }
}

/// The special tokens of one tokenizer.
#[derive(Debug, Clone, Default)]
pub(super) struct Specials {
    by_name: HashMap<String, u32>,
    ids: HashSet<u32>,
}

impl Specials {
    pub(super) fn by_name(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// Whether an id is that of a special token.
    pub(super) fn has(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }

    pub(super) fn get(&self, token: SpecialToken) -> Option<u32> {
        token.names().iter().find_map(|name| self.by_name(name))
    }
}

impl Extend<(String, u32)> for Specials {
    fn extend<I: IntoIterator<Item = (String, u32)>>(&mut self, tokens: I) {
        for (name, id) in tokens {
            self.ids.insert(id);
            self.by_name.insert(name, id);
        }
    }
}

impl FromIterator<(String, u32)> for Specials {
    fn from_iter<I: IntoIterator<Item = (String, u32)>>(tokens: I) -> Self {
        let mut specials = Self::default();
        specials.extend(tokens);
        specials
    }
}
