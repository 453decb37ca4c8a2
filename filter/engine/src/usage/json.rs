//! A JSON document byte by byte: where in it are we, and is this number on a path?
//!
//! No tree, no stack of names. Per path one counter says how many of its segments the open containers match; a member
//! is on the path when its name matches the next one. Names are compared as they pass, escapes decoded. Of the
//! containers one bit each is kept, object or array, down to [`MAX_DEPTH`]; below that brackets are only counted, since
//! no path reaches there.
//!
//! A crate would do most of this (picojson is `no_std` and takes chunks), but it buffers a token that a chunk cuts in two,
//! and fails when an answer's text is longer than the buffer; the texts of answers are what bodies are made of.
//!
//! Lenient where it costs nothing (texts need not be UTF-8), strict where a wrong place could be charged: a byte that no
//! document has there ends the reading, and what was found stays. After a document comes the next (NDJSON).

use super::number::Reader;
use super::path::MAX_SEGMENTS;
use super::{Field, Found, MAX_FIELDS};

/// Deepest nesting that is followed, in containers; deeper ones are skipped.
pub const MAX_DEPTH: usize = 64;

/// A set of fields, one bit each.
type Set = u8;
const _: () = assert!(MAX_FIELDS <= 8 && MAX_SEGMENTS <= MAX_DEPTH && MAX_DEPTH <= 64);

/// Where in a document the reader is.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    state: State,
    /// Open containers.
    depth: usize,
    /// Bit `d` is set when container `d`, from the outside, is an object.
    objects: u64,
    /// Brackets open below [`MAX_DEPTH`].
    deeper: u32,
    /// Segments of each path that the open containers match.
    matched: [usize; MAX_FIELDS],
    /// Fields whose path leads to or through the current member.
    on_path: Set,
    /// The current element of the arrays that a path can reach.
    places: [u32; MAX_SEGMENTS],
    name: Name,
    number: Reader,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before, between and after documents.
    #[default]
    Between,
    Value,
    /// Behind `[`.
    FirstValue,
    /// Behind `{`.
    FirstName,
    /// Behind `,` in an object.
    NextName,
    Name,
    Colon,
    Text,
    /// Behind a backslash in a text.
    TextEscape,
    Number,
    /// What must follow of `true`, `false` or `null`.
    Word(&'static [u8]),
    /// Behind a value.
    After,
    Deep,
    DeepText,
    DeepEscape,
    /// This is no JSON.
    Lost,
}

