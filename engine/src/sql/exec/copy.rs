//! COPY FROM STDIN: rows come as fields and go to the table in batches.

use std::sync::Arc;

use super::Cx;
use super::dml::end_statement;
use super::foreign::Changes;
use crate::catalog::{TableInfo, relation};
use crate::sql::bind::{Binder, Referential, Rules, columns_named};
use crate::sql::expr::{EvalCx, Expr};
use crate::sql::prepare::lock_tables;
use crate::sql::{Column, CopySpec, Database, RowBatch, SessionContext};
use crate::txn::{TableLock, Transaction};
use crate::types::{Datum, EnumTypes, SqlError, SqlResult, sqlstate};

/// Rows written at a time, and bytes of strings that are enough for it.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1 << 20;

/// Takes the rows of COPY FROM STDIN. Rows are checked as they come; duplicates are found a batch later.
pub struct CopyIn {
    db: Arc<Database>,
    ctx: SessionContext,
    table: Arc<TableInfo>,
    targets: Vec<usize>,
    columns: Vec<Column>,
    /// The enum types among theirs.
    enums: EnumTypes,
    /// What the columns that are not copied get.
    defaults: Vec<(usize, Expr)>,
    rules: Rules,
    referential: Referential,
    keys: Changes,
    rows: RowBatch,
    /// Bytes of the strings in them.
    bytes: usize,
    count: u64,
}

impl CopyIn {
    /// Starts; locks the table. The caller has begun a statement.
    pub async fn start(
        db: &Arc<Database>,
        ctx: &SessionContext,
        txn: &mut Transaction,
        spec: &CopySpec,
    ) -> SqlResult<CopyIn> {
        let Some((schema, name)) = &spec.table else {
            return Err(SqlError::internal("COPY FROM without a table"));
        };
        loop {
            let (table, version) = find(db, ctx, txn, schema.as_deref(), name)?;
            lock_tables(txn, &[(table.oid, TableLock::RowExclusive)]).await?;
            // Whoever changed the table before the lock was had has committed by now.
            if db.catalog.version(Some(txn)) != version {
                continue;
            }
            db.catalog.settled().await?;
            txn.begin_statement();
            let targets = targets(&table, &spec.columns)?;
            let view = db.catalog.view(Some(txn));
            let mut binder = Binder::new(db, ctx, view, &[])?;
            let rules = binder.rules(&table)?;
            let defaults = binder.defaults(&table)?.into_iter().enumerate();
            let defaults = defaults.filter(|(n, _)| !targets.contains(n)).collect();
            let referential = binder.referential(&table)?;
            let others = binder.tables;
            lock_tables(txn, &others).await?;
            if db.catalog.version(Some(txn)) != version {
                continue;
            }
            let columns = targets
                .iter()
                .map(|n| Column {
                    name: table.columns[*n].name.clone(),
                    ty: table.columns[*n].ty,
                    table_oid: table.oid,
                    attnum: *n as i16 + 1,
                })
                .collect();
            let of = targets.iter().filter_map(|n| table.columns[*n].declared.as_ref()?.enum_type().cloned());
            let enums = EnumTypes::of(of);
            return Ok(CopyIn {
                enums,
                db: db.clone(),
                ctx: ctx.clone(),
                rows: RowBatch::new(table.columns.len()),
                table,
                targets,
                columns,
                defaults,
                rules,
                referential,
                keys: Changes::default(),
                bytes: 0,
                count: 0,
            });
        }
    }

    /// The columns that each row brings.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Adds a row given as text, `None` for NULL, one field for each of [`CopyIn::columns`].
    pub async fn push_text(&mut self, txn: &mut Transaction, fields: &[Option<&str>]) -> SqlResult<()> {
        let zone = &self.ctx.session().timezone;
        let mut values = Vec::with_capacity(fields.len());
        for (field, column) in fields.iter().zip(&self.columns) {
            values.push(match field {
                None => Datum::Null,
                Some(text) => self.enums.decode_text(text, column.ty, zone)?,
            });
        }
        self.push(txn, values).await
    }

