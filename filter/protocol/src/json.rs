//! Configuration text to types, in two steps: any JSON into a small tree, then the tree into the types.
//!
//! serde's derived readers are compiled once for each reader that they meet, and serde_json's meets every struct twice,
//! as an object and as an array. In a module that every worker of a proxy loads that was 100 KiB. Here the JSON parser
//! is compiled for one type, the tree, and the types read from a reader that only knows what the documents use. What
//! comes out of it besides: a mistake has a path (`policy.rules[3].match`) and not only a line.
//!
//! The tree keeps keys in their order, doubles included, so that a field that is given twice is still refused. It is
//! no larger than the text allows: a node is 24 bytes and its text, and the depth is bounded by serde_json's limit (128).

mod error;
mod reader;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

pub use error::ReadError;

/// Reads `json` as a `T`.
///
/// # Errors
/// The first thing that is wrong: with line and column when it is no JSON, with its path when it is not a `T`.
pub fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, ReadError> {
    let node: Node = serde_json::from_slice(json).map_err(|error| ReadError::syntax(&error))?;
    T::deserialize(&node)
}

/// Any JSON.
enum Node {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Fraction(f64),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Signed(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Fraction(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut object = Vec::new();
        while let Some(key) = entries.next_key()? {
            object.push((key, entries.next_value()?));
        }
        Ok(Node::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use crate::policy::Policy;

    /// The document's mistakes as people see them.
    fn error(json: &str) -> (alloc::string::String, alloc::string::String) {
        let error = super::read::<Policy>(json.as_bytes()).unwrap_err();
        (error.path().to_string(), error.to_string())
    }

    #[test]
    fn a_mistake_has_its_path() {
        for (json, path, reason) in [
            (r#"{"resources":[]} x"#, "line 1 column 18", "trailing characters"),
            (r#"{"resources":"#, "line 1 column 13", "EOF"),
            ("[]", "", "a list, expected struct Policy"),
            ("{}", "", "missing field `resources`"),
            (r#"{"resources":7}"#, "resources", "7, expected a sequence"),
            (r#"{"resources":[],"resources":[]}"#, "", "duplicate field `resources`"),
            (r#"{"resources":[],"dry_run":"yes"}"#, "dry_run", "\"yes\", expected a boolean"),
            (r#"{"resources":[],"version":1.5}"#, "version", "a fraction, expected u32"),
            (r#"{"resources":[],"version":-1}"#, "version", "-1, expected u32"),
            (r#"{"resources":[],"enforce_at":"late"}"#, "enforce_at", "unknown variant `late`"),
            (r#"{"resources":[],"enforce_at":["first"]}"#, "enforce_at", "a list, expected one of"),
            (r#"{"resources":[],"identity":[{"header":"a","api_key":1}]}"#, "identity[0]", "expected one of"),
            (r#"{"resources":[],"identity":[{"header":7}]}"#, "identity[0].header", "7, expected a string"),
            (r#"{"resources":[],"rules":[{},{"match":{"x":1}}]}"#, "rules[1].match", "unknown field `x`"),
            (
                r#"{"resources":[],"rules":[{"charges":[{"resource":"r","cost":{"header":{"name":"a","max":"b"}}}]}]}"#,
                "rules[0].charges[0].cost.header.max",
                "\"b\", expected u64",
            ),
        ] {
            let (found, text) = error(json);
            assert_eq!(found, path, "{json}: {text}");
            assert!(text.contains(reason), "{json}: {text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = "[".repeat(200);
        assert!(error(&deep).1.contains("recursion limit"));
    }
}
