//! A run as one HTML file without anything outside it: tables, and for each load throughput by round and by second,
//! latency distributions and where the processor's time went.

mod svg;

use std::fmt::Write;
use std::path::Path;

use crate::BenchError;
use crate::report::{Figure, Report, Side};
use crate::run::{Run, Section};
use crate::table::Table;
use svg::{Bars, Lines};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .9em;border-bottom:1px solid #ddd;text-align:right}\
td:first-child,th:first-child{text-align:left}figure{display:inline-block;margin:.5em 1em .5em 0}\
figcaption{font-size:13px;color:#555}p.c{color:#555;font-size:13px;margin:.1em 0}";

/// Writes the file.
pub fn write(run: &Run, file: &Path) -> Result<(), BenchError> {
    let what = format!("cannot write {}", file.display());
    std::fs::write(file, page(run)).map_err(BenchError::io(what))
}

fn page(run: &Run) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sextant benchmarks</title>\
         <style>{STYLE}</style><h1>Sextant benchmarks</h1>"
    );
    small(&mut out, &run.machine.line());
    small(&mut out, "Alternating rounds of one run; medians.");
    for section in &run.sections {
        match section {
            Section::Load(report) => load(&mut out, report),
            Section::Table(table) => rows(&mut out, table),
        }
    }
    out + "</html>\n"
}

fn small(out: &mut String, text: &str) {
    let _ = write!(out, "<p class=c>{}</p>", escaped(text));
}

fn results(out: &mut String, figures: &[Figure]) {
    out.push_str("<pre>");
    for figure in figures {
        let _ = writeln!(out, "result {} {:.3} {}", figure.name, figure.value, figure.unit);
    }
    out.push_str("</pre>");
}

fn rows(out: &mut String, table: &Table) {
    let _ = write!(out, "<h2>{}</h2>", escaped(table.title));
    table.configuration.iter().for_each(|line| small(out, line));
    for row in &table.rows {
        let _ = write!(out, "<p>{}</p>", escaped(row));
    }
    results(out, &table.figures);
}

fn load(out: &mut String, report: &Report) {
    let _ = write!(out, "<h2>{}</h2>", escaped(&report.title));
    report.sides.iter().for_each(|side| small(out, &side.configuration));
    out.push_str(
        "<table><tr><th></th><th>tps</th><th>spread</th><th>p50 ms</th><th>p99 ms</th><th>cpu us/txn</th>\
         <th>log B/txn</th></tr>",
    );
    for side in &report.sides {
        let cpu: f64 = side.cpu_us().values().sum();
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{:.0}</td><td>{:.0} %</td><td>{:.2}</td><td>{:.2}</td><td>{cpu:.0}</td><td>{:.0}</td></tr>",
            escaped(&side.name),
            side.tps().median(),
            side.tps().spread() * 100.0,
            side.percentile_ms(0.5),
            side.percentile_ms(0.99),
            side.log_bytes()
        );
    }
    out.push_str("</table>");
    report.remarks().iter().for_each(|remark| small(out, remark));
    figure(
        out,
        &throughput(report),
        "transactions a second, second by second, all rounds one after the other",
    );
    figure(out, &latencies(report), "share of transactions (%) within a latency (ms, logarithmic)");
    figure(out, &processor(report), "processor microseconds a transaction, by role of process");
    results(out, &report.figures);
}

fn figure(out: &mut String, drawing: &str, caption: &str) {
    let _ = write!(out, "<figure>{drawing}<figcaption>{caption}</figcaption></figure>");
}

fn throughput(report: &Report) -> String {
    let mut lines = Lines::default();
    for side in &report.sides {
        let seconds = side.rounds.iter().flat_map(|round| &round.measured.by_second);
        lines.add(&side.name, seconds.enumerate().map(|(second, tps)| (second as f64, *tps)).collect());
    }
    lines.draw()
}

fn latencies(report: &Report) -> String {
    let mut lines = Lines::default();
    for side in &report.sides {
        lines.add(&side.name, distribution(side));
    }
    lines.draw()
}

/// Points (log10 of the latency, percent at or below it) over all rounds.
fn distribution(side: &Side) -> Vec<(f64, f64)> {
    let mut all: Vec<(f64, u64)> =
        side.rounds.iter().flat_map(|round| &round.measured.latencies).copied().collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: u64 = all.iter().map(|(_, count)| count).sum();
    let mut seen = 0;
    all.into_iter()
        .map(|(bound, count)| {
            seen += count;
            (bound.max(0.001).log10(), seen as f64 * 100.0 / total.max(1) as f64)
        })
        .collect()
}

fn processor(report: &Report) -> String {
    let mut bars = Bars::default();
    for side in &report.sides {
        bars.add(&side.name, side.cpu_us().into_iter().collect());
    }
    bars.draw()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::report::Round;
    use crate::workload::Measured;

    #[test]
    fn a_page_holds_every_side_and_balances_its_tags() {
        let measured = Measured {
            tps: 100.0,
            by_second: vec![90.0, 110.0],
            latencies: vec![(1.0, 5), (10.0, 5)],
            ..Measured::default()
        };
        let cpu_us = [("engine".to_owned(), 40.0), ("client".to_owned(), 20.0)].into();
        let round = Round { measured, cpu_us, log_bytes: 1.0, requests: None };
        let side = |name: &str| Side {
            name: name.into(),
            configuration: "a < b".into(),
            rounds: vec![round.clone()],
        };
        let sides = vec![side("one"), side("two")];
        let report = Report {
            name: "x",
            title: "x & y".into(),
            sides,
            checks: vec!["all is > well".into()],
            figures: Vec::new(),
        };
        let mut table = Table::new("a table");
        table.row("a > b".into());
        let machine = Machine { cores: 2, kernel: "6".into(), busy_before: 0.5 };
        let page = page(&Run { machine, sections: vec![Section::Load(report), Section::Table(table)] });
        assert!(
            page.contains("one")
                && page.contains("two")
                && page.contains("a &lt; b")
                && page.contains("x &amp; y")
                && page.contains("all is &gt; well")
                && page.contains("a &gt; b")
                && page.contains("NOISY")
        );
        for tag in ["svg", "figure", "table", "g"] {
            let opened =
                page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }
}
