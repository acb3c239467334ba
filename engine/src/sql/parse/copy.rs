//! COPY, with the options of PostgreSQL 9.0 and later and the older spelling without parentheses.

use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::parse_one;
use crate::sql::statement::{CopyFormat, CopySpec, StatementKind};
use crate::types::{SqlError, SqlResult, sqlstate};

/// Options as they were given; what is missing depends on the format.
#[derive(Default)]
struct Options {
    format: Option<CopyFormat>,
    delimiter: Option<String>,
    null: Option<String>,
    header: bool,
    quote: Option<String>,
    escape: Option<String>,
}

pub(super) fn parse(c: &mut Cursor<'_>) -> SqlResult<StatementKind> {
    let mut table = None;
    let mut columns = Vec::new();
    let mut query = None;
    if c.rest().starts_with('(') {
        let text = c.parenthesised()?;
        if !matches!(parse_one(text)?.kind, StatementKind::Query) {
            return Err(SqlError::unsupported("COPY of anything but a query"));
        }
        query = Some(text.to_owned());
    } else {
        table = Some(c.qualified()?);
        if c.eat_token(&Token::LParen) {
            columns = c.list(Cursor::identifier)?;
        }
    }
    let from = query.is_none() && c.eat("FROM");
    if !from {
        c.expect("TO")?;
    }
    if !(c.eat("STDIN") || c.eat("STDOUT")) {
        return Err(SqlError::unsupported("COPY with a file or a program"));
    }
    let options = options(c)?;
    if from && c.eat("WHERE") {
        return Err(SqlError::unsupported("COPY FROM with WHERE"));
    }
    c.finish()?;
    let spec = finish(options, table, columns, query)?;
    Ok(if from { StatementKind::CopyFrom(spec) } else { StatementKind::CopyTo(spec) })
}

fn options(c: &mut Cursor<'_>) -> SqlResult<Options> {
    let mut options = Options::default();
    c.eat("WITH");
    if c.eat_token(&Token::LParen) {
        c.list(|c| option(c, &mut options))?;
        return Ok(options);
    }
    while !c.at_end() {
        if c.eat("BINARY") {
            options.format = Some(CopyFormat::Binary);
        } else if c.eat("CSV") {
            options.format = Some(CopyFormat::Csv);
        } else if c.eat("HEADER") {
            options.header = true;
        } else if c.eat("FREEZE") {
            // The rows' versions are made like all others here; there is nothing to freeze.
        } else {
            let name = c.identifier()?;
            c.eat("AS");
            let value = c.string()?;
            set(&mut options, &name, value).ok_or_else(|| c.error())?;
        }
    }
    Ok(options)
}

fn option(c: &mut Cursor<'_>, options: &mut Options) -> SqlResult<()> {
    let name = c.identifier()?;
    match name.as_str() {
        "format" => {
            let format = c.value()?;
            options.format = Some(match format.as_str() {
                "text" => CopyFormat::Text,
                "csv" => CopyFormat::Csv,
                "binary" => CopyFormat::Binary,
                _ => {
                    let message = format!("COPY format \"{format}\" not recognized");
                    return Err(SqlError::new(sqlstate::INVALID_PARAMETER_VALUE, message));
                }
            });
        }
        "freeze" => {
            boolean(c)?;
        }
        "header" => options.header = boolean(c)?,
        "encoding" => {
            let encoding = c.value()?.to_ascii_lowercase();
            if !matches!(encoding.as_str(), "utf8" | "utf-8") {
                return Err(SqlError::unsupported(format!("COPY with encoding {encoding}")));
            }
        }
        _ => {
            let value = c.value()?;
            set(options, &name, value)
                .ok_or_else(|| SqlError::syntax(format!("option \"{name}\" not recognized")))?;
        }
    }
    Ok(())
}

/// True without a value.
fn boolean(c: &mut Cursor<'_>) -> SqlResult<bool> {
    let Ok(value) = c.value() else { return Ok(true) };
    match value.to_ascii_lowercase().as_str() {
        "on" | "true" | "1" => Ok(true),
        "off" | "false" | "0" => Ok(false),
        _ => Err(SqlError::syntax(format!("a COPY option requires a Boolean value, not \"{value}\""))),
    }
}

fn set(options: &mut Options, name: &str, value: String) -> Option<()> {
    match name {
        "delimiter" => options.delimiter = Some(value),
        "null" => options.null = Some(value),
        "quote" => options.quote = Some(value),
        "escape" => options.escape = Some(value),
        _ => return None,
    }
    Some(())
}

fn one_byte(value: Option<String>, default: u8, what: &str) -> SqlResult<u8> {
    match value.as_deref().map(str::as_bytes) {
        None => Ok(default),
        Some([b]) if !matches!(b, b'\n' | b'\r') => Ok(*b),
        Some(_) => {
            Err(SqlError::unsupported(format!("a COPY {what} that is not a single one-byte character")))
        }
    }
}

fn finish(
    options: Options,
    table: Option<(Option<String>, String)>,
    columns: Vec<String>,
    query: Option<String>,
) -> SqlResult<CopySpec> {
    let format = options.format.unwrap_or(CopyFormat::Text);
    let csv = format == CopyFormat::Csv;
    let quote = one_byte(options.quote, b'"', "quote")?;
    Ok(CopySpec {
        format,
        delimiter: one_byte(options.delimiter, if csv { b',' } else { b'\t' }, "delimiter")?,
        null: options.null.unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() }),
        header: options.header,
        quote,
        escape: one_byte(options.escape, quote, "escape")?,
        table,
        columns,
        query,
    })
}

/// The query whose rows COPY TO writes.
pub(super) fn source(spec: &CopySpec) -> String {
    let quoted = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
    match (&spec.query, &spec.table) {
        (Some(query), _) => query.clone(),
        (None, Some((schema, table))) => {
            let columns: Vec<String> = spec.columns.iter().map(quoted).collect();
            let columns = if columns.is_empty() { "*".to_owned() } else { columns.join(", ") };
            let schema = schema.as_ref().map_or(String::new(), |s| format!("{}.", quoted(s)));
            format!("SELECT {columns} FROM {schema}{}", quoted(table))
        }
        (None, None) => String::new(),
    }
}
