//! Percent-encoding: names that anybody may choose, made safe for a field, a log line or a header.
//!
//! The one escape in the filter, so that a policy's name looks the same wherever a client meets it. It is injective:
//! `%` is encoded itself, so two names never become one. Source: RFC 3986, section 2.1.

use alloc::string::String;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Appends `text`, byte for byte; what `keep` does not keep, and `%` always, as `%XX`.
pub(crate) fn encode(out: &mut String, text: &[u8], keep: impl Fn(u8) -> bool) {
    for &byte in text {
        if byte.is_ascii() && byte != b'%' && keep(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(HEX.get(usize::from(nibble)).copied().map_or('0', char::from));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_hex_and_percent_always_is() {
        let mut out = String::new();
        encode(&mut out, "a%;ü\n".as_bytes(), |byte| byte != b';' && byte.is_ascii_graphic());
        assert_eq!(out, "a%25%3B%C3%BC%0A");
    }
}
