//! One process of a cluster, configured by flags, by a TOML file, or both: a flag overrides the file's key of the same
//! name, an unknown key is refused, and a required key that neither gives is named.
//!
//! The structures here are the file format: `sextant ROLE --help` lists every key with unit, default and reason.

use std::path::Path;
use std::process::ExitCode;

use serde::de::DeserializeOwned;
use sextant_node::config::{self, ConfigError};
use sextant_node::exit;

pub(crate) mod engine;
pub(crate) mod meta;
pub(crate) mod segment;

/// Why a role ended other than by a signal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RoleError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{key} is not set: give --{flag}, or the key \"{key}\" in the file named by --config", flag = .key.replace('_', "-"))]
    Missing { key: &'static str },
    #[error(transparent)]
    Meta(#[from] sextant_meta::MetaError),
    #[error(transparent)]
    Segment(#[from] sextant_segment_store::NodeError),
    #[error(transparent)]
    Engine(#[from] sextant_engine::EngineError),
}

impl RoleError {
    fn code(&self) -> ExitCode {
        match self {
            RoleError::Engine(error) if error.is_fenced() => ExitCode::from(exit::FENCED),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Logs how a role ended and turns it into an exit code.
pub(crate) fn exit(outcome: Result<(), RoleError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            error.code()
        }
    }
}

/// The options of the file, or none when there is no file.
fn from_file<T: DeserializeOwned + Default>(path: Option<&Path>) -> Result<T, ConfigError> {
    path.map_or_else(|| Ok(T::default()), config::load)
}

fn required<T>(value: Option<T>, key: &'static str) -> Result<T, RoleError> {
    value.ok_or(RoleError::Missing { key })
}

/// A list: the flags' when any was given, else the file's.
fn list<T>(flags: Vec<T>, file: Vec<T>) -> Vec<T> {
    if flags.is_empty() { file } else { flags }
}
