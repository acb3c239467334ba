//! What concurrent transactions may see and do to each other, over real connections: golden scripts, and histories of many
//! clients that are searched for anomalies (`append`), and random schedules beside PostgreSQL (`schedules`). Beside it, too:
//! what single statements say that do not fit their memory (`answers`).
//!
//! One file in `scripts/` is one story: what is there at first, the steps of its sessions, and for each isolation level
//! what came of every step. `UPDATE_SCRIPTS=1` writes what came instead of comparing; read the difference before it is
//! kept. A step that waits is seen by the engine's own count of waiting transactions, so nothing here depends on time.

mod answers;
mod append;
mod kills;
mod player;
mod postgres;
mod schedules;
mod script;
mod snapshots;

use std::path::PathBuf;

use player::Stage;
use script::Script;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/isolation/scripts")
}

/// Every script: its path and its text.
fn scripts() -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(folder()).expect("the scripts");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "the scripts are there");
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a script");
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_script_comes_out_as_written() {
    let update = std::env::var_os("UPDATE_SCRIPTS").is_some();
    let mut wrong = Vec::new();
    for (path, text) in scripts() {
        let script = Script::parse(&text);
        let mut came = script.head();
        for level in script.levels() {
            came.push_str(&player::play(&Stage::open().await, &script, level).await);
        }
        if update {
            std::fs::write(&path, &came).expect("written");
        } else if came != text {
            wrong.push(format!("{}:\n{came}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "came out differently:\n\n{}", wrong.join("\n"));
}
