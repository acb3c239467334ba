//! The error that a client sees: PostgreSQL's code, wording and fields.

use super::sqlstate;

/// What a SQL function returns.
pub type SqlResult<T> = Result<T, SqlError>;

/// An error of a statement, with the fields of PostgreSQL's ErrorResponse (P17 section "Error and Notice Message
/// Fields"). Everything but code and message is optional. Boxed inside, so that a `Result` stays small.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", .0.sqlstate, .0.message)]
pub struct SqlError(Box<Fields>);

/// The fields of an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields {
    /// SQLSTATE, one of [`sqlstate`].
    pub sqlstate: &'static str,
    /// What happened.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Where in the statement, in characters from 1.
    pub position: Option<usize>,
    /// The schema it is about.
    pub schema: Option<String>,
    /// The table it is about.
    pub table: Option<String>,
    /// The column it is about.
    pub column: Option<String>,
    /// The data type it is about.
    pub data_type: Option<String>,
    /// The constraint that was violated.
    pub constraint: Option<String>,
}

impl std::ops::Deref for SqlError {
    type Target = Fields;
    fn deref(&self) -> &Fields {
        &self.0
    }
}

macro_rules! setters {
    ($($name:ident: $what:literal;)*) => {
        $(#[doc = concat!("The same error with ", $what, ".")]
        #[must_use]
        pub fn $name(mut self, value: impl Into<String>) -> SqlError {
            self.0.$name = Some(value.into());
            self
        })*
    };
}

impl SqlError {
    /// An error with a code and a message.
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> SqlError {
        SqlError(Box::new(Fields { sqlstate, message: message.into(), ..Fields::default() }))
    }

    setters! {
        detail: "a detail";
        hint: "a hint";
        schema: "the schema it is about";
        table: "the table it is about";
        column: "the column it is about";
        data_type: "the data type it is about";
        constraint: "the constraint it is about";
    }

    /// The same error with the place in the statement, in characters from 1.
    #[must_use]
    pub fn position(mut self, at: usize) -> SqlError {
        self.0.position = Some(at);
        self
    }

    /// `0A000`.
    pub fn unsupported(what: impl std::fmt::Display) -> SqlError {
        SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, format!("{what} is not supported"))
    }

    /// `42601`.
    pub fn syntax(message: impl Into<String>) -> SqlError {
        SqlError::new(sqlstate::SYNTAX_ERROR, message)
    }

    /// `XX001`: bytes on a page that no version of this program writes.
    pub fn corrupt(what: impl std::fmt::Display) -> SqlError {
        SqlError::new(sqlstate::DATA_CORRUPTED, format!("stored data is damaged: {what}"))
    }

    /// `XX000`.
    pub fn internal(what: impl Into<String>) -> SqlError {
        SqlError::new(sqlstate::INTERNAL, what)
    }

    /// `22003` in PostgreSQL's words for a type: "integer out of range".
    pub fn out_of_range(type_name: &str) -> SqlError {
        SqlError::new(sqlstate::NUMERIC_OUT_OF_RANGE, format!("{type_name} out of range"))
    }

    /// `22012`.
    pub fn division_by_zero() -> SqlError {
        SqlError::new(sqlstate::DIVISION_BY_ZERO, "division by zero")
    }

    /// `22P02`: text that is no value of the type.
    pub fn invalid_text(type_name: &str, text: &str) -> SqlError {
        SqlError::new(
            sqlstate::INVALID_TEXT,
            format!("invalid input syntax for type {type_name}: \"{text}\""),
        )
    }

    /// True when the same transaction may succeed if the client runs it again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.sqlstate,
            sqlstate::SERIALIZATION_FAILURE | sqlstate::DEADLOCK | sqlstate::LOCK_NOT_AVAILABLE
        )
    }
}