/// A member's name as it passes.
#[derive(Clone, Copy, Debug, Default)]
struct Name {
    /// Decoded bytes so far.
    len: usize,
    /// Fields whose segment begins like it.
    candidates: Set,
    escape: Escape,
    /// A `\u` escape's first half of a surrogate pair.
    high: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Escape {
    #[default]
    None,
    Backslash,
    /// So many hex digits and their value.
    Unicode(u8, u16),
}

impl Scanner {
    pub(crate) fn read(&mut self, fields: &[Field], mut chunk: &[u8], found: &mut Found) {
        loop {
            // The bulk of a body is text: skipped without a look at the state.
            if matches!(self.state, State::Text | State::DeepText) {
                let len = chunk.iter().position(|&byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(chunk.len());
                chunk = chunk.get(len..).unwrap_or_default();
            }
            let Some((&byte, rest)) = chunk.split_first() else { return };
            if self.state == State::Lost {
                return;
            }
            if self.state == State::Number && self.end_number(fields, byte, found) {
                continue;
            }
            self.state = self.next(fields, byte, found);
            chunk = rest;
        }
    }

    /// `true` when the number ended before `byte`, which is then looked at again.
    fn end_number(&mut self, fields: &[Field], byte: u8, found: &mut Found) -> bool {
        if self.number.push(byte) {
            return false;
        }
        self.state = self.after_value();
        if !matches!(byte, b',' | b'}' | b']') && !is_blank(byte) {
            self.state = State::Lost;
        } else if let Some(quantity) = self.number.end() {
            for (index, field) in fields.iter().enumerate() {
                if self.depth > 0 && self.on_path & bit(index) != 0 && field.path.len() == self.depth {
                    found.put(index, quantity);
                }
            }
        }
        true
    }

    fn next(&mut self, fields: &[Field], byte: u8, found: &mut Found) -> State {
        match (self.state, byte) {
            (State::Number, _) => State::Number,
            (State::Name, _) => self.in_name(fields, byte),
            (State::Text, b'"') => self.after_value(),
            (State::Text, b'\\') => State::TextEscape,
            (State::TextEscape, 0x20..) => State::Text,
            (State::Deep, _) => self.in_deep(byte),
            (State::DeepText, b'"') => State::Deep,
            (State::DeepText, b'\\') => State::DeepEscape,
            (State::DeepEscape, 0x20..) => State::DeepText,
            (State::Word([expected]), _) if byte == *expected => self.after_value(),
            (State::Word([expected, rest @ ..]), _) if byte == *expected => State::Word(rest),
            (State::Text | State::TextEscape | State::DeepText | State::DeepEscape | State::Word(_), _) => State::Lost,
            (state, b' ' | b'\t' | b'\n' | b'\r') => state,
            (State::Between, _) => {
                found.next_document();
                self.value(fields, byte)
            }
            (State::FirstValue, b']') | (State::FirstName, b'}') => self.close(byte),
            (State::Value | State::FirstValue, _) => self.value(fields, byte),
            (State::FirstName | State::NextName, b'"') => {
                self.name = Name { candidates: self.candidates(), ..Name::default() };
                State::Name
            }
            (State::Colon, b':') => State::Value,
            (State::After, b',') if self.in_object() => State::NextName,
            (State::After, b',') => {
                if let Some(place) = self.depth.checked_sub(1).and_then(|depth| self.places.get_mut(depth)) {
                    *place = place.saturating_add(1);
                }
                self.enter_element(fields);
                State::Value
            }
            (State::After, b'}' | b']') => self.close(byte),
            _ => State::Lost,
        }
    }

    fn value(&mut self, fields: &[Field], byte: u8) -> State {
        match byte {
            b'{' | b'[' => self.open(fields, byte == b'{'),
            b'"' => State::Text,
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            b'-' | b'0'..=b'9' => {
                self.number = Reader::default();
                self.number.push(byte);
                State::Number
            }
            _ => State::Lost,
        }
    }

    fn after_value(&self) -> State {
        if self.depth == 0 { State::Between } else { State::After }
    }

    fn open(&mut self, fields: &[Field], object: bool) -> State {
        if self.depth == MAX_DEPTH {
            self.deeper = 1;
            return State::Deep;
        }
        for (index, matched) in self.matched.iter_mut().enumerate() {
            if self.depth == 0 {
                *matched = 0;
            } else if self.on_path & bit(index) != 0 {
                *matched = self.depth;
            }
        }
        let container = 1u64 << self.depth;
        self.objects = if object { self.objects | container } else { self.objects & !container };
        self.depth += 1;
        if object {
            return State::FirstName;
        }
        if let Some(place) = self.places.get_mut(self.depth - 1) {
            *place = 0;
        }
        self.enter_element(fields);
        State::FirstValue
    }

    fn close(&mut self, byte: u8) -> State {
        if self.depth == 0 || self.in_object() != (byte == b'}') {
            return State::Lost;
        }
        self.depth -= 1;
        for matched in &mut self.matched {
            *matched = (*matched).min(self.depth.saturating_sub(1));
        }
        self.after_value()
    }

    fn in_object(&self) -> bool {
        self.depth > 0 && self.objects & (1u64 << (self.depth - 1)) != 0
    }

    /// The fields whose path leads into the innermost container.
    fn candidates(&self) -> Set {
        let matched = self.matched.iter().enumerate();
        matched.filter(|(_, matched)| **matched + 1 == self.depth).fold(0, |set, (index, _)| set | bit(index))
    }

    fn enter_element(&mut self, fields: &[Field]) {
        let candidates = self.candidates();
        let level = self.depth.saturating_sub(1);
        let place = self.places.get(level).copied();
        self.on_path =
            matching(fields, candidates, |field| place.is_some_and(|place| field.path.is_place(level, place)));
    }

    fn in_name(&mut self, fields: &[Field], byte: u8) -> State {
        let level = self.depth.saturating_sub(1);
        match (self.name.escape, byte) {
            (_, 0..=0x1f) => return State::Lost,
            (Escape::None, b'"') => {
                let name = self.name;
                let complete = |field: &Field| field.path.name(level).is_some_and(|known| known.len() == name.len);
                let whole = name.high.is_none();
                self.on_path = if whole { matching(fields, name.candidates, complete) } else { 0 };
                return State::Colon;
            }
            (Escape::None, b'\\') => self.name.escape = Escape::Backslash,
            (Escape::None, _) => self.name.bytes(fields, level, &[byte]),
            (Escape::Backslash, b'u') => self.name.escape = Escape::Unicode(0, 0),
            (Escape::Backslash, _) => {
                self.name.escape = Escape::None;
                match byte {
                    b'"' | b'\\' | b'/' => self.name.bytes(fields, level, &[byte]),
                    b'b' => self.name.bytes(fields, level, &[8]),
                    b'f' => self.name.bytes(fields, level, &[12]),
                    b'n' => self.name.bytes(fields, level, b"\n"),
                    b'r' => self.name.bytes(fields, level, b"\r"),
                    b't' => self.name.bytes(fields, level, b"\t"),
                    _ => return State::Lost,
                }
            }
            (Escape::Unicode(digits, value), _) => {
                let Some(digit) = char::from(byte).to_digit(16) else { return State::Lost };
                let value = value << 4 | digit as u16;
                if digits < 3 {
                    self.name.escape = Escape::Unicode(digits + 1, value);
                } else {
                    self.name.escape = Escape::None;
                    self.name.unit(fields, level, value);
                }
            }
        }
        State::Name
    }

    fn in_deep(&mut self, byte: u8) -> State {
        match byte {
            b'"' => return State::DeepText,
            b'{' | b'[' => match self.deeper.checked_add(1) {
                Some(deeper) => self.deeper = deeper,
                None => return State::Lost,
            },
            b'}' | b']' => self.deeper -= 1,
            _ => {}
        }
        if self.deeper == 0 { State::After } else { State::Deep }
    }
}

impl Name {
    /// Compares decoded bytes with the segments at `level`.
    fn bytes(&mut self, fields: &[Field], level: usize, bytes: &[u8]) {
        if self.high.is_some() {
            self.candidates = 0;
        }
        if self.candidates == 0 {
            return;
        }
        for byte in bytes {
            let place = self.len;
            self.candidates = matching(fields, self.candidates, |field| {
                field.path.name(level).and_then(|name| name.get(place)) == Some(byte)
            });
            self.len = self.len.saturating_add(1);
        }
    }

    /// A UTF-16 unit out of a `\u` escape. Half a pair matches nothing.
    fn unit(&mut self, fields: &[Field], level: usize, unit: u16) {
        if self.high.is_none() && (0xD800..0xDC00).contains(&unit) {
            self.high = Some(unit);
            return;
        }
        let high = self.high.take();
        for char in char::decode_utf16(high.into_iter().chain([unit])) {
            match char {
                Ok(char) => self.bytes(fields, level, char.encode_utf8(&mut [0; 4]).as_bytes()),
                Err(_) => self.candidates = 0,
            }
        }
    }
}

fn bit(index: usize) -> Set {
    1 << (index % 8)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Those of `set` whose field fulfils `condition`.
fn matching(fields: &[Field], set: Set, condition: impl Fn(&Field) -> bool) -> Set {
    if set == 0 {
        return 0;
    }
    let kept = fields.iter().enumerate().filter(|(index, field)| set & bit(*index) != 0 && condition(field));
    kept.fold(0, |set, (index, _)| set | bit(index))
}
