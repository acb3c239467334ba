//! What the system says about itself, its catalog and the session.

use super::{Declared, function};
use crate::catalog::{CatalogView, Relation};
use crate::sql::expr::EvalCx;
use crate::sql::names::quoted;
use crate::types::{Datum, SqlError, SqlResult, SqlType, sqlstate};
use std::sync::Arc;

/// As PostgreSQL 15 introduces itself, because clients parse it, with our name behind.
pub(crate) const VERSION: &str = concat!("PostgreSQL 15.0 (Sextant ", env!("CARGO_PKG_VERSION"), ")");

fn text(d: &Datum) -> &str {
    d.as_str().unwrap_or_default()
}

fn oid(d: &Datum) -> u32 {
    d.as_i64().and_then(|n| u32::try_from(n).ok()).unwrap_or_default()
}

fn view(cx: &EvalCx<'_>) -> SqlResult<Arc<CatalogView>> {
    Ok(cx.db()?.catalog.view(None))
}

fn setting(cx: &EvalCx<'_>, name: &str, missing_ok: bool) -> SqlResult<Datum> {
    let name = name.to_ascii_lowercase();
    match cx.ctx.session().settings.get(&name) {
        Some(value) => Ok(Datum::text(value.as_str())),
        None if missing_ok => Ok(Datum::Null),
        None => Err(SqlError::new(
            sqlstate::UNDEFINED_OBJECT,
            format!("unrecognized configuration parameter \"{name}\""),
        )),
    }
}

/// The first schema of the search path that exists.
fn current_schema(cx: &EvalCx<'_>) -> SqlResult<Datum> {
    let view = view(cx)?;
    let path = &cx.ctx.session().search_path;
    let first = path.iter().find(|name| view.namespace(name).is_some());
    Ok(first.map_or(Datum::Null, |name| Datum::text(name.as_str())))
}

/// True if the relation is found by its name alone.
fn is_visible(cx: &EvalCx<'_>, oid: u32) -> SqlResult<Datum> {
    let view = view(cx)?;
    let Some((namespace, name)) = view.relation(oid).map(Relation::name) else { return Ok(Datum::Null) };
    let first = first_with(cx, &view, |n| view.find(n, name).is_some());
    Ok(Datum::Bool(first == Some(namespace)))
}

fn user(cx: &EvalCx<'_>) -> SqlResult<Datum> {
    Ok(Datum::text(cx.ctx.session().user.as_str()))
}

fn format_type(cx: &EvalCx<'_>, ty: &Datum, typmod: &Datum) -> SqlResult<Datum> {
    if ty.is_null() {
        return Ok(Datum::Null);
    }
    let Some(known) = SqlType::from_oid(oid(ty)) else {
        let view = view(cx)?;
        let Some(info) = view.type_info(oid(ty)) else { return Ok(Datum::text("???")) };
        return Ok(Datum::text(match first_with(cx, &view, |n| view.find_type(n, &info.name).is_some()) {
            Some(first) if first == info.namespace => quoted(&info.name),
            _ => format!("{}.{}", quoted(&info.schema), quoted(&info.name)),
        }));
    };
    let typmod = typmod.as_i64().map_or(-1, |n| n as i32);
    Ok(Datum::text(SqlType { typmod, ..known }.spelled()))
}

/// The first schema of the path, pg_catalog before it, for which this is so.
fn first_with(cx: &EvalCx<'_>, view: &CatalogView, has: impl Fn(u32) -> bool) -> Option<u32> {
    let path = std::iter::once("pg_catalog").chain(cx.ctx.session().search_path.iter().map(String::as_str));
    path.filter_map(|schema| view.namespace(schema)).find(|namespace| has(*namespace))
}

/// True if a type is found by its name alone.
fn is_visible_type(cx: &EvalCx<'_>, oid: u32) -> SqlResult<Datum> {
    if SqlType::from_oid(oid).is_some() {
        return Ok(Datum::Bool(true));
    }
    let view = view(cx)?;
    let Some(info) = view.type_info(oid) else { return Ok(Datum::Null) };
    let first = first_with(cx, &view, |n| view.find_type(n, &info.name).is_some());
    Ok(Datum::Bool(first == Some(info.namespace)))
}

