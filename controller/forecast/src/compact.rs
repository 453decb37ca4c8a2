//! A long series in little memory, with every bit kept.
//!
//! The intuition: what is measured is nearly always a decimal number of few digits, or such a number divided by the step.
//! As binary fractions these look random (XOR coding as in Gorilla saves a tenth of them), but as the whole numbers that
//! they were made from they need ten to twenty bits. So each block of values finds the decimal digits and the divisor that
//! give most of its values back exactly, stores the whole numbers in as many bits as they need, as they are or as
//! differences, and keeps what does not fit as it is: missing values cost a code, anything else 64 bits more.
//!
//! Invariants: expanding gives the same bits, NaN payloads too; no block takes more than [`MAX_BYTES_PER_VALUE`] per value
//! and [`BLOCK_BYTES`]. It does not forget precision, and it is no file format.
//!
//! Source: A. Afroozeh, L. Kuffo, P. Boncz: ALP: Adaptive Lossless floating-Point Compression, SIGMOD 2023; the divisor
//! and the differences are added.

mod bits;

use std::sync::Arc;

use crate::error::SeriesError;
use crate::series::Series;
use crate::zone::Zone;
use bits::Packed;

/// Values that share digits, divisor and width: enough to make the block's own 64 bytes small, few enough to follow a
/// change of the source.
const BLOCK: usize = 1024;
/// Values on which digits and divisor are tried.
const SAMPLE: usize = 48;
/// Decimal digits that are tried; floats with more are no decimal numbers of a measurement.
const MOST_DIGITS: u8 = 9;
/// Whole numbers up to here are exact in a float.
const MOST_UNITS: f64 = 9_007_199_254_740_992.0;
/// The worst case, where no value is a short decimal number: its 64 bits and one bit that says so.
pub const MAX_BYTES_PER_VALUE: f64 = 8.125;
/// What a block takes beside its values, at most: its own fields, and the unused bits of its last word.
pub const BLOCK_BYTES: usize = size_of::<Block>() + 8;

/// Codes below this have a meaning of their own.
const FIRST_UNITS: u64 = 2;
const MISSING: u64 = 0;
const AS_IT_IS: u64 = 1;

/// A [`Series`] in little memory; see the module's text.
#[derive(Debug, Clone, PartialEq)]
pub struct CompactSeries {
    start_s: i64,
    step_s: u32,
    len: usize,
    zone: Option<Arc<Zone>>,
    blocks: Box<[Block]>,
}

#[derive(Debug, Clone, PartialEq)]
struct Block {
    scale: Scale,
    is_differences: bool,
    /// Of the first difference, or the smallest number.
    base: i64,
    codes: Packed,
    as_they_are: Box<[u64]>,
}

/// How a value is a whole number: `units / 10^digits / divisor`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scale {
    digits: u8,
    divisor: u32,
}

impl Scale {
    /// The whole number that gives `value` back exactly.
    fn units(self, value: f64) -> Option<i64> {
        let units = (value * f64::from(self.divisor) * self.power()).round();
        let is_same = units.abs() <= MOST_UNITS && self.value(units as i64).to_bits() == value.to_bits();
        is_same.then_some(units as i64)
    }

    fn value(self, units: i64) -> f64 {
        units as f64 / self.power() / f64::from(self.divisor)
    }

    fn power(self) -> f64 {
        10_f64.powi(i32::from(self.digits))
    }
}

impl CompactSeries {
    /// Stores `series`.
    #[must_use]
    pub fn of(series: &Series) -> Self {
        let blocks = series.values().chunks(BLOCK).map(|values| Block::of(values, series.step_s()));
        Self {
            start_s: series.start_s(),
            step_s: series.step_s(),
            len: series.len(),
            zone: series.zone().cloned(),
            blocks: blocks.collect(),
        }
    }

    /// The series that was stored, bit by bit.
    ///
    /// # Errors
    /// None that a stored series can have: what is taken out is checked like any other.
    pub fn expand(&self) -> Result<Series, SeriesError> {
        let mut values = Vec::with_capacity(self.len);
        self.blocks.iter().for_each(|block| block.expand(&mut values));
        let series = Series::new(self.start_s, self.step_s, values)?;
        Ok(match &self.zone {
            Some(zone) => series.in_zone(Arc::clone(zone)),
            None => series,
        })
    }

