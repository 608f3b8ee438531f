//! A reader of the pickles inside `torch.save` files that builds inert values and runs nothing.
//!
//! A pickle is a program for a stack machine, able to call any Python function by name. This machine
//! knows the instructions and the handful of names that a state dict needs, and gives each of those
//! names a fixed meaning of its own; everything else is refused by name.
//!
//! Values live in one flat list and refer to each other by position. Sharing through the memo therefore
//! costs nothing, depth costs no stack, and memory is bounded by the number of instructions, which is
//! bounded itself.

use std::collections::HashMap;

use super::dtype::DType;

/// Instructions (and copied elements) after which a pickle is given up. A tensor takes about thirty, so
/// this is room for 60,000 tensors; values take some 50 bytes per instruction.
const MAX_STEPS: usize = 2_000_000;

/// Dimensions of a tensor. Each tensor copies its shape, which the memo lets a pickle repeat cheaply.
const MAX_RANK: usize = 16;

/// Why a pickle is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PickleError {
    #[error("the pickle is cut off at byte {0}")]
    Truncated(usize),
    #[error(
        "refused: the pickle wants to use `{0}`; only plain tensors are read, and nothing is ever run"
    )]
    Global(String),
    #[error("refused: the pickle contains the instruction {0}, which no state dict needs")]
    Instruction(&'static str),
    #[error("the pickle contains the unknown instruction {0:#04x}")]
    Unknown(u8),
    #[error("the pickle has protocol {0}; 2 to 5 can be read")]
    Protocol(u8),
    #[error("the pickle has more than {MAX_STEPS} instructions")]
    TooLong,
    #[error("the pickle is inconsistent at byte {at}: {what}")]
    Inconsistent { at: usize, what: &'static str },
}

type Result<T> = std::result::Result<T, PickleError>;

/// Position of a value in [`Pickle::values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(u32);

/// An inert value.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    /// None, numbers that nobody asks for, bytes, sets.
    Other,
    Bool,
    Int(i64),
    Text(&'a str),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Name(Name),
    Storage(Storage<'a>),
    Tensor(Box<View<'a>>),
}

/// The names that have a meaning here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(DType),
}

/// A block of numbers in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Storage<'a> {
    pub(crate) dtype: DType,
    /// Name of the archive entry under `data/`.
    pub(crate) key: &'a str,
    /// Number of elements, by the pickle's word.
    pub(crate) len: usize,
}

/// A tensor: a view of a storage. Nothing of it has been checked but that it is not negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View<'a> {
    pub(crate) storage: Storage<'a>,
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<usize>,
}

/// A parsed pickle.
#[derive(Debug)]
pub(crate) struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: Id,
}

