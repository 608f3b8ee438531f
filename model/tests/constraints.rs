//! Answers of a form, drawn from random logits: whatever the model wants to say, what comes out parses and satisfies its
//! schema. Small tokenizers of bytes stand for the four families; the published ones, which need files that are not part of
//! this repository, are drawn from as well where they are.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use glmtune_model::Error;
use glmtune_model::generation::{AnswerForm, Constraint, Grammars};
use glmtune_model::tokenizer::tools::{Answer, Tool, ToolChoice, call_message, read_answer};
use glmtune_model::tokenizer::{Mode, SpecialToken, Tokenizer, small_tokenizer};
use serde_json::{Value, json};

/// More ids than the tokenizer has, as checkpoints have.
const PADDING: usize = 7;
/// By then an answer wants to end.
const LONG: usize = 160;
const TOO_LONG: usize = 2000;

struct Model {
    name: String,
    tokenizer: Tokenizer,
    mode: Mode,
    stop_ids: Vec<u32>,
    size: usize,
    grammars: Grammars,
    /// Bytes that end strings, lists, objects and calls, and the tokens of them alone.
    closing: Vec<u32>,
}

impl Model {
    fn new(name: &str, tokenizer: Tokenizer, mode: Mode) -> Self {
        let size = tokenizer.vocab_size() + PADDING;
        let stop_ids = tokenizer.stop_ids(mode);
        let grammars = Grammars::new(&tokenizer, mode, size, &stop_ids).unwrap();
        let is_closing = |id: &u32| {
            let bytes = tokenizer.token_bytes(*id);
            bytes.is_some_and(|bytes| {
                matches!(bytes.as_slice(), [b'"' | b'}' | b']' | b'\'' | b')'])
            })
        };
        let closing = (0..size as u32).filter(is_closing).collect();
        Self {
            name: name.to_string(),
            tokenizer,
            mode,
            stop_ids,
            size,
            grammars,
            closing,
        }
    }

    fn allowed(&self, constraint: &mut Constraint) -> Vec<u32> {
        let mut logits = vec![0.0; self.size];
        constraint.mask(&mut logits).unwrap();
        let ids = (0..).zip(&logits).filter(|(_, logit)| logit.is_finite());
        ids.map(|(id, _)| id).collect()
    }

    /// Draws an answer; the stop token is not part of it.
    fn answer(&self, constraint: &mut Constraint, seed: u64) -> Vec<u32> {
        let mut tokens = Vec::new();
        let mut random = Random(seed);
        while tokens.len() < TOO_LONG {
            let mut logits: Vec<f32> = (0..self.size).map(|_| random.unit() * 10.0).collect();
            if tokens.len() > LONG {
                for &id in self.closing.iter().chain(&self.stop_ids) {
                    logits[id as usize] += 20.0;
                }
            }
            constraint.mask(&mut logits).unwrap();
            assert!(logits.iter().all(|logit| !logit.is_nan()));
            let token = match seed % 2 {
                0 => greedy(&logits),
                _ => random.draw(&logits),
            };
            let is_complete = constraint.is_complete();
            constraint.accept(token).unwrap();
            if self.stop_ids.contains(&token) {
                assert!(constraint.is_complete());
                assert_eq!(self.allowed(constraint), self.sorted_stop_ids());
                return tokens;
            }
            assert!(!is_complete, "{}: a token after the end", self.name);
            tokens.push(token);
        }
        panic!("{}: no end: {}", self.name, self.tokenizer.decode(&tokens));
    }

    fn sorted_stop_ids(&self) -> Vec<u32> {
        let mut ids = self.stop_ids.clone();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Masks of large vocabularies take their time.
    fn draws(&self) -> u64 {
        match self.size {
            ..1000 => 8,
            _ => 2,
        }
    }

    fn constraint(&self, form: &AnswerForm) -> Constraint {
        self.grammars.constraint(form).unwrap()
    }
}

struct Random(u64);

impl Random {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }

