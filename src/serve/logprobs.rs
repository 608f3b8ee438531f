//! How likely tokens were, in the two forms that chats and completions have.

use glmtune_model::engine::TokenScore;
use glmtune_model::tokenizer::Tokenizer;
use serde_json::{Map, Value, json};

use super::token_text::token_text;

/// A token of an answer, or of a prompt, with how likely it was.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredToken {
    /// The token.
    pub token: u32,
    /// How likely it was; nothing for the first token of a prompt.
    pub score: Option<TokenScore>,
    /// Where its text begins in that of the answer, in characters.
    pub offset: usize,
}

/// `{"content": [{"token", "logprob", "bytes", "top_logprobs"}]}` of a chat.
pub fn chat(tokenizer: &Tokenizer, tokens: &[ScoredToken]) -> Value {
    let content: Vec<Value> = tokens
        .iter()
        .map(|scored| {
            let score = scored.score.as_ref();
            let mut entry = entry(tokenizer, scored.token, log_probability(score));
            let likeliest = score.map_or(&[][..], |score| &score.likeliest);
            let top = likeliest
                .iter()
                .map(|&(token, value)| entry_of(tokenizer, token, value));
            entry.insert("top_logprobs".to_string(), top.collect());
            Value::Object(entry)
        })
        .collect();
    json!({"content": content, "refusal": null})
}

fn log_probability(score: Option<&TokenScore>) -> f32 {
    score.map_or(0.0, |score| score.log_probability)
}

fn entry(tokenizer: &Tokenizer, token: u32, value: f32) -> Map<String, Value> {
    let text = token_text(tokenizer, token);
    Map::from_iter([
        ("token".to_string(), Value::from(text.text)),
        ("logprob".to_string(), number(value)),
        ("bytes".to_string(), Value::from(text.bytes)),
    ])
}

fn entry_of(tokenizer: &Tokenizer, token: u32, value: f32) -> Value {
    Value::Object(entry(tokenizer, token, value))
}

/// JSON has no infinity: a token that is impossible is as good as one of `-9999`, as OpenAI's API writes it.
fn number(value: f32) -> Value {
    let value = if value.is_finite() { value } else { -9999.0 };
    Value::from(f64::from(value))
}

/// `{"tokens", "token_logprobs", "top_logprobs", "text_offset"}` of a completion. The token itself is among the
/// likeliest in any case.
pub fn completion(tokenizer: &Tokenizer, tokens: &[ScoredToken]) -> Value {
    let text = |token| token_text(tokenizer, token).text;
    let names: Vec<String> = tokens.iter().map(|scored| text(scored.token)).collect();
    let values: Vec<Option<Value>> = tokens
        .iter()
        .map(|scored| {
            scored
                .score
                .as_ref()
                .map(|score| number(score.log_probability))
        })
        .collect();
    let top: Vec<Option<Map<String, Value>>> = tokens
        .iter()
        .map(|scored| {
            let score = scored.score.as_ref()?;
            let own = (scored.token, score.log_probability);
            let mut top = Map::new();
            // Of two tokens with one text, the likelier one stands for it.
            for &(token, value) in score.likeliest.iter().chain([&own]) {
                top.entry(text(token)).or_insert_with(|| number(value));
            }
            Some(top)
        })
        .collect();
    let offsets: Vec<usize> = tokens.iter().map(|scored| scored.offset).collect();
    json!({
        "tokens": names,
        "token_logprobs": values,
        "top_logprobs": top,
        "text_offset": offsets,
    })
}
