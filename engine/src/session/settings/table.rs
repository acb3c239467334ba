//! Every setting with its default and the values it takes. Names, defaults and wordings are PostgreSQL 15's, because
//! drivers ask for them by name and parse the answers.

/// How a value is checked and spelled.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// on / off.
    Bool,
    /// A whole number in a range.
    Int(i64, i64),
    /// A number in a range.
    Real(f64, f64),
    /// Milliseconds, with PostgreSQL's units (ms, s, min, h, d); 0 switches the timeout off.
    Millis,
    /// Kilobytes with units.
    KiloBytes,
    /// One of these words, in any case.
    Word(&'static [&'static str]),
    /// Any text.
    Text,
    /// UTF8 and its spellings; nothing is converted.
    Encoding,
    /// ISO with a field order.
    DateStyle,
    /// A zone that the types know.
    TimeZone,
    /// Cannot be set.
    Fixed,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) default: &'static str,
    pub(super) kind: Kind,
    /// Clients are told of its value at the start and whenever it changes (ParameterStatus).
    pub(super) reported: bool,
    pub(super) about: &'static str,
}

const fn plain(name: &'static str, default: &'static str, kind: Kind, about: &'static str) -> Setting {
    Setting { name, default, kind, reported: false, about }
}

const fn reported(name: &'static str, default: &'static str, kind: Kind, about: &'static str) -> Setting {
    Setting { name, default, kind, reported: true, about }
}

const ISOLATION: Kind = Kind::Word(&["read uncommitted", "read committed", "repeatable read"]);
const LEVELS: Kind =
    Kind::Word(&["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"]);

/// What the server says it is. Drivers read the number in front; people read the rest.
pub const SERVER_VERSION: &str = concat!("15.0 (Sextant ", env!("CARGO_PKG_VERSION"), ")");