impl<'a> Pickle<'a> {
    /// Parses the pickle at the start of `bytes`.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut machine = Machine::new(bytes);
        let root = machine.run()?;
        Ok(Self {
            values: machine.values,
            root,
        })
    }

    /// The value that the pickle stands for.
    pub(crate) fn root(&self) -> &Value<'a> {
        self.get(self.root)
    }

    /// The value at a position that another value of this pickle named.
    pub(crate) fn get(&self, id: Id) -> &Value<'a> {
        &self.values[id.0 as usize]
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    steps: usize,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at each open mark; nothing below the last one can be popped.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            steps: 0,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        }
    }

    fn run(&mut self) -> Result<Id> {
        loop {
            self.charge(1)?;
            let code = self.byte()?;
            if code == b'.' {
                return self.pop();
            }
            self.step(code)?;
        }
    }

    fn step(&mut self, code: u8) -> Result<()> {
        match code {
            0x80 => match self.byte()? {
                2..=5 => Ok(()),
                other => Err(PickleError::Protocol(other)),
            },
            // The length of a frame is a hint for buffering.
            0x95 => self.take(8).map(drop),
            b'(' | b'0' | b'1' | b'2' => self.stack_step(code),
            b'N' => self.push(Value::Other),
            0x88 | 0x89 => self.push(Value::Bool),
            b'K' | b'M' | b'J' | b'G' | 0x8a | 0x8b => self.number_step(code),
            b'X' | 0x8c | 0x8d | b'U' | b'T' | b'B' | b'C' | 0x8e | 0x96 => self.text_step(code),
            b')' | b't' | 0x85..=0x87 | b']' | b'l' | b'}' | b'd' => self.container_step(code),
            b'a' | b'e' | b's' | b'u' | 0x8f | 0x90 | 0x91 => self.fill_step(code),
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memo_step(code),
            b'c' | 0x93 => self.name_step(code),
            b'R' => self.reduce(),
            b'b' => self.build(),
            b'Q' => self.persistent(),
            _ => Err(self.refusal(code)),
        }
    }

    fn refusal(&mut self, code: u8) -> PickleError {
        PickleError::Instruction(match code {
            b'i' => match self.name_lines() {
                Ok((module, name)) => return PickleError::Global(full_name(module, name)),
                Err(error) => return error,
            },
            b'o' => "OBJ",
            0x81 => "NEWOBJ",
            0x92 => "NEWOBJ_EX",
            0x82 => "EXT1",
            0x83 => "EXT2",
            0x84 => "EXT4",
            b'P' => "PERSID",
            0x97 => "NEXT_BUFFER",
            0x98 => "READONLY_BUFFER",
            b'I' | b'L' | b'F' | b'S' | b'V' | b'g' | b'p' => "of the text protocol",
            other => return PickleError::Unknown(other),
        })
    }

    fn stack_step(&mut self, code: u8) -> Result<()> {
        match code {
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.pop_to_mark()?;
            }
            _ => {
                let top = self.top()?;
                self.stack.push(top);
            }
        }
        Ok(())
    }

    fn number_step(&mut self, code: u8) -> Result<()> {
        let value = match code {
            b'K' => Value::Int(self.byte()?.into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            b'G' => {
                self.take(8)?;
                Value::Other
            }
            _ => {
                let len = match code {
                    0x8a => self.byte()?.into(),
                    _ => self.length(4)?,
                };
                long(self.take(len)?)
            }
        };
        self.push(value)
    }

    fn text_step(&mut self, code: u8) -> Result<()> {
        let len = match code {
            0x8c | b'U' | b'C' => self.length(1)?,
            0x8d | 0x8e | 0x96 => self.length(8)?,
            _ => self.length(4)?,
        };
        let bytes = self.take(len)?;
        // Python 2 wrote its strings with the instructions U and T.
        let value = match code {
            b'B' | b'C' | 0x8e | 0x96 => Value::Other,
            _ => Value::Text(
                std::str::from_utf8(bytes).map_err(|_| self.inconsistent("text is not UTF-8"))?,
            ),
        };
        self.push(value)
    }

    fn container_step(&mut self, code: u8) -> Result<()> {
        let value = match code {
            b')' => Value::Tuple(Vec::new()),
            b']' => Value::List(Vec::new()),
            b'}' => Value::Dict(Vec::new()),
            b't' => Value::Tuple(self.pop_to_mark()?),
            b'l' => Value::List(self.pop_to_mark()?),
            b'd' => {
                let items = self.pop_to_mark()?;
                Value::Dict(self.pairs(&items)?)
            }
            _ => {
                let mut items = Vec::with_capacity(3);
                for _ in 0x85..=code {
                    items.push(self.pop()?);
                }
                items.reverse();
                Value::Tuple(items)
            }
        };
        self.push(value)
    }

    fn fill_step(&mut self, code: u8) -> Result<()> {
        match code {
            b'a' | b's' => {
                let count = if code == b'a' { 1 } else { 2 };
                let mut items = Vec::with_capacity(count);
                for _ in 0..count {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.fill(&items)
            }
            b'e' | b'u' => {
                let items = self.pop_to_mark()?;
                self.fill(&items)
            }
            0x8f => self.push(Value::Other),
            0x90 => self.pop_to_mark().map(drop),
            _ => {
                self.pop_to_mark()?;
                self.push(Value::Other)
            }
        }
    }

    /// Adds items to the list or dict on top of the stack.
    fn fill(&mut self, items: &[Id]) -> Result<()> {
        let target = self.top()?;
        let pairs = match &self.values[target.0 as usize] {
            Value::Dict(_) => self.pairs(items)?,
            _ => Vec::new(),
        };
        match &mut self.values[target.0 as usize] {
            Value::Dict(dict) => dict.extend(pairs),
            Value::List(list) => list.extend_from_slice(items),
            _ => {
                return Err(
                    self.inconsistent("items are added to something else than a list or dict")
                );
            }
        }
        Ok(())
    }

    fn pairs(&self, items: &[Id]) -> Result<Vec<(Id, Id)>> {
        let (pairs, odd) = items.as_chunks::<2>();
        if odd.is_empty() {
            Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
        } else {
            Err(self.inconsistent("a dict has a key without a value"))
        }
    }

    fn memo_step(&mut self, code: u8) -> Result<()> {
        let index = match code {
            b'q' | b'h' => self.byte()?.into(),
            0x94 => self.memo.len() as u32,
            _ => u32::from_le_bytes(self.array()?),
        };
        if matches!(code, b'h' | b'j') {
            let id = *self
                .memo
                .get(&index)
                .ok_or_else(|| self.inconsistent("the memo has no such entry"))?;
            self.stack.push(id);
        } else {
            let top = self.top()?;
            self.memo.insert(index, top);
        }
        Ok(())
    }

    fn name_step(&mut self, code: u8) -> Result<()> {
        let (module, name) = if code == b'c' {
            self.name_lines()?
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            match (self.value(module), self.value(name)) {
                (Value::Text(module), Value::Text(name)) => (*module, *name),
                _ => return Err(self.inconsistent("a name is not text")),
            }
        };
        let known =
            known_name(module, name).ok_or_else(|| PickleError::Global(full_name(module, name)))?;
        self.push(Value::Name(known))
    }

    /// Calls one of the known names, which builds a value.
    fn reduce(&mut self) -> Result<()> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let Value::Tuple(arguments) = self.value(arguments) else {
            return Err(self.inconsistent("a call's arguments are not a tuple"));
        };
        let value = match self.value(callee) {
            Value::Name(Name::OrderedDict) => match arguments.first() {
                None => Value::Dict(Vec::new()),
                Some(&items) => self.ordered_dict(items)?,
            },
            Value::Name(Name::RebuildTensor) => Value::Tensor(Box::new(self.view(arguments)?)),
            Value::Name(Name::RebuildParameter) => {
                let tensor = arguments.first().copied();
                return match tensor.map(|id| (id, self.value(id))) {
                    Some((id, Value::Tensor(_))) => {
                        self.stack.push(id);
                        Ok(())
                    }
                    _ => Err(self.inconsistent("a parameter is not a tensor")),
                };
            }
            Value::Name(Name::Storage(_)) => {
                return Err(PickleError::Global("a storage's constructor".to_owned()));
            }
            _ => return Err(self.inconsistent("something is called that is not a function")),
        };
        self.push(value)
    }

    /// `OrderedDict([[key, value], …])`, as Python 2 wrote it.
    fn ordered_dict(&mut self, items: Id) -> Result<Value<'a>> {
        let wrong = || self.inconsistent("an OrderedDict is not made of pairs");
        let (Value::List(items) | Value::Tuple(items)) = self.value(items) else {
            return Err(wrong());
        };
        let pairs = items
            .iter()
            .map(|&item| match self.value(item) {
                Value::List(pair) | Value::Tuple(pair) => match pair[..] {
                    [key, value] => Ok((key, value)),
                    _ => Err(wrong()),
                },
                _ => Err(wrong()),
            })
            .collect::<Result<Vec<_>>>()?;
        // The list can come from the memo any number of times, and each time it is copied.
        self.charge(pairs.len())?;
        Ok(Value::Dict(pairs))
    }

    /// The arguments of `_rebuild_tensor_v2`: storage, offset, size, stride, and what concerns gradients.
    fn view(&self, arguments: &[Id]) -> Result<View<'a>> {
        let [storage, offset, shape, strides, ..] = arguments else {
            return Err(self.inconsistent("a tensor lacks arguments"));
        };
        let Value::Storage(storage) = self.value(*storage) else {
            return Err(self.inconsistent("a tensor has no storage"));
        };
        let view = View {
            storage: *storage,
            offset: self.size(*offset)?,
            shape: self.sizes(*shape)?,
            strides: self.sizes(*strides)?,
        };
        if view.shape.len() != view.strides.len() {
            return Err(self.inconsistent("a tensor's shape and strides differ in length"));
        }
        Ok(view)
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>> {
        match self.value(id) {
            Value::Tuple(items) | Value::List(items) if items.len() <= MAX_RANK => {
                items.iter().map(|&item| self.size(item)).collect()
            }
            _ => Err(self.inconsistent("a shape is not a short tuple")),
        }
    }

    fn size(&self, id: Id) -> Result<usize> {
        match self.value(id) {
            Value::Int(number) => usize::try_from(*number)
                .map_err(|_| self.inconsistent("a size, stride or offset is negative")),
            _ => Err(self.inconsistent("a size, stride or offset is not a number")),
        }
    }

    /// Sets attributes. Only dicts get any (a state dict's `_metadata`), and none is kept.
    fn build(&mut self) -> Result<()> {
        self.pop()?;
        let target = self.top()?;
        match self.value(target) {
            Value::Dict(_) => Ok(()),
            _ => Err(PickleError::Instruction(
                "BUILD on something else than a dict",
            )),
        }
    }

    /// A reference to a storage: `("storage", type, key, device, length)`.
    fn persistent(&mut self) -> Result<()> {
        let id = self.pop()?;
        let wrong = || self.inconsistent("a persistent id does not name a storage");
        let Value::Tuple(parts) = self.value(id) else {
            return Err(wrong());
        };
        let [kind, class, key, _device, len] = parts[..] else {
            return Err(wrong());
        };
        let storage = match (self.value(kind), self.value(class), self.value(key)) {
            (Value::Text("storage"), Value::Name(Name::Storage(dtype)), Value::Text(key)) => {
                Storage {
                    dtype: *dtype,
                    key,
                    len: self.size(len)?,
                }
            }
            _ => return Err(wrong()),
        };
        self.push(Value::Storage(storage))
    }

    fn charge(&mut self, steps: usize) -> Result<()> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > MAX_STEPS {
            return Err(PickleError::TooLong);
        }
        Ok(())
    }

    fn value(&self, id: Id) -> &Value<'a> {
        &self.values[id.0 as usize]
    }

    fn push(&mut self, value: Value<'a>) -> Result<()> {
        // Each step pushes at most one value, so the number fits by far.
        let id = Id(self.values.len() as u32);
        self.values.push(value);
        self.stack.push(id);
        Ok(())
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id> {
        self.stack[self.floor()..]
            .last()
            .copied()
            .ok_or_else(|| self.inconsistent("the stack is empty"))
    }

    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let height = self
            .marks
            .pop()
            .ok_or_else(|| self.inconsistent("there is no mark"))?;
        Ok(self.stack.split_off(height))
    }

    fn inconsistent(&self, what: &'static str) -> PickleError {
        PickleError::Inconsistent { at: self.at, what }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let taken = self.bytes[self.at..]
            .get(..len)
            .ok_or(PickleError::Truncated(self.at))?;
        self.at += len;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.take(N)?;
        taken
            .try_into()
            .map_err(|_| PickleError::Truncated(self.at))
    }

    /// An unsigned length of `width` bytes; one that does not fit into memory is too long for the file.
    fn length(&mut self, width: usize) -> Result<usize> {
        let bytes = self.take(width)?;
        let value = bytes
            .iter()
            .rev()
            .fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        usize::try_from(value).map_err(|_| PickleError::Truncated(self.at))
    }

    fn line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.at..];
        let len = rest
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or(PickleError::Truncated(self.at))?;
        self.at += len + 1;
        std::str::from_utf8(&rest[..len]).map_err(|_| self.inconsistent("a name is not UTF-8"))
    }

    fn name_lines(&mut self) -> Result<(&'a str, &'a str)> {
        Ok((self.line()?, self.line()?))
    }
}

