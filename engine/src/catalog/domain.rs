//! Domains: types whose values are those of another type that meet conditions.

use super::types::TypeInfo;
use crate::types::SqlType;
use std::sync::Arc;

/// What a domain adds to the type below it.
#[derive(Debug, Clone)]
pub struct DomainInfo {
    /// The type of the values, with its modifier.
    pub base: SqlType,
    /// The type below, if a user made that.
    pub below: Option<Arc<TypeInfo>>,
    /// NULL is refused.
    pub not_null: bool,
    /// DEFAULT, as SQL text: that of the domain below, as it was when this one was made, if it was given none.
    pub default: Option<String>,
    /// Its CHECK constraints by name, the order in which they are asked.
    pub checks: Vec<DomainCheck>,
}

/// A CHECK constraint of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainCheck {
    /// Its OID.
    pub oid: u32,
    /// Its name, the only one in the domain.
    pub name: String,
    /// Its condition over VALUE, as SQL text.
    pub condition: String,
    /// False while values that are older than it may break it (NOT VALID).
    pub valid: bool,
}

impl DomainInfo {
    /// The expressions that it keeps as text.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.default.as_deref().into_iter().chain(self.checks.iter().map(|check| check.condition.as_str()))
    }

    /// The same with its CHECK constraints in order.
    #[must_use]
    pub fn with_checks(&self, mut checks: Vec<DomainCheck>) -> DomainInfo {
        checks.sort_by(|a, b| a.name.cmp(&b.name));
        DomainInfo { checks, ..self.clone() }
    }
}