/// The settings, sorted by name without regard to case, which is how they are found.
pub(super) const TABLE: &[Setting] = &[
    reported(
        "application_name",
        "",
        Kind::Text,
        "Sets the application name to be reported in statistics and logs.",
    ),
    plain("block_size", "8192", Kind::Fixed, "Shows the size of a page in bytes."),
    plain("bytea_output", "hex", Kind::Word(&["hex"]), "Sets the output format for bytea."),
    plain("check_function_bodies", "on", Kind::Bool, "Check routine bodies during CREATE FUNCTION."),
    reported("client_encoding", "UTF8", Kind::Encoding, "Sets the client's character set encoding."),
    plain("client_min_messages", "notice", LEVELS, "Sets the message levels that are sent to the client."),
    reported("DateStyle", "ISO, MDY", Kind::DateStyle, "Sets the display format for date and time values."),
    plain(
        "default_table_access_method",
        "heap",
        Kind::Text,
        "Sets the default table access method for new tables.",
    ),
    plain("default_tablespace", "", Kind::Word(&[""]), "Sets the default tablespace; there is one."),
    plain(
        "default_transaction_deferrable",
        "off",
        Kind::Bool,
        "Sets the default deferrable status of new transactions.",
    ),
    plain(
        "default_transaction_isolation",
        "read committed",
        ISOLATION,
        "Sets the isolation level of new transactions.",
    ),
    reported(
        "default_transaction_read_only",
        "off",
        Kind::Bool,
        "Sets the read-only status of new transactions.",
    ),
    plain(
        "escape_string_warning",
        "on",
        Kind::Bool,
        "Warn about backslash escapes in ordinary string literals.",
    ),
    plain(
        "extra_float_digits",
        "1",
        Kind::Int(-15, 3),
        "Sets the number of digits displayed for floating-point values.",
    ),
    plain(
        "hash_mem_multiplier",
        "2",
        Kind::Real(1.0, 1000.0),
        "Multiple of work_mem to use for hash tables.",
    ),
    plain(
        "idle_in_transaction_session_timeout",
        "0",
        Kind::Millis,
        "Ends a session that is idle in a transaction so long.",
    ),
    reported("in_hot_standby", "off", Kind::Fixed, "Shows whether this instance is a reader."),
    reported("integer_datetimes", "on", Kind::Fixed, "Shows that timestamps are 64-bit integers."),
    reported(
        "IntervalStyle",
        "postgres",
        Kind::Word(&["postgres"]),
        "Sets the display format for interval values.",
    ),
    reported("is_superuser", "on", Kind::Fixed, "Shows whether the current user is a superuser."),
    plain("jit", "off", Kind::Bool, "Allow JIT compilation; there is none."),
    plain("lc_collate", "C", Kind::Fixed, "Shows the collation order."),
    plain("lc_ctype", "C.UTF-8", Kind::Fixed, "Shows the character classification."),
    plain("lc_messages", "C", Kind::Text, "Sets the language in which messages are displayed."),
    plain("lc_monetary", "C", Kind::Text, "Sets the locale for formatting monetary amounts."),
    plain("lc_numeric", "C", Kind::Text, "Sets the locale for formatting numbers."),
    plain("lc_time", "C", Kind::Text, "Sets the locale for formatting date and time values."),
    plain("lock_timeout", "0", Kind::Millis, "Sets the longest wait for a lock."),
    plain("maintenance_work_mem", "64MB", Kind::KiloBytes, "Sets the memory for maintenance operations."),
    plain("max_identifier_length", "63", Kind::Fixed, "Shows the maximum identifier length."),
    plain("max_index_keys", "32", Kind::Fixed, "Shows the maximum number of index keys."),
    plain("quote_all_identifiers", "off", Kind::Bool, "Quote all identifiers when generating SQL fragments."),
    plain("role", "none", Kind::Word(&["none"]), "Sets the current role; there are none yet."),
    plain("row_security", "on", Kind::Bool, "Enable row security."),
    plain(
        "search_path",
        "\"$user\", public",
        Kind::Text,
        "Sets the schema search order for names without schema.",
    ),
    reported("server_encoding", "UTF8", Kind::Fixed, "Shows the database's character set encoding."),
    reported("server_version", SERVER_VERSION, Kind::Fixed, "Shows the server version."),
    plain("server_version_num", "150000", Kind::Fixed, "Shows the server version as an integer."),
    reported("session_authorization", "", Kind::Fixed, "Shows the session user."),
    reported(
        "standard_conforming_strings",
        "on",
        Kind::Word(&["on"]),
        "'...' strings treat backslashes literally.",
    ),
    plain("statement_timeout", "0", Kind::Millis, "Sets the longest duration of a statement."),
    plain(
        "synchronous_commit",
        "on",
        Kind::Word(&["on"]),
        "A commit is answered once four of six copies have it; there is no weaker promise.",
    ),
    reported(
        "TimeZone",
        "UTC",
        Kind::TimeZone,
        "Sets the time zone for displaying and interpreting time stamps.",
    ),
    plain(
        "transaction_deferrable",
        "off",
        Kind::Bool,
        "Whether to defer a read-only serializable transaction until it can be executed with no possible serialization failures.",
    ),
    plain(
        "transaction_isolation",
        "read committed",
        ISOLATION,
        "Shows the current transaction's isolation level.",
    ),
    plain("transaction_read_only", "off", Kind::Bool, "Shows the current transaction's read-only status."),
    plain(
        "work_mem",
        "4MB",
        Kind::KiloBytes,
        "Sets the memory for one sort; one hash has hash_mem_multiplier times as much.",
    ),
    plain(
        "xmloption",
        "content",
        Kind::Word(&["content", "document"]),
        "How XML is parsed; there is no XML type.",
    ),
];

/// Where `name` is in [`TABLE`].
pub(super) fn find(name: &str) -> Option<usize> {
    TABLE.binary_search_by(|row| compare(row.name, name)).ok()
}

fn compare(a: &str, b: &str) -> std::cmp::Ordering {
    let lower = |b: u8| b.to_ascii_lowercase();
    a.bytes().map(lower).cmp(b.bytes().map(lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_found_in_any_case() {
        assert!(TABLE.windows(2).all(|w| compare(w[0].name, w[1].name).is_lt()));
        assert_eq!(find("datestyle"), find("DateStyle"));
        assert!(find("timezone").is_some());
        assert!(find("no_such_thing").is_none());
    }
}