/// A signed little-endian integer of any length; those beyond 64 bits are of no use here.
fn long(bytes: &[u8]) -> Value<'static> {
    if bytes.len() > 8 {
        return Value::Other;
    }
    let negative = bytes.last().is_some_and(|&top| top & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(wide))
}

/// A name for a message; it can be as long as the file, a message should not be.
fn full_name(module: &str, name: &str) -> String {
    let full = module.chars().chain(['.']).chain(name.chars());
    full.take(200).collect()
}

fn known_name(module: &str, name: &str) -> Option<Name> {
    Some(match (module, name) {
        ("collections", "OrderedDict") => Name::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2") => Name::RebuildTensor,
        ("torch._utils", "_rebuild_parameter") => Name::RebuildParameter,
        ("torch" | "torch.storage", storage) => Name::Storage(match storage {
            "DoubleStorage" => DType::F64,
            "FloatStorage" => DType::F32,
            "HalfStorage" => DType::F16,
            "BFloat16Storage" => DType::BF16,
            "LongStorage" => DType::I64,
            "IntStorage" => DType::I32,
            "ShortStorage" => DType::I16,
            "CharStorage" => DType::I8,
            "ByteStorage" => DType::U8,
            "BoolStorage" => DType::Bool,
            _ => return None,
        }),
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(bytes: &[u8]) -> PickleError {
        Pickle::parse(bytes).expect_err("must be refused")
    }

    fn text(value: &str) -> Vec<u8> {
        let mut bytes = vec![b'X'];
        bytes.extend((value.len() as u32).to_le_bytes());
        bytes.extend(value.as_bytes());
        bytes
    }

    /// `{"w": tensor of [2, 3] over storage "0"}`, as torch writes it.
    fn state_dict() -> Vec<u8> {
        let mut bytes = b"\x80\x02}q\0(".to_vec();
        bytes.extend(text("w"));
        bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        bytes.extend(text("storage"));
        bytes.extend(b"ctorch\nHalfStorage\n");
        bytes.extend(text("0"));
        bytes.extend(text("cpu"));
        bytes
            .extend(b"K\x06tQK\0K\x02K\x03\x86K\x03K\x01\x86\x89ccollections\nOrderedDict\n)RtRu.");
        bytes
    }

    #[test]
    fn a_state_dict_is_read() {
        let bytes = state_dict();
        let pickle = Pickle::parse(&bytes).unwrap();
        let Value::Dict(items) = pickle.root() else {
            panic!("not a dict");
        };
        let Value::Tensor(view) = pickle.get(items[0].1) else {
            panic!("not a tensor");
        };
        assert_eq!(view.shape, [2, 3]);
        assert_eq!(view.strides, [3, 1]);
        assert_eq!((view.storage.dtype, view.storage.len), (DType::F16, 6));
    }

    #[test]
    fn calls_are_refused_by_name() {
        let mut stack_global = b"\x80\x04".to_vec();
        stack_global.extend(b"\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.");
        let mut nested = state_dict();
        nested.splice(2..2, b"cbuiltins\neval\n(".iter().copied());
        for (bytes, name) in [
            (&b"cos\nsystem\n(X\x02\0\0\0idtR."[..], "os.system"),
            (b"\x80\x02cbuiltins\neval\n.", "builtins.eval"),
            (b"(X\x02\0\0\0idios\nsystem\n.", "os.system"),
            (b"(cos\nsystem\nX\x02\0\0\0ido.", "os.system"),
            (b"ctorch\nload\n.", "torch.load"),
            (
                b"ctorch.storage\n_load_from_bytes\n.",
                "torch.storage._load_from_bytes",
            ),
            (b"c__builtin__\ngetattr\n.", "__builtin__.getattr"),
            (&stack_global, "posix.system"),
            (&nested, "builtins.eval"),
        ] {
            assert_eq!(error(bytes), PickleError::Global(name.to_owned()));
        }
    }

    #[test]
    fn dangerous_instructions_are_refused() {
        for (bytes, name) in [
            (&b"ccollections\nOrderedDict\n)\x81."[..], "NEWOBJ"),
            (b"ccollections\nOrderedDict\n)}\x92.", "NEWOBJ_EX"),
            (b"(ccollections\nOrderedDict\no.", "OBJ"),
            (b"\x82\x01.", "EXT1"),
            (b"\x83\x01\0.", "EXT2"),
            (b"\x84\x01\0\0\0.", "EXT4"),
            (b"\x97.", "NEXT_BUFFER"),
            (b"Pkey\n.", "PERSID"),
            (b"S'x'\n.", "of the text protocol"),
            (b"]}b.", "BUILD on something else than a dict"),
            (
                b"ccollections\nOrderedDict\n}b.",
                "BUILD on something else than a dict",
            ),
        ] {
            assert_eq!(error(bytes), PickleError::Instruction(name));
        }
    }

    #[test]
    fn lengths_are_held_against_the_file() {
        for bytes in [
            &b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff"[..],
            b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"X\xff\xff\xff\xff",
            b"T\xff\xff\xff\xff",
            b"\x8b\xff\xff\xff\x7f",
            b"\x95\xff",
            b"cos",
            b"",
        ] {
            assert!(
                matches!(error(bytes), PickleError::Truncated(_)),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn deep_nesting_takes_no_stack() {
        let mut bytes = vec![b']'; 400_000];
        bytes.extend(vec![b'a'; 399_999]);
        bytes.push(b'.');
        assert!(matches!(
            Pickle::parse(&bytes).unwrap().root(),
            Value::List(_)
        ));
    }

    #[test]
    fn shared_values_are_not_multiplied() {
        // Each level holds the one before it ten times: 10^60 leaves if they were copied.
        let mut bytes = b"]q\0".to_vec();
        for _ in 0..60 {
            bytes.extend(b"](");
            bytes.extend(b"h\0".repeat(10));
            bytes.extend(b"eq\0");
        }
        bytes.push(b'.');
        assert!(Pickle::parse(&bytes).unwrap().values.len() < 100);
    }

    #[test]
    fn copies_are_charged() {
        // One list of 1000 pairs, made into 10,000 ordered dicts.
        let mut bytes = b"ccollections\nOrderedDict\nq\x01]q\0(".to_vec();
        bytes.extend(b"NN\x86".repeat(1000));
        bytes.extend(b"e\x85q\x02");
        bytes.extend(b"h\x01h\x02R".repeat(10_000));
        bytes.push(b'.');
        assert_eq!(error(&bytes), PickleError::TooLong);
    }

    #[test]
    fn endless_programs_end() {
        assert_eq!(error(&vec![b'N'; MAX_STEPS + 1]), PickleError::TooLong);
    }

    #[test]
    fn inconsistencies_are_errors() {
        for bytes in [
            &b"."[..],
            b"t.",
            b"0.",
            b"(.",
            b"N(0.",
            b"h\x07.",
            b"}(Nu.",
            b"NNa.",
            b"N)R.",
            b"NQ.",
            b"N\x85Q.",
            b"NN\x93.",
            b"X\x01\0\0\0\xff.",
            b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
            b"ctorch._utils\n_rebuild_parameter\n)R.",
            b"ccollections\nOrderedDict\nN\x85R.",
        ] {
            assert!(
                matches!(error(bytes), PickleError::Inconsistent { .. }),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn integers_of_any_length() {
        assert!(matches!(long(&[]), Value::Int(0)));
        assert!(matches!(long(&[0xff]), Value::Int(-1)));
        assert!(matches!(long(&[0, 1]), Value::Int(256)));
        assert!(matches!(long(&[0; 9]), Value::Other));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Pickle::parse(&bytes);
        }

        #[test]
        fn random_instructions_never_panic(
            codes in proptest::collection::vec(
                proptest::sample::select(b"(.0123K)]}tldeausqhRbQ\x85\x86\x87\x88\x8f\x90\x91\x94N".to_vec()),
                0..200,
            )
        ) {
            let _ = Pickle::parse(&codes);
        }

        #[test]
        fn damaged_state_dicts_never_panic(at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = state_dict();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Pickle::parse(&bytes);
        }
    }
}
