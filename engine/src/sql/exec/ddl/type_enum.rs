//! CREATE TYPE AS ENUM and ALTER TYPE.

use std::sync::Arc;

use super::Ddl;
use crate::catalog::{PG_CATALOG, TypeInfo, TypeKind};
use crate::sql::Notice;
use crate::sql::bind::{find_type, undefined_type};
use crate::sql::statement::{NewLabel, QualifiedName, TypeChange, TypeStatement};
use crate::txn::{LockWait, TableLock};
use crate::types::{EnumLabel, EnumType, SqlError, SqlResult, order_key, sqlstate};

/// Bytes that a label may have, as many as a name.
const LABEL_MAX: usize = 63;

impl Ddl<'_> {
    pub(super) async fn type_statement(&mut self, statement: &TypeStatement) -> SqlResult<&'static str> {
        match statement {
            TypeStatement::CreateEnum { name, labels } => {
                self.create_enum(name, labels).await.map(|()| "CREATE TYPE")
            }
            TypeStatement::Alter { name, change } => {
                self.alter_type_of(name, change).await.map(|()| "ALTER TYPE")
            }
            TypeStatement::CreateDomain { name, definition } => {
                self.create_domain(name, definition).await.map(|()| "CREATE DOMAIN")
            }
            TypeStatement::AlterDomain { name, change } => {
                self.alter_domain(name, change).await.map(|()| "ALTER DOMAIN")
            }
            TypeStatement::Drop(drop) => {
                self.drop_types(drop).await.map(|()| if drop.domains { "DROP DOMAIN" } else { "DROP TYPE" })
            }
        }
    }

    async fn create_enum(&mut self, (schema, name): &QualifiedName, labels: &[String]) -> SqlResult<()> {
        let (namespace, name) = self.place_in(schema.as_deref(), name)?;
        self.refuse_type_name(namespace, &name)?;
        labels.iter().try_for_each(|label| refuse_label(label))?;
        self.db.catalog.create_enum(self.txn, (namespace, name), labels).await
    }

    /// 42710 for a name that a type has, or a relation with rows, which is a type of its own.
    pub(super) fn refuse_type_name(&mut self, namespace: u32, name: &str) -> SqlResult<()> {
        use crate::catalog::Relation;
        let view = self.view();
        let relation = view.find(namespace, name);
        let is_row_type = matches!(relation, Some(Relation::Table(_) | Relation::View(_)));
        if view.find_type(namespace, name).is_none() && !is_row_type {
            return Ok(());
        }
        Err(SqlError::new(sqlstate::DUPLICATE_OBJECT, format!("type \"{name}\" already exists")))
    }

    /// A type that a user made, locked, as it is then.
    pub(super) async fn lock_type(
        &mut self,
        (schema, name): &QualifiedName,
        lock: TableLock,
    ) -> SqlResult<Option<Arc<TypeInfo>>> {
        loop {
            let Some(found) = find_type(&self.view(), self.ctx, schema.as_deref(), name)? else {
                return Ok(None);
            };
            self.txn.lock_table(found.oid, lock, LockWait::Block).await?;
            self.txn.begin_statement();
            // The name may stand for another type now, or for none.
            let again = find_type(&self.view(), self.ctx, schema.as_deref(), name)?;
            if let Some(again) = again.filter(|again| again.oid == found.oid) {
                return Ok(Some(again));
            }
        }
    }

    /// Keeps a type that a column is about to have; 42704 when it is gone.
    pub(super) async fn hold_type(&mut self, declared: Option<&Arc<TypeInfo>>) -> SqlResult<()> {
        let Some(declared) = declared else { return Ok(()) };
        self.txn.lock_table(declared.oid, TableLock::AccessShare, LockWait::Block).await?;
        self.txn.begin_statement();
        match self.view().type_info(declared.oid) {
            Some(_) => Ok(()),
            None => Err(undefined_type(None, &declared.name)),
        }
    }

    async fn alter_type_of(&mut self, name: &QualifiedName, change: &TypeChange) -> SqlResult<()> {
        let info = self.lock_type(name, TableLock::ShareUpdateExclusive).await?;
        let info = info.ok_or_else(|| undefined_type(name.0.as_deref(), &name.1))?;
        self.change_type(&info, change).await
    }

    /// What ALTER TYPE does to a type that is locked.
    pub(super) async fn change_type(&mut self, info: &Arc<TypeInfo>, change: &TypeChange) -> SqlResult<()> {
        match change {
            TypeChange::AddValue(new) => self.add_value(info, new).await,
            TypeChange::RenameValue { from, to } => self.rename_value(info, from, to).await,
            TypeChange::Rename(to) => {
                self.refuse_type_name(info.namespace, to)?;
                let changed = info.moved((info.namespace, &info.schema), to);
                self.db.catalog.alter_type(self.txn, info, changed).await
            }
            TypeChange::SetSchema(schema) => self.move_type(info, schema).await,
            TypeChange::Owner => Ok(()),
        }
    }

    async fn move_type(&mut self, info: &TypeInfo, schema: &str) -> SqlResult<()> {
        let namespace = self.view().namespace(schema).ok_or_else(|| {
            SqlError::new(sqlstate::INVALID_SCHEMA, format!("schema \"{schema}\" does not exist"))
        })?;
        if namespace == info.namespace {
            return Ok(());
        }
        if namespace == PG_CATALOG {
            let message = "cannot move objects into or out of the system schema";
            return Err(SqlError::new(sqlstate::INSUFFICIENT_PRIVILEGE, message));
        }
        if self.view().find_type(namespace, &info.name).is_some() {
            let message = format!("type \"{}\" already exists in schema \"{schema}\"", info.name);
            return Err(SqlError::new(sqlstate::DUPLICATE_OBJECT, message));
        }
        let changed = info.moved((namespace, schema), &info.name);
        self.db.catalog.alter_type(self.txn, info, changed).await
    }

    async fn add_value(&mut self, info: &TypeInfo, new: &NewLabel) -> SqlResult<()> {
        let of = enum_of(info)?;
        refuse_label(&new.label)?;
        if of.find(&new.label).is_some() {
            let message = format!("enum label \"{}\" already exists", new.label);
            if !new.if_not_exists {
                return Err(SqlError::new(sqlstate::DUPLICATE_OBJECT, message));
            }
            self.notices.push(Notice::skipping(format!("{message}, skipping")));
            return Ok(());
        }
        let at = match &new.beside {
            None => of.labels().len(),
            Some((before, neighbour)) => {
                let at = of.labels().iter().position(|label| *label.name == **neighbour);
                let at = at.ok_or_else(|| no_label(neighbour))?;
                if *before { at } else { at + 1 }
            }
        };
        let labels = with_label(of, at, self.db.catalog.part_oid(), &new.label);
        self.relabel(info, of, labels).await
    }

    /// Describes a type with these labels.
    pub(super) async fn relabel(
        &mut self,
        info: &TypeInfo,
        of: &EnumType,
        labels: Vec<EnumLabel>,
    ) -> SqlResult<()> {
        let changed = with_labels(info, of, labels);
        self.db.catalog.alter_type(self.txn, info, changed).await
    }
}

