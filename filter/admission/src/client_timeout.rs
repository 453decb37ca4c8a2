//! How long a client is willing to wait: `grpc-timeout` and `x-envoy-expected-rq-timeout-ms`.
//!
//! Both come from clients, so they only ever shorten what the policy allows, and a value that does not follow its syntax
//! is as good as none: it is ignored, never an error.
//!
//! Sources: gRPC over HTTP/2, "Requests" (`Timeout -> "grpc-timeout" TimeoutValue TimeoutUnit`, at most eight digits and
//! one of `H M S m u n`); Envoy's router filter, "HTTP headers consumed" (`x-envoy-expected-rq-timeout-ms`, decimal
//! milliseconds; the router writes 0 for "no timeout").

use crate::units::Nanos;

/// Most digits of a `grpc-timeout` (gRPC over HTTP/2).
const GRPC_DIGITS: usize = 8;

/// Most digits read of a number of milliseconds: 10^12 ms are 31 years, and still fit in nanoseconds.
const MILLIS_DIGITS: usize = 12;

/// The nanoseconds that a `grpc-timeout` header asks for; `None` when it does not follow the syntax.
pub fn grpc_timeout_ns(value: &[u8]) -> Option<u64> {
    let (unit, digits) = value.split_last()?;
    let unit_ns = match unit {
        b'H' => 3_600 * Nanos::SECOND,
        b'M' => 60 * Nanos::SECOND,
        b'S' => Nanos::SECOND,
        b'm' => Nanos::MILLI,
        b'u' => 1_000,
        b'n' => 1,
        _ => return None,
    };
    Some(decimal(digits, GRPC_DIGITS)?.saturating_mul(unit_ns))
}

/// The nanoseconds that an `x-envoy-expected-rq-timeout-ms` header asks for; `None` when it does not follow the syntax
/// or says 0, which means that there is no timeout.
pub fn expected_rq_timeout_ns(value: &[u8]) -> Option<u64> {
    match decimal(value, MILLIS_DIGITS)? {
        0 => None,
        millis => Some(millis.saturating_mul(Nanos::MILLI)),
    }
}

/// The instant up to which a stream that arrived at `arrival` may wait: the policy's wait, shortened by whatever clients
/// asked for, never lengthened.
pub fn deadline(arrival: Nanos, policy_wait_ns: u64, client_ns: [Option<u64>; 2]) -> Nanos {
    arrival.plus(client_ns.into_iter().flatten().fold(policy_wait_ns, u64::min))
}

fn decimal(digits: &[u8], most: usize) -> Option<u64> {
    if digits.is_empty() || digits.len() > most {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::ToString};
    use proptest::prelude::*;

    const S: u64 = Nanos::SECOND;

    #[test]
    fn grpc_units_and_digits() {
        for (value, wanted) in [
            ("1H", 3_600 * S),
            ("99999999H", 99_999_999u64.saturating_mul(3_600 * S)),
            ("2M", 120 * S),
            ("3S", 3 * S),
            ("250m", S / 4),
            ("5u", 5_000),
            ("7n", 7),
            ("00000001S", S),
            ("0n", 0),
        ] {
            assert_eq!(grpc_timeout_ns(value.as_bytes()), Some(wanted), "{value}");
        }
        for value in [
            "",
            "H",
            "S",
            "1",
            "1s",
            "1h",
            "-1S",
            "+1S",
            "1.5S",
            " 1S",
            "1S ",
            "1 S",
            "123456789m",
            "1SS",
            "0x1S",
            "1µ",
        ] {
            assert_eq!(grpc_timeout_ns(value.as_bytes()), None, "{value:?}");
        }
    }

    #[test]
    fn every_single_byte_unit_is_known_or_ignored() {
        for unit in 0..=u8::MAX {
            assert_eq!(grpc_timeout_ns(&[b'1', unit]).is_some(), b"HMSmun".contains(&unit), "{unit}");
        }
    }

    #[test]
    fn envoy_milliseconds() {
        assert_eq!(expected_rq_timeout_ns(b"15000"), Some(15 * S));
        assert_eq!(expected_rq_timeout_ns(b"0001"), Some(Nanos::MILLI));
        for value in ["", "0", "000", "-1", "1.5", "1s", " 1", "1000000000000000", "٣"] {
            assert_eq!(expected_rq_timeout_ns(value.as_bytes()), None, "{value:?}");
        }
    }

    #[test]
    fn clients_only_shorten() {
        let at = |client| deadline(Nanos(10), 100, client).0;
        assert_eq!(at([None, None]), 110);
        assert_eq!(at([Some(40), None]), 50);
        assert_eq!(at([Some(40), Some(30)]), 40);
        assert_eq!(at([None, Some(u64::MAX)]), 110);
    }

    proptest! {
        #[test]
        fn numbers_round_trip_and_bytes_never_panic(number in 0u64..100_000_000, bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
            prop_assert_eq!(grpc_timeout_ns(format!("{number}m").as_bytes()), Some(number * Nanos::MILLI));
            prop_assert_eq!(expected_rq_timeout_ns(number.to_string().as_bytes()), (number > 0).then(|| number * Nanos::MILLI));
            let well_formed = bytes.len() >= 2 && bytes.len() <= 9
                && bytes[..bytes.len() - 1].iter().all(u8::is_ascii_digit) && b"HMSmun".contains(&bytes[bytes.len() - 1]);
            prop_assert_eq!(grpc_timeout_ns(&bytes).is_some(), well_formed);
            let _ = expected_rq_timeout_ns(&bytes);
        }
    }
}
