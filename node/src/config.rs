//! Reads a configuration file (TOML) into a typed structure.
//!
//! Structures are declared with `#[serde(deny_unknown_fields)]`, so a mistyped key is an error that names the file, the
//! line and the key, and never a silently used default.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Why a configuration was not used. Nothing was started or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is not readable.
    #[error("cannot read the configuration file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not what is expected; the text below names line, column and key.
    #[error("the configuration file {path} is not valid: {source}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, column, the line itself, and what is wrong with it.
        source: Box<toml::de::Error>,
    },
}

/// Reads `path` as TOML into `T`.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text)
        .map_err(|source| ConfigError::Invalid { path: path.to_owned(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        listen: std::net::SocketAddr,
        #[serde(default)]
        cache_bytes: u64,
    }

    fn parse(text: &str) -> Result<Sample, String> {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("engine.toml");
        std::fs::write(&path, text).expect("write");
        load(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn known_keys_are_read_and_missing_ones_get_their_default() {
        let sample = parse("listen = \"127.0.0.1:5440\"\n").expect("valid");
        assert_eq!(sample.listen.port(), 5440);
        assert_eq!(sample.cache_bytes, 0);
    }

    #[test]
    fn an_unknown_key_is_refused_with_file_line_and_key() {
        let error = parse("listen = \"127.0.0.1:5440\"\ncache_byte = 5\n").expect_err("refused");
        assert!(error.contains("engine.toml"), "{error}");
        assert!(error.contains("line 2"), "{error}");
        assert!(error.contains("cache_byte"), "{error}");
    }

    #[test]
    fn a_bad_value_is_refused_with_its_line() {
        let error = parse("\nlisten = \"nowhere\"\n").expect_err("refused");
        assert!(error.contains("line 2") && error.contains("listen"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load::<Sample>(Path::new("/nonexistent/engine.toml")).expect_err("no file");
        assert!(error.to_string().contains("/nonexistent/engine.toml"));
    }
}
