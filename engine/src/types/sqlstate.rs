//! The SQLSTATE codes that Sextant raises, named as in PostgreSQL's Appendix A.

macro_rules! codes {
    ($($name:ident = $code:literal, $what:literal;)*) => {
        $(#[doc = concat!("`", $code, "`: ", $what, ".")] pub const $name: &str = $code;)*
    };
}

codes! {
    FEATURE_NOT_SUPPORTED = "0A000", "this is not implemented";
    CARDINALITY_VIOLATION = "21000", "a scalar subquery gave more than one row";
    STRING_TOO_LONG = "22001", "a string does not fit varchar(n) or char(n)";
    NUMERIC_OUT_OF_RANGE = "22003", "a number does not fit its type";
    DATETIME_OVERFLOW = "22008", "a date or time field is out of range";
    INVALID_DATETIME = "22007", "text that is no date or time";
    DIVISION_BY_ZERO = "22012", "division by zero";
    INVALID_ESCAPE = "22025", "a LIKE pattern ends with its escape character";
    INVALID_PARAMETER_VALUE = "22023", "a parameter's value is not allowed";
    CHARACTER_NOT_IN_REPERTOIRE = "22021", "bytes that are no UTF-8";
    INVALID_TEXT = "22P02", "text that is no value of the type";
    INVALID_BINARY = "22P03", "bytes that are no value of the type";
    BAD_COPY_FORMAT = "22P04", "a COPY line that does not fit the table or the format";
    INVALID_ROW_COUNT_IN_LIMIT = "2201W", "a negative LIMIT";
    INVALID_ROW_COUNT_IN_OFFSET = "2201X", "a negative OFFSET";
    SEQUENCE_LIMIT = "2200H", "a sequence has no more values";
    INVALID_REGULAR_EXPRESSION = "2201B", "a regular expression that cannot be compiled";
    NOT_NULL_VIOLATION = "23502", "NULL in a NOT NULL column";
    FOREIGN_KEY_VIOLATION = "23503", "a key that refers to nothing, or that is still referred to";
    UNIQUE_VIOLATION = "23505", "a key that exists already";
    CHECK_VIOLATION = "23514", "a row that a CHECK constraint forbids";
    ACTIVE_TRANSACTION = "25001", "not possible inside a transaction block";
    READ_ONLY_TRANSACTION = "25006", "a write in a read-only transaction";
    IN_FAILED_TRANSACTION = "25P02", "the transaction block has failed and waits for ROLLBACK";
    NO_ACTIVE_TRANSACTION = "25P01", "there is no transaction block";
    INVALID_SCHEMA = "3F000", "no such schema";
    SERIALIZATION_FAILURE = "40001", "a concurrent transaction got in the way; retry";
    DEADLOCK = "40P01", "a deadlock; retry";
    SYNTAX_ERROR = "42601", "the statement cannot be parsed";
    INSUFFICIENT_PRIVILEGE = "42501", "not allowed";
    CANNOT_COERCE = "42846", "there is no such cast";
    GROUPING_ERROR = "42803", "a column neither grouped nor aggregated";
    DATATYPE_MISMATCH = "42804", "a value of the wrong type";
    WRONG_OBJECT_TYPE = "42809", "an object of the wrong kind";
    UNDEFINED_COLUMN = "42703", "no such column";
    UNDEFINED_FUNCTION = "42883", "no such function or operator";
    UNDEFINED_TABLE = "42P01", "no such table";
    UNDEFINED_PARAMETER = "42P02", "no such parameter";
    UNDEFINED_OBJECT = "42704", "no such type, index, setting ...";
    INDETERMINATE_DATATYPE = "42P18", "the type of a parameter cannot be told";
    DUPLICATE_COLUMN = "42701", "a column named twice";
    DUPLICATE_TABLE = "42P07", "a relation of that name exists";
    DUPLICATE_OBJECT = "42710", "an object of that name exists";
    INVALID_NAME = "42602", "text that cannot be a name";
    INVALID_FOREIGN_KEY = "42830", "a foreign key that fits no key";
    INVALID_OBJECT_DEFINITION = "42P17", "a definition that cannot be";
    GENERATED_ALWAYS = "428C9", "a value for a column that makes its own";
    DUPLICATE_ALIAS = "42712", "a table named twice in FROM";
    DUPLICATE_SCHEMA = "42P06", "a schema of that name exists";
    AMBIGUOUS_COLUMN = "42702", "a column that several tables have";
    AMBIGUOUS_FUNCTION = "42725", "an operator or function that fits several ways";
    INVALID_COLUMN_REFERENCE = "42P10", "ORDER BY, ON CONFLICT or COPY names what cannot stand there";
    INVALID_TABLE_DEFINITION = "42P16", "a table cannot be defined so";
    INVALID_FUNCTION_DEFINITION = "42P13", "a call that cannot be";
    DEPENDENT_OBJECTS = "2BP01", "other objects need it";
    OBJECT_IN_USE = "55006", "in use by this session";
    OBJECT_NOT_IN_STATE = "55000", "not possible in the object's present state";
    UNSAFE_NEW_ENUM_VALUE = "55P04", "an enum value that is not committed yet";
    LOCK_NOT_AVAILABLE = "55P03", "a lock could not be had in time";
    QUERY_CANCELED = "57014", "cancelled";
    CANNOT_CONNECT_NOW = "57P03", "the engine is not open";
    PROGRAM_LIMIT = "54000", "a limit of this implementation";
    STATEMENT_TOO_COMPLEX = "54001", "a statement nested too deep";
    TOO_MANY_COLUMNS = "54011", "more columns than a table or select list can have";
    DISK_FULL = "53100", "no space on the local disk";
    IO_ERROR = "58030", "storage failed";
    INTERNAL = "XX000", "a bug or damage; nothing more is known";
    DATA_CORRUPTED = "XX001", "stored bytes that make no sense";
}
