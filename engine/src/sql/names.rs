//! Names and type names of the syntax tree.

use sqlparser::ast::{
    CharacterLength, DataType, ExactNumberInfo, Ident, ObjectName, ObjectNamePart, TimezoneInfo,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use crate::types::{SqlError, SqlResult, SqlType, sqlstate};

/// An identifier as SQL compares it: folded to lower case unless it was quoted.
pub(crate) fn fold(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// An identifier as it must be written: in quotes, unless it comes out of the grammar as it is.
pub(crate) fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if starts && name.chars().all(plain) && !is_reserved(name) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Keywords that cannot stand for a name by themselves (P15, Appendix C).
fn is_reserved(name: &str) -> bool {
    const WORDS: &str = " all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean \
        both case cast char character check coalesce collate collation column concurrently constraint create cross \
        current_catalog current_date current_role current_schema current_time current_timestamp current_user dec decimal \
        default deferrable desc distinct do else end except exists extract false fetch float for foreign freeze from full \
        grant greatest group having ilike in initially inner inout int integer intersect interval into is isnull join \
        lateral leading least left like limit localtime localtimestamp national natural nchar none normalize not notnull \
        null nullif numeric offset on only or order out outer overlaps overlay placing position precision primary real \
        references returning right row select session_user setof similar smallint some substring symmetric table \
        tablesample then time timestamp to trailing treat trim true union unique user using values varchar variadic \
        verbose when where window with xmlattributes xmlconcat xmlelement ";
    WORDS.contains(&format!(" {name} "))
}

/// The parts of a dotted name.
pub(crate) fn parts(name: &ObjectName) -> SqlResult<Vec<String>> {
    name.0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) => Ok(fold(ident)),
            ObjectNamePart::Function(_) => {
                Err(SqlError::syntax(format!("syntax error at or near \"{name}\"")))
            }
        })
        .collect()
}

/// `name` or `schema.name` (or `database.schema.name`, whose database is not looked at).
pub(crate) fn qualified(name: &ObjectName) -> SqlResult<(Option<String>, String)> {
    let mut parts = parts(name)?;
    let last = parts.pop().ok_or_else(|| SqlError::syntax("a name is missing"))?;
    match parts.len() {
        0..=2 => Ok((parts.pop(), last)),
        _ => Err(SqlError::syntax(format!("improper qualified name (too many dotted names): {name}"))),
    }
}

/// A list of type names separated by commas.
pub(crate) fn data_types(list: &str) -> SqlResult<Vec<DataType>> {
    let dialect = PostgreSqlDialect {};
    let bad = |e: sqlparser::parser::ParserError| SqlError::syntax(e.to_string());
    let mut parser = Parser::new(&dialect).try_with_sql(list).map_err(bad)?;
    parser.parse_comma_separated(Parser::parse_data_type).map_err(bad)
}

fn length(ty: SqlType, length: Option<&CharacterLength>, default: Option<u32>) -> SqlResult<SqlType> {
    let given = match length {
        Some(CharacterLength::IntegerLength { length, .. }) => Some(*length),
        Some(CharacterLength::Max) => return Err(SqlError::syntax("syntax error at or near \"max\"")),
        None => None,
    };
    let Some(n) = given.or(default.map(u64::from)) else { return Ok(ty) };
    let spelled = ty.catalog_name().trim_start_matches("bp");
    if n == 0 {
        let message = format!("length for type {spelled} must be at least 1");
        return Err(SqlError::new(sqlstate::INVALID_PARAMETER_VALUE, message));
    }
    match u32::try_from(n) {
        Ok(n) if n <= 10_485_760 => Ok(ty.with_length(n)),
        _ => {
            let message = format!("length for type {spelled} cannot exceed 10485760");
            Err(SqlError::new(sqlstate::INVALID_PARAMETER_VALUE, message))
        }
    }
}

fn numeric(info: &ExactNumberInfo) -> SqlResult<SqlType> {
    let (precision, scale) = match *info {
        ExactNumberInfo::None => return Ok(SqlType::NUMERIC),
        ExactNumberInfo::Precision(p) => (p, 0),
        ExactNumberInfo::PrecisionAndScale(p, s) => (p, s),
    };
    let refused = |message: String| SqlError::new(sqlstate::INVALID_PARAMETER_VALUE, message);
    let p = u16::try_from(precision)
        .ok()
        .filter(|p| (1..=1000).contains(p))
        .ok_or_else(|| refused(format!("NUMERIC precision {precision} must be between 1 and 1000")))?;
    let s = u16::try_from(scale)
        .ok()
        .filter(|s| *s <= p)
        .ok_or_else(|| SqlError::unsupported(format!("NUMERIC scale {scale} with precision {precision}")))?;
    Ok(SqlType::NUMERIC.with_precision(p, s))
}

/// The type that a type name means.
pub(crate) fn sql_type(ty: &DataType) -> SqlResult<SqlType> {
    use DataType as D;
    Ok(match ty {
        D::Boolean | D::Bool => SqlType::BOOL,
        D::SmallInt(None) | D::Int2(None) => SqlType::INT2,
        D::Int(None) | D::Integer(None) | D::Int4(None) => SqlType::INT4,
        D::BigInt(None) | D::Int8(None) => SqlType::INT8,
        D::Real | D::Float4 => SqlType::FLOAT4,
        D::DoublePrecision | D::Float8 | D::Double(ExactNumberInfo::None) => SqlType::FLOAT8,
        D::Float(ExactNumberInfo::Precision(1..=24)) => SqlType::FLOAT4,
        D::Float(ExactNumberInfo::None | ExactNumberInfo::Precision(25..=53)) => SqlType::FLOAT8,
        D::Numeric(info) | D::Decimal(info) | D::Dec(info) => numeric(info)?,
        D::Text => SqlType::TEXT,
        D::Varchar(n) | D::CharacterVarying(n) | D::CharVarying(n) => {
            length(SqlType::VARCHAR, n.as_ref(), None)?
        }
        D::Char(n) | D::Character(n) => length(SqlType::BPCHAR, n.as_ref(), Some(1))?,
        D::Bytea => SqlType::BYTEA,
        D::Date => SqlType::DATE,
        D::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => SqlType::TIMESTAMP,
        D::Timestamp(_, _) => SqlType::TIMESTAMPTZ,
        D::Regclass => SqlType::REGCLASS,
        D::Custom(name, modifiers) if modifiers.is_empty() => custom(name)?,
        other => return Err(undefined(&other.to_string())),
    })
}

fn custom(name: &ObjectName) -> SqlResult<SqlType> {
    let (schema, name) = qualified(name)?;
    if !matches!(schema.as_deref(), None | Some("pg_catalog")) {
        return Err(undefined(&name));
    }
    SqlType::from_name(&name).ok_or_else(|| undefined(&name))
}

fn undefined(name: &str) -> SqlError {
    SqlError::new(sqlstate::UNDEFINED_OBJECT, format!("type \"{}\" does not exist", name.to_lowercase()))
}
