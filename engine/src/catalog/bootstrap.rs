//! Makes the catalog of a new volume.
//!
//! All of it is one transaction; the control page names pg_class once that has committed. A crash before leaves a
//! volume without a catalog, which the next open gives one.

use std::collections::HashMap;
use std::sync::Arc;

use sextant_redo::PageId;

use super::change::rows;
use super::index::{self, IndexColumn, IndexInfo};
use super::model::{ConstraintTiming, TableInfo};
use super::system::{self, SystemTable};
use super::{CatalogView, load, relation};
use crate::space::Roots;
use crate::txn::{Isolation, Transaction, TransactionSystem};
use crate::types::key::KeyOrder;
use crate::types::{Datum, SqlError, SqlResult, SqlType, oids};

/// The root page of pg_class, made if need be.
pub(super) async fn ensure(system: &Arc<TransactionSystem>) -> SqlResult<PageId> {
    let pool = system.pool();
    let root = pool.run(|| Roots::get(pool, Roots::CATALOG)).await?;
    if root != 0 {
        return Ok(PageId(root));
    }
    let root = create(system).await?;
    let (_, lsn) = pool.write(|mtr| Roots::set(mtr, Roots::CATALOG, root.0)).await?;
    pool.store().durable(lsn).await.map_err(crate::buffer::StorageError::from)?;
    Ok(root)
}

async fn create(system: &Arc<TransactionSystem>) -> SqlResult<PageId> {
    let mut txn = system.begin(Isolation::ReadCommitted);
    txn.begin_statement();
    let tables = tables(&mut txn, &system::ALL).await?;
    let mut all = describe(tables.values());
    all.extend(types());
    for (name, oid) in [("pg_catalog", super::PG_CATALOG), ("public", super::PUBLIC)] {
        all.push(rows::of_namespace(name, oid));
    }
    for (def, row) in all {
        relation::insert(system, &mut txn, &tables[&def.oid], &row).await?;
    }
    let root = tables[&system::PG_CLASS.oid].store.tree.root;
    txn.commit().await?;
    Ok(root)
}

/// Makes the system tables that a catalog lacks because it is older than they are; whether there were any.
pub(super) async fn complete(system: &Arc<TransactionSystem>, view: &CatalogView) -> SqlResult<bool> {
    let lacks = |def: &&'static SystemTable| view.table(def.oid).is_none();
    let missing: Vec<&'static SystemTable> = system::ALL.into_iter().filter(lacks).collect();
    if missing.is_empty() {
        return Ok(false);
    }
    let mut txn = system.begin(Isolation::ReadCommitted);
    txn.begin_statement();
    let tables = tables(&mut txn, &missing).await?;
    for (def, row) in describe(tables.values()) {
        let table = view.table(def.oid);
        let table = table.ok_or_else(|| SqlError::corrupt(format!("the catalog has no {}", def.name)))?;
        relation::insert(system, &mut txn, table, &row).await?;
    }
    txn.commit().await?;
    Ok(true)
}

/// Empty system tables by OID.
async fn tables(txn: &mut Transaction, defs: &[&'static SystemTable]) -> SqlResult<HashMap<u32, TableInfo>> {
    let mut tables: HashMap<u32, TableInfo> = HashMap::new();
    for def in defs {
        let root = txn.create_tree().await?.root;
        let mut table = load::system_table(txn.system(), def, root);
        for def_index in def.indexes {
            let columns: Vec<IndexColumn> = def_index
                .columns
                .iter()
                .map(|name| IndexColumn::of(&table.columns, def.column(name), KeyOrder::default()))
                .collect();
            let root = txn.create_tree().await?.root;
            table.indexes.push(Arc::new(IndexInfo {
                oid: def_index.oid,
                namespace: super::PG_CATALOG,
                name: def_index.name.to_owned(),
                table: def.oid,
                unique: true,
                primary: false,
                constraint: false,
                timing: ConstraintTiming::Fixed,
                valid: true,
                ready: true,
                store: index::store(def_index.oid, root, true, &columns, None, &table.columns),
                predicate: None,
                inputs: index::inputs(&columns, None),
                columns,
            }));
        }
        tables.insert(def.oid, table);
    }
    Ok(tables)
}

/// The rows that describe system tables.
fn describe<'t>(tables: impl Iterator<Item = &'t TableInfo>) -> Vec<Row> {
    let mut all = Vec::new();
    for table in tables {
        all.extend(rows::of_table(table));
        for index in &table.indexes {
            all.extend(rows::of_index(index));
        }
    }
    all
}

/// A row of a system table.
type Row = (&'static SystemTable, Vec<Datum>);

fn types() -> Vec<Row> {
    let one = |(ty, name): (SqlType, &'static str)| {
        let preferred =
            [oids::BOOL, oids::TEXT, oids::FLOAT8, oids::OID, oids::TIMESTAMPTZ].contains(&ty.oid);
        let pseudo = ty.oid == oids::VOID || ty.oid == oids::UNKNOWN;
        let row = system::PG_TYPE.row(&[
            ("oid", Datum::Oid(ty.oid)),
            ("typname", Datum::text(name)),
            ("typnamespace", Datum::Oid(super::PG_CATALOG)),
            ("typowner", Datum::Oid(rows::OWNER)),
            ("typlen", Datum::Int2(ty.len())),
            ("typbyval", Datum::Bool((1..=8).contains(&ty.len()))),
            ("typtype", Datum::text(if pseudo { "p" } else { "b" })),
            ("typcategory", Datum::text(rows::category(ty))),
            ("typispreferred", Datum::Bool(preferred)),
            ("typisdefined", Datum::Bool(true)),
            ("typdelim", Datum::text(",")),
            ("typtypmod", Datum::Int4(-1)),
        ]);
        (&system::PG_TYPE, row)
    };
    SqlType::all().map(one).collect()
}
