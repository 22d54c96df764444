//! Columns of text.

use crate::output::shortened;

/// Spaces between two columns.
pub const GAP: usize = 3;

/// The width of each column's widest cell, in characters.
pub fn widths<const N: usize>(rows: &[[String; N]]) -> [usize; N] {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

/// One line for each row. A cell that is wider than its column is cut.
pub fn lines<const N: usize>(rows: &[[String; N]], widths: &[usize; N]) -> String {
    let mut lines = String::new();
    for row in rows {
        let mut line = String::new();
        for (&width, cell) in widths.iter().zip(row) {
            let cell = shortened(cell, width);
            line.push_str(&format!("{cell:<width$}{:GAP$}", ""));
        }
        lines.push_str(line.trim_end());
        lines.push('\n');
    }
    lines
}
