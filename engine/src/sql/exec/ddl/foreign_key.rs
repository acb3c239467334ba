//! FOREIGN KEY constraints: defining them, checking the rows that are there, and what depends on them.

use std::sync::Arc;

use sqlparser::ast::{self, ConstraintReferenceMatchKind as MatchKind, ReferentialAction};

use super::Ddl;
use super::check::name_of_constraint;
use super::create_table::timing;
use crate::catalog::{ForeignAction, ForeignKeyInfo, IndexInfo, NewForeignKey, Relation, TableInfo, stored};
use crate::sql::bind::{Link, same_keys};
use crate::sql::exec::{Cx, is_there, key_to_ask};
use crate::sql::expr::cast::{Context, context};
use crate::sql::{Notice, names};
use crate::table::{RowBatch, TableScan};
use crate::txn::{LockWait, TableLock};
use crate::types::{Datum, SqlError, SqlResult, sqlstate};

/// A constraint to be made.
pub(super) struct ForeignSpec<'a> {
    name: Option<String>,
    columns: Vec<String>,
    constraint: &'a ast::ForeignKeyConstraint,
}

impl<'a> ForeignSpec<'a> {
    /// A table's, which names its columns.
    pub(super) fn of_table(constraint: &'a ast::ForeignKeyConstraint) -> ForeignSpec<'a> {
        let name = constraint.name.as_ref().map(names::fold);
        ForeignSpec { name, columns: constraint.columns.iter().map(names::fold).collect(), constraint }
    }

    /// A column's.
    pub(super) fn of_column(
        column: &str,
        name: Option<String>,
        constraint: &'a ast::ForeignKeyConstraint,
    ) -> ForeignSpec<'a> {
        ForeignSpec { name, columns: vec![column.to_owned()], constraint }
    }
}

