//! What every kind of row draws from: characters, names that nobody has seen, and numbers.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// The random numbers of one kind of row.
pub type Random = ChaCha8Rng;

/// The Chinese characters of the vocabulary: the 2,000 most frequent ones of car-fault reports, by frequency.
const CHARACTERS: &str = include_str!("characters.txt");
/// Common words, of which some names are made.
const WORDS: &str = include_str!("words.txt");
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// The characters in the order of the vocabulary.
pub fn characters() -> Vec<char> {
    CHARACTERS.chars().filter(|c| !c.is_whitespace()).collect()
}

/// Draws texts.
pub struct Draw {
    characters: Vec<char>,
    words: Vec<&'static str>,
    skew: i32,
}

impl Draw {
    /// A source of texts over the first `breadth` characters of the vocabulary. With a skew of 1 all are equally
    /// frequent; with 2, every other comes from the first quarter.
    pub fn new((breadth, skew): (usize, i32)) -> Self {
        let mut characters = characters();
        characters.truncate(breadth);
        Self {
            characters,
            words: WORDS.split_whitespace().collect(),
            skew,
        }
    }

    /// One of `choices`, which must not be empty.
    pub fn one<T: Copy>(&self, random: &mut Random, choices: &[T]) -> T {
        choices[random.random_range(0..choices.len())]
    }

    /// Several of `choices`, unlike each other.
    pub fn some<T: Copy>(&self, random: &mut Random, choices: &[T], count: usize) -> Vec<T> {
        choices.choose_multiple(random, count).copied().collect()
    }

    /// `length` characters.
    pub fn chinese(&self, random: &mut Random, length: usize) -> String {
        (0..length).map(|_| self.character(random)).collect()
    }

    fn character(&self, random: &mut Random) -> char {
        let share = random.random::<f64>().powi(self.skew);
        self.characters[(share * self.characters.len() as f64) as usize]
    }

    /// `count` words in a row.
    pub fn words(&self, random: &mut Random, count: usize) -> String {
        (0..count).map(|_| self.one(random, &self.words)).collect()
    }

    /// `length` letters and digits.
    pub fn code(&self, random: &mut Random, length: usize) -> String {
        (0..length)
            .map(|_| char::from(self.one(random, LETTERS)))
            .collect()
    }

    /// A name of up to `longest` characters; most are Chinese, some are codes, some are both.
    /// Every other Chinese one is made of words.
    pub fn name(&self, random: &mut Random, longest: usize) -> String {
        let length = random.random_range(2..=longest.max(2));
        match random.random_range(0..10) {
            0 => self.code(random, length),
            1 => self.code(random, 1) + &self.chinese(random, length - 1),
            2 => self.chinese(random, length - 1) + &self.code(random, 1),
            3..6 => self.words(random, length / 2),
            _ => self.chinese(random, length),
        }
    }

    /// `count` names, unlike each other.
    pub fn names(&self, random: &mut Random, count: usize, longest: usize) -> Vec<String> {
        let mut names: Vec<String> = Vec::with_capacity(count);
        while names.len() < count {
            let name = self.name(random, longest);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}
