//! What relations are defined as: pg_get_indexdef() and its kin, in PostgreSQL's words.

use std::sync::Arc;

use super::Declared;
use crate::catalog::{
    CatalogView, CheckInfo, ConstraintTiming, ForeignAction, ForeignKeyInfo, IndexInfo, Relation, TableInfo,
};
use crate::sql::bind::{Binder, Scope};
use crate::sql::expr::{EvalCx, Function, deparse, deparse_value};
use crate::sql::names::quoted;
use crate::sql::parse::parse_expression;
use crate::types::{Datum, SqlResult, SqlType};

fn oid(d: &Datum) -> u32 {
    d.as_i64().and_then(|n| u32::try_from(n).ok()).unwrap_or_default()
}

fn names(table: &TableInfo, columns: &[usize]) -> String {
    let names: Vec<String> = columns.iter().map(|n| quoted(&table.columns[*n].name)).collect();
    names.join(", ")
}

/// A table's name, with its schema's unless the name alone finds it.
fn shown_table(cx: &EvalCx<'_>, view: &CatalogView, table: &TableInfo) -> String {
    let path = std::iter::once("pg_catalog").chain(cx.ctx.session().search_path.iter().map(String::as_str));
    let mut namespaces = path.filter_map(|schema| view.namespace(schema));
    match namespaces.find(|n| view.find(*n, &table.name).is_some()) {
        Some(first) if first == table.namespace => quoted(&table.name),
        _ => format!("{}.{}", quoted(&table.schema), quoted(&table.name)),
    }
}

fn of_index(cx: &EvalCx<'_>, index: u32, column: i64, pretty: bool) -> SqlResult<Datum> {
    let view = cx.db()?.catalog.view(None);
    let Some(Relation::Index(index)) = view.relation(index) else { return Ok(Datum::Null) };
    let Some(table) = view.table(index.table) else { return Ok(Datum::Null) };
    if column > 0 {
        let part = usize::try_from(column - 1).ok().and_then(|n| index.columns.get(n));
        return Ok(Datum::text(part.map_or(String::new(), |part| part.shown(&table.columns, pretty))));
    }
    let on = match pretty {
        true => shown_table(cx, &view, table),
        false => format!("{}.{}", quoted(&table.schema), quoted(&table.name)),
    };
    Ok(Datum::text(definition(index, table, &on, pretty)))
}

/// `CREATE INDEX ...`.
fn definition(index: &IndexInfo, table: &TableInfo, on: &str, pretty: bool) -> String {
    let part = |part: &crate::catalog::IndexColumn| {
        let order = match (part.order.descending, part.order.nulls_first) {
            (false, false) => "",
            (false, true) => " NULLS FIRST",
            (true, true) => " DESC",
            (true, false) => " DESC NULLS LAST",
        };
        format!("{}{order}", part.shown(&table.columns, pretty))
    };
    let parts: Vec<String> = index.columns.iter().map(part).collect();
    let unique = if index.unique { "UNIQUE " } else { "" };
    let predicate = index.predicate.as_ref();
    let predicate = predicate.map(|p| format!(" WHERE {}", p.deparse(&table.columns, pretty)));
    format!(
        "CREATE {unique}INDEX {} ON {on} USING btree ({}){}",
        quoted(&index.name),
        parts.join(", "),
        predicate.unwrap_or_default()
    )
}

/// The constraint with an OID: of an index it has the index's.
fn of_constraint(cx: &EvalCx<'_>, constraint: u32, pretty: bool) -> SqlResult<Datum> {
    let view = cx.db()?.catalog.view(None);
    if let Some(Relation::Index(index)) = view.relation(constraint)
        && let Some(table) = view.table(index.table)
        && index.constraint
    {
        return Ok(Datum::text(key_definition(index, table)));
    }
    let tables = view.relations().filter_map(|relation| match relation {
        Relation::Table(table) => Some(table),
        _ => None,
    });
    for table in tables {
        if let Some(check) = table.checks.iter().find(|check| check.oid == constraint) {
            return check_definition(cx, &view, table, check, pretty).map(Datum::text);
        }
        if let Some(key) = table.foreign_keys.iter().find(|key| key.oid == constraint) {
            return Ok(Datum::text(foreign_definition(cx, &view, table, key)));
        }
    }
    for info in view.types() {
        let checks = info.domain().map_or(&[][..], |domain| &domain.checks);
        if let Some(check) = checks.iter().find(|check| check.oid == constraint) {
            let mut binder = Binder::new(cx.db()?, cx.ctx, view.clone(), &[])?;
            let condition = binder.domain_check(info.value_type(), &parse_expression(&check.condition)?)?;
            let valid = if check.valid { "" } else { " NOT VALID" };
            return Ok(Datum::text(format!("CHECK ({}){valid}", deparse_value(&condition, pretty))));
        }
    }
    Ok(Datum::Null)
}

fn key_definition(index: &IndexInfo, table: &TableInfo) -> String {
    let kind = if index.primary { "PRIMARY KEY" } else { "UNIQUE" };
    let columns = names(table, &index.plain_columns().unwrap_or_default());
    format!("{kind} ({columns}){}", shown_timing(index.timing))
}

