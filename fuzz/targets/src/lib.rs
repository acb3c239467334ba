//! What is fuzzed: one function over bytes a target, and valid inputs to start from, made by the code that writes them.
//!
//! | module | idea |
//! | --- | --- |
//! | [`redo`] | patches, records, batches, and a record applied to a page |
//! | [`messages`] | frames, requests and replies between engine, storage and peers |
//! | [`log`] | recovery of an arbitrary log image, and of a valid one with damage; checkpoints |
//! | [`metadata`] | commands to the metadata state machine |
//! | [`pgwire`] | what a PostgreSQL client can send |
//! | [`tree`] | a B+tree against an ordered map |
//! | [`input`] | bytes read as a program |
//!
//! A target panics when a rule is broken and returns otherwise, whatever the bytes. The same functions run under cargo-fuzz
//! (`fuzz/fuzz_targets/`) and, for seconds each, in this package's tests.

pub mod input;
pub mod log;
pub mod messages;
pub mod metadata;
pub mod pgwire;
pub mod redo;
pub mod tree;

/// A function under fuzz.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, as cargo-fuzz has it.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
    /// Inputs that reach deep.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "redo_decode", run: redo::decode, seeds: redo::decode_seeds },
    Target { name: "redo_apply", run: redo::apply_record, seeds: redo::apply_seeds },
    Target { name: "frames", run: messages::frames, seeds: messages::frame_seeds },
    Target { name: "messages", run: messages::messages, seeds: messages::message_seeds },
    Target { name: "log_image", run: log::image, seeds: log::image_seeds },
    Target { name: "log_damage", run: log::damage, seeds: log::damage_seeds },
    Target { name: "checkpoint", run: log::checkpoint, seeds: log::checkpoint_seeds },
    Target { name: "metadata_commands", run: metadata::commands, seeds: metadata::command_seeds },
    Target { name: "metadata_json", run: metadata::json, seeds: metadata::json_seeds },
    Target { name: "pgwire", run: pgwire::stream, seeds: pgwire::seeds },
    Target { name: "btree", run: tree::against_a_map, seeds: tree::seeds },
];