    fn draw(&mut self, logits: &[f32]) -> u32 {
        let weights: Vec<f32> = logits.iter().map(|logit| (logit / 4.0).exp()).collect();
        let mut rest = self.unit() * weights.iter().sum::<f32>();
        for (id, weight) in (0..).zip(&weights) {
            rest -= weight;
            if rest < 0.0 && *weight > 0.0 {
                return id;
            }
        }
        greedy(logits)
    }
}

fn greedy(logits: &[f32]) -> u32 {
    let best = (0..).zip(logits).max_by(|a, b| a.1.total_cmp(b.1));
    best.unwrap().0
}

fn small(mode: Mode) -> Model {
    let dir = tempfile::tempdir().unwrap();
    let (tokenizer, config) = small_tokenizer(mode);
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer).unwrap();
    std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
    let tokenizer = Tokenizer::from_dir(dir.path(), Some(mode)).unwrap();
    Model::new(&format!("small {mode}"), tokenizer, mode)
}

/// The published tokenizers that are here.
fn published() -> Vec<Model> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/tokenizers");
    let families = [
        ("chatglm-6b", Mode::Glm),
        ("chatglm2-6b", Mode::Glm2),
        ("chatglm3-6b", Mode::Glm3),
        ("glm-4-9b-chat", Mode::Glm4),
    ];
    let dirs = families.map(|(name, mode)| (name, mode, shared.join(name)));
    let (here, missing): (Vec<_>, Vec<_>) = dirs
        .into_iter()
        .partition(|(_, _, dir): &(&str, Mode, PathBuf)| dir.is_dir());
    for (name, ..) in missing {
        eprintln!("skipped: the tokenizer of {name} is not here");
    }
    here.into_iter()
        .map(|(name, mode, dir)| {
            Model::new(name, Tokenizer::from_dir(&dir, Some(mode)).unwrap(), mode)
        })
        .collect()
}

fn all() -> Vec<Model> {
    Mode::ALL
        .into_iter()
        .map(small)
        .chain(published())
        .collect()
}

fn is_object_of(value: &Value, keys: &[&str]) -> bool {
    value
        .as_object()
        .is_some_and(|map| map.keys().all(|key| keys.contains(&key.as_str())))
}

/// What a text of JSON says. Numbers have no end in JSON's grammar, and one may be greater than any that can be held.
fn parsed(model: &Model, text: &str) -> Option<Value> {
    match serde_json::from_str(text) {
        Ok(value) => Some(value),
        Err(error) if error.to_string().starts_with("number out of range") => None,
        Err(error) => panic!("{}: {error}: {text:?}", model.name),
    }
}

type Satisfies = fn(&Value) -> bool;

fn is_person(value: &Value) -> bool {
    let tags = value["tags"].as_array();
    let name = value["name"].as_str();
    is_object_of(value, &["name", "age", "tags"])
        && name.is_some_and(|name| (1..=12).contains(&name.chars().count()))
        && value["age"].as_u64().is_some_and(|age| age <= 150)
        && tags
            .is_none_or(|tags| tags.len() <= 3 && tags.iter().all(|tag| tag == "甲" || tag == "b"))
}

fn is_tree(value: &Value) -> bool {
    let children = value["children"].as_array();
    is_object_of(value, &["value", "children"])
        && value["value"].is_boolean()
        && children.is_some_and(|children| children.len() <= 2 && children.iter().all(is_tree))
}

fn is_dated(value: &Value) -> bool {
    let date = value["date"].as_str().unwrap_or_default();
    let name = value["姓名"].as_str().unwrap_or_default();
    let length = name.chars().count();
    date.len() == 10
        && date.split('-').count() == 3
        && (2..=4).contains(&length)
        && name.chars().all(|c| ('一'..='龥').contains(&c))
}

