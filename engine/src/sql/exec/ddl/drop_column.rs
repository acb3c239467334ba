//! ALTER TABLE DROP COLUMN. The column's place in the rows stays; what stands on it goes: the table's own indexes and
//! constraints by themselves, others' foreign keys and generated columns with CASCADE.

use std::sync::Arc;

use sqlparser::ast;

use super::Ddl;
use crate::catalog::{Relation, TableInfo};
use crate::sql::{Notice, names};
use crate::txn::TableLock;
use crate::types::{Datum, SqlError, SqlResult, sqlstate};

impl Ddl<'_> {
    pub(super) async fn drop_column(
        &mut self,
        table: &ast::ObjectName,
        column: &ast::Ident,
        if_exists: bool,
        cascade: bool,
    ) -> SqlResult<()> {
        let mut table = self.lock(table, TableLock::AccessExclusive).await?;
        let name = names::fold(column);
        let Some(n) = table.column(&name) else {
            let message = format!("column \"{name}\" of relation \"{}\" does not exist", table.name);
            if !if_exists {
                return Err(SqlError::new(sqlstate::UNDEFINED_COLUMN, message));
            }
            self.notices.push(Notice::note(format!("{message}, skipping")));
            return Ok(());
        };
        let mut gone = self.computed_of(&table, n, cascade)?;
        gone.push(n);
        for n in &gone {
            let what = format!("column {} of table {}", table.columns[*n].name, table.name);
            self.release_views(table.oid, Some(*n), &what, &[], cascade).await?;
        }
        let what = format!("column {name} of table {}", table.name);
        for index in table.indexes.iter().filter(|index| index.inputs.contains(&n)) {
            let concerned = (what.as_str(), what.as_str());
            self.release_referrers(table.oid, Some(index.oid), &[table.oid], concerned, cascade).await?;
        }
        // Its own foreign keys may have been among them.
        table = self.view().table(table.oid).cloned().unwrap_or(table);
        let changed = self.without(&table, &gone)?;
        self.db.catalog.alter_table(self.txn, &table, changed).await?;
        self.drop_sequences_of(table.oid, &gone).await
    }

    /// The generated columns that are computed of a column; 2BP01 without CASCADE.
    fn computed_of(&mut self, table: &TableInfo, n: usize, cascade: bool) -> SqlResult<Vec<usize>> {
        let rules = self.binder()?.rules(table)?;
        let mut computed = Vec::new();
        for (generated, value) in &rules.generated {
            let mut columns = Vec::new();
            value.columns(&mut columns);
            if columns.contains(&n) {
                computed.push(*generated);
            }
        }
        let of_table = |n: usize| format!("column {} of table {}", table.columns[n].name, table.name);
        let own = of_table(n);
        let depend: Vec<String> = computed.iter().map(|n| of_table(*n)).collect();
        if !depend.is_empty() && !cascade {
            let detail: Vec<String> = depend.iter().map(|one| format!("{one} depends on {own}")).collect();
            let message = format!("cannot drop {own} because other objects depend on it");
            return Err(SqlError::new(sqlstate::DEPENDENT_OBJECTS, message)
                .detail(detail.join("\n"))
                .hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        self.notices.extend(depend.iter().map(|one| Notice::note(format!("drop cascades to {one}"))));
        Ok(computed)
    }

    /// The table without some columns and all of its own that stands on them.
    fn without(&mut self, table: &TableInfo, gone: &[usize]) -> SqlResult<TableInfo> {
        let mut changed = table.clone();
        let rules = self.binder()?.rules(table)?;
        changed.checks.retain(|check| {
            let bound = rules.checks.iter().find(|bound| bound.name == check.name);
            let mut columns = Vec::new();
            bound.into_iter().for_each(|bound| bound.condition.columns(&mut columns));
            !columns.iter().any(|n| gone.contains(n))
        });
        changed.foreign_keys.retain(|key| !key.columns.iter().any(|n| gone.contains(n)));
        changed.indexes.retain(|index| !index.inputs.iter().any(|n| gone.contains(n)));
        for n in gone {
            let column = &mut changed.columns[*n];
            column.name = format!("........pg.dropped.{}........", n + 1);
            (column.dropped, column.not_null, column.generated) = (true, false, false);
            (column.default, column.identity, column.missing) = (None, None, Datum::Null);
        }
        changed.layout = TableInfo::layout_of(&changed.columns);
        for index in &mut changed.indexes {
            *index = index.over(index.store.tree.root, &changed.columns);
        }
        Ok(changed)
    }

    async fn drop_sequences_of(&mut self, table: u32, columns: &[usize]) -> SqlResult<()> {
        let view = self.view();
        let owned = view.relations().filter_map(|relation| match relation {
            Relation::Sequence(s) => Some(s),
            _ => None,
        });
        let goes = |owner: (u32, i16)| owner.0 == table && columns.iter().any(|n| *n as i16 + 1 == owner.1);
        let owned: Vec<Arc<_>> = owned.filter(|s| s.owner.is_some_and(goes)).cloned().collect();
        for sequence in owned {
            self.db.catalog.drop_sequence(self.txn, &sequence).await?;
        }
        Ok(())
    }
}
