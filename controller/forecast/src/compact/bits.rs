//! Numbers of one width, packed into words from the lowest bit on.

/// Packed numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Packed {
    words: Box<[u64]>,
    len: u16,
    width: u8,
}

/// Bits that `number` needs, at least 1.
pub(super) fn needed(number: u64) -> u32 {
    (u64::BITS - number.leading_zeros()).max(1)
}

impl Packed {
    /// Packs `numbers`, each of which needs at most `width` bits, 1 to 56.
    pub(super) fn of(numbers: &[u64], width: u32) -> Self {
        let mut words = vec![0; (numbers.len() * width as usize).div_ceil(64)];
        for (index, number) in numbers.iter().enumerate() {
            let at = index * width as usize;
            let (word, shift) = (at / 64, at % 64);
            words[word] |= number << shift;
            if shift + width as usize > 64 {
                words[word + 1] |= number >> (64 - shift);
            }
        }
        // A block is far shorter than 2^16 and a width than 2^8.
        Self { words: words.into(), len: numbers.len() as u16, width: width as u8 }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        let width = usize::from(self.width);
        let word = |index: usize| self.words.get(index).copied().unwrap_or(0);
        (0..usize::from(self.len)).map(move |index| {
            let (at, shift) = (index * width / 64, index * width % 64);
            let low = word(at) >> shift;
            let high = if shift + width > 64 { word(at + 1) << (64 - shift) } else { 0 };
            (low | high) & ((1 << width) - 1)
        })
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_width_come_back() {
        for width in 1..=56 {
            let numbers: Vec<u64> =
                (0..200_u64).map(|k| k.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - width)).collect();
            let packed = Packed::of(&numbers, width);
            assert!(packed.iter().eq(numbers.iter().copied()), "width {width}");
            assert_eq!(packed.bytes(), (200 * width as usize).div_ceil(64) * 8);
            assert!(numbers.iter().all(|number| needed(*number) <= width));
        }
        assert_eq!([0, 1, 2, u64::MAX].map(needed), [1, 1, 2, 64]);
    }
}
