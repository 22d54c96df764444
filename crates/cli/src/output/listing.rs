//! Listings: a table that fits the terminal, JSON, or selected fields.

use std::str::FromStr;

use rustix::termios::tcgetwinsize;
use serde::Serialize;
use serde_json::Value;

use crate::output;
use crate::output::table::{self, GAP};
use crate::report::{Failure, printable};

/// The value of `--format`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListFormat {
    /// A table, for people.
    #[default]
    Table,
    /// JSON, for programs; docs/cli.md describes the fields.
    Json,
    /// These fields of the JSON, separated by tabs, one line for each row.
    Fields(Vec<String>),
}

/// The listing of one type of row.
pub struct Listing<R: 'static, const N: usize> {
    /// The columns of the table.
    pub columns: [Column<R>; N],
    /// The names of all fields of the JSON.
    pub fields: &'static [&'static str],
    /// The text that `-q` prints.
    pub name: fn(&R) -> &str,
}

/// A column of the table.
pub struct Column<R> {
    /// In capitals.
    pub heading: &'static str,
    /// The text of a cell. `now` is in seconds since 1970.
    pub cell: fn(&R, now: u64) -> String,
    /// The width to which it may be cut on a narrow terminal; 0 if it is never cut.
    pub least: usize,
}

impl FromStr for ListFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<ListFormat, String> {
        match text {
            "table" => Ok(ListFormat::Table),
            "json" => Ok(ListFormat::Json),
            _ if text.contains("{{") => Err(
                "templates are not supported, list the fields, such as name,image,status"
                    .to_owned(),
            ),
            _ => {
                let fields: Vec<String> = text
                    .split(',')
                    .map(|field| field.trim().to_owned())
                    .collect();
                match fields.iter().any(String::is_empty) {
                    true => Err(
                        "expected table, json, or names of fields such as name,image,status"
                            .to_owned(),
                    ),
                    false => Ok(ListFormat::Fields(fields)),
                }
            }
        }
    }
}

impl<R: Serialize, const N: usize> Listing<R, N> {
    /// Prints the rows. Refuses unknown fields even if there are no rows.
    pub fn print(&self, rows: &[R], format: &ListFormat, quiet: bool) -> Result<(), Failure> {
        if let ListFormat::Fields(wanted) = format {
            self.check(wanted)?;
        }
        match format {
            _ if quiet => output::text(&lines(rows.iter().map(|row| printable((self.name)(row))))),
            ListFormat::Json => output::json(&rows),
            ListFormat::Fields(wanted) => {
                let rows: Result<Vec<String>, Failure> =
                    rows.iter().map(|row| fields(row, wanted)).collect();
                output::text(&lines(rows?.into_iter()))
            }
            ListFormat::Table => output::text(&self.table(rows, terminal_width())),
        }
    }

    fn check(&self, wanted: &[String]) -> Result<(), Failure> {
        match wanted
            .iter()
            .find(|field| !self.fields.contains(&field.as_str()))
        {
            None => Ok(()),
            Some(unknown) => Err(Failure::new(format!("--format: unknown field {unknown}"))
                .hint(format!("the fields are {}", self.fields.join(", ")))),
        }
    }

    fn table(&self, rows: &[R], width: Option<usize>) -> String {
        let now = output::now();
        let mut cells: Vec<[String; N]> = vec![
            self.columns
                .each_ref()
                .map(|column| column.heading.to_owned()),
        ];
        cells.extend(rows.iter().map(|row| {
            self.columns
                .each_ref()
                .map(|column| printable(&(column.cell)(row, now)))
        }));
        let mut widths = table::widths(&cells);
        if let Some(width) = width {
            self.shrink(&mut widths, width);
        }
        table::lines(&cells, &widths)
    }

    /// Narrows the widest column that may be cut, until the table fits or no column can be narrowed further.
    fn shrink(&self, widths: &mut [usize; N], most: usize) {
        let least = self
            .columns
            .each_ref()
            .map(|column| column.least.max(column.heading.len()));
        while widths.iter().sum::<usize>() + GAP * (N - 1) > most {
            let may =
                |index: &usize| self.columns[*index].least > 0 && widths[*index] > least[*index];
            let Some(widest) = (0..N).filter(may).max_by_key(|&index| widths[index]) else {
                return;
            };
            widths[widest] -= 1;
        }
    }
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.fold(String::new(), |text, line| text + &line + "\n")
}

fn fields(row: &impl Serialize, wanted: &[String]) -> Result<String, Failure> {
    let row = serde_json::to_value(row)
        .map_err(|error| Failure::new(format!("cannot write the result as JSON: {error}")))?;
    let cells: Vec<String> = wanted
        .iter()
        .map(|field| printable(&plain(&row[field.as_str()])))
        .collect();
    Ok(cells.join("\t"))
}

/// A value of the JSON without quotes: lists separated by spaces, nothing for null.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// The width of the terminal on stdout. `None` if stdout is not a terminal.
fn terminal_width() -> Option<usize> {
    tcgetwinsize(std::io::stdout())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|&columns| columns > 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Serialize)]
    struct Row {
        name: &'static str,
        words: Vec<&'static str>,
        pid: Option<u32>,
    }

    const LISTING: Listing<Row, 2> = Listing {
        columns: [
            Column {
                heading: "NAME",
                cell: |row, _| row.name.to_owned(),
                least: 0,
            },
            Column {
                heading: "WORDS",
                cell: |row, _| row.words.join(" "),
                least: 8,
            },
        ],
        fields: &["name", "words", "pid"],
        name: |row| row.name,
    };

    const ROWS: [Row; 2] = [
        Row {
            name: "a\x1b[2J",
            words: Vec::new(),
            pid: None,
        },
        Row {
            name: "longer",
            words: Vec::new(),
            pid: Some(7),
        },
    ];

    #[test]
    fn columns_fit() {
        let mut rows = ROWS;
        rows[1].words = vec!["one", "two", "three", "four"];
        let table = |width| LISTING.table(&rows, width);
        assert_eq!(
            table(None),
            "NAME     WORDS\na[2J\nlonger   one two three four\n"
        );
        assert_eq!(
            table(Some(20)),
            "NAME     WORDS\na[2J\nlonger   one two th…\n"
        );
        assert_eq!(table(Some(3)), "NAME     WORDS\na[2J\nlonger   one two…\n");
    }

    #[test]
    fn formats() {
        assert_eq!("json".parse(), Ok(ListFormat::Json));
        assert_eq!(
            "name, pid".parse(),
            Ok(ListFormat::Fields(vec![
                "name".to_owned(),
                "pid".to_owned()
            ]))
        );
        for bad in ["", "a,,b", "{{.Name}}"] {
            assert!(bad.parse::<ListFormat>().is_err(), "{bad}");
        }
        let refused = LISTING
            .print(&[], &ListFormat::Fields(vec!["size".to_owned()]), false)
            .unwrap_err();
        assert!(refused.message().contains("unknown field size"));
    }

    #[test]
    fn fields_are_exact() {
        let wanted = ["name", "words", "pid"].map(str::to_owned);
        let mut rows = ROWS;
        rows[0].words = vec!["x", "y\tz"];
        assert_eq!(fields(&rows[0], &wanted).unwrap(), "a[2J\tx y z\t");
        assert_eq!(fields(&rows[1], &wanted).unwrap(), "longer\t\t7");
    }
}
