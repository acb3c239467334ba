//! Statements that steer the session: BEGIN, SET, SHOW, cursors, prepared statements ...

use std::sync::Arc;

use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::{names, parse_one};
use crate::sql::statement::{
    ConstraintSettings, IsolationLevel, ParsedStatement, ReindexSpec, StatementKind, TransactionModes,
    VacuumSpec,
};
use crate::types::{SqlError, SqlResult};

/// The kind of a session statement; `None` when the SQL grammar must read it.
pub(super) fn parse(c: &mut Cursor<'_>) -> SqlResult<Option<StatementKind>> {
    let kind = if c.eat("BEGIN") {
        let _ = c.eat("WORK") || c.eat("TRANSACTION");
        StatementKind::Begin(modes(c)?)
    } else if c.eat_all(&["START", "TRANSACTION"]) {
        StatementKind::Begin(modes(c)?)
    } else if c.eat("COMMIT") || c.eat("END") {
        let chain = chain(c)?;
        StatementKind::Commit { chain }
    } else if c.eat("ROLLBACK") || c.eat("ABORT") {
        rollback(c)?
    } else if c.eat("SAVEPOINT") {
        StatementKind::Savepoint(c.identifier()?)
    } else if c.eat("RELEASE") {
        c.eat("SAVEPOINT");
        StatementKind::Release(c.identifier()?)
    } else if c.eat("SET") {
        set(c)?
    } else if c.eat("SHOW") {
        StatementKind::Show(setting_name(c)?)
    } else if c.eat("RESET") {
        if c.eat("ALL") { StatementKind::Reset(None) } else { StatementKind::Reset(Some(setting_name(c)?)) }
    } else if c.eat("DISCARD") {
        StatementKind::Discard(discard(c)?)
    } else {
        return prepared_or_cursor(c);
    };
    c.finish()?;
    Ok(Some(kind))
}

fn prepared_or_cursor(c: &mut Cursor<'_>) -> SqlResult<Option<StatementKind>> {
    let kind = if c.eat("PREPARE") {
        return prepare(c).map(Some);
    } else if c.eat("EXECUTE") {
        let name = c.identifier()?;
        let parameters =
            if c.at_end() { None } else { Some(inner(&format!("SELECT {}", c.parenthesised()?))?) };
        StatementKind::Execute { name, parameters }
    } else if c.eat("DEALLOCATE") {
        c.eat("PREPARE");
        StatementKind::Deallocate(all_or_name(c)?)
    } else if c.eat("DECLARE") {
        return declare(c).map(Some);
    } else if c.eat("FETCH") {
        fetch(c)?
    } else if c.eat("CLOSE") {
        StatementKind::Close(all_or_name(c)?)
    } else if c.eat("LISTEN") {
        StatementKind::Listen(c.identifier()?)
    } else if c.eat("UNLISTEN") {
        StatementKind::Unlisten(if c.eat_token(&Token::Mul) { "*".to_owned() } else { c.identifier()? })
    } else if c.eat("NOTIFY") {
        let channel = c.identifier()?;
        let payload = if c.eat_token(&Token::Comma) { c.string()? } else { String::new() };
        StatementKind::Notify { channel, payload }
    } else if c.eat("REINDEX") {
        StatementKind::Reindex(reindex(c)?)
    } else if c.eat("VACUUM") {
        StatementKind::Vacuum(vacuum(c, true)?)
    } else if c.eat("ANALYZE") || c.eat("ANALYSE") {
        StatementKind::Vacuum(vacuum(c, false)?)
    } else if c.eat("COPY") {
        return super::copy::parse(c).map(Some);
    } else {
        return Ok(None);
    };
    c.finish()?;
    Ok(Some(kind))
}

fn chain(c: &mut Cursor<'_>) -> SqlResult<bool> {
    let _ = c.eat("WORK") || c.eat("TRANSACTION");
    if c.eat("PREPARED") {
        return Err(SqlError::unsupported("two-phase commit"));
    }
    if !c.eat("AND") {
        return Ok(false);
    }
    let no = c.eat("NO");
    c.expect("CHAIN")?;
    Ok(!no)
}

fn rollback(c: &mut Cursor<'_>) -> SqlResult<StatementKind> {
    let chain = chain(c)?;
    if c.eat("TO") {
        c.eat("SAVEPOINT");
        return Ok(StatementKind::RollbackTo(c.identifier()?));
    }
    Ok(StatementKind::Rollback { chain })
}

