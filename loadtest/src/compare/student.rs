//! Student's distribution, for whole degrees of freedom: a finite sum (Abramowitz and Stegun, 26.7.3 and 26.7.4).

/// Beyond so many degrees of freedom the normal distribution is within 0.3 % of it, and the sum need not be longer.
const FREEDOM_MAX: u32 = 1_000;

/// The value that a variable of this distribution exceeds with a probability of `1 - share`; `share` is 0.5 to 1.
pub(super) fn quantile(share: f64, freedom: u32) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while distribution(high, freedom) < share && high < 1e9 {
        high *= 2.0;
    }
    // The interval is halved until it is exact.
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if distribution(middle, freedom) < share { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The probability of a value of at most `t`, which is 0 or more.
fn distribution(t: f64, freedom: u32) -> f64 {
    let freedom = freedom.clamp(1, FREEDOM_MAX);
    let angle = (t / f64::from(freedom).sqrt()).atan();
    let (sin, cos) = angle.sin_cos();
    let odd = freedom % 2 == 1;
    // Terms of the sum: the first, and the factor to the next.
    let (mut term, mut sum) = if odd { (cos, 0.0) } else { (1.0, 0.0) };
    let mut at = if odd { 1 } else { 0 };
    while at + 2 <= freedom {
        sum += term;
        at += 2;
        term *= cos * cos * f64::from(at - 1) / f64::from(at);
    }
    let within = if odd { std::f64::consts::FRAC_2_PI * (angle + sin * sum) } else { sin * sum };
    f64::midpoint(1.0, within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_table_in_every_textbook() {
        for (share, freedom, wanted) in [
            (0.975, 1, 12.706),
            (0.975, 2, 4.303),
            (0.975, 3, 3.182),
            (0.975, 4, 2.776),
            (0.975, 9, 2.262),
            (0.995, 10, 3.169),
            (0.975, 1_000, 1.962),
            (0.95, 30, 1.697),
        ] {
            let found = quantile(share, freedom);
            assert!((found - wanted).abs() < 1e-3, "{share} of {freedom}: {found} instead of {wanted}");
        }
    }
}
