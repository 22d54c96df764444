//! Columns of text.

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

/// Cuts a text to at most `most` characters, the last one being an ellipsis.
pub fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_shortened() {
        assert_eq!(shortened("abc", 3), "abc");
        assert_eq!(shortened("äbcd", 3), "äb…");
    }
}
