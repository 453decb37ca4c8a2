//! Path templates: `/v1/users/{user}/orders/*`, `/v1/**`.
//!
//! A path is what stands before `?` or `#`, cut at each slash, so `/` is one empty segment, and `/a/` is `a` and an empty
//! one. Nothing is decoded or merged: let Envoy normalise (`normalize_path`, `merge_slashes`), as for its own routes.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Most segments of a template. A request's path may have more; `**` stands for them.
pub const MAX_SEGMENTS: usize = 32;

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this text.
    Literal(String),
    /// Any one segment that is not empty, with a name or without.
    One(Option<String>),
    /// Any number of segments, none included; only at the end.
    Rest,
}

/// The segments of `template`.
///
/// # Errors
/// What is wrong with it, as half a sentence.
pub fn parse(template: &str) -> Result<Vec<Segment>, &'static str> {
    let Some(rest) = template.strip_prefix('/') else { return Err("it does not begin with /") };
    if template.contains(['?', '#']) {
        return Err("query and fragment do not count for matching");
    }
    let mut segments = Vec::new();
    for text in rest.split('/') {
        if segments.last() == Some(&Segment::Rest) {
            return Err("** stands only at the end");
        }
        segments.push(segment(text)?);
    }
    if segments.len() > MAX_SEGMENTS {
        return Err("it has more than 32 segments");
    }
    let twice = |name: &String| segments.iter().filter(|other| name_of(other) == Some(name)).count() > 1;
    if segments.iter().filter_map(name_of).any(twice) {
        return Err("a name is there twice");
    }
    Ok(segments)
}

fn name_of(segment: &Segment) -> Option<&String> {
    match segment {
        Segment::One(name) => name.as_ref(),
        _ => None,
    }
}

/// Which segment of the path is `{name}`.
pub fn parameter(segments: &[Segment], name: &str) -> Option<usize> {
    segments.iter().position(|segment| name_of(segment).is_some_and(|known| known == name))
}

/// The segments of a request's path; `None` for what is not a path, such as the `*` of `OPTIONS *`.
pub fn of_request(path: &[u8]) -> Option<&[u8]> {
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(path.len());
    path.get(..end)?.strip_prefix(b"/")
}

fn segment(text: &str) -> Result<Segment, &'static str> {
    match text {
        "*" => return Ok(Segment::One(None)),
        "**" => return Ok(Segment::Rest),
        _ => {}
    }
    if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let fine = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        return if fine { Ok(Segment::One(Some(name.to_string()))) } else { Err("a name is letters, digits and _") };
    }
    if text.contains(['*', '{', '}']) {
        return Err("* and {name} are whole segments");
    }
    if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err("it holds white space or control characters");
    }
    Ok(Segment::Literal(text.to_string()))
}
