//! The number type of the network: `f32` where it counts, `f64` where a test compares gradients with finite differences.

use nalgebra::RealField;

/// Beyond this, tanh is 1 to the last bit of an `f32`.
const TANH_SATURATES: f32 = 7.905_311;

/// A real number with the two bent functions of an LSTM.
pub(super) trait Real: RealField + Copy {
    /// Hyperbolic tangent.
    fn tanh_fast(self) -> Self;

    /// The logistic function, 0 to 1.
    fn sigmoid(self) -> Self {
        let half = nalgebra::convert::<f64, Self>(0.5);
        half + half * (half * self).tanh_fast()
    }
}

impl Real for f64 {
    fn tanh_fast(self) -> Self {
        self.tanh()
    }
}

impl Real for f32 {
    /// A ratio of polynomials that is exact to a few units in the last place and, other than the library's, without a
    /// branch, so that compilers compute several at once. Source: Eigen's `generic_fast_tanh_float`.
    fn tanh_fast(self) -> Self {
        let x = self.clamp(-TANH_SATURATES, TANH_SATURATES);
        let square = x * x;
        let mut above = -2.760_768_5e-16;
        for coefficient in [2.000_188e-13, -8.604_672e-11, 5.122_297e-8, 1.485_722_4e-5, 6.372_619_3e-4, 4.893_524_6e-3]
        {
            above = above * square + coefficient;
        }
        let mut below = 1.198_258_4e-6;
        for coefficient in [1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3] {
            below = below * square + coefficient;
        }
        x * above / below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_tanh_is_the_tanh() {
        for step in -2_000..=2_000 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x).tanh();
            assert!((f64::from(x.tanh_fast()) - exact).abs() < 5e-7, "{x}: {} for {exact}", x.tanh_fast());
            assert!((0.0..=1.0).contains(&x.sigmoid()), "{x}");
        }
    }
}
