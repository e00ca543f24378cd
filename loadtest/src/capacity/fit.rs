//! Least squares for a few unknowns.

/// Coefficients of the columns that fit best; none if the columns do not tell them apart.
pub(super) fn least_squares<const N: usize>(rows: &[([f64; N], f64)]) -> Option<[f64; N]> {
    if rows.len() < N {
        return None;
    }
    // The normal equations, which are small and well conditioned as long as the columns are of one size.
    let mut matrix = [[0.0; N]; N];
    let mut right = [0.0; N];
    for (row, value) in rows {
        for i in 0..N {
            right[i] += row[i] * value;
            for j in 0..N {
                matrix[i][j] += row[i] * row[j];
            }
        }
    }
    solved(matrix, right)
}

/// Gauss with pivots.
fn solved<const N: usize>(mut matrix: [[f64; N]; N], mut right: [f64; N]) -> Option<[f64; N]> {
    let largest = matrix.iter().flatten().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    for column in 0..N {
        let pivot = (column..N).max_by(|a, b| matrix[*a][column].abs().total_cmp(&matrix[*b][column].abs()))?;
        if matrix[pivot][column].abs() <= largest * 1e-9 {
            return None;
        }
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        for row in column + 1..N {
            let factor = matrix[row][column] / matrix[column][column];
            let above = matrix[column];
            matrix[row].iter_mut().zip(above).skip(column).for_each(|(value, above)| *value -= factor * above);
            right[row] -= factor * right[column];
        }
    }
    let mut found = [0.0; N];
    for row in (0..N).rev() {
        let known: f64 = (row + 1..N).map(|at| matrix[row][at] * found[at]).sum();
        found[row] = (right[row] - known) / matrix[row][row];
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_is_found_and_a_line_cannot_tell_its_columns_apart() {
        let plane = |x: f64, y: f64| ([1.0, x, y], 2.0 + 3.0 * x - 0.5 * y);
        let rows = [plane(0.0, 0.0), plane(1.0, 0.0), plane(0.0, 1.0), plane(2.0, 3.0)];
        let found = least_squares(&rows).unwrap();
        for (found, wanted) in found.into_iter().zip([2.0, 3.0, -0.5]) {
            assert!((found - wanted).abs() < 1e-9, "{found} instead of {wanted}");
        }
        let line = [plane(1.0, 1.0), plane(2.0, 2.0), plane(3.0, 3.0), plane(4.0, 4.0)];
        assert_eq!(least_squares(&line), None);
        assert_eq!(least_squares(&rows[..2]), None);
    }
}
