//! Writes every target's seeds, a file each, for cargo-fuzz: `cargo run -p sextant-fuzz-targets --bin seeds -- fuzz/corpus`.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let Some(corpus) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(std::io::Error::other("say where: seeds FOLDER"));
    };
    for target in sextant_fuzz_targets::TARGETS {
        let folder = corpus.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (n, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{n}")), seed)?;
        }
    }
    Ok(())
}
