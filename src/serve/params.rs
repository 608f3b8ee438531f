//! The fields that chats and completions have in common: how answers are drawn, and where they end.

use glmtune_model::generation::{Drawing, Penalties, Sampling};
use serde_json::Value;

use super::defaults::Defaults;
use super::error::ApiError;
use super::fields::{Fields, expected};

/// Most answers to one prompt.
pub const MOST_ANSWERS: u32 = 128;
/// Most stop strings, as OpenAI's API has it.
const MOST_STOPS: usize = 4;
/// Longest stop string, in bytes.
const LONGEST_STOP: usize = 1024;
/// Most tokens with a bias.
const MOST_BIASES: usize = 1024;
/// Below this temperature, the likeliest token is taken: nothing else would have a chance.
const COLDEST: f32 = 0.01;
/// A number of tokens that no model has: longer answers are refused for what they are.
pub const MOST_TOKENS: u32 = 1 << 30;

/// Fields that cannot matter here: they are about who asks, or about caches and tiers of a service.
pub const IGNORED: [&str; 5] = [
    "user",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
];

/// How answers are drawn, and where they end.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    /// Answers to each prompt.
    pub n: usize,
    /// Least tokens of an answer.
    pub min_tokens: usize,
    /// Texts at which an answer ends.
    pub stop: Vec<String>,
    /// Whether the answer comes as it is made.
    pub stream: bool,
    /// Whether a stream ends with what was used.
    pub include_usage: bool,
    /// Temperature and bounds; `None` always takes the likeliest.
    pub sampling: Option<Sampling>,
    /// What tokens that are already there lose.
    pub penalties: Penalties,
    /// What is added to the logits of some tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Seed of the draws, if the request brings one.
    pub seed: Option<u64>,
}

impl Params {
    /// Takes the fields.
    ///
    /// # Errors
    /// 400 that names the field that cannot be used.
    pub fn take(
        fields: &mut Fields,
        defaults: &Defaults,
        vocabulary: usize,
    ) -> Result<Self, ApiError> {
        refuse_what_is_not_done(fields)?;
        let stream = fields.boolean("stream")?.unwrap_or(false);
        let include_usage = stream_options(fields, stream)?;
        let seed = fields.integer("seed", i64::MIN..=i64::MAX)?;
        Ok(Self {
            n: fields.count("n", 1..=MOST_ANSWERS)?.unwrap_or(1),
            min_tokens: fields.count("min_tokens", 0..=MOST_TOKENS)?.unwrap_or(0),
            stop: stop(fields)?,
            stream,
            include_usage,
            sampling: sampling(fields, defaults)?,
            penalties: penalties(fields, defaults)?,
            logit_bias: logit_bias(fields, vocabulary)?,
            seed: seed.map(i64::cast_unsigned),
        })
    }

    /// How the answer of a number among those of a seed is drawn.
    pub fn drawing(&self, seed: u64, number: usize) -> Drawing {
        Drawing {
            sampling: self.sampling.clone(),
            penalties: self.penalties,
            logit_bias: self.logit_bias.clone(),
            seed,
            number: number as u64,
        }
    }
}

fn refuse_what_is_not_done(fields: &mut Fields) -> Result<(), ApiError> {
    fields.ignore(&IGNORED);
    fields.refuse_unless("store", |value| *value == Value::Bool(false))?;
    fields.refuse_unless("service_tier", |value| {
        value == "auto" || value == "default"
    })?;
    fields.refuse_unless("min_p", |value| value.as_f64() == Some(0.0))?;
    fields.refuse_unless("use_beam_search", |value| *value == Value::Bool(false))?;
    fields.refuse_unless("ignore_eos", |value| *value == Value::Bool(false))
}

/// Whether a stream ends with what was used.
fn stream_options(fields: &mut Fields, stream: bool) -> Result<bool, ApiError> {
    let Some(mut options) = fields.object("stream_options")? else {
        return Ok(false);
    };
    if !stream {
        return Err(ApiError::field(
            "stream_options",
            "`stream_options` is only for streams: it needs `stream` to be true",
        ));
    }
    let include_usage = options.boolean("include_usage")?.unwrap_or(false);
    // Padding against who guesses from lengths on the network: it may be left out.
    options.refuse_unless("include_obfuscation", |value| *value == Value::Bool(false))?;
    options.finish()?;
    Ok(include_usage)
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let stops = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(stop)) => vec![stop],
        Some(Value::Array(stops)) => stops.into_iter().map(stop_text).collect::<Result<_, _>>()?,
        Some(other) => return Err(expected("stop", "a string or a list of strings", &other)),
    };
    if stops.len() > MOST_STOPS {
        let message = format!("`stop`: {} strings are more than {MOST_STOPS}", stops.len());
        return Err(ApiError::field("stop", message));
    }
    match stops
        .iter()
        .all(|stop| (1..=LONGEST_STOP).contains(&stop.len()))
    {
        true => Ok(stops),
        false => Err(ApiError::field(
            "stop",
            format!("`stop`: a string must have 1 to {LONGEST_STOP} bytes"),
        )),
    }
}

fn stop_text(value: Value) -> Result<String, ApiError> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(expected("stop", "strings", &other)),
    }
}

