//! Every benchmark that starts clusters runs to its end in seconds, with little data. Figures of such runs say nothing;
//! that they are there, and what the benchmark checks by itself, does. Skipped where its peers are not installed.

use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::cluster::{SEXTANT, turn};

/// What a benchmark printed, or nothing when a peer is not installed.
fn run(arguments: &[&str]) -> Option<String> {
    let _turn = turn();
    let output = Command::new(SEXTANT).arg("bench").args(arguments).stdin(Stdio::null()).output();
    let output = output.expect("the program starts");
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if let Some(missing) = said.lines().find(|line| line.contains("is not installed")) {
        println!("skipped: {missing}");
        return None;
    }
    assert!(output.status.success(), "{arguments:?}: {}\n{printed}\n{said}", output.status);
    Some(printed.into_owned())
}

/// The value of `result NAME VALUE UNIT`.
fn figure(printed: &str, name: &str) -> f64 {
    let line =
        printed.lines().find_map(|line| line.strip_prefix("result ")?.strip_prefix(name)?.strip_prefix(' '));
    let value = line.and_then(|rest| rest.split(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no figure {name} in:\n{printed}"))
}

#[test]
fn tpcc_runs_on_all_sides_and_leaves_them_consistent() {
    let folder = TempDir::new().expect("temporary folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (json, html) = (file("run.json"), file("run.html"));
    let mut arguments: Vec<&str> = vec!["tpcc", "--json", &json, "--html", &html, "--clients", "3"];
    arguments.extend(["--items", "500", "--customers", "30", "--rounds", "1", "--round-seconds", "2"]);
    let Some(printed) = run(&arguments) else { return };
    assert_eq!(printed.matches("conditions 3.3.2.1 to 3.3.2.4 hold in 10 districts").count(), 3, "{printed}");
    assert!(figure(&printed, "tpcc_vs_pg_quorum") > 0.0 && figure(&printed, "tpcc_new_orders_per_min") > 0.0);
    let read = |file: &str| std::fs::read_to_string(file).expect("written");
    assert!(serde_json::from_str::<serde_json::Value>(&read(&json)).is_ok());
    assert!(read(&html).contains("reduced: 500 items, 30 customers a district"));
}

#[test]
fn restart_loses_nothing_and_times_every_crash() {
    let arguments = ["restart", "--quick", "--mib", "1,3", "--clients", "3"];
    let Some(printed) = run(&arguments) else { return };
    for mib in [1, 3] {
        for name in ["from_kill_ms", "pg_ms"] {
            assert!(figure(&printed, &format!("restart_{mib}_mib_{name}")) > 0.0, "{printed}");
        }
        assert!(figure(&printed, &format!("node_killed_{mib}_mib_back_ms")) > 0.0, "{printed}");
    }
    assert!(figure(&printed, "restart_ms") > 0.0, "{printed}");
}

#[test]
fn growth_measures_every_size() {
    let arguments = ["growth", "--mib", "2,8", "--clients", "3", "--rounds", "1", "--round-seconds", "2"];
    let Some(printed) = run(&arguments) else { return };
    assert!(figure(&printed, "growth_ratio") > 0.0 && figure(&printed, "growth_8_mib_vs_2_mib") > 0.0);
}

#[test]
fn a_dropped_table_gives_its_pages_back_beside_commits() {
    let Some(printed) = run(&["drop", "--mib", "4", "--clients", "3", "--rounds", "1"]) else { return };
    assert!(figure(&printed, "drop_freed_pages") >= f64::from(4 << 20) / 8192.0 * 0.9, "{printed}");
    assert!(figure(&printed, "drop_commit_p99_while_freed_ms") > 0.0, "{printed}");
}
