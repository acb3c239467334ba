//! One call of the command: its benchmarks one after the other, then the files that it was asked for.

use std::path::Path;

use serde::Serialize;

use crate::machine::Machine;
use crate::report::Report;
use crate::table::Table;
use crate::{BenchArgs, BenchError, BenchName, command, compare, device, drops, growth, html, restart};

/// What one benchmark leaves behind.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Section {
    /// A load on several sides.
    Load(Report),
    /// Anything else.
    Table(Table),
}

/// What all benchmarks of a call leave behind.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Where.
    pub machine: Machine,
    /// In the order in which they ran.
    pub sections: Vec<Section>,
}

/// Runs benchmarks to their end. `sextant` is the binary that runs the cluster. What was measured before an error is
/// written all the same.
pub fn run(args: &BenchArgs, sextant: &Path) -> Result<(), BenchError> {
    let (loads, others): (Vec<BenchName>, Vec<BenchName>) =
        args.name.parts().into_iter().partition(|name| name.is_load());
    // What is missing on this machine is said before anything is started.
    if others.iter().any(|name| name.is_of_device()) {
        command::find("fio", "fio")?;
    }
    let machine = Machine::look();
    println!("{}", machine.line());
    let mut run = Run { machine, sections: Vec::new() };
    let outcome = compare::run(args, &loads, sextant, &mut run.sections)
        .and_then(|()| others.iter().try_for_each(|name| other(*name, args, sextant, &mut run.sections)));
    if let Some(file) = &args.json {
        write_json(&run, file)?;
    }
    if let Some(file) = &args.html {
        html::write(&run, file)?;
    }
    outcome
}

fn other(
    name: BenchName,
    args: &BenchArgs,
    sextant: &Path,
    sections: &mut Vec<Section>,
) -> Result<(), BenchError> {
    let section = match name {
        BenchName::Growth => Section::Load(growth::run(args, sextant)?),
        BenchName::Drop => Section::Table(drops::run(args, sextant)?),
        BenchName::Restart => Section::Table(restart::run(args, sextant)?),
        _ => Section::Table(device::run(name, args, sextant)?),
    };
    match &section {
        Section::Load(report) => report.print(),
        Section::Table(table) => table.print(),
    }
    sections.push(section);
    Ok(())
}

fn write_json(run: &Run, file: &Path) -> Result<(), BenchError> {
    let what = format!("cannot write {}", file.display());
    let text = serde_json::to_string_pretty(run).map_err(|e| BenchError::Peer(e.to_string()))?;
    std::fs::write(file, text + "\n").map_err(BenchError::io(what))
}
