//! Results of benchmarks: printed as Markdown tables, and written as JSON files and SVG charts.
//!
//! Each row of a [`Table`] contains one measurement of each round, and is printed as the median and the range of the rounds.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::chart::Chart;
use crate::machine;

/// Arguments that name the place of the results.
#[derive(Args, Clone, Debug)]
pub(crate) struct Output {
    /// Folder in which results are stored as JSON files and SVG charts.
    #[arg(long, default_value = "target/bench")]
    output: PathBuf,
}

impl Output {
    /// Prints a table, and stores it as a JSON file with the name of the table.
    #[expect(clippy::print_stdout, reason = "the table is the output of the program")]
    pub(crate) fn table(&self, table: &Table) -> Result<()> {
        println!("{}", table.markdown());
        let command: Vec<String> = std::env::args().skip(1).collect();
        let json = json!({
            "benchmark": table.name,
            "title": table.title,
            "command": command.join(" "),
            "date": Timestamp::now().to_string(),
            "machine": machine::describe(),
            "rows": table.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "notes": table.notes,
        });
        self.write(&format!("{}.json", table.name), &format!("{json:#}\n"))
    }

    /// Stores a chart as an SVG file.
    pub(crate) fn chart(&self, name: &str, chart: &Chart) -> Result<()> {
        self.write(&format!("{name}.svg"), &chart.svg()?)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let file = self.output.join(name);
        fs::create_dir_all(&self.output)
            .and_then(|()| fs::write(&file, text))
            .with_context(|| format!("writing {}", file.display()))
    }
}

/// Unit of the measurements of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Seconds. Printed as seconds, milliseconds or microseconds.
    Seconds,
    /// Bytes. Printed as bytes, kB or MB (10⁶ bytes).
    Bytes,
    /// Number of things, such as requests.
    Count,
    /// Number of things per second.
    PerSecond,
    /// Quotient of two measurements of the same round.
    Ratio,
    /// Part of one processor, of which 1 is all.
    Processor,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Count => "count",
            Self::PerSecond => "per second",
            Self::Ratio => "ratio",
            Self::Processor => "processors",
        }
    }

    /// Returns the text of a value. `like` selects the prefix of the unit, so that all values of a row have the same.
    fn text(self, value: f64, like: f64) -> String {
        let (factor, unit) = match self {
            Self::Seconds if like < 1e-3 => (1e6, " µs"),
            Self::Seconds if like < 1.0 => (1e3, " ms"),
            Self::Seconds => (1.0, " s"),
            Self::Bytes if like < 1e3 => (1.0, " B"),
            Self::Bytes if like < 1e6 => (1e-3, " kB"),
            Self::Bytes => (1e-6, " MB"),
            Self::Count => (1.0, ""),
            Self::PerSecond => (1.0, "/s"),
            Self::Ratio => (1.0, " ×"),
            Self::Processor => (1e2, " %"),
        };
        format!("{}{unit}", number(value * factor))
    }
}

/// Limit that the median of a row must observe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Aim {
    /// The median must be at most this value.
    AtMost(f64),
    /// The median must be at least this value.
    AtLeast(f64),
}

impl Aim {
    fn is_met(self, median: f64) -> bool {
        match self {
            Self::AtMost(limit) => median <= limit,
            Self::AtLeast(limit) => median >= limit,
        }
    }

    fn text(self, unit: Unit) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {}", unit.text(limit, limit)),
            Self::AtLeast(limit) => format!("≥ {}", unit.text(limit, limit)),
        }
    }
}

/// Measurements of all rounds by what was measured.
#[derive(Debug)]
pub(crate) struct Table {
    name: String,
    title: String,
    rows: Vec<Row>,
    notes: Vec<String>,
}

/// Measurements of one thing, one for each round.
#[derive(Debug)]
struct Row {
    label: String,
    unit: Unit,
    samples: Vec<f64>,
    aim: Option<Aim>,
}

impl Table {
    /// Creates a table without rows. `name` is also the name of its file.
    pub(crate) fn new(name: impl Into<String>, title: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            title: title.into(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a sentence that is printed below the rows, such as a published result that was not measured here.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Adds the measurement of a round to the row with this label. The first one adds the row.
    pub(crate) fn add(&mut self, label: &str, unit: Unit, value: f64) {
        match self.rows.iter_mut().find(|row| row.label == label) {
            Some(row) => row.samples.push(value),
            None => self.rows.push(Row {
                label: label.to_owned(),
                unit,
                samples: vec![value],
                aim: None,
            }),
        }
    }

    /// Adds a measurement as [`Self::add`] does, to a row whose median has a limit.
    pub(crate) fn add_with_aim(&mut self, label: &str, unit: Unit, value: f64, aim: Aim) {
        self.add(label, unit, value);
        self.limit(label, aim);
    }

    /// Sets the limit of the median of an existing row.
    pub(crate) fn limit(&mut self, label: &str, aim: Aim) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.label == label) {
            row.aim = Some(aim);
        }
    }

