//! The rows that describe a relation in the system's tables.

use super::types::{of_domain_check, of_label};
use crate::catalog::PG_CATALOG;
use crate::catalog::index::{IndexInfo, KeySource};
use crate::catalog::model::{CheckInfo, ColumnInfo, ForeignKeyInfo, SequenceInfo, TableInfo};
use crate::catalog::system::{self, SystemTable};
use crate::catalog::types::{TypeInfo, TypeKind};
use crate::catalog::view::ViewInfo;
use crate::types::{Datum, SqlType, TimeZone, TypeClass, text_of};

/// The role that owns everything, as PostgreSQL numbers its bootstrap superuser.
pub(crate) const OWNER: u32 = 10;

/// A row and the system table it belongs to.
pub(crate) type Row = (&'static SystemTable, Vec<Datum>);

fn class(
    oid: u32,
    name: &str,
    namespace: u32,
    kind: &str,
    columns: usize,
    root: u64,
) -> Vec<(&'static str, Datum)> {
    vec![
        ("oid", Datum::Oid(oid)),
        ("relname", Datum::text(name)),
        ("relnamespace", Datum::Oid(namespace)),
        ("relowner", Datum::Oid(OWNER)),
        (
            "relam",
            Datum::Oid(match kind {
                "r" => 2,
                "i" => 403,
                _ => 0,
            }),
        ),
        ("relfilenode", Datum::Oid(oid)),
        ("reltuples", Datum::Float4(-1.0)),
        ("relpersistence", Datum::text("p")),
        ("relkind", Datum::text(kind)),
        ("relnatts", Datum::Int2(columns as i16)),
        ("relispopulated", Datum::Bool(true)),
        ("relreplident", Datum::text(if namespace == PG_CATALOG { "n" } else { "d" })),
        ("relroot", Datum::Int8(root as i64)),
    ]
}

/// A table's row in pg_class.
pub(crate) fn class_of_table(table: &TableInfo) -> Row {
    let root = table.store.tree.root.0;
    let mut set = class(table.oid, &table.name, table.namespace, "r", table.columns.len(), root);
    set.push(("relhasindex", Datum::Bool(!table.indexes.is_empty())));
    set.push(("relchecks", Datum::Int2(table.checks.len() as i16)));
    (&system::PG_CLASS, system::PG_CLASS.row(&set))
}

/// An index's row in pg_class.
pub(crate) fn class_of_index(index: &IndexInfo) -> Row {
    let root = index.store.tree.root.0;
    let set = class(index.oid, &index.name, index.namespace, "i", index.columns.len(), root);
    (&system::PG_CLASS, system::PG_CLASS.row(&set))
}

/// A table with all that is its own.
pub(crate) fn of_whole_table(table: &TableInfo) -> Vec<Row> {
    let mut rows = of_table(table);
    rows.extend(table.indexes.iter().flat_map(|index| of_index(index)));
    rows.extend(table.checks.iter().map(|check| of_check(table, check)));
    rows.extend(table.foreign_keys.iter().map(|key| of_foreign_key(table, key)));
    rows
}

/// A table with its columns and their defaults; indexes apart.
pub(crate) fn of_table(table: &TableInfo) -> Vec<Row> {
    let mut rows = vec![class_of_table(table)];
    for (n, column) in table.columns.iter().enumerate() {
        rows.extend(of_column(table.oid, n, column));
    }
    rows
}

/// A column in pg_attribute, and its default. `n` counts from 0.
pub(crate) fn of_column(table: u32, n: usize, column: &ColumnInfo) -> Vec<Row> {
    let number = Datum::Int2(n as i16 + 1);
    let mut rows = vec![attribute(table, n, column)];
    if let Some(default) = &column.default {
        // One OID a default is not needed: nothing refers to it.
        let row = system::PG_ATTRDEF.row(&[
            ("oid", Datum::Oid(0)),
            ("adrelid", Datum::Oid(table)),
            ("adnum", number),
            ("adbin", Datum::text(default.as_str())),
        ]);
        rows.push((&system::PG_ATTRDEF, row));
    }
    rows
}

/// A column in pg_attribute. `n` counts from 0.
pub(crate) fn attribute(table: u32, n: usize, column: &ColumnInfo) -> Row {
    let missing = match &column.missing {
        Datum::Null => Datum::Null,
        // A label may get another name.
        Datum::Enum(label) => Datum::text(label.oid.to_string()),
        value => Datum::text(text_of(value, column.ty, &TimeZone::default())),
    };
    let ty = column.declared.as_ref().map_or(column.ty.oid, |declared| declared.oid);
    let identity = column.identity.map_or(String::new(), String::from);
    let row = system::PG_ATTRIBUTE.row(&[
        ("attrelid", Datum::Oid(table)),
        ("attname", Datum::text(column.name.as_str())),
        ("atttypid", Datum::Oid(ty)),
        ("attstattarget", Datum::Int4(-1)),
        ("attlen", Datum::Int2(column.ty.len())),
        ("attnum", Datum::Int2(n as i16 + 1)),
        ("atttypmod", Datum::Int4(if column.domain().is_some() { -1 } else { column.ty.typmod })),
        ("attbyval", Datum::Bool((1..=8).contains(&column.ty.len()))),
        ("attalign", Datum::text(alignment(column.ty))),
        ("attstorage", Datum::text(if column.ty.len() > 0 { "p" } else { "x" })),
        ("attnotnull", Datum::Bool(column.not_null)),
        ("atthasdef", Datum::Bool(column.default.is_some())),
        ("atthasmissing", Datum::Bool(!column.missing.is_null())),
        ("attidentity", Datum::text(identity)),
        ("attgenerated", Datum::text(if column.generated { "s" } else { "" })),
        ("attisdropped", Datum::Bool(column.dropped)),
        ("attislocal", Datum::Bool(true)),
        ("attmissingval", missing),
    ]);
    (&system::PG_ATTRIBUTE, row)
}

fn alignment(ty: SqlType) -> &'static str {
    match ty.len() {
        1 | 64 => "c",
        2 => "s",
        8 => "d",
        _ => "i",
    }
}

