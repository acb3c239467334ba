//! Types by PostgreSQL's object identifiers, names and modifiers.

/// The type OIDs of `pg_type.dat` that Sextant knows.
pub mod oids {
    macro_rules! oids {
        ($($name:ident = $oid:literal;)*) => {
            $(#[doc = concat!("OID ", stringify!($oid), ".")] pub const $name: u32 = $oid;)*
        };
    }
    oids! {
        BOOL = 16; BYTEA = 17; CHAR = 18; NAME = 19; INT8 = 20; INT2 = 21; INT2VECTOR = 22; INT4 = 23;
        REGPROC = 24; TEXT = 25; OID = 26; FLOAT4 = 700; FLOAT8 = 701; UNKNOWN = 705; BPCHAR = 1042;
        VARCHAR = 1043; DATE = 1082; TIMESTAMP = 1114; TIMESTAMPTZ = 1184; NUMERIC = 1700; REGCLASS = 2205;
        VOID = 2278; REGTYPE = 2206;
    }
}

/// OIDs from here on are those of types that users made.
const FIRST_USER_OID: u32 = 16_384;

/// A type with its modifier, which holds the length limit of `varchar(n)` and `char(n)` (n + 4, as PostgreSQL has it)
/// and precision and scale of `numeric(p, s)`; -1 says there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlType {
    /// One of [`oids`], or an enum type's.
    pub oid: u32,
    /// The modifier, -1 for none.
    pub typmod: i32,
}

/// What a type is for the rules of implicit conversion (`pg_type.typcategory`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeClass {
    /// bool.
    Boolean,
    /// The integers, floats, numeric and oid.
    Number,
    /// text, varchar, char(n), name.
    String,
    /// Dates and timestamps.
    DateTime,
    /// An enum type.
    Enum,
    /// A literal whose type is still open.
    Unknown,
    /// bytea, void and the rest.
    Other,
}

struct Known {
    oid: u32,
    /// In pg_type.
    name: &'static str,
    /// As format_type() spells it.
    spelled: &'static str,
    /// pg_type.typlen.
    len: i16,
    class: TypeClass,
}

const fn known(oid: u32, name: &'static str, spelled: &'static str, len: i16, class: TypeClass) -> Known {
    Known { oid, name, spelled, len, class }
}

const KNOWN: &[Known] = &[
    known(oids::BOOL, "bool", "boolean", 1, TypeClass::Boolean),
    known(oids::BYTEA, "bytea", "bytea", -1, TypeClass::Other),
    known(oids::CHAR, "char", "\"char\"", 1, TypeClass::String),
    known(oids::NAME, "name", "name", 64, TypeClass::String),
    known(oids::INT8, "int8", "bigint", 8, TypeClass::Number),
    known(oids::INT2, "int2", "smallint", 2, TypeClass::Number),
    known(oids::INT2VECTOR, "int2vector", "int2vector", -1, TypeClass::Other),
    known(oids::INT4, "int4", "integer", 4, TypeClass::Number),
    known(oids::REGPROC, "regproc", "regproc", 4, TypeClass::Number),
    known(oids::TEXT, "text", "text", -1, TypeClass::String),
    known(oids::OID, "oid", "oid", 4, TypeClass::Number),
    known(oids::FLOAT4, "float4", "real", 4, TypeClass::Number),
    known(oids::FLOAT8, "float8", "double precision", 8, TypeClass::Number),
    known(oids::UNKNOWN, "unknown", "unknown", -2, TypeClass::Unknown),
    known(oids::BPCHAR, "bpchar", "character", -1, TypeClass::String),
    known(oids::VARCHAR, "varchar", "character varying", -1, TypeClass::String),
    known(oids::DATE, "date", "date", 4, TypeClass::DateTime),
    known(oids::TIMESTAMP, "timestamp", "timestamp without time zone", 8, TypeClass::DateTime),
    known(oids::TIMESTAMPTZ, "timestamptz", "timestamp with time zone", 8, TypeClass::DateTime),
    known(oids::NUMERIC, "numeric", "numeric", -1, TypeClass::Number),
    known(oids::REGCLASS, "regclass", "regclass", 4, TypeClass::Number),
    known(oids::VOID, "void", "void", 4, TypeClass::Other),
    known(oids::REGTYPE, "regtype", "regtype", 4, TypeClass::Number),
];

macro_rules! plain {
    ($($name:ident = $oid:ident;)*) => {
        $(#[doc = concat!("The type `", stringify!($oid), "`, without a modifier.")]
        pub const $name: SqlType = SqlType { oid: oids::$oid, typmod: -1 };)*
    };
}

