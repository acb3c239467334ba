# One door in. `just verify` only reads; `just fix` writes.

# Everything that a change must pass.
verify:
    .ci/run

# Formats, and applies what clippy can apply by itself.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# A whole cluster on this machine; Ctrl-C stops it.
dev *arguments:
    cargo run --release -- dev {{arguments}}

# The tests alone, or those whose name contains a word.
test *arguments:
    cargo test --workspace {{arguments}}
