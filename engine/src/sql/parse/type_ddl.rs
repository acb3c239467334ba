//! CREATE, ALTER and DROP of TYPE and DOMAIN.

use sqlparser::ast::Statement;
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use crate::sql::statement::{DomainChange, DropTypes, NewLabel, QualifiedName, TypeChange, TypeStatement};
use crate::types::{SqlError, SqlResult};

/// The statement, if it is one of these.
pub(super) fn parse(c: &mut Cursor<'_>) -> SqlResult<Option<TypeStatement>> {
    let statement = if c.eat_all(&["CREATE", "TYPE"]) {
        create(c)?
    } else if c.eat_all(&["ALTER", "TYPE"]) {
        let name = c.qualified()?;
        TypeStatement::Alter { name, change: change(c)? }
    } else if c.eat_all(&["CREATE", "DOMAIN"]) {
        create_domain(c)?
    } else if c.eat_all(&["ALTER", "DOMAIN"]) {
        let name = c.qualified()?;
        TypeStatement::AlterDomain { name, change: domain_change(c)? }
    } else if c.eat_all(&["DROP", "TYPE"]) {
        drop(c, false)?
    } else if c.eat_all(&["DROP", "DOMAIN"]) {
        drop(c, true)?
    } else {
        return Ok(None);
    };
    c.finish()?;
    Ok(Some(statement))
}

fn create(c: &mut Cursor<'_>) -> SqlResult<TypeStatement> {
    let name = c.qualified()?;
    if c.at_end() || c.eat_token(&Token::LParen) {
        return Err(SqlError::unsupported("CREATE TYPE of a base type"));
    }
    c.expect("AS")?;
    if c.eat("RANGE") {
        return Err(SqlError::unsupported("CREATE TYPE of a range type"));
    }
    if !c.eat("ENUM") {
        c.expect_token(&Token::LParen)?;
        return Err(SqlError::unsupported("CREATE TYPE of a composite type"));
    }
    c.expect_token(&Token::LParen)?;
    let labels = if c.eat_token(&Token::RParen) { Vec::new() } else { c.list(Cursor::string)? };
    Ok(TypeStatement::CreateEnum { name, labels })
}

fn change(c: &mut Cursor<'_>) -> SqlResult<TypeChange> {
    if c.eat_all(&["ADD", "VALUE"]) {
        let if_not_exists = c.eat_all(&["IF", "NOT", "EXISTS"]);
        let label = c.string()?;
        let beside = if c.eat("BEFORE") {
            Some((true, c.string()?))
        } else if c.eat("AFTER") {
            Some((false, c.string()?))
        } else {
            None
        };
        return Ok(TypeChange::AddValue(NewLabel { if_not_exists, label, beside }));
    }
    if c.eat_all(&["RENAME", "VALUE"]) {
        let from = c.string()?;
        c.expect("TO")?;
        return Ok(TypeChange::RenameValue { from, to: c.string()? });
    }
    if let Some(change) = change_of_all(c)? {
        return Ok(change);
    }
    let attribute = ["ADD", "DROP", "ALTER", "RENAME"].iter().any(|word| c.eat_all(&[word, "ATTRIBUTE"]));
    Err(if attribute { SqlError::unsupported("ALTER TYPE of a composite type") } else { c.error() })
}

/// What may be changed of types of every kind.
fn change_of_all(c: &mut Cursor<'_>) -> SqlResult<Option<TypeChange>> {
    Ok(if c.eat_all(&["RENAME", "TO"]) {
        Some(TypeChange::Rename(c.identifier()?))
    } else if c.eat_all(&["SET", "SCHEMA"]) {
        Some(TypeChange::SetSchema(c.identifier()?))
    } else if c.eat_all(&["OWNER", "TO"]) {
        c.identifier()?;
        Some(TypeChange::Owner)
    } else {
        None
    })
}

/// The definition is read as that of a column, which has the same parts.
fn create_domain(c: &mut Cursor<'_>) -> SqlResult<TypeStatement> {
    let name = c.qualified()?;
    c.eat("AS");
    if c.at_end() {
        return Err(c.error());
    }
    let table = super::grammar(&format!("CREATE TABLE domain (value {})", c.take_rest()), None)?;
    match table {
        Statement::CreateTable(mut create) if create.columns.len() == 1 && create.constraints.is_empty() => {
            let definition = Box::new(create.columns.remove(0));
            Ok(TypeStatement::CreateDomain { name, definition })
        }
        _ => Err(SqlError::syntax("syntax error at or near \",\"")),
    }
}

fn domain_change(c: &mut Cursor<'_>) -> SqlResult<DomainChange> {
    use DomainChange as D;
    Ok(if c.eat_all(&["SET", "DEFAULT"]) {
        D::SetDefault(Box::new(super::parse_expression(c.take_rest())?))
    } else if c.eat_all(&["DROP", "DEFAULT"]) {
        D::DropDefault
    } else if c.eat_all(&["SET", "NOT", "NULL"]) {
        D::SetNotNull
    } else if c.eat_all(&["DROP", "NOT", "NULL"]) {
        D::DropNotNull
    } else if c.eat("ADD") {
        let name = if c.eat("CONSTRAINT") { Some(c.identifier()?) } else { None };
        c.expect("CHECK")?;
        let condition = Box::new(super::parse_expression(c.parenthesised()?)?);
        D::Add { name, condition, valid: !c.eat_all(&["NOT", "VALID"]) }
    } else if c.eat_all(&["DROP", "CONSTRAINT"]) {
        let if_exists = c.eat_all(&["IF", "EXISTS"]);
        let name = c.identifier()?;
        let _ = c.eat("CASCADE") || c.eat("RESTRICT");
        D::Drop { name, if_exists }
    } else if c.eat_all(&["VALIDATE", "CONSTRAINT"]) {
        D::Validate(c.identifier()?)
    } else if c.eat_all(&["RENAME", "CONSTRAINT"]) {
        let from = c.identifier()?;
        c.expect("TO")?;
        D::RenameConstraint { from, to: c.identifier()? }
    } else {
        D::Type(change_of_all(c)?.ok_or_else(|| c.error())?)
    })
}

fn drop(c: &mut Cursor<'_>, domains: bool) -> SqlResult<TypeStatement> {
    let if_exists = c.eat_all(&["IF", "EXISTS"]);
    let mut names: Vec<QualifiedName> = vec![c.qualified()?];
    while c.eat_token(&Token::Comma) {
        names.push(c.qualified()?);
    }
    let cascade = c.eat("CASCADE");
    if !cascade {
        c.eat("RESTRICT");
    }
    Ok(TypeStatement::Drop(DropTypes { names, domains, if_exists, cascade }))
}
