//! DROP.

use std::sync::Arc;

use sqlparser::ast::{self, ObjectType};

use super::view::refuse_system_view;
use super::{Ddl, refuse_pending, refuse_system};
use crate::catalog::{CatalogView, IndexInfo, PG_CATALOG, PUBLIC, Relation, TableInfo};
use crate::sql::{Notice, names, quoted};
use crate::txn::{LockWait, TableLock};
use crate::types::{SqlError, SqlResult, sqlstate};

impl Ddl<'_> {
    pub(super) async fn drop(
        &mut self,
        kind: ObjectType,
        if_exists: bool,
        objects: &[ast::ObjectName],
        cascade: bool,
    ) -> SqlResult<&'static str> {
        let (tag, word, code) = match kind {
            ObjectType::Table => ("DROP TABLE", "table", sqlstate::UNDEFINED_TABLE),
            ObjectType::Index => ("DROP INDEX", "index", sqlstate::UNDEFINED_OBJECT),
            ObjectType::View => ("DROP VIEW", "view", sqlstate::UNDEFINED_TABLE),
            ObjectType::Sequence => ("DROP SEQUENCE", "sequence", sqlstate::UNDEFINED_TABLE),
            ObjectType::Schema => ("DROP SCHEMA", "schema", sqlstate::INVALID_SCHEMA),
            other => return Err(SqlError::unsupported(format!("DROP {other}"))),
        };
        // What goes together may refer to each other.
        let mut along = Vec::new();
        for name in objects.iter().filter(|_| kind != ObjectType::Schema) {
            along.extend(self.find(name)?.map(|relation| relation.oid()));
        }
        for name in objects {
            let dropped = match kind {
                ObjectType::Schema => self.drop_schema(name, cascade).await?,
                _ => self.drop_relation(kind, name, &along, cascade).await?,
            };
            if !dropped {
                self.is_missing(word, code, name, if_exists)?;
            }
        }
        Ok(tag)
    }

    /// Says that something does not exist: in a notice when that is all right.
    fn is_missing(
        &mut self,
        word: &str,
        code: &'static str,
        name: &ast::ObjectName,
        if_exists: bool,
    ) -> SqlResult<()> {
        let shown = names::parts(name)?.join(".");
        let message = format!("{word} \"{shown}\" does not exist");
        if !if_exists {
            return Err(SqlError::new(code, message));
        }
        self.notices.push(Notice::note(format!("{message}, skipping")));
        Ok(())
    }

    /// An index to be dropped while others use its table, which is locked so that its definition stays; `None` when it is not
    /// there and that is all right. It may not be needed by anything.
    pub(super) async fn index_to_drop(
        &mut self,
        name: &ast::ObjectName,
        if_exists: bool,
    ) -> SqlResult<Option<(Arc<TableInfo>, Arc<IndexInfo>)>> {
        loop {
            let index = match self.find(name)? {
                Some(Relation::Index(index)) => index,
                Some(other) => return Err(wrong_kind(&other, ObjectType::Index)),
                None => {
                    self.is_missing("index", sqlstate::UNDEFINED_OBJECT, name, if_exists)?;
                    return Ok(None);
                }
            };
            let lock = TableLock::ShareUpdateExclusive;
            self.txn.lock_table(index.table, lock, LockWait::Block).await?;
            self.txn.begin_statement();
            // As it is now that the lock is had.
            match self.find(name)? {
                Some(Relation::Index(again)) if again.oid == index.oid => {
                    self.check_index_goes(&again, &[], false).await?;
                    let table = self.view().table(again.table).cloned();
                    return Ok(table.map(|table| (table, again)));
                }
                _ => {}
            }
        }
    }

    /// Nothing needs the index; with `cascade` the foreign keys that do go.
    async fn check_index_goes(&mut self, index: &IndexInfo, along: &[u32], cascade: bool) -> SqlResult<()> {
        if index.constraint {
            return Err(needed_by_constraint(&index.name, &self.table_name(index.table)));
        }
        if let Some(table) = self.view().table(index.table) {
            refuse_system(table)?;
        }
        let what = format!("index {}", index.name);
        let concerned = (what.as_str(), what.as_str());
        self.release_referrers(index.table, Some(index.oid), along, concerned, cascade).await
    }

    /// False when there is no such relation.
    async fn drop_relation(
        &mut self,
        kind: ObjectType,
        name: &ast::ObjectName,
        along: &[u32],
        cascade: bool,
    ) -> SqlResult<bool> {
        loop {
            let Some(found) = self.find(name)? else { return Ok(false) };
            let locked = match (&found, kind) {
                (Relation::Table(table), ObjectType::Table) => {
                    refuse_system(table)?;
                    table.oid
                }
                (Relation::Index(index), ObjectType::Index) => index.table,
                (Relation::Sequence(sequence), ObjectType::Sequence) => sequence.oid,
                (Relation::View(view), ObjectType::View) => {
                    refuse_system_view(view)?;
                    view.oid
                }
                (other, _) => return Err(wrong_kind(other, kind)),
            };
            self.txn.lock_table(locked, TableLock::AccessExclusive, LockWait::Block).await?;
            self.txn.begin_statement();
            // As it is now that the lock is had.
            match self.find(name)? {
                Some(Relation::Table(table)) if table.oid == found.oid() => {
                    refuse_pending("DROP TABLE", &table, self.txn)?;
                    let what = format!("table {}", table.name);
                    self.release_views(table.oid, None, &what, along, cascade).await?;
                    self.release_referrers(table.oid, None, along, (&what, &what), cascade).await?;
                    self.db.catalog.drop_table(self.txn, &table).await?;
                }
                Some(Relation::Index(index)) if index.oid == found.oid() => {
                    self.check_index_goes(&index, along, cascade).await?;
                    let Some(table) = self.view().table(index.table).cloned() else { return Ok(false) };
                    self.db.catalog.drop_index(self.txn, &table, &index).await?;
                }
                Some(Relation::Sequence(sequence)) if sequence.oid == found.oid() => {
                    if let Some((table, _)) = sequence.owner {
                        return Err(needed_by_default(&sequence.name, &self.table_name(table)));
                    }
                    let what = format!("sequence {}", sequence.name);
                    self.release_views(sequence.oid, None, &what, along, cascade).await?;
                    self.db.catalog.drop_sequence(self.txn, &sequence).await?;
                }
                Some(Relation::View(view)) if view.oid == found.oid() => {
                    let what = format!("view {}", view.name);
                    self.release_views(view.oid, None, &what, along, cascade).await?;
                    self.db.catalog.drop_view(self.txn, view.oid).await?;
                }
                _ => continue,
            }
            return Ok(true);
        }
    }

    /// Drops what is in a schema, and the foreign keys of others that refer to it.
    async fn drop_objects(&mut self, objects: Vec<(Relation, String)>) -> SqlResult<()> {
        let along: Vec<u32> = objects.iter().map(|(relation, _)| relation.oid()).collect();
        let mut told: Vec<String> = objects.iter().map(|(_, one)| one.clone()).collect();
        for (relation, shown) in &objects {
            let oid = relation.oid();
            if self.view().relation(oid).is_none() {
                continue;
            }
            self.txn.lock_table(oid, TableLock::AccessExclusive, LockWait::Block).await?;
            self.txn.begin_statement();
            let before = self.notices.len();
            self.release_views(oid, None, shown, &along, true).await?;
            told.extend(self.notices.drain(before..).flat_map(cascades));
            // As it is now that the lock is had.
            match self.view().relation(oid) {
                Some(Relation::Table(table)) => {
                    refuse_pending("DROP TABLE", table, self.txn)?;
                    let before = self.notices.len();
                    let concerned = (shown.as_str(), shown.as_str());
                    self.release_referrers(oid, None, &along, concerned, true).await?;
                    told.extend(self.notices.drain(before..).flat_map(cascades));
                    if let Some(table) = self.view().table(oid).cloned() {
                        self.db.catalog.drop_table(self.txn, &table).await?;
                    }
                }
                Some(Relation::Sequence(sequence)) => {
                    self.db.catalog.drop_sequence(self.txn, sequence).await?
                }
                Some(Relation::View(view)) => self.db.catalog.drop_view(self.txn, view.oid).await?,
                _ => {}
            }
        }
        self.note_cascade(&told);
        Ok(())
    }

    fn table_name(&mut self, oid: u32) -> String {
        self.view().table(oid).map_or_else(String::new, |t| t.name.clone())
    }

    async fn drop_schema(&mut self, name: &ast::ObjectName, cascade: bool) -> SqlResult<bool> {
        let (_, name) = names::qualified(name)?;
        let view = self.view();
        let Some(oid) = view.namespace(&name) else { return Ok(false) };
        if oid == PG_CATALOG || oid == PUBLIC {
            let message = format!("cannot drop schema {name} because it is required by the database system");
            return Err(SqlError::new(sqlstate::DEPENDENT_OBJECTS, message));
        }
        let objects = objects_in(&view, oid, &name);
        let mut types: Vec<_> = view.types().filter(|info| info.namespace == oid).cloned().collect();
        // Domains before what they are over.
        types.sort_by_key(|info| std::cmp::Reverse(info.oid));
        if !(cascade || objects.is_empty() && types.is_empty()) {
            let of_types = types.iter().map(|info| format!("type {}.{}", quoted(&name), quoted(&info.name)));
            let depend = objects.iter().map(|(_, one)| one.clone()).chain(of_types);
            let depend = depend.map(|one| format!("{one} depends on schema {name}"));
            let message = format!("cannot drop schema {name} because other objects depend on it");
            return Err(SqlError::new(sqlstate::DEPENDENT_OBJECTS, message)
                .detail(depend.collect::<Vec<_>>().join("\n"))
                .hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        self.drop_objects(objects).await?;
        for info in types {
            let named = (Some(name.clone()), info.name.clone());
            if let Some(info) = self.lock_type(&named, TableLock::AccessExclusive).await? {
                self.drop_type(&info, true).await?;
            }
        }
        self.db.catalog.drop_namespace(self.txn, &name).await?;
        Ok(true)
    }
}

/// What a schema has of its own, the oldest first, each as it is called: tables, views and the sequences that go with no column.
fn objects_in(view: &CatalogView, namespace: u32, schema: &str) -> Vec<(Relation, String)> {
    let inside = view.relations().filter(|relation| relation.name().0 == namespace);
    let mut objects: Vec<(Relation, String)> = inside
        .filter_map(|relation| {
            let shown = format!("{}.{}", quoted(schema), quoted(relation.name().1));
            match relation {
                Relation::Table(_) => Some((relation.clone(), format!("table {shown}"))),
                Relation::View(_) => Some((relation.clone(), format!("view {shown}"))),
                Relation::Sequence(s) if s.owner.is_none() => {
                    Some((relation.clone(), format!("sequence {shown}")))
                }
                Relation::Sequence(_) | Relation::Index(_) => None,
            }
        })
        .collect();
    objects.sort_by_key(|(relation, _)| relation.oid());
    objects
}

fn wrong_kind(relation: &Relation, wanted: ObjectType) -> SqlError {
    let article = if wanted == ObjectType::Index { "an" } else { "a" };
    let word = wanted.to_string().to_lowercase();
    let message = format!("\"{}\" is not {article} {word}", relation.name().1);
    let hint = match relation {
        Relation::Table(_) => "Use DROP TABLE to remove a table.",
        Relation::Index(_) => "Use DROP INDEX to remove an index.",
        Relation::Sequence(_) => "Use DROP SEQUENCE to remove a sequence.",
        Relation::View(_) => "Use DROP VIEW to remove a view.",
    };
    SqlError::new(sqlstate::WRONG_OBJECT_TYPE, message).hint(hint)
}

/// What a notice says that something cascades to.
fn cascades(notice: Notice) -> Vec<String> {
    let lines = notice.fields.detail.as_deref().unwrap_or(&notice.fields.message);
    lines.lines().filter_map(|line| line.strip_prefix("drop cascades to ")).map(str::to_owned).collect()
}

fn needed_by_constraint(index: &str, table: &str) -> SqlError {
    let message =
        format!("cannot drop index {index} because constraint {index} on table {table} requires it");
    SqlError::new(sqlstate::DEPENDENT_OBJECTS, message)
        .hint(format!("You can drop constraint {index} on table {table} instead."))
}

fn needed_by_default(sequence: &str, table: &str) -> SqlError {
    let message = format!("cannot drop sequence {sequence} because other objects depend on it");
    SqlError::new(sqlstate::DEPENDENT_OBJECTS, message)
        .detail(format!("default value for a column of table {table} depends on sequence {sequence}"))
}
