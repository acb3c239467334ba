//! Rows of figures with the configuration they were taken under, then `result` lines.

use std::path::Path;

use serde::Serialize;

use crate::BenchError;
use crate::report::Figure;

/// What a benchmark of one storage node leaves behind.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Table {
    pub(super) title: &'static str,
    /// What was run on both sides.
    pub(super) configuration: Vec<String>,
    /// One line of text a measurement.
    pub(super) rows: Vec<String>,
    pub(super) figures: Vec<Figure>,
}

impl Table {
    pub(super) fn new(title: &'static str) -> Table {
        Table { title, configuration: Vec::new(), rows: Vec::new(), figures: Vec::new() }
    }

    /// Adds a row, and shows it at once: rounds take their time.
    pub(super) fn row(&mut self, row: String) {
        eprintln!("{row}");
        self.rows.push(row);
    }

    pub(super) fn figure(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure::new(name, value, unit));
    }

    pub(super) fn print(&self) {
        println!("\n{}", self.title);
        self.configuration.iter().for_each(|line| println!("  {line}"));
        println!();
        self.rows.iter().for_each(|row| println!("  {row}"));
        println!();
        for figure in &self.figures {
            println!("result {} {:.3} {}", figure.name, figure.value, figure.unit);
        }
    }

    pub(super) fn write_json(&self, file: &Path) -> Result<(), BenchError> {
        let what = format!("cannot write {}", file.display());
        let text = serde_json::to_string_pretty(self).map_err(|e| BenchError::Peer(e.to_string()))?;
        std::fs::write(file, text + "\n").map_err(BenchError::io(what))
    }
}
