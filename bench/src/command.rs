//! Running other programs: each call is checked, and a failure says what was run and what it printed.

use std::io;
use std::process::{Command, Stdio};

/// A benchmark that could not be run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A program that the benchmark needs is not on this machine.
    #[error("{program} is not installed (Debian package {package}); nothing was measured")]
    Missing {
        /// The program.
        program: String,
        /// Where it comes from.
        package: &'static str,
    },
    /// A program failed.
    #[error("`{command}` failed ({status}):\n{output}")]
    Failed {
        /// What was run.
        command: String,
        /// Its exit status.
        status: String,
        /// What it printed, both streams.
        output: String,
    },
    /// A system under test did not come up or went away.
    #[error("{0}")]
    Peer(String),
    /// A program's output was not understood.
    #[error("cannot find {what} in the output of {program}:\n{output}")]
    Unreadable {
        /// What was looked for.
        what: &'static str,
        /// Who printed it.
        program: &'static str,
        /// All of it.
        output: String,
    },
    /// A file or process operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl BenchError {
    /// Adds what was tried to an I/O error.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> BenchError {
        let what = what.into();
        move |source| BenchError::Io { what, source }
    }
}

/// What a program printed.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// The error that `what` is not in it.
    pub(crate) fn lacks(&self, what: &'static str, program: &'static str) -> BenchError {
        BenchError::Unreadable { what, program, output: self.stdout.clone() }
    }
}

/// Runs `command` to its end and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<Output, BenchError> {
    let shown = shown(command);
    let output =
        command.stdin(Stdio::null()).output().map_err(BenchError::io(format!("cannot run `{shown}`")))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    if output.status.success() {
        return Ok(Output { stdout, stderr });
    }
    Err(BenchError::Failed { command: shown, status: output.status.to_string(), output: stdout + &stderr })
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Finds a program among Debian's versioned PostgreSQL folders or on PATH.
pub(crate) fn find(program: &str, package: &'static str) -> Result<std::path::PathBuf, BenchError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = ["/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/17/bin"];
    let folders = debian.map(Into::into).into_iter().chain(std::env::split_paths(&path));
    folders
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| BenchError::Missing { program: program.to_owned(), package })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_says_what_it_printed() {
        let error =
            output(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).expect_err("exit 3");
        let text = error.to_string();
        assert!(text.contains("out") && text.contains("err") && text.contains('3'), "{text}");
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let error = find("no-such-program-here", "some-package").expect_err("missing");
        assert!(error.to_string().contains("some-package"));
    }
}
