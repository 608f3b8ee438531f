//! Token ids that stand for text: their values do not matter, their number does.

use glmtune_model::ModelConfig;
use glmtune_model::rows::IGNORED;
use serde_json::json;

/// Ids below this one are left out: some of them are special in published vocabularies.
const FIRST: usize = 10;
/// Vocabularies have their special tokens last; ids come from their first part.
const PART: usize = 2;
/// Most different ids.
const MOST: usize = 5000;

/// A prompt of so many tokens; others have other numbers.
pub fn prompt(config: &ModelConfig, length: usize, number: usize) -> Vec<u32> {
    ids(config, length, length, number)
}

/// Rows as a file of rows has them, all of one length, whose last third has targets; and the targets of each.
pub fn rows(config: &ModelConfig, length: usize, count: usize) -> (String, usize) {
    let context = (length * 2 / 3).max(2);
    let lines = (0..count).map(|number| {
        let ids = ids(config, length, context, number);
        let labels: Vec<i64> = ids
            .iter()
            .enumerate()
            .map(|(place, &id)| {
                if place < context {
                    IGNORED
                } else {
                    i64::from(id)
                }
            })
            .collect();
        format!("{}\n", json!({"input_ids": ids, "labels": labels}))
    });
    (lines.collect(), length.saturating_sub(context))
}

/// Ids whose first `context` are read before the answer begins: with the tokens that ChatGLM-6B's positions depend on.
fn ids(config: &ModelConfig, length: usize, context: usize, number: usize) -> Vec<u32> {
    let vocabulary = config.common().vocab_size;
    let different = (vocabulary / PART).saturating_sub(FIRST).clamp(1, MOST);
    let id = |place: usize| FIRST + (place * 7919 + number * 104_729) % different;
    let mut ids: Vec<u32> = (0..length)
        .map(|place| id(place).min(vocabulary.saturating_sub(1)) as u32)
        .collect();
    if let ModelConfig::ChatGlm(config) = config
        && let Some([mask, start]) = ids.get_mut(context.saturating_sub(2)..context)
    {
        (*mask, *start) = (config.gmask_token_id, config.bos_token_id);
    }
    ids
}
