//! The JSON Schema of `forebay.yaml` (draft 2020-12): what an editor completes and validates with.
//!
//! It is made of the types that the file is read into, so a field that is added is in it: descriptions are the fields'
//! comments, defaults are serde's (what is a word in the file is `Serialize` for that alone), and the limits beside the fields
//! are held against the checks by this module's tests, which try each of them on both. What depends on more than one field
//! (a name that must be declared, a lead time within the horizon) no schema says; `forebay config check` does.

mod reference;
#[cfg(test)]
mod tests;

use schemars::schema_for;
use serde_json::Value;

use super::file::File;
pub(crate) use reference::reference;

/// The schema: what `examples/configuration/forebay.schema.json` has.
pub(crate) fn schema() -> Value {
    schema_for!(File).to_value()
}
