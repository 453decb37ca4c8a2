//! The quantile function of the standard normal distribution: Acklam's rational approximation, relative error below
//! 1.2e-9.

const A: [f64; 6] = [
    -3.969683028665376e+01,
    2.209460984245205e+02,
    -2.759285104469687e+02,
    1.383577518672690e+02,
    -3.066479806614716e+01,
    2.506628277459239e+00,
];
const B: [f64; 6] = [
    -5.447609879822406e+01,
    1.615858368580409e+02,
    -1.556989798598866e+02,
    6.680131188771972e+01,
    -1.328068155288572e+01,
    1.0,
];
const C: [f64; 6] = [
    -7.784894002430293e-03,
    -3.223964580411365e-01,
    -2.400758277161838e+00,
    -2.549732539343734e+00,
    4.374664141464968e+00,
    2.938163982698783e+00,
];
const D: [f64; 5] = [7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00, 3.754408661907416e+00, 1.0];
/// Where the middle's approximation ends and the tail's begins.
const TAIL: f64 = 0.02425;
/// Probabilities nearer to 0 or 1 are taken as this near: 5.2 deviations.
const NEAREST: f64 = 1e-7;

/// How many standard deviations above the mean a normal value stays below with probability `p`.
pub(super) fn quantile(p: f64) -> f64 {
    let p = p.clamp(NEAREST, 1.0 - NEAREST);
    let polynomial = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    let tail = |p: f64| {
        let q = (-2.0 * p.ln()).sqrt();
        polynomial(&C, q) / polynomial(&D, q)
    };
    if p < TAIL {
        tail(p)
    } else if p > 1.0 - TAIL {
        -tail(1.0 - p)
    } else {
        let q = p - 0.5;
        q * polynomial(&A, q * q) / polynomial(&B, q * q)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn known_quantiles() {
        for (p, z) in [(0.5, 0.0), (0.95, 1.644_853_627), (0.99, 2.326_347_874), (0.01, -2.326_347_874)] {
            assert!((super::quantile(p) - z).abs() < 1e-8, "{p}: {}", super::quantile(p));
        }
        assert!(super::quantile(0.0).is_finite() && super::quantile(1.0).is_finite());
    }
}
