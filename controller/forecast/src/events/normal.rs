//! The quantile function of the standard normal distribution: Acklam's rational approximation, relative error below
//! 1.2e-9.

const A: [f64; 6] = [
    -39.696_830_286_653_76,
    220.946_098_424_520_5,
    -275.928_510_446_968_7,
    138.357_751_867_269,
    -30.664_798_066_147_16,
    2.506_628_277_459_239,
];
const B: [f64; 6] = [
    -54.476_098_798_224_06,
    161.585_836_858_040_9,
    -155.698_979_859_886_6,
    66.801_311_887_719_72,
    -13.280_681_552_885_72,
    1.0,
];
const C: [f64; 6] = [
    -0.007_784_894_002_430_293,
    -0.322_396_458_041_136_5,
    -2.400_758_277_161_838,
    -2.549_732_539_343_734,
    4.374_664_141_464_968,
    2.938_163_982_698_783,
];
const D: [f64; 5] =
    [0.007_784_695_709_041_462, 0.322_467_129_070_039_8, 2.445_134_137_142_996, 3.754_408_661_907_416, 1.0];
/// Where the middle's approximation ends and the tail's begins.
const TAIL: f64 = 0.02425;
/// Probabilities nearer to 0 or 1 are taken as this near: 5.2 deviations.
const NEAREST: f64 = 1e-7;

/// How many standard deviations above the mean a normal value stays below with probability `p`.
pub(crate) fn quantile(p: f64) -> f64 {
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
