//! Putting a table's rules to a new row: what is generated is computed, then NOT NULL and CHECK are asked.

use super::Cx;
use crate::catalog::{ColumnInfo, TableInfo};
use crate::sql::RowBatch;
use crate::sql::bind::{Check, Rules};
use crate::types::{Datum, SqlError, SqlResult, TimeZone, sqlstate, text_of};

impl Rules {
    /// Makes a row whole.
    pub(crate) async fn complete(&self, row: &mut [Datum], cx: &Cx<'_>) -> SqlResult<()> {
        if self.generated.is_empty() {
            return Ok(());
        }
        cx.evaluate(&mut |eval| {
            for (column, value) in &self.generated {
                let value = value.eval(row, eval)?.into_owned();
                row[*column] = value;
            }
            Ok(())
        })
        .await
    }

    /// Makes rows whole.
    pub(crate) async fn complete_all(&self, rows: RowBatch, cx: &Cx<'_>) -> SqlResult<RowBatch> {
        if self.generated.is_empty() {
            return Ok(rows);
        }
        let mut whole = RowBatch::new(rows.width());
        for mut row in rows.into_rows() {
            self.complete(&mut row, cx).await?;
            whole.push(row);
        }
        Ok(whole)
    }

    /// Asks what domains want of values in some columns: 23502 or 23514.
    pub(crate) async fn ask_domains(&self, columns: &[usize], row: &[Datum], cx: &Cx<'_>) -> SqlResult<()> {
        if self.domains.is_empty() {
            return Ok(());
        }
        cx.evaluate(&mut |eval| {
            let mut asked = self.domains.iter().filter(|(n, _)| columns.contains(n));
            asked.try_for_each(|(n, rules)| rules.ask(&row[*n], eval))
        })
        .await
    }

    /// Asks a row that is whole: 23502 for a NULL where none may be, 23514 for what a CHECK forbids.
    pub(crate) async fn ask(&self, table: &TableInfo, row: &[Datum], cx: &Cx<'_>) -> SqlResult<()> {
        check_not_null(table, row)?;
        check_row(table, &self.checks, row, cx).await
    }
}

fn check_not_null(table: &TableInfo, row: &[Datum]) -> SqlResult<()> {
    let missing =
        |(n, column): &(usize, &ColumnInfo)| column.not_null && !column.dropped && row[*n].is_null();
    let Some((_, column)) = table.columns.iter().enumerate().find(missing) else { return Ok(()) };
    Err(SqlError::new(
        sqlstate::NOT_NULL_VIOLATION,
        format!(
            "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
            column.name, table.name
        ),
    )
    .detail(failing(table, row))
    .schema(table.schema.clone())
    .table(table.name.clone())
    .column(column.name.clone()))
}

/// `23514` for a row that a CHECK constraint forbids; what is neither true nor false forbids nothing.
pub(crate) async fn check_row(
    table: &TableInfo,
    checks: &[Check],
    row: &[Datum],
    cx: &Cx<'_>,
) -> SqlResult<()> {
    if checks.is_empty() {
        return Ok(());
    }
    cx.evaluate(&mut |eval| {
        for check in checks {
            if matches!(*check.condition.eval(row, eval)?, Datum::Bool(false)) {
                return Err(forbidden(table, &check.name, row));
            }
        }
        Ok(())
    })
    .await
}

fn forbidden(table: &TableInfo, check: &str, row: &[Datum]) -> SqlError {
    SqlError::new(
        sqlstate::CHECK_VIOLATION,
        format!("new row for relation \"{}\" violates check constraint \"{check}\"", table.name),
    )
    .detail(failing(table, row))
    .schema(table.schema.clone())
    .table(table.name.clone())
    .constraint(check.to_owned())
}

fn failing(table: &TableInfo, row: &[Datum]) -> String {
    let values: Vec<String> = table
        .live_columns()
        .map(|(n, c)| match &row[n] {
            Datum::Null => "null".to_owned(),
            value => text_of(value, c.ty, &TimeZone::default()),
        })
        .collect();
    format!("Failing row contains ({}).", values.join(", "))
}