fn schemas() -> Vec<(Value, Satisfies)> {
    vec![
        (
            json!({
                "type": "object",
                "properties": {
                    "name": {"type": "string", "minLength": 1, "maxLength": 12},
                    "age": {"type": "integer", "minimum": 0, "maximum": 150},
                    "tags": {"type": "array", "items": {"enum": ["甲", "b"]}, "maxItems": 3},
                },
                "required": ["name", "age"],
                "additionalProperties": false,
            }),
            is_person,
        ),
        (
            json!({
                "$ref": "#/$defs/tree",
                "$defs": {"tree": {
                    "type": "object",
                    "properties": {
                        "value": {"type": "boolean"},
                        "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2},
                    },
                    "required": ["value", "children"],
                    "additionalProperties": false,
                }},
            }),
            is_tree,
        ),
        (
            json!({
                "type": "object",
                "properties": {
                    "date": {"type": "string", "format": "date"},
                    "姓名": {"type": "string", "pattern": "^[一-龥]{2,4}$"},
                },
                "required": ["date", "姓名"],
                "additionalProperties": false,
            }),
            is_dated,
        ),
        (
            json!({"anyOf": [{"type": "null"}, {"const": [1, "二"]}]}),
            |value| value.is_null() || *value == json!([1, "二"]),
        ),
        (
            json!({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}),
            |value| {
                let items = value.as_array().map(Vec::as_slice);
                items.is_some_and(|items| items.len() == 2 && items.iter().all(Value::is_number))
            },
        ),
    ]
}

#[test]
fn answers_are_json_that_satisfies_the_schema() {
    for model in all() {
        for (schema, satisfies) in schemas() {
            let form = AnswerForm::JsonSchema(schema);
            for seed in 0..model.draws() {
                let tokens = model.answer(&mut model.constraint(&form), seed);
                let text = model.tokenizer.decode_answer(model.mode, &tokens);
                let value = parsed(&model, &text);
                assert!(
                    value.is_none_or(|value| satisfies(&value)),
                    "{}: {text:?}",
                    model.name
                );
                assert_eq!(text, text.trim(), "{}", model.name);
            }
        }
    }
}

#[test]
fn any_object_is_one() {
    for model in all() {
        for seed in 0..model.draws() {
            let tokens = model.answer(&mut model.constraint(&AnswerForm::Json), seed);
            let text = model.tokenizer.decode_answer(model.mode, &tokens);
            let value = parsed(&model, &text);
            assert!(
                value.is_none_or(|value| value.is_object()),
                "{}: {text:?}",
                model.name
            );
            assert!(text.starts_with('{'));
        }
    }
}

/// Every token that the rest of the only possible text begins with may come, and no other.
#[test]
fn what_may_come_is_every_prefix_of_the_rest() {
    let wanted = json!("你好, 𠮷 \"x\"<b>");
    let text = wanted.to_string();
    let form = AnswerForm::JsonSchema(json!({"const": wanted}));
    for model in all() {
        for prefers_long in [false, true] {
            let mut constraint = model.constraint(&form);
            let mut tokens = Vec::new();
            if model.mode.has_roles() {
                let line_break = model.tokenizer.encode("\n").unwrap();
                let mut ways = vec![line_break[0], *line_break.last().unwrap()];
                ways.sort_unstable();
                ways.dedup();
                assert_eq!(model.allowed(&mut constraint), ways);
                for token in line_break {
                    constraint.accept(token).unwrap();
                }
            }
            let drops_space = matches!(
                model.name.as_str(),
                "chatglm-6b" | "chatglm2-6b" | "chatglm3-6b"
            );
            let mut rest = text.as_bytes();
            let spaced = [b" ", rest].concat();
            while !rest.is_empty() {
                let begins = |bytes: &[u8]| {
                    rest.starts_with(bytes)
                        || drops_space && tokens.is_empty() && spaced.starts_with(bytes)
                };
                let expected: Vec<u32> = (0..model.size as u32)
                    .filter(|id| {
                        let bytes = model.tokenizer.token_bytes(*id);
                        bytes.is_some_and(|bytes| !bytes.is_empty() && begins(&bytes))
                    })
                    // The byte token of a space keeps it.
                    .filter(|id| !tokens.is_empty() || model.tokenizer.decode(&[*id]) != " ")
                    .collect();
                let allowed = model.allowed(&mut constraint);
                assert_eq!(allowed, expected, "{}: {rest:?}", model.name);
                assert!(!constraint.is_complete());
                let length = |id: &u32| model.tokenizer.token_bytes(*id).unwrap().len();
                let token = match prefers_long {
                    true => allowed.into_iter().max_by_key(length),
                    false => allowed.into_iter().min_by_key(length),
                };
                let token = token.unwrap();
                constraint.accept(token).unwrap();
                let bytes = model.tokenizer.token_bytes(token).unwrap();
                if rest.starts_with(&bytes) {
                    rest = &rest[bytes.len()..];
                } else {
                    rest = &rest[bytes.len() - 1..];
                }
                tokens.push(token);
            }
            assert_eq!(model.allowed(&mut constraint), model.sorted_stop_ids());
            assert!(constraint.is_complete());
            assert_eq!(model.tokenizer.decode_answer(model.mode, &tokens), text);
            assert!(constraint.accept(tokens[0]).is_err());
            constraint.accept(model.stop_ids[0]).unwrap();
        }
    }
}

