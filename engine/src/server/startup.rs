//! From an accepted socket to a session: encryption requests, CancelRequest, protocol version, startup parameters.
//!
//! Authentication is trust for now. A password exchange belongs between [`Opening::Session`] being read and
//! [`welcome`] being called.

use bytes::BytesMut;

use super::registry::{Registry, Ticket};
use crate::session::{Failure, codes};
use crate::types::{SqlError, sqlstate};
use crate::wire::startup::{Startup, decode};
use crate::wire::{Wire, backend};

/// What a client wants.
pub(super) enum Opening {
    /// A session with these startup parameters.
    Session(Parameters),
    /// A cancellation, which was done; nothing is answered.
    Cancelled,
    /// It went away.
    Gone,
}

/// The startup packet's parameters, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) user: String,
    pub(super) database: String,
    /// Settings in the client's order, those of `options` first.
    pub(super) settings: Vec<(String, String)>,
    /// Set when the client asked for more than protocol 3.0.
    negotiate: bool,
    unknown_options: Vec<String>,
}

/// Reads until the client says what it wants.
pub(super) async fn read(wire: &mut Wire, registry: &Registry) -> Result<Opening, Failure> {
    // One request for TLS, one for GSSAPI, then the real packet.
    for _ in 0..3 {
        let Some(packet) = wire.startup().await? else {
            return Ok(Opening::Gone);
        };
        match decode(&packet).map_err(|error| fatal(codes::PROTOCOL_VIOLATION, error.to_string()))? {
            Startup::Ssl | Startup::Gss => refuse_encryption(wire).await?,
            Startup::Cancel { process, secret } => {
                if !registry.cancel(process, secret) {
                    tracing::debug!(process, "a cancel request named no session, or had the wrong secret");
                }
                return Ok(Opening::Cancelled);
            }
            Startup::Unsupported { major, minor } => {
                return Err(fatal(
                    sqlstate::FEATURE_NOT_SUPPORTED,
                    format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0"),
                ));
            }
            Startup::Session { minor, parameters } => {
                return take_apart(minor, parameters).map(Opening::Session);
            }
        }
    }
    Err(fatal(codes::PROTOCOL_VIOLATION, "too many encryption requests"))
}

async fn refuse_encryption(wire: &mut Wire) -> Result<(), Failure> {
    if wire.has_unread() {
        return Err(fatal(
            codes::PROTOCOL_VIOLATION,
            "received unencrypted data after an encryption request",
        ));
    }
    wire.out.extend_from_slice(b"N");
    wire.flush().await?;
    Ok(())
}

fn fatal(code: &'static str, message: impl Into<String>) -> Failure {
    Failure::Fatal(SqlError::new(code, message))
}

fn take_apart(minor: u16, parameters: Vec<(String, String)>) -> Result<Parameters, Failure> {
    let mut got = Parameters { negotiate: minor > 0, ..Parameters::default() };
    let mut settings = Vec::new();
    for (name, value) in parameters {
        match name.as_str() {
            "user" => got.user = value,
            "database" => got.database = value,
            "options" => got.settings = options(&value)?,
            "replication" if !matches!(value.as_str(), "false" | "off" | "no" | "0") => {
                return Err(fatal(
                    sqlstate::FEATURE_NOT_SUPPORTED,
                    "the replication protocol is not offered",
                ));
            }
            "replication" => {}
            name if name.starts_with("_pq_.") => {
                got.negotiate = true;
                got.unknown_options.push(name.to_owned());
            }
            _ => settings.push((name, value)),
        }
    }
    got.settings.append(&mut settings);
    if got.user.is_empty() {
        return Err(fatal(
            codes::INVALID_AUTHORIZATION,
            "no PostgreSQL user name specified in startup packet",
        ));
    }
    if got.database.is_empty() {
        got.database.clone_from(&got.user);
    }
    Ok(got)
}

/// `-c name=value`, `-cname=value` and `--name=value`, separated by blanks; a backslash keeps the character after it.
fn options(text: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut words = split(text).into_iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let assignment = if word == "-c" {
            words.next()
        } else {
            word.strip_prefix("--").or_else(|| word.strip_prefix("-c")).map(str::to_owned)
        };
        let pair = assignment
            .as_deref()
            .and_then(|a| a.split_once('='))
            .ok_or_else(|| fatal(sqlstate::SYNTAX_ERROR, format!("invalid command-line argument: {word}")))?;
        settings.push((pair.0.replace('-', "_"), pair.1.to_owned()));
    }
    Ok(settings)
}

fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The first messages of a session, up to what the session itself reports.
pub(super) fn welcome(out: &mut BytesMut, parameters: &Parameters, ticket: &Ticket) {
    if parameters.negotiate {
        let unknown: Vec<&str> = parameters.unknown_options.iter().map(String::as_str).collect();
        backend::negotiate(out, 0, &unknown);
    }
    backend::authentication_ok(out);
    backend::key_data(out, ticket.process, ticket.secret);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn options_become_settings() {
        let got = options(r"-c search_path=a\ b --statement-timeout=5s -cjit=off").unwrap();
        assert_eq!(got, owned(&[("search_path", "a b"), ("statement_timeout", "5s"), ("jit", "off")]));
        assert!(options("-x").is_err());
    }

    #[test]
    fn the_database_defaults_to_the_user_and_a_user_is_needed() {
        let got = take_apart(2, owned(&[("user", "me"), ("_pq_.x", "1")])).unwrap();
        assert_eq!((got.user.as_str(), got.database.as_str()), ("me", "me"));
        assert!(got.negotiate);
        assert!(take_apart(0, owned(&[("database", "d")])).is_err());
        assert!(take_apart(0, owned(&[("user", "u"), ("replication", "database")])).is_err());
    }
}
