//! The rows at both ends of a foreign key, and how keys are compared.

use crate::catalog::{IndexInfo, relation, stored};
use crate::sql::bind::Link;
use crate::sql::exec::Cx;
use crate::table::{RowBatch, RowId, TableScan};
use crate::txn::Snapshot;
use crate::types::{Datum, SqlResult, SqlType, compare, key, oids};

/// The parent's rows with a key: one, or none.
pub(super) async fn parent_rows(
    link: &Link,
    key: &[Datum],
    snapshot: &Snapshot,
    cx: &Cx<'_>,
) -> SqlResult<Vec<(RowId, Vec<Datum>)>> {
    let Some(values) = in_order(&link.index, &link.key.parent_columns, key) else {
        return Ok(Vec::new());
    };
    relation::find_keys(&cx.db.txns, snapshot, &link.parent, &link.index, &values, usize::MAX).await
}

/// The first of the child's rows with a key.
pub(super) async fn child_rows(
    link: &Link,
    key: &[Datum],
    snapshot: &Snapshot,
    limit: usize,
    cx: &Cx<'_>,
) -> SqlResult<Vec<(RowId, Vec<Datum>)>> {
    let child = &link.child;
    if let Some(index) = &link.child_index {
        let Some(values) = in_order(index, &link.key.columns, key) else { return Ok(Vec::new()) };
        return relation::find_keys(&cx.db.txns, snapshot, child, index, &values, limit).await;
    }
    let mut scan = TableScan::new(&child.store, snapshot.clone());
    let (mut batch, mut found) = (RowBatch::new(), Vec::new());
    while scan.next_batch(&cx.db.txns, &mut batch).await? {
        tokio::task::consume_budget().await;
        for (id, bytes) in batch.iter() {
            let wanted = |n| link.key.columns.contains(&n);
            let row = stored::decode(&cx.db.txns, child, id, bytes, wanted).await?;
            if same_key(link, &link.parent_key(&row)?, key) {
                found.push((id, row));
                if found.len() >= limit {
                    return Ok(found);
                }
            }
        }
    }
    Ok(found)
}

/// A key's values as the leading columns of an index want them; `None` when one of them fits no value of its column.
fn in_order(index: &IndexInfo, columns: &[usize], key: &[Datum]) -> Option<Vec<Datum>> {
    let leading = index.columns.iter().take(columns.len());
    leading
        .map(|part| {
            let at = columns.iter().position(|n| part.column() == Some(*n))?;
            as_integer(key.get(at)?, part.ty)
        })
        .collect()
}

/// A value as a column of this type has it: integers of different sizes may refer to each other.
pub(super) fn as_integer(value: &Datum, ty: SqlType) -> Option<Datum> {
    let Some(n) = value.as_i64() else { return Some(value.clone()) };
    match ty.oid {
        oids::INT2 => n.try_into().ok().map(Datum::Int2),
        oids::INT4 => n.try_into().ok().map(Datum::Int4),
        oids::INT8 => Some(Datum::Int8(n)),
        _ => Some(value.clone()),
    }
}

pub(super) fn same_key(link: &Link, a: &[Datum], b: &[Datum]) -> bool {
    let ty = |n: &usize| link.parent.columns[*n].ty;
    let mut pairs = a.iter().zip(b).zip(link.key.parent_columns.iter().map(ty));
    pairs.all(|((a, b), ty)| compare(a, b, ty) == Some(std::cmp::Ordering::Equal))
}

pub(super) fn encoded(link: &Link, values: &[Datum]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (value, n) in values.iter().zip(&link.key.parent_columns) {
        key::encode(value, link.parent.columns[*n].ty, Default::default(), &mut bytes);
    }
    bytes
}