fn modes(c: &mut Cursor<'_>) -> SqlResult<TransactionModes> {
    let mut modes = TransactionModes::default();
    while !c.at_end() {
        c.eat_token(&Token::Comma);
        if c.eat_all(&["ISOLATION", "LEVEL"]) {
            modes.isolation = Some(isolation(c)?);
        } else if c.eat_all(&["READ", "ONLY"]) {
            modes.read_only = Some(true);
        } else if c.eat_all(&["READ", "WRITE"]) {
            modes.read_only = Some(false);
        } else {
            let not = c.eat("NOT");
            c.expect("DEFERRABLE")?;
            modes.deferrable = Some(!not);
        }
    }
    Ok(modes)
}

fn isolation(c: &mut Cursor<'_>) -> SqlResult<IsolationLevel> {
    if c.eat_all(&["READ", "UNCOMMITTED"]) {
        Ok(IsolationLevel::ReadUncommitted)
    } else if c.eat_all(&["READ", "COMMITTED"]) {
        Ok(IsolationLevel::ReadCommitted)
    } else if c.eat_all(&["REPEATABLE", "READ"]) {
        Ok(IsolationLevel::RepeatableRead)
    } else {
        c.expect("SERIALIZABLE")?;
        Ok(IsolationLevel::Serializable)
    }
}

