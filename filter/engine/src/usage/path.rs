//! Where in a document a number is: member names and array places with dots between, such as `usage.total_tokens` or
//! `choices.0.cost`. A segment of digits is a member of that name in an object, and a place, from 0, in an array.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// Most segments of a path.
pub const MAX_SEGMENTS: usize = 8;

/// Longest path in bytes.
pub const MAX_PATH_BYTES: usize = 256;

/// A checked path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    name: Box<[u8]>,
    place: Option<u32>,
}

/// Why a text is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Longer than [`MAX_PATH_BYTES`].
    TooLong,
    /// More than [`MAX_SEGMENTS`] segments.
    TooDeep,
    /// Nothing before, between or after dots.
    EmptySegment,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "a path of more than {MAX_PATH_BYTES} bytes"),
            Self::TooDeep => write!(f, "a path of more than {MAX_SEGMENTS} segments"),
            Self::EmptySegment => f.write_str("an empty segment"),
        }
    }
}

impl core::error::Error for PathError {}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        if text.split('.').count() > MAX_SEGMENTS {
            return Err(PathError::TooDeep);
        }
        let segments = text.split('.').map(|name| {
            if name.is_empty() {
                return Err(PathError::EmptySegment);
            }
            // "01" is a name only: JSON has no such place.
            let canonical = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
            let place = if canonical { name.parse().ok() } else { None };
            Ok(Segment { name: name.as_bytes().into(), place })
        });
        Ok(Self { segments: segments.collect::<Result<_, _>>()? })
    }

    pub(crate) fn len(&self) -> usize {
        self.segments.len()
    }

    /// The name of the member at this depth.
    pub(crate) fn name(&self, depth: usize) -> Option<&[u8]> {
        self.segments.get(depth).map(|segment| &*segment.name)
    }

    /// Whether the element at `place` of an array at this depth is on the path.
    pub(crate) fn is_place(&self, depth: usize, place: u32) -> bool {
        self.segments.get(depth).is_some_and(|segment| segment.place == Some(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_checked() {
        let path = Path::parse("choices.0.01").unwrap();
        assert_eq!((path.len(), path.name(1)), (3, Some(&b"0"[..])));
        assert!(path.is_place(1, 0) && !path.is_place(1, 1) && !path.is_place(2, 1) && !path.is_place(0, 0));
        assert_eq!(Path::parse(""), Err(PathError::EmptySegment));
        assert_eq!(Path::parse("a..b"), Err(PathError::EmptySegment));
        assert_eq!(Path::parse("a.b.c.d.e.f.g.h.i"), Err(PathError::TooDeep));
        assert_eq!(Path::parse(&"x".repeat(257)), Err(PathError::TooLong));
    }
}