    /// Number of steps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no step.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory that it takes, the zone aside.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let block = |block: &Block| size_of::<Block>() + block.codes.bytes() + size_of_val(&*block.as_they_are);
        size_of::<Self>() + self.blocks.iter().map(block).sum::<usize>()
    }
}

impl Block {
    fn of(values: &[f64], step_s: u32) -> Self {
        let scale = best_scale(values, step_s);
        let units: Vec<Option<i64>> = values.iter().map(|&value| scale.units(value)).collect();
        let as_numbers = Self::coded(values, &units, scale, false);
        let as_differences = Self::coded(values, &units, scale, true);
        if as_differences.size() < as_numbers.size() { as_differences } else { as_numbers }
    }

    fn coded(values: &[f64], units: &[Option<i64>], scale: Scale, is_differences: bool) -> Self {
        let mut before = 0;
        let numbers: Vec<Option<i64>> = units
            .iter()
            .map(|units| {
                let units = (*units)?;
                let number = if is_differences { units - before } else { units };
                before = units;
                Some(number)
            })
            .collect();
        let base = numbers.iter().flatten().copied().min().unwrap_or(0);
        let code = |(value, number): (&f64, &Option<i64>)| match number {
            Some(number) => number.abs_diff(base) + FIRST_UNITS,
            None if value.to_bits() == f64::NAN.to_bits() => MISSING,
            None => AS_IT_IS,
        };
        let mut codes: Vec<u64> = values.iter().zip(&numbers).map(code).collect();
        let width = best_width(&codes);
        let mut as_they_are = Vec::new();
        for (code, value) in codes.iter_mut().zip(values) {
            if *code == AS_IT_IS || bits::needed(*code) > width {
                *code = AS_IT_IS;
                as_they_are.push(value.to_bits());
            }
        }
        Self { scale, is_differences, base, codes: Packed::of(&codes, width), as_they_are: as_they_are.into() }
    }

    fn size(&self) -> usize {
        self.codes.bytes() + 8 * self.as_they_are.len()
    }

    fn expand(&self, values: &mut Vec<f64>) {
        let mut as_they_are = self.as_they_are.iter();
        let mut before = 0;
        for code in self.codes.iter() {
            let value = match code {
                MISSING => f64::NAN,
                AS_IT_IS => {
                    let value = as_they_are.next().map_or(f64::NAN, |bits| f64::from_bits(*bits));
                    // What was only too long for the width counts for the next difference.
                    before = self.scale.units(value).unwrap_or(before);
                    value
                }
                code => {
                    let number = self.base.wrapping_add_unsigned(code - FIRST_UNITS);
                    before = if self.is_differences { before + number } else { number };
                    self.scale.value(before)
                }
            };
            values.push(value);
        }
    }
}

/// The digits and the divisor with which a sample takes least room; of equal ones the simpler.
fn best_scale(values: &[f64], step_s: u32) -> Scale {
    let every = values.len().div_ceil(SAMPLE).max(1);
    let sample: Vec<f64> = values.iter().copied().step_by(every).filter(|value| !value.is_nan()).collect();
    let scales =
        [1, step_s].into_iter().flat_map(|divisor| (0..=MOST_DIGITS).map(move |digits| Scale { digits, divisor }));
    let cost = |scale: &Scale| -> u64 {
        let units: Vec<i64> = sample.iter().filter_map(|&value| scale.units(value)).collect();
        let (least, most) = (units.iter().min().copied().unwrap_or(0), units.iter().max().copied().unwrap_or(0));
        let width = bits::needed(most.abs_diff(least) + FIRST_UNITS);
        sample.len() as u64 * u64::from(width) + 64 * (sample.len() - units.len()) as u64
    };
    scales.min_by_key(cost).unwrap_or(Scale { digits: 0, divisor: 1 })
}

/// The width with which codes, and 64 bits for each that is too long for it, take least room.
fn best_width(codes: &[u64]) -> u32 {
    let mut of_width = [0_usize; 65];
    for &code in codes {
        let bits = if code == AS_IT_IS { 64 } else { bits::needed(code) };
        of_width[bits as usize] += 1;
    }
    let cost = |width: &u32| {
        let longer: usize = of_width[*width as usize + 1..].iter().sum();
        codes.len() * *width as usize + 64 * longer
    };
    (1..=56).min_by_key(cost).unwrap_or(1)
}
