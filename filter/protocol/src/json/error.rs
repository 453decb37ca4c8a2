//! What is wrong with a configuration text, and where.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use serde::de::{self, Expected, Unexpected};

/// A mistake. Boxed, because it is rare and every reader of a field passes it on.
#[derive(Debug)]
pub struct ReadError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    path: String,
    reason: String,
}

impl ReadError {
    /// Text that is no JSON.
    pub(super) fn syntax(error: &serde_json::Error) -> Self {
        let path = format!("line {} column {}", error.line(), error.column());
        Self(Box::new(Inner { path, reason: error.to_string() }))
    }

    /// The same mistake, as seen from the object that has it in `field`.
    #[cold]
    pub(super) fn in_field(self, field: &str) -> Self {
        self.within(field.to_string())
    }

    /// The same mistake, as seen from the list that has it at `index`.
    #[cold]
    pub(super) fn at_index(self, index: usize) -> Self {
        self.within(format!("[{index}]"))
    }

    /// Where: `rules[3].match`, or line and column; empty for the whole document.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    fn within(mut self, mut place: String) -> Self {
        if !self.0.path.is_empty() && !self.0.path.starts_with('[') {
            place.push('.');
        }
        self.0.path.insert_str(0, &place);
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.reason)
    }
}

impl core::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self(Box::new(Inner { path: String::new(), reason: reason.to_string() }))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("{}, expected {expected}", name(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }
}

/// Never the digits of a fraction: printing those takes 20 KiB of code.
fn name(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => (if value { "true" } else { "false" }).into(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(_) => "a fraction".into(),
        Unexpected::Str(text) => format!("\"{text}\""),
        Unexpected::Unit => "null".into(),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "an object".into(),
        Unexpected::Other(other) => other.into(),
        _ => "something else".into(),
    }
}