fn vector(numbers: impl Iterator<Item = i64>) -> Datum {
    Datum::text(numbers.map(|n| n.to_string()).collect::<Vec<_>>().join(" "))
}

/// Several texts as one, JSON.
fn text_list(texts: &[&str]) -> String {
    serde_json::Value::from(texts.to_vec()).to_string()
}

/// An index in pg_class and pg_index, and its constraint if it has one.
pub(crate) fn of_index(index: &IndexInfo) -> Vec<Row> {
    // 0 stands for an expression.
    let keys = || vector(index.columns.iter().map(|c| c.column().map_or(0, |n| n as i64 + 1)));
    let texts = index.columns.iter().filter_map(|part| match &part.source {
        KeySource::Column(_) => None,
        KeySource::Expr(formula) => Some(formula.text()),
    });
    let texts: Vec<&str> = texts.collect();
    let predicate = index.predicate.as_ref();
    let count = Datum::Int2(index.columns.len() as i16);
    let option =
        |order: crate::types::key::KeyOrder| i64::from(order.descending) | i64::from(order.nulls_first) << 1;
    let row = system::PG_INDEX.row(&[
        ("indexrelid", Datum::Oid(index.oid)),
        ("indrelid", Datum::Oid(index.table)),
        ("indnatts", count.clone()),
        ("indnkeyatts", count),
        ("indisunique", Datum::Bool(index.unique)),
        ("indisprimary", Datum::Bool(index.primary)),
        ("indimmediate", Datum::Bool(!index.timing.is_deferrable())),
        ("indisvalid", Datum::Bool(index.valid)),
        ("indisready", Datum::Bool(index.ready)),
        ("indislive", Datum::Bool(true)),
        ("indkey", keys()),
        ("indoption", vector(index.columns.iter().map(|c| option(c.order)))),
        ("indexprs", if texts.is_empty() { Datum::Null } else { Datum::text(text_list(&texts)) }),
        ("indpred", predicate.map_or(Datum::Null, |predicate| Datum::text(predicate.text()))),
    ]);
    let mut rows = vec![class_of_index(index), (&system::PG_INDEX, row)];
    if index.constraint {
        let row = system::PG_CONSTRAINT.row(&[
            // The index's own OID: OIDs are unique per table only.
            ("oid", Datum::Oid(index.oid)),
            ("conname", Datum::text(index.name.as_str())),
            ("connamespace", Datum::Oid(index.namespace)),
            ("contype", Datum::text(if index.primary { "p" } else { "u" })),
            ("condeferrable", Datum::Bool(index.timing.is_deferrable())),
            ("condeferred", Datum::Bool(index.timing.is_deferred())),
            ("convalidated", Datum::Bool(true)),
            ("conrelid", Datum::Oid(index.table)),
            ("conindid", Datum::Oid(index.oid)),
            ("confupdtype", Datum::text(" ")),
            ("confdeltype", Datum::text(" ")),
            ("confmatchtype", Datum::text(" ")),
            ("conislocal", Datum::Bool(true)),
            ("connoinherit", Datum::Bool(true)),
            ("conkey", keys()),
        ]);
        rows.push((&system::PG_CONSTRAINT, row));
    }
    rows
}