impl Ddl<'_> {
    /// Adds a constraint; if it is to be valid, 23503 when a row breaks it. The table is locked, or new.
    pub(super) async fn add_foreign_key(
        &mut self,
        table: Arc<TableInfo>,
        spec: ForeignSpec<'_>,
        valid: bool,
    ) -> SqlResult<Arc<TableInfo>> {
        refuse_rare(spec.constraint)?;
        let parent = match self.find(&spec.constraint.foreign_table)? {
            Some(Relation::Table(parent)) if parent.oid == table.oid => table.clone(),
            // Nobody may take a key away while the rows are checked.
            _ => self.lock(&spec.constraint.foreign_table, TableLock::ShareRowExclusive).await?,
        };
        let columns = columns_of(&table, &spec.columns)?;
        let (index, parent_columns) = referred(&parent, &spec.constraint.referred_columns)?;
        if columns.len() != parent_columns.len() {
            let message = "number of referencing and referenced columns for foreign key disagree";
            return Err(SqlError::new(sqlstate::INVALID_FOREIGN_KEY, message));
        }
        // `t_a_b_fkey`.
        let usual = || format!("{}_{}_fkey", table.name, spec.columns.join("_"));
        let name = name_of_constraint(&table, spec.name, usual)?;
        for (own, other) in columns.iter().zip(&parent_columns) {
            refuse_types(&name, &table, *own, &parent, *other)?;
        }
        let new = NewForeignKey {
            name,
            columns,
            parent: parent.oid,
            parent_columns,
            index: index.oid,
            on_delete: action(spec.constraint.on_delete),
            on_update: action(spec.constraint.on_update),
            full: spec.constraint.match_kind == Some(MatchKind::Full),
            timing: timing(spec.constraint.characteristics.as_ref())?,
            valid,
        };
        refuse_generated(&table, &new)?;
        let table = self.db.catalog.add_foreign_key(self.txn, &table, new).await?;
        if let Some(key) = table.foreign_keys.last().filter(|key| key.valid) {
            self.ask_keys(&table, key).await?;
        }
        Ok(table)
    }

    /// Checks the rows that are there against a foreign key. Its parent is locked: no row of it need be.
    pub(super) async fn ask_keys(
        &mut self,
        table: &Arc<TableInfo>,
        key: &Arc<ForeignKeyInfo>,
    ) -> SqlResult<()> {
        let link = self.binder()?.link(table.clone(), key)?;
        let newest = self.txn.newest();
        let mut scan = TableScan::new(&table.store, newest.clone());
        let mut batch = RowBatch::new();
        // Rows that lie together often refer to the same.
        let mut last: Option<Vec<Datum>> = None;
        while scan.next_batch(&self.db.txns, &mut batch).await? {
            for (id, bytes) in batch.iter() {
                let wanted = |n| link.key.columns.contains(&n);
                let row = stored::decode(&self.db.txns, table, id, bytes, wanted).await?;
                let Some(key) = key_to_ask(&link, &row)? else { continue };
                if last.as_ref() != Some(&key) {
                    self.ask_key(&link, &key).await?;
                    last = Some(key);
                }
            }
        }
        Ok(())
    }

    async fn ask_key(&mut self, link: &Link, key: &[Datum]) -> SqlResult<()> {
        let snapshot = self.txn.snapshot();
        let mut cx = Cx::plain(self.db, self.ctx, self.txn, &snapshot);
        is_there(link, key, &mut cx).await
    }

    /// Takes away, with CASCADE, the foreign keys of other tables that refer to a table, or by an index of its; 2BP01
    /// without. `what` is what goes, and `on` what the keys depend on.
    pub(super) async fn release_referrers(
        &mut self,
        parent: u32,
        index: Option<u32>,
        along: &[u32],
        (what, on): (&str, &str),
        cascade: bool,
    ) -> SqlResult<()> {
        let concerns = |key: &crate::catalog::ForeignKeyInfo| index.is_none_or(|index| key.index == index);
        let keys = self.view().referring(parent);
        let others: Vec<_> = keys
            .iter()
            .filter(|(child, key)| concerns(key) && (index.is_some() || child.oid != parent))
            .collect();
        let depend: Vec<String> = others
            .iter()
            .filter(|(child, _)| !along.contains(&child.oid))
            .map(|(child, key)| format!("constraint {} on table {}", key.name, child.name))
            .collect();
        if !cascade && !depend.is_empty() {
            let detail: Vec<String> = depend.iter().map(|one| format!("{one} depends on {on}")).collect();
            let message = format!("cannot drop {what} because other objects depend on it");
            return Err(SqlError::new(sqlstate::DEPENDENT_OBJECTS, message)
                .detail(detail.join("\n"))
                .hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        self.note_cascade(&depend);
        for (child, key) in others {
            self.txn.lock_table(child.oid, TableLock::AccessExclusive, LockWait::Block).await?;
            self.txn.begin_statement();
            // As it is now that the lock is had.
            let Some(child) = self.view().table(child.oid).cloned() else { continue };
            if child.foreign_keys.iter().any(|other| other.oid == key.oid) {
                self.db.catalog.drop_foreign_key(self.txn, &child, key).await?;
            }
        }
        Ok(())
    }

    /// Says what else goes.
    pub(super) fn note_cascade(&mut self, objects: &[String]) {
        match objects {
            [] => {}
            [one] => self.notices.push(Notice::note(format!("drop cascades to {one}"))),
            several => {
                let mut notice = Notice::note(format!("drop cascades to {} other objects", several.len()));
                let lines: Vec<String> =
                    several.iter().map(|one| format!("drop cascades to {one}")).collect();
                notice.fields = notice.fields.detail(lines.join("\n"));
                self.notices.push(notice);
            }
        }
    }

    /// 0A000 when rows of tables that are not truncated could refer to those that are.
    pub(super) fn refuse_truncate(&mut self, tables: &[u32]) -> SqlResult<()> {
        let view = self.view();
        for parent in tables {
            let keys = view.referring(*parent);
            if let Some((child, _)) = keys.iter().find(|(child, _)| !tables.contains(&child.oid)) {
                let name = view.table(*parent).map_or("", |table| table.name.as_str());
                let message = "cannot truncate a table referenced in a foreign key constraint";
                return Err(SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, message)
                    .detail(format!("Table \"{}\" references \"{name}\".", child.name))
                    .hint(format!(
                        "Truncate table \"{}\" at the same time, or use TRUNCATE ... CASCADE.",
                        child.name
                    )));
            }
        }
        Ok(())
    }
}

fn refuse_rare(constraint: &ast::ForeignKeyConstraint) -> SqlResult<()> {
    if constraint.match_kind == Some(MatchKind::Partial) {
        return Err(SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, "MATCH PARTIAL not yet implemented"));
    }
    Ok(())
}

