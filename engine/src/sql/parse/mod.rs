//! Text to syntax trees: session statements by a cursor over tokens, the rest by `sqlparser`'s PostgreSQL grammar.
//!
//! What must hold: no input panics or recurses without bound; a syntax error is 42601 in PostgreSQL's words, with a
//! position in characters.

mod concurrent;
mod copy;
mod cursor;
mod depth;
mod kept_types;
mod labels;
pub(crate) mod locking;
mod rename;
mod session;
mod split;
mod type_ddl;
mod view;

use std::sync::Arc;

use sqlparser::ast::Statement;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

pub(crate) use kept_types::{keeps_type, kept_type, with_kept_types};
pub(crate) use labels::{has_literal, relabelled};
pub(crate) use rename::{Renaming, rename};
pub(crate) use view::is_alter_view;

use super::explain::ExplainOptions;
use super::names;
use super::statement::{Body, ParsedStatement, StatementKind};
use crate::types::{SqlError, SqlResult, sqlstate};

/// How deep expressions and subqueries may nest. The grammar descends on the stack.
const DEPTH_MAX: usize = 50;

const END_OF_INPUT: &str = "syntax error at end of input";

/// Parses a query string: its statements in order, none when it is empty. An error in any of them refuses all, as
/// PostgreSQL does.
pub fn parse(sql: &str) -> SqlResult<Vec<ParsedStatement>> {
    let parts = split::split(sql);
    let mut statements = Vec::with_capacity(parts.len());
    for (from, to) in parts {
        let lead = sql[from..to].len() - sql[from..to].trim_start().len();
        let text = sql[from..to].trim();
        let before = sql[..from + lead].chars().count();
        let statement = parse_one(text).map_err(|e| match sql.as_bytes().get(to) {
            // The statement ended too early at its semicolon.
            Some(b';') if e.message == END_OF_INPUT => {
                let at = e.position.unwrap_or(1);
                SqlError::syntax("syntax error at or near \";\"").position(at)
            }
            _ => e,
        });
        statements.push(statement.map_err(|e| match e.position {
            Some(at) => e.position(before + at),
            None => e,
        })?);
    }
    Ok(statements)
}

/// Parses one statement without its semicolon.
pub(super) fn parse_one(text: &str) -> SqlResult<ParsedStatement> {
    if split::is_blank(text) {
        return Ok(ParsedStatement { text: text.into(), kind: StatementKind::Empty, body: Body::None });
    }
    let mut tokens = tokens(text)?;
    let alters_view = view::rewrite(&mut tokens)?;
    let drops_concurrently = concurrent::rewrite(&mut tokens);
    let mut cursor = cursor::Cursor::new(text, &tokens);
    if let Some(kind) = session::parse(&mut cursor)? {
        let body = match &kind {
            StatementKind::CopyTo(spec) => Body::Sql(Arc::new(grammar(&copy::source(spec), None)?)),
            _ => Body::None,
        };
        return Ok(ParsedStatement { text: text.into(), kind, body });
    }
    if let Some(statement) = type_ddl::parse(&mut cursor)? {
        let body = Body::Type(Arc::new(statement));
        return Ok(ParsedStatement { text: text.into(), kind: StatementKind::Ddl, body });
    }
    // TABLE t is SELECT * FROM t; the grammar knows it only inside of queries.
    let mut statement = match cursor.eat("TABLE") {
        true => grammar(&format!("SELECT * FROM {}", cursor.rest()), None)?,
        false => grammar(text, Some(tokens))?,
    };
    if alters_view {
        view::mark(&mut statement);
    }
    Ok(ParsedStatement {
        text: text.into(),
        kind: if drops_concurrently { StatementKind::DropIndexConcurrently } else { kind_of(&statement)? },
        body: Body::Sql(Arc::new(statement)),
    })
}

/// An expression alone: a column's DEFAULT as the catalog keeps it.
pub(super) fn parse_expression(text: &str) -> SqlResult<sqlparser::ast::Expr> {
    let tokens = tokens(text)?;
    depth::check(&tokens)?;
    parser(tokens).parse_expr().map_err(|e| from_parser(text, &e))
}

/// A statement of the SQL grammar that is made here, from names of another.
pub(super) fn query(text: &str) -> SqlResult<Statement> {
    grammar(text, None)
}