#[test]
fn a_token_that_may_not_come_is_refused() {
    let model = small(Mode::Glm2);
    let mut constraint = model.constraint(&AnswerForm::Json);
    assert!(constraint.accept(model.stop_ids[0]).is_err());
    let mut constraint = model.constraint(&AnswerForm::Json);
    assert!(constraint.accept(u32::from(b'[')).is_err());
    assert!(constraint.mask(&mut [0.0]).is_err());
    let mut constraint = model.constraint(&AnswerForm::Json);
    assert!(constraint.accept(u32::MAX).is_err());
}

#[test]
fn what_cannot_be_followed_is_refused_with_its_reason() {
    let model = small(Mode::Glm2);
    for (schema, reason) in [
        (json!({"type": "object", "not": {}}), "not"),
        (json!({"type": "array", "uniqueItems": true}), "uniqueItems"),
        (json!({"type": "text"}), "text"),
        (
            json!({"type": "string", "format": "shoe-size"}),
            "shoe-size",
        ),
        (json!({"type": "string", "pattern": "(?=a)b"}), ""),
        (json!({"type": "string", "pattern": "("}), "unclosed group"),
        (
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
            "nothing that ends",
        ),
        (json!({"type": "integer", "minimum": 5, "maximum": 3}), ""),
        (json!({"enum": []}), ""),
        (json!({"enum": "北京"}), "enum"),
        (json!({"type": "string", "pattern": 1}), "pattern"),
        (json!({"properties": []}), "properties"),
        (json!({"$ref": "https://example.com/a.json"}), "example.com"),
        (json!({"$ref": "#/$defs/a"}), "#/$defs/a"),
        (json!(false), ""),
        (json!(null), ""),
    ] {
        match model
            .grammars
            .constraint(&AnswerForm::JsonSchema(schema.clone()))
        {
            Err(Error::Request(detail)) => {
                assert!(detail.contains(reason), "{detail}");
                assert!(
                    !detail.contains('\n') && !detail.contains("at 2("),
                    "{detail}"
                );
            }
            other => panic!("{schema}: {other:?}"),
        }
    }
}

fn chain(length: usize) -> Value {
    let definitions: serde_json::Map<String, Value> = (0..length)
        .map(|n| {
            let next = format!("#/$defs/d{}", (n + 1) % length);
            (
                format!("d{n}"),
                json!({"type": "object", "properties": {"a": {"$ref": next}}}),
            )
        })
        .collect();
    json!({"$ref": "#/$defs/d0", "$defs": definitions})
}

/// As deep as is let through.
fn deep_chain() -> Value {
    let definitions: serde_json::Map<String, Value> = (0..14)
        .map(|n| {
            let mut schema = json!({"$ref": format!("#/$defs/d{}", (n + 1) % 14)});
            for _ in 0..43 {
                schema = json!({"items": schema});
            }
            (format!("d{n}"), schema)
        })
        .collect();
    json!({"$ref": "#/$defs/d0", "$defs": definitions})
}

fn doubled(levels: usize, keyword: &str) -> Value {
    let mut definitions = serde_json::Map::new();
    for n in 0..levels {
        let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
        definitions.insert(format!("d{n}"), json!({keyword: [next, next]}));
    }
    let last = json!({"type": "object", "properties": {"a": {"enum": [1, 2, 3]}}});
    definitions.insert(format!("d{levels}"), last);
    json!({"$ref": "#/$defs/d0", "$defs": definitions})
}

