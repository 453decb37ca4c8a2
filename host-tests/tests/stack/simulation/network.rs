//! What happens to calls between a proxy and the controller, from a seed.

/// A generator of one machine word (splitmix64): small, seeded, the same everywhere.
#[derive(Clone, Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(super) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }
}

/// The fate of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Arrives {
        after_ms: u64,
    },
    /// The sender hears of it at once.
    Reset,
    /// Nobody hears anything until the time-out.
    Swallowed,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) lost: u64,
    pub(super) slow: u64,
    pub(super) repeated: u64,
    pub(super) cut: u64,
}

#[derive(Debug)]
pub(super) struct Network {
    pub(super) faulty: bool,
    pub(super) seen: Faults,
    /// Until when each proxy is cut off, ms.
    pub(super) cut_until_ms: Vec<u64>,
}

impl Network {
    pub(super) fn new(faulty: bool, proxies: usize) -> Self {
        Self { faulty, seen: Faults::default(), cut_until_ms: vec![0; proxies] }
    }

    pub(super) fn fate(&mut self, proxy: usize, now_ms: u64, dice: &mut Dice) -> Fate {
        if now_ms < self.cut_until_ms[proxy] {
            return Fate::Swallowed;
        }
        let near = 1 + dice.below(20);
        if !self.faulty {
            return if dice.chance(5) { Fate::Reset } else { Fate::Arrives { after_ms: near } };
        }
        match dice.below(1_000) {
            0..20 => {
                self.seen.lost += 1;
                Fate::Reset
            }
            20..30 => {
                self.seen.lost += 1;
                Fate::Swallowed
            }
            30..80 => {
                self.seen.slow += 1;
                Fate::Arrives { after_ms: dice.below(4_000) }
            }
            _ => Fate::Arrives { after_ms: near },
        }
    }

    /// Now and then a proxy is cut off for up to a minute.
    pub(super) fn cut(&mut self, now_ms: u64, dice: &mut Dice) {
        if self.faulty && dice.chance(5) {
            let proxy = dice.below(self.cut_until_ms.len() as u64) as usize;
            self.cut_until_ms[proxy] = now_ms + dice.below(30_000);
            self.seen.cut += 1;
        }
    }
}