/// The query of a view, as the catalog keeps it.
pub(crate) fn parse_view(text: &str) -> SqlResult<sqlparser::ast::Query> {
    match grammar(text, None)? {
        Statement::Query(query) => Ok(*query),
        _ => Err(SqlError::corrupt("the text of a view is no query")),
    }
}

fn tokens(text: &str) -> SqlResult<Vec<TokenWithSpan>> {
    let mut tokens = Tokenizer::new(&PostgreSqlDialect {}, text)
        .tokenize_with_location()
        .map_err(|e| SqlError::syntax(e.message.clone()).position(position(text, e.location)))?;
    tokens.retain(|t| !matches!(t.token, Token::Whitespace(_)));
    Ok(tokens)
}

fn parser(tokens: Vec<TokenWithSpan>) -> Parser<'static> {
    Parser::new(&PostgreSqlDialect {}).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens)
}

fn grammar(text: &str, known: Option<Vec<TokenWithSpan>>) -> SqlResult<Statement> {
    let tokens = match known {
        Some(tokens) => tokens,
        None => tokens(text)?,
    };
    depth::check(&tokens)?;
    let mut parser = parser(locking::rewrite(tokens)?);
    let statement = parser.parse_statement().map_err(|e| from_parser(text, &e))?;
    let next = parser.peek_token();
    if next.token == Token::EOF {
        Ok(statement)
    } else {
        Err(near(text, &next.token.to_string(), next.span.start))
    }
}

/// `syntax error at or near "x"`.
fn near(text: &str, token: &str, at: Location) -> SqlError {
    SqlError::syntax(format!("syntax error at or near \"{token}\"")).position(position(text, at))
}

fn at_end_of_input(text: &str) -> SqlError {
    SqlError::syntax(END_OF_INPUT).position(text.chars().count() + 1)
}

/// A location as a count of characters from 1.
fn position(text: &str, at: Location) -> usize {
    cursor::byte_offset(text, at).map_or(1, |bytes| text[..bytes].chars().count() + 1)
}

/// sqlparser says "Expected: something, found: token at Line: 1, Column: 8"; PostgreSQL names the token alone.
fn from_parser(text: &str, error: &ParserError) -> SqlError {
    let message = match error {
        ParserError::RecursionLimitExceeded => {
            let message = "the statement is nested too deeply";
            return SqlError::new(sqlstate::STATEMENT_TOO_COMPLEX, message);
        }
        ParserError::TokenizerError(m) | ParserError::ParserError(m) => m,
    };
    let Some((_, found)) = message.rsplit_once("found: ") else {
        return SqlError::syntax(message.clone());
    };
    if found.starts_with("EOF") {
        return at_end_of_input(text);
    }
    match found.rsplit_once(" at Line: ").and_then(|(token, at)| Some((token, location(at)?))) {
        Some((token, at)) => near(text, token, at),
        None => SqlError::syntax(format!("syntax error at or near \"{found}\"")),
    }
}

/// "1, Column: 8".
fn location(text: &str) -> Option<Location> {
    let (line, column) = text.split_once(", Column: ")?;
    Some(Location::new(line.trim().parse().ok()?, column.trim().parse().ok()?))
}

fn kind_of(statement: &Statement) -> SqlResult<StatementKind> {
    Ok(match statement {
        Statement::Query(_) => StatementKind::Query,
        Statement::Insert(_) => StatementKind::Insert,
        Statement::Update(_) => StatementKind::Update,
        Statement::Delete(_) => StatementKind::Delete,
        explain @ Statement::Explain { statement, .. } => {
            let runs = ExplainOptions::of(explain)?.analyze;
            StatementKind::Explain(if runs { Some(Box::new(kind_of(statement)?)) } else { None })
        }
        Statement::Lock(_) => StatementKind::Lock,
        Statement::CreateIndex(create) if create.concurrently => StatementKind::CreateIndexConcurrently,
        Statement::CreateTable(_)
        | Statement::CreateIndex(_)
        | Statement::CreateSequence { .. }
        | Statement::CreateSchema { .. }
        | Statement::CreateView(_)
        | Statement::AlterTable(_)
        | Statement::Drop { .. }
        | Statement::Truncate(_) => StatementKind::Ddl,
        other => {
            let text = other.to_string();
            let words: Vec<&str> = text.split_whitespace().take(2).collect();
            return Err(SqlError::unsupported(words.join(" ").to_uppercase()));
        }
    })
}

#[cfg(test)]
mod tests;