/// They are refused or followed: nothing panics, overflows the stack or takes memory without bound.
#[test]
fn hostile_schemas_do_no_harm() {
    let model = small(Mode::Glm2);
    let choice = |n: usize| json!({"anyOf": (0..n).map(|k| json!({"properties": {format!("p{k}"): {"const": k}}})).collect::<Vec<_>>()});
    for (name, schema) in [
        ("a loop", json!({"$ref": "#"})),
        (
            "a loop of two",
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        ),
        (
            "a loop with siblings",
            json!({"$ref": "#", "type": "object"}),
        ),
        (
            "a loop of all",
            json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        ),
        ("a chain", chain(100)),
        ("a deep chain", deep_chain()),
        ("doubled all", doubled(30, "allOf")),
        ("doubled any", doubled(30, "anyOf")),
        ("doubled one", doubled(30, "oneOf")),
        ("choices of choices", json!({"allOf": vec![choice(12); 12]})),
        (
            "repeated pattern",
            json!({"type": "string", "pattern": "((a{100}){100}){100}"}),
        ),
        (
            "pattern of choices",
            json!({"type": "string", "pattern": "^(a|b|ab)*c(.*a.{60}|.*b.{60})$"}),
        ),
        (
            "classes",
            json!({"type": "string", "pattern": "(\\p{L}{1,60}\\d{1,60}){1,60}"}),
        ),
        (
            "long strings",
            json!({"type": "string", "minLength": 4096, "maxLength": 4096}),
        ),
        (
            "long lists",
            json!({"type": "array", "minItems": 4096, "items": {"type": "array", "minItems": 4096}}),
        ),
        (
            "many values",
            json!({"enum": (0..8000).map(|n| format!("值{n}")).collect::<Vec<_>>()}),
        ),
        (
            "many properties",
            json!({"properties": (0..3000).map(|n| (format!("p{n}"), json!({}))).collect::<serde_json::Map<_, _>>()}),
        ),
        (
            "counted properties",
            json!({"type": "object", "minProperties": 4000}),
        ),
        (
            "multiples",
            json!({"type": "number", "multipleOf": 1e-300, "minimum": -1e300, "maximum": 1e300}),
        ),
        (
            "multiples of much",
            json!({"type": "integer", "multipleOf": 999_999_937}),
        ),
        (
            "numbers",
            json!({"type": "number", "minimum": 1.000_000_000_000_1, "exclusiveMaximum": 1.000_000_000_000_2}),
        ),
        (
            "a long message",
            json!({"type": "string", "format": "日".repeat(5000)}),
        ),
        (
            "a message cut within a character",
            json!({"enum": {"a": "日".repeat(500)}}),
        ),
    ] {
        let began = std::time::Instant::now();
        let form = AnswerForm::JsonSchema(schema);
        let result = model.grammars.constraint(&form).and_then(|mut constraint| {
            for _ in 0..20 {
                let mut logits: Vec<f32> = (0..model.size).map(|id| (id * 7 % 31) as f32).collect();
                constraint.mask(&mut logits)?;
                constraint.accept(greedy(&logits))?;
            }
            Ok(())
        });
        eprintln!("{name}: {:?} after {:?}", result, began.elapsed());
        if let Err(error) = result {
            assert!(
                matches!(error, Error::Request(_) | Error::Compute(_)),
                "{name}: {error}"
            );
        }
    }
}

fn tools() -> Vec<Tool> {
    let tool = |name: &str, parameters: Value| Tool {
        name: name.to_string(),
        description: String::new(),
        parameters,
    };
    vec![
        tool(
            "get_weather",
            json!({
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "城市"},
                    "unit": {"type": "string", "enum": ["摄氏", "it's"]},
                    "days": {"type": "integer"},
                    "hours": {"type": "array", "items": {"type": "number"}},
                    "exact": {"type": "boolean"},
                },
                "required": ["city", "days"],
            }),
        ),
        // The published demonstrations state no types.
        tool(
            "track",
            json!({"type": "object", "properties": {"symbol": {"description": "股票代码"}}, "required": []}),
        ),
        tool("now", Value::Null),
        // Of a kind that is JSON in ChatGLM3 too.
        tool(
            "route",
            json!({
                "type": "object",
                "properties": {"from": {"type": "string", "maxLength": 5}, "via": {"type": "object",
                    "properties": {"stops": {"type": "integer", "minimum": 0, "maximum": 9}},
                    "required": ["stops"], "additionalProperties": false}},
                "required": ["from", "via"],
                "additionalProperties": false,
            }),
        ),
    ]
}

