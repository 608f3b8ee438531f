//! One generated question: its form, and what of it the document speaks of.

use std::collections::HashSet;

/// Words that ask, longest first.
const QUESTION_WORDS: [&str; 30] = [
    "为什么",
    "什么样",
    "什么",
    "哪些",
    "哪个",
    "哪种",
    "哪类",
    "哪方面",
    "哪",
    "如何",
    "怎样",
    "怎么样",
    "怎么",
    "怎",
    "是否",
    "吗",
    "呢",
    "多少",
    "几种",
    "几",
    "谁",
    "请问",
    "请教",
    "你知道",
    "您",
    "为何",
    "能否",
    "可否",
    "有没有",
    "何",
];
/// What makes a sentence a question, with or without its mark.
const ASKING: [&str; 19] = [
    "什么",
    "哪",
    "如何",
    "怎",
    "是否",
    "吗",
    "呢",
    "多少",
    "几",
    "谁",
    "为何",
    "能否",
    "有没有",
    "是不是",
    "能不能",
    "会不会",
    "可否",
    "何",
    "是？",
];
/// What asks for advice, opinion or more than the document says.
const ADVICE: [&str; 22] = [
    "如何",
    "怎样才",
    "怎么才",
    "应该",
    "建议",
    "最佳",
    "更好",
    "有效地",
    "你认为",
    "你对",
    "你知道",
    "您",
    "以下",
    "请问",
    "请教",
    "是否有助",
    "看法",
    "另一",
    "其他",
    "还有",
    "特殊",
    "你觉得",
];
/// Characters that carry grammar and no content.
const FUNCTION_CHARACTERS: &str =
    "的是了有会在对于和与及或吗呢把被由从到中里面来说吧啊你我他您它这那其";
/// Labels that models put before a question.
const LABELS: [&str; 2] = ["问题：", "答案是："];
/// Characters beside a question that may be a remark; more are prose.
const REMARK: usize = 20;
/// Likeness of characters counts a little less than that of pairs: order is lost.
const UNORDERED: f64 = 0.9;

/// A generated question.
#[derive(Debug, Clone)]
pub struct Question {
    /// Its first sentence, without white space.
    text: String,
    /// Question marks in the whole of what was generated.
    pub marks: usize,
    /// Lines of it.
    lines: usize,
    /// Characters of it beside the question.
    beside: usize,
    /// The whole, without white space.
    whole: String,
}

impl Question {
    /// Takes a generated text apart.
    pub fn new(generated: &str) -> Self {
        let generated = generated.trim();
        let lines: Vec<&str> = generated
            .split('\n')
            .filter(|line| !line.trim().is_empty())
            .collect();
        let first = lines.first().copied().unwrap_or_default();
        let question = match first.find(['？', '?']) {
            Some(at) => {
                let mark = first[at..].chars().next().map_or(0, char::len_utf8);
                &first[..at + mark]
            }
            None => first,
        };
        Self {
            text: normalized(question),
            marks: generated.matches(['？', '?']).count(),
            lines: lines.len(),
            beside: generated.chars().count() - question.chars().count(),
            whole: normalized(generated),
        }
    }

    /// Whether more than a question was generated: an answer, a list.
    pub fn has_prose(&self) -> bool {
        self.lines > 1 && self.beside > REMARK
    }

    /// Whether it asks at all.
    pub fn asks(&self) -> bool {
        ASKING.iter().any(|word| self.whole.contains(word))
    }

    /// Whether it asks for advice or opinion.
    pub fn asks_advice(&self) -> bool {
        ADVICE.iter().any(|word| self.text.contains(word))
    }

    /// Share of its characters of content that the document has in the same pairs.
    ///
    /// `document` is [`normalized`].
    pub fn covered(&self, document: &str) -> f64 {
        let (mut all, mut found) = (0, 0);
        for part in self.content() {
            let part: Vec<char> = part.chars().collect();
            if part.len() < 2 {
                continue;
            }
            let mut is_covered = vec![false; part.len()];
            for (start, pair) in part.windows(2).enumerate() {
                if document.contains(&pair.iter().collect::<String>()) {
                    is_covered[start] = true;
                    is_covered[start + 1] = true;
                }
            }
            for (c, is_covered) in part.iter().zip(is_covered) {
                if is_covered || !FUNCTION_CHARACTERS.contains(*c) {
                    all += 1;
                    found += usize::from(is_covered);
                }
            }
        }
        if all == 0 {
            0.0
        } else {
            found as f64 / all as f64
        }
    }

    /// Length of the longest piece that stands in the document.
    ///
    /// `document` is [`normalized`].
    pub fn copied(&self, document: &str) -> usize {
        let ends: Vec<usize> = self
            .text
            .char_indices()
            .map(|(start, _)| start)
            .chain([self.text.len()])
            .collect();
        let mut longest = 0;
        for start in 0..ends.len() {
            while let Some(&end) = ends.get(start + longest + 1) {
                if !document.contains(&self.text[ends[start]..end]) {
                    break;
                }
                longest += 1;
            }
        }
        longest
    }

    /// The parts between words that ask and marks.
    fn content(&self) -> Vec<String> {
        const BREAK: char = '|';
        let mut text = self.text.clone();
        for word in LABELS.iter().chain(&QUESTION_WORDS) {
            text = text.replace(word, "|");
        }
        let is_mark = |c: char| c == BREAK || "？。，、；：“”\"（）()!！".contains(c);
        let parts = text.split(is_mark).filter(|part| !part.is_empty());
        parts.map(str::to_string).collect()
    }

    /// Pairs of characters of the content; a part of one character stands for itself.
    fn pairs(&self) -> HashSet<String> {
        let mut pairs = HashSet::new();
        for part in self.content() {
            let characters: Vec<char> = part.chars().collect();
            match characters.len() {
                1 => drop(pairs.insert(part)),
                _ => pairs.extend(characters.windows(2).map(|pair| pair.iter().collect())),
            }
        }
        pairs
    }
}

/// How alike two questions are, from 0 to 1: by pairs of characters of their content, or by their characters.
pub fn similarity(a: &Question, b: &Question) -> f64 {
    let characters = |question: &Question| question.text.chars().collect::<HashSet<char>>();
    let by_pairs = dice(&a.pairs(), &b.pairs());
    by_pairs.max(UNORDERED * dice(&characters(a), &characters(b)))
}

/// Dice's coefficient; of an empty set, whether both are.
fn dice<T: std::hash::Hash + Eq>(a: &HashSet<T>, b: &HashSet<T>) -> f64 {
    if a.is_empty() || b.is_empty() {
        return f64::from(u8::from(a.is_empty() && b.is_empty()));
    }
    2.0 * a.intersection(b).count() as f64 / (a.len() + b.len()) as f64
}

/// 0 up to the first bound, 1 from the second, linear between.
pub fn ramp(value: f64, (low, high): (f64, f64)) -> f64 {
    ((value - low) / (high - low)).clamp(0.0, 1.0)
}

/// A text without white space, with Chinese marks for those that people type either way.
pub fn normalized(text: &str) -> String {
    let characters = text.chars().filter(|c| !c.is_whitespace());
    let characters = characters.map(|c| match c {
        '?' => '？',
        ',' => '，',
        ':' => '：',
        other => other,
    });
    characters.collect()
}