/// The type with these labels.
pub(super) fn with_labels(info: &TypeInfo, of: &EnumType, labels: Vec<EnumLabel>) -> TypeInfo {
    TypeInfo { kind: TypeKind::Enum(Arc::new(of.with(of.name(), labels))), ..info.clone() }
}

pub(super) fn enum_of(info: &TypeInfo) -> SqlResult<&Arc<EnumType>> {
    match &info.kind {
        TypeKind::Enum(of) => Ok(of),
        TypeKind::Domain(_) => {
            let message = format!("{} is not an enum", TypeInfo::spelled(&info.schema, &info.name));
            Err(SqlError::new(sqlstate::WRONG_OBJECT_TYPE, message))
        }
    }
}

pub(super) fn no_label(label: &str) -> SqlError {
    SqlError::new(sqlstate::INVALID_PARAMETER_VALUE, format!("\"{label}\" is not an existing enum label"))
}

pub(super) fn refuse_label(label: &str) -> SqlResult<()> {
    if label.len() <= LABEL_MAX {
        return Ok(());
    }
    Err(SqlError::new(sqlstate::INVALID_NAME, format!("invalid enum label \"{label}\""))
        .detail(format!("Labels must be {LABEL_MAX} bytes or less.")))
}

/// A type's labels with a new one at a place. What pg_enum shows of their order is numbered anew when floats have no room there;
/// keys always have.
fn with_label(of: &EnumType, at: usize, oid: u32, name: &str) -> Vec<EnumLabel> {
    let mut labels: Vec<EnumLabel> = of.labels().iter().map(|label| (**label).clone()).collect();
    let (low, high) = (at.checked_sub(1).map(|n| &labels[n]), labels.get(at));
    let key = order_key::between(low.map(|label| &*label.key), high.map(|label| &*label.key)).into();
    let sort_order = match (low.map(|label| label.sort_order), high.map(|label| label.sort_order)) {
        (None, None) => Some(1.0),
        (Some(low), None) => Some(low + 1.0).filter(|order| *order > low),
        (None, Some(high)) => Some(high - 1.0).filter(|order| *order < high),
        (Some(low), Some(high)) => Some((low + high) / 2.0).filter(|order| *order > low && *order < high),
    };
    let (name, of) = (name.into(), "".into());
    let new = EnumLabel { oid, key, sort_order: sort_order.unwrap_or_default(), name, of, fresh: true };
    labels.insert(at, new);
    if sort_order.is_none() {
        labels.iter_mut().enumerate().for_each(|(n, label)| label.sort_order = n as f32 + 1.0);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_anew_where_floats_have_no_room() {
        let mut of = EnumType::new(20_000, "mood", Vec::new());
        for n in 0..60 {
            let at = of.labels().len().min(1);
            of = of.with("mood", with_label(&of, at, n, &format!("label {n}")));
            assert_eq!(of.labels()[at].oid, n);
            assert!(of.labels().is_sorted_by(|a, b| a.sort_order < b.sort_order && a.key < b.key));
        }
        let numbers: Vec<f32> = of.labels()[..2].iter().map(|label| label.sort_order).collect();
        assert_eq!(numbers[0], 1.0);
    }
}