    /// Returns the median of a row. `None` if there is no such row.
    pub(crate) fn median(&self, label: &str) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.label == label)?;
        Some(row.median())
    }

    /// Returns the table in Markdown, with columns of equal width.
    fn markdown(&self) -> String {
        let mut cells = vec![["measure", "median", "range", "rounds", "limit"].map(str::to_owned)];
        cells.extend(self.rows.iter().map(Row::cells));
        let widths: [usize; 5] =
            std::array::from_fn(|at| cells.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
        let dashes = std::array::from_fn(|at| {
            let dashes = "-".repeat(widths[at].max(2) - 1);
            if at == 0 || at == 4 {
                format!("-{dashes}")
            } else {
                format!("{dashes}:")
            }
        });
        cells.insert(1, dashes);
        let mut text = format!("{}\n\n", self.title);
        for row in &cells {
            for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
                let width = width.max(2);
                let padded = if at == 0 || at == 4 {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                };
                text.push_str(&format!("| {padded} "));
            }
            text.push_str("|\n");
        }
        for note in &self.notes {
            text.push_str(&format!("\n{note}\n"));
        }
        text
    }
}

impl Row {
    fn median(&self) -> f64 {
        median(&self.samples)
    }

    fn range(&self) -> (f64, f64) {
        let least = self.samples.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (least, most)
    }

    /// Returns the cells of the row: label, median, range, number of rounds, and the limit.
    fn cells(&self) -> [String; 5] {
        let median = self.median();
        let (least, most) = self.range();
        let range = if self.samples.len() > 1 {
            let unit = self.unit;
            format!(
                "{} to {}",
                number_like(unit, least, median),
                number_like(unit, most, median)
            )
        } else {
            String::new()
        };
        let aim = self.aim.map_or_else(String::new, |aim| {
            let result = if aim.is_met(median) { "met" } else { "missed" };
            format!("{}: {result}", aim.text(self.unit))
        });
        [
            self.label.clone(),
            self.unit.text(median, median),
            range,
            self.samples.len().to_string(),
            aim,
        ]
    }

    fn json(&self) -> Value {
        let (least, most) = self.range();
        json!({
            "measure": self.label,
            "unit": self.unit.name(),
            "median": self.median(),
            "least": least,
            "most": most,
            "samples": self.samples,
            "limit": self.aim.map(|aim| aim.text(self.unit)),
            "met": self.aim.map(|aim| aim.is_met(self.median())),
        })
    }
}

/// Returns the median. NaN if there are no values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN);
    match sorted.len() % 2 {
        0 if !sorted.is_empty() => f64::midpoint(sorted[sorted.len() / 2 - 1], upper),
        _ => upper,
    }
}

/// Returns the value within which this part of the values is, such as 0.99. `None` if there are no values.
pub(crate) fn quantile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * part) as usize;
    sorted.get(at.min(sorted.len().checked_sub(1)?)).copied()
}

/// Returns the text of a value without its unit.
fn number_like(unit: Unit, value: f64, like: f64) -> String {
    let text = unit.text(value, like);
    text.trim_end_matches(|letter: char| !letter.is_ascii_digit())
        .to_owned()
}

/// Returns a number with three significant digits, or as a whole number with separators if it has more.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "none".to_owned();
    }
    let size = value.abs();
    if size < 100.0 {
        let digits = match size {
            size if size == size.trunc() => 0,
            size if size < 1.0 => 3,
            size if size < 10.0 => 2,
            _ => 1,
        };
        return format!("{value:.digits$}");
    }
    let whole = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && digit.is_ascii_digit() && (whole.len() - at).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_medians_ranges_and_limits() {
        let mut table = Table::new("test", "A test");
        for seconds in [0.0021, 0.0019, 0.002] {
            table.add("operator", Unit::Seconds, seconds);
        }
        table.add_with_aim("memory", Unit::Bytes, 31e6, Aim::AtMost(30e6));
        table.add_with_aim("ratio", Unit::Ratio, 43.0, Aim::AtLeast(40.0));
        let expected = "\
A test

| measure  | median |        range | rounds | limit           |
| -------- | -----: | -----------: | -----: | --------------- |
| operator |   2 ms | 1.90 to 2.10 |      3 |                 |
| memory   |  31 MB |              |      1 | ≤ 30 MB: missed |
| ratio    |   43 × |              |      1 | ≥ 40 ×: met     |

Another one needed 7 s.
";
        table.note("Another one needed 7 s.");
        assert_eq!(table.markdown(), expected);
        assert_eq!(table.median("operator"), Some(0.002));
    }

    #[test]
    fn numbers_have_three_significant_digits_and_separators() {
        let texts = [0.0421, 1.0, 1.234, 12.34, 123.4, 1_234.0, 1_234_567.0, -1_234.0].map(number);
        assert_eq!(
            texts,
            [
                "0.042",
                "1",
                "1.23",
                "12.3",
                "123",
                "1,234",
                "1,234,567",
                "-1,234"
            ]
        );
    }

    #[test]
    fn the_median_of_an_even_number_is_in_the_middle() {
        assert_eq!(median(&[1.0, 4.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn quantiles_are_values() {
        let values: Vec<_> = (0..100).rev().map(f64::from).collect();
        assert_eq!(quantile(&values, 0.99), Some(99.0));
        assert_eq!(quantile(&values, 0.5), Some(50.0));
        assert_eq!(quantile(&values[..1], 0.99), Some(99.0));
        assert_eq!(quantile(&[], 0.99), None);
    }

    #[test]
    fn results_are_stored() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let output = Output {
            output: folder.path().join("new"),
        };
        let mut table = Table::new("test", "A test");
        table.add("operator", Unit::Count, 7.0);
        output.table(&table).expect("a file");
        let text = fs::read_to_string(folder.path().join("new/test.json")).expect("the file");
        let stored: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(stored["rows"][0]["median"], 7.0);
        assert!(stored["machine"]["processors"].as_u64() > Some(0), "{stored}");
    }
}