fn action(action: Option<ReferentialAction>) -> ForeignAction {
    match action {
        None | Some(ReferentialAction::NoAction) => ForeignAction::NoAction,
        Some(ReferentialAction::Restrict) => ForeignAction::Restrict,
        Some(ReferentialAction::Cascade) => ForeignAction::Cascade,
        Some(ReferentialAction::SetNull) => ForeignAction::SetNull,
        Some(ReferentialAction::SetDefault) => ForeignAction::SetDefault,
    }
}

fn columns_of(table: &TableInfo, names: &[String]) -> SqlResult<Vec<usize>> {
    let one = |name: &String| {
        table.column(name).ok_or_else(|| {
            let message = format!("column \"{name}\" referenced in foreign key constraint does not exist");
            SqlError::new(sqlstate::UNDEFINED_COLUMN, message)
        })
    };
    names.iter().map(one).collect()
}

/// The index that a key refers to, and its columns in the order in which they were named.
fn referred(parent: &TableInfo, named: &[ast::Ident]) -> SqlResult<(Arc<IndexInfo>, Vec<usize>)> {
    if named.is_empty() {
        let key = parent.primary_key().ok_or_else(|| {
            let message = format!("there is no primary key for referenced table \"{}\"", parent.name);
            SqlError::new(sqlstate::UNDEFINED_OBJECT, message)
        })?;
        refuse_deferrable(key, "primary key", parent)?;
        return Ok((key.clone(), key.plain_columns().unwrap_or_default()));
    }
    let columns = columns_of(parent, &named.iter().map(names::fold).collect::<Vec<_>>())?;
    if columns.iter().enumerate().any(|(n, column)| columns[..n].contains(column)) {
        let message = "foreign key referenced-columns list must not contain duplicates";
        return Err(SqlError::new(sqlstate::INVALID_FOREIGN_KEY, message));
    }
    let fits = |index: &&Arc<IndexInfo>| {
        index.is_key()
            && index.valid
            && index.columns.len() == columns.len()
            && columns.iter().all(|column| index.has_column(*column))
    };
    let always = parent.indexes.iter().filter(fits).find(|index| index.is_always_unique());
    let index = always.or_else(|| parent.indexes.iter().find(fits)).ok_or_else(|| {
        let message = format!(
            "there is no unique constraint matching given keys for referenced table \"{}\"",
            parent.name
        );
        SqlError::new(sqlstate::INVALID_FOREIGN_KEY, message)
    })?;
    refuse_deferrable(index, "unique constraint", parent)?;
    Ok((index.clone(), columns))
}

/// A key that may be there twice for a while is none to refer to.
fn refuse_deferrable(index: &IndexInfo, what: &str, parent: &TableInfo) -> SqlResult<()> {
    if index.is_always_unique() {
        return Ok(());
    }
    let message = format!("cannot use a deferrable {what} for referenced table \"{}\"", parent.name);
    Err(SqlError::new(sqlstate::OBJECT_NOT_IN_STATE, message))
}

/// The types of which values can be compared: as they are, or because the own becomes the other's by itself.
pub(super) fn refuse_types(
    name: &str,
    table: &TableInfo,
    own: usize,
    parent: &TableInfo,
    other: usize,
) -> SqlResult<()> {
    let (own, other) = (&table.columns[own], &parent.columns[other]);
    let (a, b) = (own.ty, other.ty);
    if same_keys(a, b) || context(a, b) == Some(Context::Implicit) {
        return Ok(());
    }
    let message = format!("foreign key constraint \"{name}\" cannot be implemented");
    Err(SqlError::new(sqlstate::DATATYPE_MISMATCH, message).detail(format!(
        "Key columns \"{}\" and \"{}\" are of incompatible types: {} and {}.",
        own.name,
        other.name,
        own.type_name(),
        other.type_name()
    )))
}

/// An action cannot write what is computed.
fn refuse_generated(table: &TableInfo, new: &NewForeignKey) -> SqlResult<()> {
    use ForeignAction as A;
    if !new.columns.iter().any(|n| table.columns[*n].generated) {
        return Ok(());
    }
    let which = match (new.on_delete, new.on_update) {
        (_, A::SetNull | A::SetDefault | A::Cascade) => "ON UPDATE",
        (A::SetNull | A::SetDefault, _) => "ON DELETE",
        _ => return Ok(()),
    };
    let message = format!("invalid {which} action for foreign key constraint containing generated column");
    Err(SqlError::new(sqlstate::SYNTAX_ERROR, message))
}