impl SqlType {
    plain! {
        BOOL = BOOL; BYTEA = BYTEA; CHAR = CHAR; NAME = NAME; INT8 = INT8; INT2 = INT2; INT4 = INT4; TEXT = TEXT;
        OID = OID; FLOAT4 = FLOAT4; FLOAT8 = FLOAT8; UNKNOWN = UNKNOWN; BPCHAR = BPCHAR; VARCHAR = VARCHAR;
        DATE = DATE; TIMESTAMP = TIMESTAMP; TIMESTAMPTZ = TIMESTAMPTZ; NUMERIC = NUMERIC; VOID = VOID;
        INT2VECTOR = INT2VECTOR; REGCLASS = REGCLASS;
    }

    /// A type by its OID, if Sextant knows it.
    #[must_use]
    pub fn from_oid(oid: u32) -> Option<SqlType> {
        KNOWN.iter().any(|k| k.oid == oid).then_some(SqlType { oid, typmod: -1 })
    }

    /// A type by the name that pg_type has for it (`int4`, `bpchar` ...).
    #[must_use]
    pub fn from_name(name: &str) -> Option<SqlType> {
        KNOWN.iter().find(|k| k.name == name).map(|k| SqlType { oid: k.oid, typmod: -1 })
    }

    /// Every known type's OID with name and length, for pg_type.
    pub fn all() -> impl Iterator<Item = (SqlType, &'static str)> {
        KNOWN.iter().map(|k| (SqlType { oid: k.oid, typmod: -1 }, k.name))
    }

    /// `varchar(n)` and `char(n)` with n characters.
    #[must_use]
    pub fn with_length(self, characters: u32) -> SqlType {
        SqlType { typmod: i32::try_from(characters).map_or(i32::MAX, |n| n.saturating_add(4)), ..self }
    }

    /// `numeric(precision, scale)`, packed as PostgreSQL packs it.
    #[must_use]
    pub fn with_precision(self, precision: u16, scale: u16) -> SqlType {
        SqlType { typmod: ((i32::from(precision) << 16) | i32::from(scale)) + 4, ..self }
    }

    /// The limit of `varchar(n)` and `char(n)` in characters.
    #[must_use]
    pub fn max_characters(self) -> Option<usize> {
        match self.oid {
            oids::VARCHAR | oids::BPCHAR => usize::try_from(self.typmod - 4).ok(),
            _ => None,
        }
    }

    /// Precision and scale of `numeric(p, s)`.
    #[must_use]
    pub fn precision(self) -> Option<(u16, u16)> {
        if self.oid != oids::NUMERIC || self.typmod < 4 {
            return None;
        }
        let packed = self.typmod - 4;
        Some((((packed >> 16) & 0xffff) as u16, (packed & 0xffff) as u16))
    }

    /// True for the enum types, all of which users made. Of a domain values have the type below.
    #[must_use]
    pub fn is_enum(self) -> bool {
        self.oid >= FIRST_USER_OID
    }

    fn known(self) -> Option<&'static Known> {
        KNOWN.iter().find(|k| k.oid == self.oid)
    }

    /// `pg_type.typlen`: bytes of a value, -1 when that varies (RowDescription wants it).
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "it is the size of a value, not of a collection")]
    pub fn len(self) -> i16 {
        self.known().map_or(if self.is_enum() { 4 } else { -1 }, |k| k.len)
    }

    /// True for a type whose values all have the same stored size.
    #[must_use]
    pub fn is_fixed(self) -> bool {
        !matches!(self.oid, oids::NAME | oids::CHAR) && self.len() > 0
    }

    /// The class for conversions.
    #[must_use]
    pub fn class(self) -> TypeClass {
        match self.known() {
            Some(known) => known.class,
            None if self.is_enum() => TypeClass::Enum,
            None => TypeClass::Other,
        }
    }

    /// As `pg_type.typname` has it.
    #[must_use]
    pub fn catalog_name(self) -> &'static str {
        self.known().map_or("???", |k| k.name)
    }

    /// As error messages and format_type() without a modifier spell it: `integer`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.known().map_or("???", |k| k.spelled)
    }

    /// As format_type() spells it, with the modifier: `character(84)`.
    #[must_use]
    pub fn spelled(self) -> String {
        if let Some(n) = self.max_characters() {
            return format!("{}({n})", self.name());
        }
        match self.precision() {
            Some((p, s)) => format!("numeric({p},{s})"),
            None => self.name().to_owned(),
        }
    }

    /// True for text, varchar, char(n), name and "char".
    #[must_use]
    pub fn is_string(self) -> bool {
        self.class() == TypeClass::String
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_are_packed_as_postgresql_packs_them() {
        assert_eq!(SqlType::VARCHAR.with_length(10).typmod, 14);
        assert_eq!(SqlType::BPCHAR.with_length(84).spelled(), "character(84)");
        let n = SqlType::NUMERIC.with_precision(10, 2);
        assert_eq!(n.typmod, 655_366);
        assert_eq!(n.precision(), Some((10, 2)));
        assert_eq!(n.spelled(), "numeric(10,2)");
        assert_eq!(SqlType::INT4.max_characters(), None);
        assert_eq!(SqlType::TEXT.spelled(), "text");
    }
}