fn set(c: &mut Cursor<'_>) -> SqlResult<StatementKind> {
    if c.eat_all(&["SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]) {
        let modes = modes(c)?;
        return Ok(StatementKind::SetTransaction { session: true, modes });
    }
    if c.eat("CONSTRAINTS") {
        return constraints(c);
    }
    let local = c.eat("LOCAL");
    if c.eat("TRANSACTION") {
        let modes = modes(c)?;
        return Ok(StatementKind::SetTransaction { session: false, modes });
    }
    let set = |name: &str, value| StatementKind::Set { name: name.to_owned(), value, local };
    if c.eat_all(&["SESSION", "AUTHORIZATION"]) {
        return Ok(set("session_authorization", default_or(c, |c| c.value())?));
    }
    c.eat("SESSION");
    if c.eat_all(&["TIME", "ZONE"]) {
        let value = if c.eat("LOCAL") { None } else { default_or(c, |c| c.value())? };
        return Ok(set("timezone", value));
    }
    if c.eat("NAMES") {
        let value = if c.at_end() { None } else { default_or(c, |c| c.value())? };
        return Ok(set("client_encoding", value));
    }
    if c.eat("ROLE") {
        return Ok(set("role", default_or(c, |c| c.value())?));
    }
    let name = setting_name(c)?;
    if !c.eat_token(&Token::Eq) {
        c.expect("TO")?;
    }
    let value = default_or(c, |c| {
        let mut value = c.value()?;
        while c.eat_token(&Token::Comma) {
            value.push_str(", ");
            value.push_str(&c.value()?);
        }
        Ok(value)
    })?;
    Ok(set(&name, value))
}

fn constraints(c: &mut Cursor<'_>) -> SqlResult<StatementKind> {
    let mut names = Vec::new();
    if !c.eat("ALL") {
        names.push(c.qualified()?);
        while c.eat_token(&Token::Comma) {
            names.push(c.qualified()?);
        }
    }
    let deferred = c.eat("DEFERRED");
    if !deferred {
        c.expect("IMMEDIATE")?;
    }
    Ok(StatementKind::SetConstraints(ConstraintSettings { names, deferred }))
}

fn default_or(
    c: &mut Cursor<'_>,
    value: impl FnOnce(&mut Cursor<'_>) -> SqlResult<String>,
) -> SqlResult<Option<String>> {
    if c.eat("DEFAULT") { Ok(None) } else { value(c).map(Some) }
}

/// A setting's name in lower case; the ones that are spelled in several words have one.
fn setting_name(c: &mut Cursor<'_>) -> SqlResult<String> {
    if c.eat_all(&["TIME", "ZONE"]) {
        return Ok("timezone".to_owned());
    }
    if c.eat_all(&["TRANSACTION", "ISOLATION", "LEVEL"]) {
        return Ok("transaction_isolation".to_owned());
    }
    if c.eat_all(&["SESSION", "AUTHORIZATION"]) {
        return Ok("session_authorization".to_owned());
    }
    let mut name = c.identifier()?.to_lowercase();
    while c.eat_token(&Token::Period) {
        name.push('.');
        name.push_str(&c.identifier()?.to_lowercase());
    }
    Ok(name)
}

fn discard(c: &mut Cursor<'_>) -> SqlResult<String> {
    for word in ["ALL", "PLANS", "SEQUENCES", "TEMP"] {
        if c.eat(word) {
            return Ok(word.to_owned());
        }
    }
    c.expect("TEMPORARY")?;
    Ok("TEMP".to_owned())
}

fn all_or_name(c: &mut Cursor<'_>) -> SqlResult<Option<String>> {
    if c.eat("ALL") { Ok(None) } else { c.identifier().map(Some) }
}

fn inner(text: &str) -> SqlResult<Arc<ParsedStatement>> {
    parse_one(text).map(Arc::new)
}

fn prepare(c: &mut Cursor<'_>) -> SqlResult<StatementKind> {
    let name = c.identifier()?;
    let mut types = Vec::new();
    if !c.eat("AS") {
        let list = c.parenthesised()?;
        types = names::data_types(list)?;
        c.expect("AS")?;
    }
    let statement = inner(c.rest())?;
    if !statement.kind.is_executed() {
        return Err(c.error());
    }
    Ok(StatementKind::Prepare { name, types, statement })
}

fn declare(c: &mut Cursor<'_>) -> SqlResult<StatementKind> {
    let name = c.identifier()?;
    let mut scroll = false;
    loop {
        if c.eat("BINARY") {
            return Err(SqlError::unsupported("a binary cursor"));
        } else if c.eat_all(&["NO", "SCROLL"]) || c.eat("INSENSITIVE") || c.eat("ASENSITIVE") {
        } else if c.eat("SCROLL") {
            scroll = true;
        } else {
            break;
        }
    }
    c.expect("CURSOR")?;
    let hold = c.eat_all(&["WITH", "HOLD"]);
    c.eat_all(&["WITHOUT", "HOLD"]);
    c.expect("FOR")?;
    let query = inner(c.rest())?;
    if !matches!(query.kind, StatementKind::Query) {
        return Err(c.error());
    }
    Ok(StatementKind::Declare { name, hold, scroll, query })
}

fn fetch(c: &mut Cursor<'_>) -> SqlResult<StatementKind> {
    let mut count = Some(1);
    let backward = ["PRIOR", "BACKWARD", "FIRST", "LAST", "ABSOLUTE", "RELATIVE"];
    if backward.iter().any(|w| c.eat(w)) {
        return Err(SqlError::unsupported("moving a cursor other than forward"));
    }
    if c.eat("NEXT") {
    } else if c.eat("ALL") {
        count = None;
    } else {
        let forward = c.eat("FORWARD");
        if forward && c.eat("ALL") {
            count = None;
        } else if let Some(n) = c.integer()? {
            count = Some(n);
        }
    }
    let _ = c.eat("FROM") || c.eat("IN");
    let name = c.identifier()?;
    if count.is_some_and(|n| n < 0) {
        return Err(SqlError::unsupported("moving a cursor other than forward"));
    }
    Ok(StatementKind::Fetch { name, count })
}

fn reindex(c: &mut Cursor<'_>) -> SqlResult<ReindexSpec> {
    if c.eat_token(&Token::LParen) {
        return Err(SqlError::unsupported("REINDEX with options"));
    }
    let table = c.eat("TABLE");
    if !table && !c.eat("INDEX") {
        let whole = ["SCHEMA", "DATABASE", "SYSTEM"].into_iter().find(|word| c.eat(word));
        return Err(whole.map_or_else(|| c.error(), |word| SqlError::unsupported(format!("REINDEX {word}"))));
    }
    if c.eat("CONCURRENTLY") {
        return Err(SqlError::unsupported("REINDEX CONCURRENTLY"));
    }
    Ok(ReindexSpec { table, name: c.qualified()? })
}

fn vacuum(c: &mut Cursor<'_>, vacuum: bool) -> SqlResult<VacuumSpec> {
    // The options change how much is reclaimed or said, not what is right; parenthesised ones are name and value.
    if c.eat_token(&Token::LParen) {
        c.list(|c| {
            c.identifier()?;
            // No value, or one.
            let _ = c.value();
            Ok(())
        })?;
    } else {
        while ["FULL", "FREEZE", "VERBOSE", "ANALYZE", "ANALYSE"].iter().any(|w| c.eat(w)) {}
    }
    let mut tables = Vec::new();
    while !c.at_end() {
        tables.push(c.qualified()?);
        if c.eat_token(&Token::LParen) {
            c.list(Cursor::identifier)?;
        }
        if !c.eat_token(&Token::Comma) {
            break;
        }
    }
    Ok(VacuumSpec { vacuum, tables })
}