    /// Reads a value of one of [`CopyIn::columns`] from its binary form.
    pub fn decode_binary(&self, bytes: &[u8], column: &Column) -> SqlResult<Datum> {
        self.enums.decode_binary(bytes, column.ty)
    }

    /// Adds a row of values of the columns' types (binary format).
    pub async fn push(&mut self, txn: &mut Transaction, values: Vec<Datum>) -> SqlResult<()> {
        if values.len() != self.targets.len() {
            let message = "a COPY row does not have the right number of columns";
            return Err(SqlError::new(sqlstate::BAD_COPY_FORMAT, message));
        }
        let mut row = vec![Datum::Null; self.table.columns.len()];
        for (n, value) in self.targets.iter().zip(values) {
            row[*n] = value;
        }
        self.make_whole(txn, &mut row).await?;
        self.bytes += row.iter().map(Datum::string_bytes).sum::<usize>();
        self.rows.push(row);
        self.count += 1;
        let enough = self.rows.len() >= BATCH || self.bytes >= BATCH_BYTES;
        if enough { self.write(txn).await } else { Ok(()) }
    }

    /// Fills in what was not copied, and asks the table's rules.
    async fn make_whole(&self, txn: &mut Transaction, row: &mut [Datum]) -> SqlResult<()> {
        let snapshot = txn.snapshot();
        let cx = Cx::plain(&self.db, &self.ctx, txn, &snapshot);
        cx.evaluate(&mut |eval: &EvalCx<'_>| {
            for (n, default) in &self.defaults {
                row[*n] = default.eval(&[], eval)?.into_owned();
            }
            Ok(())
        })
        .await?;
        self.rules.ask_domains(&self.targets, row, &cx).await?;
        self.rules.complete(row, &cx).await?;
        self.rules.ask(&self.table, row, &cx).await
    }

    async fn write(&mut self, txn: &mut Transaction) -> SqlResult<()> {
        self.bytes = 0;
        let rows = std::mem::replace(&mut self.rows, RowBatch::new(self.table.columns.len()));
        relation::insert_batch(&self.db.txns, txn, &self.table, &rows).await?;
        for row in rows.rows() {
            self.keys.note(&self.referential, self.table.oid, None, Some(row))?;
        }
        Ok(())
    }

    /// Ends; the number of rows. The command tag is "COPY n".
    pub async fn finish(mut self, txn: &mut Transaction) -> SqlResult<u64> {
        if !self.rows.is_empty() {
            self.write(txn).await?;
        }
        let snapshot = txn.snapshot();
        let mut cx = Cx::plain(&self.db, &self.ctx, txn, &snapshot);
        end_statement(self.keys, &self.referential, &mut cx).await?;
        Ok(self.count)
    }
}

/// The columns to copy: those that are named, or all whose values are not made here.
fn targets(table: &TableInfo, named: &[String]) -> SqlResult<Vec<usize>> {
    let mut targets = columns_named(table, named)?;
    if let Some(n) = targets.iter().find(|n| table.columns[**n].generated && !named.is_empty()) {
        let message = format!("column \"{}\" is a generated column", table.columns[*n].name);
        return Err(SqlError::new(sqlstate::INVALID_COLUMN_REFERENCE, message)
            .detail("Generated columns cannot be used in COPY."));
    }
    targets.retain(|n| !table.columns[*n].generated);
    Ok(targets)
}

fn find(
    db: &Arc<Database>,
    ctx: &SessionContext,
    txn: &mut Transaction,
    schema: Option<&str>,
    name: &str,
) -> SqlResult<(Arc<TableInfo>, u64)> {
    let view = db.catalog.view(Some(txn));
    let version = view.version;
    let binder = Binder::new(db, ctx, view, &[])?;
    let undefined =
        || SqlError::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"));
    match binder.find_parts(schema, name)? {
        Some(crate::catalog::Relation::Table(table)) if !table.is_system() => Ok((table, version)),
        Some(_) => Err(SqlError::new(
            sqlstate::WRONG_OBJECT_TYPE,
            format!("cannot copy to \"{name}\": it is not an ordinary table"),
        )),
        None => Err(undefined()),
    }
}
