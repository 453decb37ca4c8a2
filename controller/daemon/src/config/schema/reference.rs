//! The schema as a page for people: a table of fields for each part of the file, by name.
//!
//! A part is an object; its heading is the path that errors name, such as `capacity.pools[]`. It says nothing that the schema
//! does not.

use std::fmt::Write as _;

use serde_json::Value;

const HEAD: &str = "\
# Every field of forebay.yaml

Made from the program by `forebay config reference`; do not edit it. `forebay config check FILE` says whether a file is fit for
use. Editors complete and check with [the JSON Schema](forebay.schema.json), the same that `forebay config schema` prints; most
take it from a first line such as

```yaml
# yaml-language-server: $schema=./forebay.schema.json
```

A field without a default may be left out unless it is required. Times are in the unit that the name ends in: `_s` seconds, `_ms`
milliseconds, `_h` hours, `_steps` steps of `step_s`.
";

/// The page of a schema: what `examples/configuration/README.md` has.
pub(crate) fn reference(schema: &Value) -> String {
    let mut page = Page { schema, text: HEAD.to_owned() };
    page.part(&Part { path: String::new(), schema, about: String::new() });
    page.text
}

struct Page<'a> {
    schema: &'a Value,
    text: String,
}

/// A part of the file that has a heading of its own.
struct Part<'a> {
    path: String,
    schema: &'a Value,
    /// What it is, where its own schema does not say it.
    about: String,
}

impl<'a> Page<'a> {
    /// The table of an object, then its parts.
    fn part(&mut self, part: &Part<'a>) {
        let Part { path, schema: object, about } = part;
        let title = if path.is_empty() { "The file".to_owned() } else { format!("`{path}`") };
        let own = text_of(object, "description");
        let about = if own.is_empty() { about } else { &own };
        // Writing to a string cannot fail.
        let _ = write!(self.text, "\n## {title}\n\n{about}\n\n");
        self.text += "| field | what it is | type | default | limits |\n|---|---|---|---|---|\n";
        let required: Vec<&str> =
            object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut parts = Vec::new();
        for (name, field) in object["properties"].as_object().into_iter().flatten() {
            let default = match &field["default"] {
                _ if required.contains(&name.as_str()) => "required".to_owned(),
                Value::Null => String::new(),
                value => format!("`{}`", number(value)),
            };
            let (kind, within) = self.kind(&join(path, name), field);
            parts.extend(within);
            let (about, limits) = (text_of(field, "description"), limits(field));
            let _ = writeln!(self.text, "| `{name}` | {about} | {kind} | {default} | {limits} |");
        }
        for part in parts {
            self.part(&part);
        }
    }

    /// What a field holds, in words, and the parts within it.
    fn kind(&self, path: &str, field: &'a Value) -> (String, Vec<Part<'a>>) {
        let resolved = self.resolved(field);
        if let Some(choices) = resolved["oneOf"].as_array() {
            return self.choices(path, choices);
        }
        let part = |path: String, schema: &'a Value| vec![Part { path, schema, about: String::new() }];
        match kind_of(resolved) {
            "object" if resolved["properties"].is_object() => ("object".to_owned(), part(path.to_owned(), resolved)),
            "object" => {
                let (of, parts) = self.kind(&format!("{path}.NAME"), &resolved["additionalProperties"]);
                (format!("{of} by name"), parts)
            }
            "array" => {
                let (of, parts) = self.kind(&format!("{path}[]"), &resolved["items"]);
                (format!("list of {of}"), parts)
            }
            other if resolved["enum"].is_array() => (format!("{other}: {}", one_of(&resolved["enum"])), Vec::new()),
            other => (other.to_owned(), Vec::new()),
        }
    }

    /// One of several: words, or an object with one field that says which.
    fn choices(&self, path: &str, choices: &'a [Value]) -> (String, Vec<Part<'a>>) {
        let (mut kinds, mut parts) = (Vec::new(), Vec::new());
        for choice in choices {
            let about = text_of(choice, "description");
            let about = about.trim_end_matches('.');
            let words = [&choice["const"]].into_iter().chain(choice["enum"].as_array().into_iter().flatten());
            let told = |name: String| if about.is_empty() { name } else { format!("{name} ({about})") };
            kinds.extend(words.filter(|word| word.is_string()).map(|word| told(format!("`{word}`").replace('"', ""))));
            for (name, of) in choice["properties"].as_object().into_iter().flatten() {
                let (kind, mut within) = self.kind(&join(path, name), of);
                within.iter_mut().take(1).for_each(|part| part.about = text_of(choice, "description"));
                kinds.push(told(format!("`{{ {name}: {kind} }}`")));
                parts.extend(within);
            }
        }
        (format!("one of {}", kinds.join(", ")), parts)
    }

    /// What a reference stands for, and what may stand in place of nothing.
    fn resolved(&self, field: &'a Value) -> &'a Value {
        let definition = |place: &str| self.schema.pointer(place.trim_start_matches('#')).unwrap_or(field);
        if let Some(place) = field["$ref"].as_str() {
            return self.resolved(definition(place));
        }
        let alternatives = field["anyOf"].as_array().into_iter().flatten();
        alternatives.filter(|one| one["type"] != "null").map(|one| self.resolved(one)).next().unwrap_or(field)
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The type that is not `null`.
fn kind_of(field: &Value) -> &str {
    let several = field["type"].as_array().into_iter().flatten().filter_map(Value::as_str);
    field["type"].as_str().into_iter().chain(several).find(|kind| *kind != "null").unwrap_or("any")
}

fn one_of(words: &Value) -> String {
    let words = words.as_array().into_iter().flatten().filter_map(Value::as_str);
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// A text on one line, as a cell of a table takes it.
fn text_of(schema: &Value, name: &str) -> String {
    schema[name].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|")
}

fn limits(field: &Value) -> String {
    let mut limits = limits_of(field);
    limits.extend(limits_of(&field["items"]).into_iter().map(|limit| format!("each {limit}")));
    limits.join(", ")
}

fn limits_of(schema: &Value) -> Vec<String> {
    let limit = |name: &str| schema[name].is_number().then(|| number(&schema[name]));
    // An unsigned number is of course from 0 on.
    let least =
        limit("minimum").filter(|least| least != "0" || kind_of(schema) != "integer" || limit("maximum").is_some());
    let range = match (least, limit("maximum")) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (Some(least), None) => Some(format!("at least {least}")),
        (None, most) => most.map(|most| format!("at most {most}")),
    };
    let above = limit("exclusiveMinimum").map(|least| format!("above {least}"));
    let below = limit("exclusiveMaximum").map(|most| format!("below {most}"));
    let entries = limit("maxItems").map(|most| format!("at most {most} entries"));
    let bytes = limit("maxLength").map(|most| format!("1 to {most} bytes"));
    [above, range, below, entries, bytes].into_iter().flatten().collect()
}

/// A value, its numbers without a needless `.0`.
fn number(value: &Value) -> String {
    match value {
        Value::Array(values) => format!("[{}]", values.iter().map(number).collect::<Vec<_>>().join(", ")),
        _ => value.as_f64().map_or_else(|| value.to_string(), |number| number.to_string()),
    }
}
