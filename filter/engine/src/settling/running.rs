//! One admitted stream until its true cost is known.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use forebay_admission::{Account, Clock, Conditions, Contended, Ledger, Nanos, Receipt};

use super::Source;
use crate::usage::{Format, Meter, TrueCost};

/// How far a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// More may come.
    Open,
    /// The answer came whole, at this instant.
    Whole(Nanos),
    /// The stream was reset at this instant.
    Reset(Nanos),
}

/// A stream under way.
#[derive(Debug)]
pub(super) struct Running {
    /// When its request came.
    pub(super) began: Nanos,
    /// When it is settled next.
    pub(super) next: Nanos,
    /// Nanoseconds between two settlements while it runs.
    pub(super) every: u64,
    pub(super) stage: Stage,
    /// Settlements at the end that lost every race.
    pub(super) tries: u32,
    /// What is still to be settled.
    pub(super) charges: Vec<Open>,
}

/// A charge whose true cost is not known yet.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) receipt: Receipt,
    source: Arc<Source>,
    reading: Reading,
}

/// What was seen of the answer.
#[derive(Debug)]
enum Reading {
    /// Nothing yet, or nothing that can be read.
    Nothing,
    Units(u64),
    Bytes(u64),
    Meter(Box<Meter>),
}

impl Open {
    pub(super) fn new(receipt: Receipt, source: &Arc<Source>) -> Self {
        Self { receipt, source: Arc::clone(source), reading: Reading::Nothing }
    }

    pub(super) fn reads_body(&self) -> bool {
        self.source.body().is_some()
    }

    pub(super) fn every(&self) -> u64 {
        self.source.every
    }

    /// Looks at the answer's headers. An encoded body cannot be read, nor one of another kind.
    fn headers(&mut self, header: &mut dyn FnMut(&str) -> Option<Vec<u8>>) {
        self.reading = match &self.source.by {
            TrueCost::Header(name, scale) => header(name)
                .and_then(|value| TrueCost::of_header(&value, *scale))
                .map_or(Reading::Nothing, Reading::Units),
            TrueCost::Bytes(_) => Reading::Bytes(0),
            TrueCost::Duration(_) => Reading::Nothing,
            TrueCost::Body(body) => {
                let coded =
                    header("content-encoding").is_some_and(|it| !it.trim_ascii().eq_ignore_ascii_case(b"identity"));
                let announced = || header("content-type").and_then(|kind| Format::of_content_type(&kind));
                let format = if coded { None } else { self.source.format.or_else(announced) };
                format.map_or(Reading::Nothing, |format| Reading::Meter(Box::new(Meter::new(body, format))))
            }
        };
    }

    /// Units used in all, as far as it is known at `now`.
    fn used(&self, began: Nanos, now: Nanos) -> Option<u64> {
        match (&self.source.by, &self.reading) {
            (TrueCost::Duration(unit_ms), _) => Some(TrueCost::of_duration(began, now, *unit_ms)),
            (TrueCost::Bytes(unit_bytes), Reading::Bytes(bytes)) => Some(TrueCost::of_bytes(*bytes, *unit_bytes)),
            (TrueCost::Header(..), Reading::Units(units)) => Some(*units),
            (TrueCost::Body(body), Reading::Meter(meter)) => meter.units(body),
            _ => None,
        }
    }

    /// Whether what is known now is all that there will be.
    fn is_final(&self, stage: Stage) -> bool {
        match (&self.source.by, &self.reading, stage) {
            (TrueCost::Header(..), Reading::Units(_), _) | (_, _, Stage::Whole(_)) => true,
            (TrueCost::Duration(_), _, Stage::Reset(_)) => true,
            (_, _, Stage::Reset(_) | Stage::Open) => false,
        }
    }
}

/// What a settlement came to, in charges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) settled: u64,
    pub(super) estimated: u64,
}

impl Running {
    pub(super) fn headers(&mut self, header: &mut dyn FnMut(&str) -> Option<Vec<u8>>) {
        self.charges.iter_mut().for_each(|open| open.headers(header));
    }

    pub(super) fn body(&mut self, size: u64, piece: &[u8]) {
        for open in &mut self.charges {
            match (&open.source.by, &mut open.reading) {
                (_, Reading::Bytes(bytes)) => *bytes = bytes.saturating_add(size),
                (TrueCost::Body(body), Reading::Meter(meter)) => meter.read(body, piece),
                _ => {}
            }
        }
    }

    /// Settles what is known at `now`; charges that are over leave `self.charges`.
    ///
    /// # Errors
    /// [`Contended`]: some charges are still to be settled, and stay.
    pub(super) fn settle(
        &mut self,
        now: Nanos,
        accounts: &mut [Account],
        conditions: &Conditions,
        ledger: &mut impl Ledger,
    ) -> (Done, Result<(), Contended>) {
        let (began, stage) = (self.began, self.stage);
        let at = match stage {
            Stage::Open => now,
            Stage::Whole(at) | Stage::Reset(at) => at,
        };
        let (mut done, mut result) = (Done::default(), Ok(()));
        let mut clock = Clock::exact(now);
        self.charges.retain_mut(|open| {
            let is_final = open.is_final(stage);
            let over = is_final || stage != Stage::Open;
            let account = accounts.get_mut(open.receipt.key).filter(|account| account.issued(&open.receipt));
            let (Some(used), Some(account)) = (open.used(began, at), account) else {
                done.estimated += u64::from(over);
                return !over;
            };
            let settled = if is_final {
                account.settle(&mut open.receipt, used, conditions, &mut clock, ledger)
            } else {
                account.settle_so_far(&mut open.receipt, used, conditions, &mut clock, ledger)
            };
            if settled.is_err() {
                result = Err(Contended);
                return true;
            }
            done.settled += u64::from(over);
            !over
        });
        (done, result)
    }
}