/// A CHECK constraint in pg_constraint.
pub(crate) fn of_check(table: &TableInfo, check: &CheckInfo) -> Row {
    let row = system::PG_CONSTRAINT.row(&[
        ("oid", Datum::Oid(check.oid)),
        ("conname", Datum::text(check.name.as_str())),
        ("connamespace", Datum::Oid(table.namespace)),
        ("contype", Datum::text("c")),
        ("convalidated", Datum::Bool(check.valid)),
        ("conrelid", Datum::Oid(table.oid)),
        ("confupdtype", Datum::text(" ")),
        ("confdeltype", Datum::text(" ")),
        ("confmatchtype", Datum::text(" ")),
        ("conislocal", Datum::Bool(true)),
        ("conbin", Datum::text(check.condition.as_str())),
    ]);
    (&system::PG_CONSTRAINT, row)
}

/// A FOREIGN KEY constraint in pg_constraint.
pub(crate) fn of_foreign_key(table: &TableInfo, key: &ForeignKeyInfo) -> Row {
    let numbers = |columns: &[usize]| vector(columns.iter().map(|n| *n as i64 + 1));
    let row = system::PG_CONSTRAINT.row(&[
        ("oid", Datum::Oid(key.oid)),
        ("conname", Datum::text(key.name.as_str())),
        ("connamespace", Datum::Oid(table.namespace)),
        ("contype", Datum::text("f")),
        ("condeferrable", Datum::Bool(key.timing.is_deferrable())),
        ("condeferred", Datum::Bool(key.timing.is_deferred())),
        ("convalidated", Datum::Bool(key.valid)),
        ("conrelid", Datum::Oid(table.oid)),
        ("conindid", Datum::Oid(key.index)),
        ("confrelid", Datum::Oid(key.parent)),
        ("confupdtype", Datum::text(key.on_update.letter())),
        ("confdeltype", Datum::text(key.on_delete.letter())),
        ("confmatchtype", Datum::text(if key.full { "f" } else { "s" })),
        ("conislocal", Datum::Bool(true)),
        ("connoinherit", Datum::Bool(true)),
        ("conkey", numbers(&key.columns)),
        ("confkey", numbers(&key.parent_columns)),
    ]);
    (&system::PG_CONSTRAINT, row)
}

/// A view with its columns and its query.
pub(crate) fn of_view(view: &ViewInfo) -> Vec<Row> {
    let mut set = class(view.oid, &view.name, view.namespace, "v", view.columns.len(), 0);
    set.push(("relhasrules", Datum::Bool(true)));
    set.push(("relfilenode", Datum::Oid(0)));
    set.push(("relreplident", Datum::text("n")));
    let mut rows = vec![(&system::PG_CLASS, system::PG_CLASS.row(&set))];
    rows.extend(view.columns.iter().enumerate().map(|(n, column)| attribute(view.oid, n, column)));
    let rule = system::PG_REWRITE.row(&[
        // The view's own OID: OIDs are unique per table only.
        ("oid", Datum::Oid(view.oid)),
        ("rulename", Datum::text("_RETURN")),
        ("ev_class", Datum::Oid(view.oid)),
        ("ev_type", Datum::text("1")),
        ("ev_enabled", Datum::text("O")),
        ("is_instead", Datum::Bool(true)),
        ("ev_action", Datum::text(view.definition.stored())),
    ]);
    rows.push((&system::PG_REWRITE, rule));
    rows
}

