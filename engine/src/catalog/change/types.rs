//! Types that are made, changed and dropped.

use std::sync::Arc;

use super::{rows, system};
use crate::catalog::Catalog;
use crate::catalog::domain::{DomainCheck, DomainInfo};
use crate::catalog::model::Change;
use crate::catalog::types::{TypeInfo, TypeKind};
use crate::txn::Transaction;
use crate::types::{Datum, EnumLabel, EnumType, SqlError, SqlResult, order_key, sqlstate};

impl Catalog {
    /// A new enum type in a schema: 23505 for a label that comes twice.
    pub async fn create_enum(
        &self,
        txn: &mut Transaction,
        (namespace, name): (u32, String),
        labels: &[String],
    ) -> SqlResult<()> {
        let oid = self.fresh_oid();
        let schema = self.view(Some(txn)).namespace_name(namespace).unwrap_or_default().to_owned();
        let mut made: Vec<EnumLabel> = Vec::with_capacity(labels.len());
        for (n, label) in labels.iter().enumerate() {
            made.push(EnumLabel {
                oid: self.fresh_oid(),
                key: order_key::between(made.last().map(|label| &*label.key), None).into(),
                sort_order: n as f32 + 1.0,
                name: label.as_str().into(),
                of: "".into(),
                fresh: false,
            });
        }
        let of = EnumType::new(oid, &TypeInfo::spelled(&schema, &name), made);
        let info = TypeInfo { oid, namespace, schema, name, kind: TypeKind::Enum(Arc::new(of)) };
        self.create_type(txn, info).await
    }

    /// A new domain in a schema.
    pub async fn create_domain(
        &self,
        txn: &mut Transaction,
        (namespace, name): (u32, String),
        domain: DomainInfo,
    ) -> SqlResult<()> {
        let schema = self.view(Some(txn)).namespace_name(namespace).unwrap_or_default().to_owned();
        let kind = TypeKind::Domain(Arc::new(domain));
        self.create_type(txn, TypeInfo { oid: self.fresh_oid(), namespace, schema, name, kind }).await
    }

    async fn create_type(&self, txn: &mut Transaction, info: TypeInfo) -> SqlResult<()> {
        let added = self.add(txn, rows::of_type(&info)).await;
        added.map_err(|error| type_name_taken(error, &info.name))?;
        self.put_type(txn, info);
        Ok(())
    }

    /// An OID for a label or constraint that is added to a type.
    #[must_use]
    pub fn part_oid(&self) -> u32 {
        self.fresh_oid()
    }

    /// Describes a type as `new` does.
    pub async fn alter_type(&self, txn: &mut Transaction, old: &TypeInfo, new: TypeInfo) -> SqlResult<()> {
        let written = self.write_changes(txn, rows::of_type(old), rows::of_type(&new)).await;
        written.map_err(|error| type_name_taken(error, &new.name))?;
        self.put_type(txn, new);
        Ok(())
    }

    fn put_type(&self, txn: &mut Transaction, info: TypeInfo) {
        self.change(txn, Change::PutType(Arc::new(info)));
        txn.begin_statement();
    }

    /// Removes a type that nothing depends on.
    pub async fn drop_type(&self, txn: &mut Transaction, info: &TypeInfo) -> SqlResult<()> {
        for (def, row) in rows::of_type(info) {
            let key = row[def.column(def.indexes[0].columns[0])].clone();
            self.delete(txn, def, 0, &[key]).await?;
        }
        self.change(txn, Change::RemoveType(info.oid));
        txn.begin_statement();
        Ok(())
    }
}

/// Two transactions that make types of the same name meet at pg_type's index.
fn type_name_taken(error: SqlError, name: &str) -> SqlError {
    if error.constraint.as_deref() == Some(system::PG_TYPE.indexes[1].name) {
        return SqlError::new(sqlstate::DUPLICATE_OBJECT, format!("type \"{name}\" already exists"));
    }
    error
}

/// A label's row in pg_enum.
pub(super) fn of_label(of: &EnumType, label: &EnumLabel) -> rows::Row {
    let row = system::PG_ENUM.row(&[
        ("oid", Datum::Oid(label.oid)),
        ("enumtypid", Datum::Oid(of.oid())),
        ("enumsortorder", Datum::Float4(label.sort_order)),
        ("enumlabel", Datum::Text(label.name.clone())),
        ("enumkey", Datum::Bytea(label.key.to_vec().into())),
    ]);
    (&system::PG_ENUM, row)
}

/// A domain's constraint in pg_constraint.
pub(super) fn of_domain_check(info: &TypeInfo, check: &DomainCheck) -> rows::Row {
    let row = system::PG_CONSTRAINT.row(&[
        ("oid", Datum::Oid(check.oid)),
        ("conname", Datum::text(check.name.as_str())),
        ("connamespace", Datum::Oid(info.namespace)),
        ("contype", Datum::text("c")),
        ("convalidated", Datum::Bool(check.valid)),
        ("contypid", Datum::Oid(info.oid)),
        ("confupdtype", Datum::text(" ")),
        ("confdeltype", Datum::text(" ")),
        ("confmatchtype", Datum::text(" ")),
        ("conislocal", Datum::Bool(true)),
        ("conbin", Datum::text(check.condition.as_str())),
    ]);
    (&system::PG_CONSTRAINT, row)
}
