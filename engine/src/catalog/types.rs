//! Types that users made.

use std::sync::Arc;

use super::domain::DomainInfo;
use crate::sql::quoted;
use crate::types::{EnumType, SqlType};

/// A type that a user made.
#[derive(Debug, Clone)]
pub struct TypeInfo {
    /// Its OID.
    pub oid: u32,
    /// Its schema.
    pub namespace: u32,
    /// Its schema's name.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: TypeKind,
}

/// What a type is.
#[derive(Debug, Clone)]
pub enum TypeKind {
    /// CREATE TYPE AS ENUM.
    Enum(Arc<EnumType>),
    /// CREATE DOMAIN.
    Domain(Arc<DomainInfo>),
}

impl TypeInfo {
    /// The enum type that its values are of.
    #[must_use]
    pub fn enum_type(&self) -> Option<&Arc<EnumType>> {
        match &self.kind {
            TypeKind::Enum(of) => Some(of),
            TypeKind::Domain(domain) => domain.below.as_ref()?.enum_type(),
        }
    }

    /// What it is, if it is a domain.
    #[must_use]
    pub fn domain(&self) -> Option<&Arc<DomainInfo>> {
        match &self.kind {
            TypeKind::Domain(domain) => Some(domain),
            TypeKind::Enum(_) => None,
        }
    }

    /// Whether it is a type, or a domain over it.
    #[must_use]
    pub fn is_over(&self, oid: u32) -> bool {
        let below = || self.domain()?.below.as_ref();
        self.oid == oid || below().is_some_and(|below| below.is_over(oid))
    }

    /// The same over the type below as `now` has it.
    pub(super) fn current(&self, now: &dyn Fn(u32) -> Option<Arc<TypeInfo>>) -> TypeInfo {
        let mut info = self.clone();
        if let TypeKind::Domain(domain) = &mut info.kind
            && let Some(below) = domain.below.as_ref().and_then(|below| now(below.oid))
        {
            *domain = Arc::new(DomainInfo { below: Some(below), ..DomainInfo::clone(domain) });
        }
        info
    }

    /// The type of its values.
    #[must_use]
    pub fn value_type(&self) -> SqlType {
        match &self.kind {
            TypeKind::Enum(of) => SqlType { oid: of.oid(), typmod: -1 },
            TypeKind::Domain(domain) => domain.base,
        }
    }

    /// As messages spell it: with its schema, unless that is where names are looked for by default.
    #[must_use]
    pub fn spelled(schema: &str, name: &str) -> String {
        match schema {
            "public" => quoted(name),
            other => format!("{}.{}", quoted(other), quoted(name)),
        }
    }

    /// The same in another place, or with another name.
    #[must_use]
    pub fn moved(&self, (namespace, schema): (u32, &str), name: &str) -> TypeInfo {
        let kind = match &self.kind {
            TypeKind::Enum(of) => {
                let labels = of.labels().iter().map(|label| (**label).clone()).collect();
                TypeKind::Enum(Arc::new(of.with(&TypeInfo::spelled(schema, name), labels)))
            }
            TypeKind::Domain(domain) => TypeKind::Domain(domain.clone()),
        };
        TypeInfo { oid: self.oid, namespace, schema: schema.to_owned(), name: name.to_owned(), kind }
    }

    /// The same once the transaction that changed it has committed.
    #[must_use]
    pub fn settled(&self) -> TypeInfo {
        let kind = match &self.kind {
            TypeKind::Enum(of) => TypeKind::Enum(Arc::new(of.settled())),
            TypeKind::Domain(domain) => TypeKind::Domain(domain.clone()),
        };
        TypeInfo { kind, ..self.clone() }
    }
}