fn satisfies_its_tool(name: &str, arguments: &Value) -> bool {
    let is_in =
        |value: &Value, values: &[&str]| value.as_str().is_some_and(|text| values.contains(&text));
    match name {
        "get_weather" => {
            arguments["city"].is_string()
                && arguments["days"].is_number()
                && (arguments["unit"].is_null() || is_in(&arguments["unit"], &["摄氏", "it's"]))
                && (arguments["exact"].is_null() || arguments["exact"].is_boolean())
        }
        "track" | "now" => arguments.is_object(),
        "route" => {
            let from = arguments["from"].as_str().unwrap_or("too long");
            from.chars().count() <= 5
                && arguments["via"]["stops"]
                    .as_u64()
                    .is_some_and(|stops| stops <= 9)
        }
        _ => false,
    }
}

fn families_with_tools() -> Vec<Model> {
    all()
        .into_iter()
        .filter(|model| model.mode.has_roles())
        .collect()
}

#[test]
fn calls_are_read_and_satisfy_their_tool() {
    let tools = tools();
    for model in families_with_tools() {
        let choices = tools
            .iter()
            .map(|tool| ToolChoice::Named(tool.name.clone()));
        for choice in choices.chain([ToolChoice::Required]) {
            let form = AnswerForm::Tools {
                tools: tools.clone(),
                choice: choice.clone(),
            };
            for seed in 0..model.draws() {
                let tokens = model.answer(&mut model.constraint(&form), seed);
                let raw = model.tokenizer.decode(&tokens);
                let Answer::Call(call) = read_answer(model.mode, &raw, &tools) else {
                    panic!("{}: no call: {raw:?}", model.name);
                };
                if let ToolChoice::Named(name) = &choice {
                    assert_eq!(&call.name, name);
                }
                let Some(arguments) = parsed(&model, &call.arguments) else {
                    continue;
                };
                assert!(
                    satisfies_its_tool(&call.name, &arguments),
                    "{}: {raw:?}",
                    model.name
                );
            }
        }
    }
}

/// A model that may call a tool is not hindered while it says something else.
#[test]
fn text_is_free_until_it_is_a_call() {
    let tools = tools();
    let form = AnswerForm::Tools {
        tools: tools.clone(),
        choice: ToolChoice::Auto,
    };
    for model in families_with_tools() {
        for text in ["\n你好", "get_time\n{}", "get_weather is\n", "track"] {
            let mut constraint = model.constraint(&form);
            for token in model.tokenizer.encode(text).unwrap() {
                assert_eq!(
                    model.allowed(&mut constraint).len(),
                    model.size,
                    "{}: {text:?}",
                    model.name
                );
                constraint.accept(token).unwrap();
            }
            assert_eq!(
                model.allowed(&mut constraint).len(),
                model.size,
                "{}: {text:?}",
                model.name
            );
            assert!(!constraint.is_complete());
            constraint.accept(model.stop_ids[0]).unwrap();
            assert!(constraint.is_complete());
        }
        for seed in 0..model.draws() {
            let mut constraint = model.constraint(&form);
            let mut tokens = model.tokenizer.encode("get_weather\n").unwrap();
            tokens
                .iter()
                .for_each(|&token| constraint.accept(token).unwrap());
            assert!(
                model.allowed(&mut constraint).len() < model.size,
                "{}",
                model.name
            );
            tokens.extend(model.answer(&mut constraint, seed));
            let raw = model.tokenizer.decode(&tokens);
            let Answer::Call(call) = read_answer(model.mode, &raw, &tools) else {
                panic!("{}: no call: {raw:?}", model.name);
            };
            let Some(arguments) = parsed(&model, &call.arguments) else {
                continue;
            };
            assert!(
                satisfies_its_tool(&call.name, &arguments),
                "{}: {raw:?}",
                model.name
            );
            // It is written into the conversation as it was.
            let message = call_message(model.mode, &call).unwrap();
            assert_eq!(message.metadata, "get_weather");
        }
    }
}

