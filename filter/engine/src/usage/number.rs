//! Numbers as text, digit by digit, without floating point.
//!
//! A quantity is kept in billionths, rounded up; a scale multiplies it, and units are whole again, rounded up, for a
//! third of a token is charged as one rather than as none.

/// Billionths in one.
const NANO: u128 = 1_000_000_000;

/// The largest quantity, in billionths: 2^64 units. Larger numbers saturate here.
const MAX_NANO: u128 = (u64::MAX as u128) * NANO;

/// A non-negative number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    nano: u128,
}

impl Quantity {
    /// A whole number.
    pub fn whole(value: u64) -> Self {
        Self { nano: u128::from(value) * NANO }
    }

    /// A number as JSON writes it, blanks around it allowed; `None` when it is not one, or negative.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut reader = Reader::default();
        for &byte in text.trim_ascii() {
            if !reader.push(byte) {
                return None;
            }
        }
        reader.end()
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { nano: self.nano.saturating_add(other.nano).min(MAX_NANO) }
    }
}

/// Units per one of what a source counts, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// 1,000 takes the number as it is.
    pub milli: u32,
}

impl Scale {
    /// As it is.
    pub const ONE: Self = Self { milli: 1_000 };

    /// Whole units, rounded up, saturating.
    pub fn units(self, quantity: Quantity) -> u64 {
        // At most 2^64 x 10^9 x 2^32 < 2^126.
        let units = (quantity.nano * u128::from(self.milli)).div_ceil(NANO * 1_000);
        u64::try_from(units).unwrap_or(u64::MAX)
    }
}

/// Reads one number's bytes; the grammar of RFC 8259, section 6.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reader {
    place: Place,
    negative: bool,
    /// The significant digits, as many as fit; see `push_digit`.
    mantissa: u128,
    /// Digits that no longer fitted were not all zero.
    inexact: bool,
    /// The power of ten of the mantissa, from its dropped and its decimal digits.
    shift: i32,
    exponent: i32,
    exponent_negative: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Start,
    Minus,
    Zero,
    Whole,
    Point,
    Decimals,
    E,
    ESign,
    Exponent,
}

/// Where a mantissa is full: one digit more would still fit.
const MANTISSA_FULL: u128 = (u128::MAX - 9) / 10;

impl Reader {
    /// Takes a byte; `false` when it does not continue a number.
    pub(crate) fn push(&mut self, byte: u8) -> bool {
        use Place::{Decimals, E, ESign, Exponent, Minus, Point, Start, Whole, Zero};
        self.place = match (self.place, byte) {
            (Start, b'-') => {
                self.negative = true;
                Minus
            }
            (Start | Minus, b'0') => Zero,
            (Start | Minus | Whole, b'0'..=b'9') => {
                self.push_digit(byte, 0);
                Whole
            }
            (Zero | Whole, b'.') => Point,
            (Point | Decimals, b'0'..=b'9') => {
                self.push_digit(byte, -1);
                Decimals
            }
            (Zero | Whole | Decimals, b'e' | b'E') => E,
            (E, b'+') => ESign,
            (E, b'-') => {
                self.exponent_negative = true;
                ESign
            }
            (E | ESign | Exponent, b'0'..=b'9') => {
                self.exponent = self.exponent.saturating_mul(10).saturating_add(i32::from(byte - b'0'));
                Exponent
            }
            _ => return false,
        };
        true
    }

    fn push_digit(&mut self, byte: u8, shift: i32) {
        let digit = u128::from(byte - b'0');
        if self.mantissa <= MANTISSA_FULL {
            self.mantissa = self.mantissa * 10 + digit;
            self.shift = self.shift.saturating_add(shift);
        } else {
            self.inexact |= digit != 0;
            self.shift = self.shift.saturating_add(shift + 1);
        }
    }

    /// The number; `None` when it is incomplete or negative (minus zero is zero).
    pub(crate) fn end(self) -> Option<Quantity> {
        if !matches!(self.place, Place::Zero | Place::Whole | Place::Decimals | Place::Exponent) {
            return None;
        }
        if self.mantissa == 0 {
            return Some(Quantity::default());
        }
        if self.negative {
            return None;
        }
        let exponent = if self.exponent_negative { -self.exponent } else { self.exponent };
        let power = self.shift.saturating_add(exponent).saturating_add(9);
        let mantissa = self.mantissa + u128::from(self.inexact);
        let nano = match (10u128.checked_pow(power.unsigned_abs()), power >= 0) {
            (Some(factor), true) => mantissa.saturating_mul(factor),
            (None, true) => MAX_NANO,
            (Some(factor), false) => mantissa.div_ceil(factor),
            (None, false) => 1,
        };
        Some(Quantity { nano: nano.min(MAX_NANO) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    fn units(text: &str, milli: u32) -> Option<u64> {
        Quantity::parse(text.as_bytes()).map(|quantity| Scale { milli }.units(quantity))
    }

    #[test]
    fn numbers_are_rounded_up_and_scaled() {
        for (text, milli, expected) in [
            ("0", 1_000, 0),
            ("-0.0", 1_000, 0),
            ("42", 1_000, 42),
            (" 42 ", 1_000, 42),
            ("1.000000001", 1_000, 2),
            ("0.3", 1_000, 1),
            ("1e-400", 1_000, 1),
            ("1.5e3", 1_000, 1_500),
            ("1500E-3", 1_000, 2),
            ("10", 250, 3),
            ("7", 0, 0),
            ("18446744073709551615", 1_000, u64::MAX),
            ("18446744073709551614", 1_000, u64::MAX - 1),
            ("184467440737095516160", 1_000, u64::MAX),
            ("1e999999999999", 1_000, u64::MAX),
            ("0e999999999999", 1_000, 0),
        ] {
            assert_eq!(units(text, milli), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in ["", "-", "-1", "01", "1.", ".5", "1e", "1e+", "0x1", "1 2", "NaN", "+1", "1,5", "-1e-400"] {
            assert_eq!(Quantity::parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn decimals_agree_with_integer_arithmetic(whole in 0u64..1_000_000_000, thousandths in 0u64..1_000, milli: u32) {
            let text = format!("{whole}.{thousandths:03}");
            let exact = u128::from(whole * 1_000 + thousandths) * u128::from(milli);
            prop_assert_eq!(units(&text, milli), Some(u64::try_from(exact.div_ceil(1_000_000)).unwrap()));
        }

        #[test]
        fn any_integer_is_itself(value: u64) {
            prop_assert_eq!(units(&format!("{value}"), 1_000), Some(value));
        }
    }
}