/// The elements of an array in the system's tables, which are text: `{a,"b c"}`.
fn joined(array: &str, separator: &str) -> String {
    let (mut out, mut quoted, mut escaped) = (String::with_capacity(array.len()), false, false);
    let inner = array.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(array);
    for c in inner.chars() {
        match c {
            c if escaped => {
                escaped = false;
                out.push(c);
            }
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => out.push_str(separator),
            c => out.push(c),
        }
    }
    out
}

fn last_value(cx: &EvalCx<'_>, sequence: Option<u32>) -> SqlResult<Datum> {
    let view = view(cx)?;
    let name = |oid| view.relation(oid).map_or_else(|| oid.to_string(), |r| r.name().1.to_owned());
    cx.ctx.last_value(sequence).map(Datum::Int8).ok_or_else(|| {
        let message = match sequence {
            Some(oid) => format!("currval of sequence \"{}\" is not yet defined in this session", name(oid)),
            None => "lastval is not yet defined in this session".to_owned(),
        };
        SqlError::new(sqlstate::OBJECT_NOT_IN_STATE, message)
    })
}

pub(super) static ALL: &[Declared] = &[
    function!("version", [] -> TEXT, |_, _| Ok(Datum::text(VERSION))),
    function!("current_schema", [] -> NAME, |cx, _| current_schema(cx)),
    function!("current_database", [] -> NAME, |cx, _| Ok(Datum::text(cx.ctx.session().database.as_str()))),
    function!("current_catalog", [] -> NAME, |cx, _| Ok(Datum::text(cx.ctx.session().database.as_str()))),
    function!("current_user", [] -> NAME, |cx, _| user(cx)),
    function!("session_user", [] -> NAME, |cx, _| user(cx)),
    function!("user", [] -> NAME, |cx, _| user(cx)),
    function!("pg_backend_pid", [] -> INT4, |cx, _| Ok(Datum::Int4(cx.ctx.session().backend_pid))),
    function!("currval", [REGCLASS] -> INT8, |cx, a| last_value(cx, Some(oid(&a[0])))),
    function!("lastval", [] -> INT8, |cx, _| last_value(cx, None)),
    function!("pg_is_in_recovery", [] -> BOOL, |_, _| Ok(Datum::Bool(false))),
    function!("current_setting", [TEXT] -> TEXT, |cx, a| setting(cx, text(&a[0]), false)),
    function!("current_setting", [TEXT, BOOL] -> TEXT, |cx, a| setting(cx, text(&a[0]), a[1].is_true())),
    function!("pg_table_is_visible", [OID] -> BOOL, |cx, a| is_visible(cx, oid(&a[0]))),
    function!("pg_type_is_visible", [OID] -> BOOL, |cx, a| is_visible_type(cx, oid(&a[0]))),
    function!("pg_function_is_visible", [OID] -> BOOL, |_, _| Ok(Datum::Null)),
    function!("pg_get_function_result", [OID] -> TEXT, |_, _| Ok(Datum::Null)),
    function!("pg_get_function_arguments", [OID] -> TEXT, |_, _| Ok(Datum::Null)),
    function!("pg_tablespace_location", [OID] -> TEXT, |_, _| Ok(Datum::text(""))),
    // Nothing has a comment.
    function!("obj_description", [OID, NAME] -> TEXT, |_, _| Ok(Datum::Null)),
    function!("shobj_description", [OID, NAME] -> TEXT, |_, _| Ok(Datum::Null)),
    function!("col_description", [OID, INT4] -> TEXT, |_, _| Ok(Datum::Null)),
    function!("array_to_string", [TEXT, TEXT] -> TEXT, |_, a| Ok(Datum::text(joined(text(&a[0]), text(&a[1]))))),
    function!("pg_get_userbyid", [OID] -> NAME, |cx, _| user(cx)),
    function!("pg_encoding_to_char", [INT4] -> NAME, |_, a| {
        Ok(Datum::text(if a[0].as_i64() == Some(6) { "UTF8" } else { "" }))
    }),
    Declared {
        args: &[SqlType::OID, SqlType::INT4],
        variadic: false,
        result: SqlType::TEXT,
        function: crate::sql::expr::Function {
            name: "format_type",
            strict: false,
            run: |cx, a| format_type(cx, &a[0], &a[1]),
        },
    },
];