/// As pg_type.typcategory has it.
pub(crate) fn category(ty: SqlType) -> &'static str {
    match ty.class() {
        TypeClass::Boolean => "B",
        TypeClass::Number => "N",
        TypeClass::String => "S",
        TypeClass::DateTime => "D",
        TypeClass::Enum => "E",
        TypeClass::Unknown => "X",
        TypeClass::Other => "U",
    }
}

/// A type that a user made, in pg_type, with its labels.
pub(crate) fn of_type(info: &TypeInfo) -> Vec<Row> {
    let mut set = vec![
        ("oid", Datum::Oid(info.oid)),
        ("typname", Datum::text(info.name.as_str())),
        ("typnamespace", Datum::Oid(info.namespace)),
        ("typowner", Datum::Oid(OWNER)),
        ("typisdefined", Datum::Bool(true)),
        ("typdelim", Datum::text(",")),
        ("typtypmod", Datum::Int4(-1)),
    ];
    let mut rows = Vec::new();
    match &info.kind {
        TypeKind::Enum(of) => {
            set.push(("typlen", Datum::Int2(4)));
            set.push(("typbyval", Datum::Bool(true)));
            set.push(("typtype", Datum::text("e")));
            set.push(("typcategory", Datum::text("E")));
            rows.extend(of.labels().iter().map(|label| of_label(of, label)));
        }
        TypeKind::Domain(domain) => {
            let base = domain.base;
            let below = domain.below.as_ref().map_or(base.oid, |below| below.oid);
            let typmod = if domain.below.is_some() { -1 } else { base.typmod };
            set.push(("typlen", Datum::Int2(base.len())));
            set.push(("typbyval", Datum::Bool((1..=8).contains(&base.len()))));
            set.push(("typtype", Datum::text("d")));
            set.push(("typcategory", Datum::text(category(base))));
            set.push(("typbasetype", Datum::Oid(below)));
            set.push(("typtypmod", Datum::Int4(typmod)));
            set.push(("typnotnull", Datum::Bool(domain.not_null)));
            set.push(("typdefault", domain.default.as_deref().map_or(Datum::Null, Datum::text)));
            rows.extend(domain.checks.iter().map(|check| of_domain_check(info, check)));
        }
    }
    rows.push((&system::PG_TYPE, system::PG_TYPE.row(&set)));
    rows
}

/// A schema.
pub(crate) fn of_namespace(name: &str, oid: u32) -> Row {
    let row = system::PG_NAMESPACE.row(&[
        ("oid", Datum::Oid(oid)),
        ("nspname", Datum::text(name)),
        ("nspowner", Datum::Oid(OWNER)),
    ]);
    (&system::PG_NAMESPACE, row)
}

/// A sequence in pg_class and pg_sequence.
pub(crate) fn of_sequence(s: &SequenceInfo) -> Vec<Row> {
    let (owner, column) = s.owner.unwrap_or((0, 0));
    let row = system::PG_SEQUENCE.row(&[
        ("seqrelid", Datum::Oid(s.oid)),
        ("seqtypid", Datum::Oid(s.ty.oid)),
        ("seqstart", Datum::Int8(s.start)),
        ("seqincrement", Datum::Int8(s.increment)),
        ("seqmax", Datum::Int8(s.max)),
        ("seqmin", Datum::Int8(s.min)),
        ("seqcache", Datum::Int8(1)),
        ("seqcycle", Datum::Bool(s.cycle)),
        ("seqowner", Datum::Oid(owner)),
        ("seqownatt", Datum::Int2(column)),
    ]);
    let mut set = class(s.oid, &s.name, s.namespace, "S", 3, 0);
    set.push(("relfilenode", Datum::Oid(s.file)));
    vec![(&system::PG_CLASS, system::PG_CLASS.row(&set)), (&system::PG_SEQUENCE, row)]
}