fn check_definition(
    cx: &EvalCx<'_>,
    view: &Arc<CatalogView>,
    table: &TableInfo,
    check: &CheckInfo,
    pretty: bool,
) -> SqlResult<String> {
    let condition = over_table(cx, view, table, &check.condition, pretty)?;
    Ok(format!("CHECK ({condition}){}", if check.valid { "" } else { " NOT VALID" }))
}

fn foreign_definition(
    cx: &EvalCx<'_>,
    view: &CatalogView,
    table: &TableInfo,
    key: &ForeignKeyInfo,
) -> String {
    let action = |on: &str, action: ForeignAction| {
        let words = match action {
            ForeignAction::NoAction => return String::new(),
            ForeignAction::Restrict => "RESTRICT",
            ForeignAction::Cascade => "CASCADE",
            ForeignAction::SetNull => "SET NULL",
            ForeignAction::SetDefault => "SET DEFAULT",
        };
        format!(" ON {on} {words}")
    };
    let parent = view.table(key.parent);
    let parent = parent.map(|p| format!("{}({})", shown_table(cx, view, p), names(p, &key.parent_columns)));
    format!(
        "FOREIGN KEY ({}) REFERENCES {}{}{}{}{}{}",
        names(table, &key.columns),
        parent.unwrap_or_default(),
        if key.full { " MATCH FULL" } else { "" },
        action("UPDATE", key.on_update),
        action("DELETE", key.on_delete),
        shown_timing(key.timing),
        if key.valid { "" } else { " NOT VALID" },
    )
}

fn shown_timing(timing: ConstraintTiming) -> &'static str {
    match timing {
        ConstraintTiming::Fixed => "",
        ConstraintTiming::Immediate => " DEFERRABLE",
        ConstraintTiming::Deferred => " DEFERRABLE INITIALLY DEFERRED",
    }
}

/// A stored expression over a table's row.
fn over_table(
    cx: &EvalCx<'_>,
    view: &Arc<CatalogView>,
    table: &TableInfo,
    text: &str,
    pretty: bool,
) -> SqlResult<String> {
    let mut binder = Binder::new(cx.db()?, cx.ctx, view.clone(), &[])?;
    let (expr, ty) = binder.over_row(&parse_expression(text)?, &Scope::of_table(table, &table.name))?;
    Ok(deparse(&expr, &table.columns, ty, pretty))
}

/// pg_get_expr() of what pg_attrdef and pg_constraint keep.
fn of_expression(cx: &EvalCx<'_>, text: &Datum, table: u32, pretty: bool) -> SqlResult<Datum> {
    let view = cx.db()?.catalog.view(None);
    let (Some(text), Some(table)) = (text.as_str(), view.table(table)) else { return Ok(Datum::Null) };
    over_table(cx, &view, table, text, pretty).map(Datum::text)
}

/// A view's query as it was written, with the names of that time.
fn of_view(cx: &EvalCx<'_>, view: u32) -> SqlResult<Datum> {
    Ok(match cx.db()?.catalog.view(None).relation(view) {
        Some(Relation::View(view)) => Datum::text(format!(" {};", view.definition.text())),
        _ => Datum::Null,
    })
}

const fn declared(
    name: &'static str,
    args: &'static [SqlType],
    run: fn(&EvalCx<'_>, &[Datum]) -> SqlResult<Datum>,
) -> Declared {
    Declared { args, variadic: false, result: SqlType::TEXT, function: Function { name, strict: true, run } }
}

pub(super) static ALL: &[Declared] = &[
    declared("pg_get_indexdef", &[SqlType::OID], |cx, a| of_index(cx, oid(&a[0]), 0, false)),
    declared("pg_get_indexdef", &[SqlType::OID, SqlType::INT4, SqlType::BOOL], |cx, a| {
        of_index(cx, oid(&a[0]), a[1].as_i64().unwrap_or(0), a[2].is_true())
    }),
    declared("pg_get_viewdef", &[SqlType::OID], |cx, a| of_view(cx, oid(&a[0]))),
    declared("pg_get_viewdef", &[SqlType::OID, SqlType::BOOL], |cx, a| of_view(cx, oid(&a[0]))),
    declared("pg_get_constraintdef", &[SqlType::OID], |cx, a| of_constraint(cx, oid(&a[0]), false)),
    declared("pg_get_constraintdef", &[SqlType::OID, SqlType::BOOL], |cx, a| {
        of_constraint(cx, oid(&a[0]), a[1].is_true())
    }),
    declared("pg_get_expr", &[SqlType::TEXT, SqlType::OID], |cx, a| {
        of_expression(cx, &a[0], oid(&a[1]), false)
    }),
    declared("pg_get_expr", &[SqlType::TEXT, SqlType::OID, SqlType::BOOL], |cx, a| {
        of_expression(cx, &a[0], oid(&a[1]), a[2].is_true())
    }),
];