/// ChatGLM3 says what it is about to do, and calls in another turn.
#[test]
fn a_call_after_text_is_bound_too() {
    let tools = tools();
    let form = AnswerForm::Tools {
        tools: tools.clone(),
        choice: ToolChoice::Auto,
    };
    for model in families_with_tools() {
        let mut constraint = model.constraint(&form);
        let assistant = model.tokenizer.special(SpecialToken::Assistant).unwrap();
        let text = model.tokenizer.encode("\nget_weather\n").unwrap();
        let name = model.tokenizer.encode("get_weather\n").unwrap();
        for token in text.into_iter().chain([assistant]).chain(name) {
            assert_eq!(model.allowed(&mut constraint).len(), model.size);
            constraint.accept(token).unwrap();
        }
        assert!(
            model.allowed(&mut constraint).len() < model.size,
            "{}",
            model.name
        );
    }
}

/// What ChatGLM-6B decodes as a line break cannot come as text.
#[test]
fn whitespace_markers_are_no_text() {
    let form = AnswerForm::JsonSchema(json!({"type": "string"}));
    for model in published()
        .into_iter()
        .filter(|model| model.mode == Mode::Glm)
    {
        let piece = |text: &[u8]| {
            let mut ids = 0..model.size as u32;
            ids.find(|id| model.tokenizer.token_bytes(*id).as_deref() == Some(text))
                .unwrap()
        };
        let mut constraint = model.constraint(&form);
        for text in ["\"", "<", "n"] {
            let token = piece(text.as_bytes());
            assert!(model.allowed(&mut constraint).contains(&token));
            constraint.accept(token).unwrap();
        }
        let allowed = model.allowed(&mut constraint);
        assert!(!allowed.contains(&piece(b">")) && allowed.contains(&piece(b"b")));
    }
}

/// What a family writes in training is what its grammar lets through.
#[test]
fn a_call_of_the_conversation_may_come() {
    let tools = tools();
    let form = AnswerForm::Tools {
        tools: tools.clone(),
        choice: ToolChoice::Required,
    };
    for model in families_with_tools() {
        let call = glmtune_model::tokenizer::tools::ToolCall {
            name: "get_weather".to_string(),
            arguments: json!({"city": "it's 北京", "unit": "it's", "days": -3, "hours": [1, 2.5], "exact": true}).to_string(),
        };
        let message = call_message(model.mode, &call).unwrap();
        let line = model
            .tokenizer
            .encode(&format!("{}\n", message.metadata))
            .unwrap();
        let content = model.tokenizer.encode(&message.content).unwrap();
        let mut constraint = model.constraint(&form);
        for token in [line, content].concat() {
            assert!(
                model.allowed(&mut constraint).contains(&token),
                "{}: {token}",
                model.name
            );
            constraint.accept(token).unwrap();
        }
        assert!(constraint.is_complete(), "{}", model.name);
    }
}

#[test]
fn tools_are_refused_where_there_are_none() {
    let required = |tools| AnswerForm::Tools {
        tools,
        choice: ToolChoice::Required,
    };
    for mode in [Mode::Glm, Mode::Glm2] {
        assert!(small(mode).grammars.constraint(&required(tools())).is_err());
    }
    let model = small(Mode::Glm4);
    assert!(model.grammars.constraint(&required(Vec::new())).is_err());
    let named = AnswerForm::Tools {
        tools: tools(),
        choice: ToolChoice::Named("other".to_string()),
    };
    assert!(model.grammars.constraint(&named).is_err());
    let mut wrong = tools();
    wrong[1].parameters = json!({"type": "object", "properties": {"a": {"type": "shoe"}}});
    match model.grammars.constraint(&required(wrong)) {
        Err(Error::Request(detail)) => assert!(detail.contains("`track`"), "{detail}"),
        other => panic!("{other:?}"),
    }
}
