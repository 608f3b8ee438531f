//! The tokens of a vocabulary, shared by the model that finds them and the decoder that spells them.

/// What a token stands for when it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text that the model may choose.
    Normal,
    /// Text that is always kept whole.
    UserDefined,
    /// Never chosen, spelled like a normal one.
    Unused,
    /// Stands for text outside the vocabulary.
    Unknown,
    /// One byte of a character outside the vocabulary.
    Byte(u8),
    /// A special token that decoding leaves out.
    Hidden,
}

/// One token: its bytes (which are valid UTF-8 except in byte-level vocabularies) and its kind.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) bytes: Box<[u8]>,
    pub(super) kind: Kind,
}

impl Token {
    pub(super) fn new(text: impl Into<Vec<u8>>, kind: Kind) -> Self {
        Self {
            bytes: text.into().into_boxed_slice(),
            kind,
        }
    }

    pub(super) fn name(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Tokens by id. Ids below `shift` belong to no text.
#[derive(Debug, Clone, Default)]
pub(super) struct Vocabulary {
    pub(super) tokens: Vec<Token>,
    /// What the first token's id is: ChatGLM-6B's first release put image tokens before the text.
    pub(super) shift: u32,
}

impl Vocabulary {
    pub(super) fn get(&self, id: u32) -> Option<&Token> {
        self.tokens.get(id.checked_sub(self.shift)? as usize)
    }

    /// One more than the highest id.
    pub(super) fn size(&self) -> usize {
        self.shift as usize + self.tokens.len()
    }

    /// Names and ids of all tokens.
    pub(super) fn ids(&self) -> impl Iterator<Item = (String, u32)> {
        (self.shift..)
            .zip(&self.tokens)
            .map(|(id, token)| (token.name(), id))
    }

    /// Ids of the tokens that are not text.
    pub(super) fn specials(&self) -> impl Iterator<Item = (String, u32)> {
        let special = |kind| matches!(kind, Kind::Hidden | Kind::Unknown);
        (self.shift..)
            .zip(&self.tokens)
            .filter(move |(_, token)| special(token.kind))
            .map(|(id, token)| (token.name(), id))
    }
}