/// Temperature 0 and `top_p` 0 leave the likeliest token alone.
fn sampling(fields: &mut Fields, defaults: &Defaults) -> Result<Option<Sampling>, ApiError> {
    let temperature = fields.number("temperature", 0.0..=2.0)?;
    let top_p = fields.number("top_p", 0.0..=1.0)?;
    let top_k = fields.integer("top_k", -1..=i64::from(u32::MAX))?;
    let top_k = top_k.map(|top_k| usize::try_from(top_k).unwrap_or(0));
    let sampling = Sampling {
        temperature: temperature.unwrap_or(defaults.temperature),
        top_k: top_k.unwrap_or(defaults.top_k),
        top_p: top_p.unwrap_or(defaults.top_p),
    };
    let draws = sampling.temperature >= COLDEST && sampling.top_p > 0.0 && sampling.top_k != 1;
    Ok(draws.then_some(sampling))
}

fn penalties(fields: &mut Fields, defaults: &Defaults) -> Result<Penalties, ApiError> {
    let repetition = fields.number("repetition_penalty", 0.0..=10.0)?;
    let repetition = repetition.unwrap_or(defaults.repetition_penalty);
    if repetition <= 0.0 {
        return Err(ApiError::field(
            "repetition_penalty",
            "`repetition_penalty` must be above 0; 1 changes nothing",
        ));
    }
    Ok(Penalties {
        repetition,
        presence: fields
            .number("presence_penalty", -2.0..=2.0)?
            .unwrap_or(0.0),
        frequency: fields
            .number("frequency_penalty", -2.0..=2.0)?
            .unwrap_or(0.0),
    })
}

fn logit_bias(fields: &mut Fields, vocabulary: usize) -> Result<Vec<(u32, f32)>, ApiError> {
    let biases = match fields.take("logit_bias") {
        None => return Ok(Vec::new()),
        Some(Value::Object(biases)) => biases,
        Some(other) => return Err(expected("logit_bias", "an object", &other)),
    };
    let refused = |message: String| Err(ApiError::field("logit_bias", message));
    if biases.len() > MOST_BIASES {
        return refused(format!(
            "`logit_bias`: {} tokens are more than {MOST_BIASES}",
            biases.len()
        ));
    }
    let mut found = Vec::with_capacity(biases.len());
    for (token, bias) in &biases {
        let token = token.parse::<u32>().ok();
        let Some(token) = token.filter(|token| (*token as usize) < vocabulary) else {
            return refused(format!(
                "`logit_bias`: a key is no token of the vocabulary, 0 to {}",
                vocabulary.saturating_sub(1)
            ));
        };
        match bias.as_f64() {
            Some(bias) if (-100.0..=100.0).contains(&bias) => found.push((token, bias as f32)),
            _ => {
                return refused(
                    "`logit_bias`: a bias must be a number from -100 to 100".to_string(),
                );
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn take(body: Value) -> Result<Params, ApiError> {
        let mut fields = Fields::of_body(body).unwrap();
        let params = Params::take(&mut fields, &Defaults::default(), 100)?;
        fields.finish()?;
        Ok(params)
    }

    #[test]
    fn nothing_said() {
        let params = take(json!({})).unwrap();
        assert_eq!((params.n, params.stream), (1, false));
        let sampling = params.sampling.unwrap();
        assert_eq!(
            (sampling.temperature, sampling.top_k, sampling.top_p),
            (1.0, 0, 1.0)
        );
        assert_eq!(params.penalties, Penalties::default());
    }

    #[test]
    fn the_likeliest() {
        for body in [
            json!({"temperature": 0}),
            json!({"top_p": 0}),
            json!({"top_k": 1}),
        ] {
            assert_eq!(take(body).unwrap().sampling, None);
        }
        let params = take(json!({"top_k": -1})).unwrap();
        assert_eq!(params.sampling.unwrap().top_k, 0);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (body, name) in [
            (json!({"n": 0}), "n"),
            (json!({"n": 129}), "n"),
            (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
            (json!({"stop": [""]}), "stop"),
            (json!({"stop": [1]}), "stop"),
            (json!({"temperature": 2.1}), "temperature"),
            (json!({"top_p": -0.1}), "top_p"),
            (json!({"repetition_penalty": 0}), "repetition_penalty"),
            (json!({"presence_penalty": 3}), "presence_penalty"),
            (json!({"logit_bias": {"100": 1}}), "logit_bias"),
            (json!({"logit_bias": {"x": 1}}), "logit_bias"),
            (json!({"logit_bias": {"1": 101}}), "logit_bias"),
            (
                json!({"stream_options": {"include_usage": true}}),
                "stream_options",
            ),
            (
                json!({"stream": true, "stream_options": {"other": true}}),
                "stream_options.other",
            ),
            (json!({"min_p": 0.1}), "min_p"),
            (json!({"store": true}), "store"),
            (json!({"service_tier": "flex"}), "service_tier"),
            (json!({"best": 1}), "best"),
        ] {
            let error = take(body).unwrap_err();
            assert_eq!(error.body()["error"]["param"], name);
        }
    }

    #[test]
    fn what_cannot_matter_is_let_be() {
        let body = json!({"user": "me", "metadata": {"a": "b"}, "store": false, "service_tier": "auto",
                          "seed": -1, "stop": null, "stream": true,
                          "stream_options": {"include_usage": true}});
        let params = take(body).unwrap();
        assert_eq!(params.seed, Some(u64::MAX));
        assert!(params.stream && params.include_usage);
    }
}
