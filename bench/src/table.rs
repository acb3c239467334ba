//! Rows of figures with the configuration they were taken under, then `result` lines.

use serde::Serialize;

use crate::report::Figure;

/// What a benchmark leaves behind that is no load on several sides.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    pub(crate) title: &'static str,
    /// What was run on both sides.
    pub(crate) configuration: Vec<String>,
    /// One line of text a measurement.
    pub(crate) rows: Vec<String>,
    pub(crate) figures: Vec<Figure>,
}

impl Table {
    pub(crate) fn new(title: &'static str) -> Table {
        Table { title, configuration: Vec::new(), rows: Vec::new(), figures: Vec::new() }
    }

    /// Adds a row, and shows it at once: rounds take their time.
    pub(crate) fn row(&mut self, row: String) {
        eprintln!("{row}");
        self.rows.push(row);
    }

    pub(crate) fn figure(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure::new(name, value, unit));
    }

    pub(crate) fn print(&self) {
        println!("\n{}", self.title);
        self.configuration.iter().for_each(|line| println!("  {line}"));
        println!();
        self.rows.iter().for_each(|row| println!("  {row}"));
        println!();
        for figure in &self.figures {
            println!("result {} {:.3} {}", figure.name, figure.value, figure.unit);
        }
    }
}
