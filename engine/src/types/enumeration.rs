//! Values of enum types.
//!
//! A row keeps a label's OID, an index its [`order_key`](super::order_key): neither changes while the label is there, whatever
//! labels are put around it and whatever it is called. A value in memory is the label itself, with its name.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::{Datum, SqlError, SqlResult, SqlType, TimeZone, decode_binary, decode_text, sqlstate, utf8};

/// A label of an enum type.
#[derive(Clone)]
pub struct EnumLabel {
    /// Its OID.
    pub oid: u32,
    /// Its place among the labels of its type.
    pub key: Box<[u8]>,
    /// That place as pg_enum shows it.
    pub sort_order: f32,
    /// Its name.
    pub name: Arc<str>,
    /// Its type as messages spell it.
    pub of: Arc<str>,
    /// Added by a transaction that has not committed: it cannot be used yet.
    pub fresh: bool,
}

impl PartialEq for EnumLabel {
    fn eq(&self, other: &EnumLabel) -> bool {
        self.oid == other.oid
    }
}

impl std::fmt::Debug for EnumLabel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{:?}", self.oid, self.name)
    }
}

/// Labels by OID, of all states that a type was in since the start: a plan that is older than a label meets it in rows that
/// are read in their newest version.
type Known = RwLock<BTreeMap<u32, Arc<EnumLabel>>>;

/// An enum type in one state.
#[derive(Debug, Clone)]
pub struct EnumType {
    oid: u32,
    name: Arc<str>,
    /// In order.
    labels: Vec<Arc<EnumLabel>>,
    known: Arc<Known>,
}

impl EnumType {
    /// A type with these labels. `name` is how messages spell it.
    #[must_use]
    pub fn new(oid: u32, name: &str, labels: Vec<EnumLabel>) -> EnumType {
        let empty = EnumType { oid, name: name.into(), labels: Vec::new(), known: Arc::default() };
        empty.with(name, labels)
    }

    /// The same type with other labels, or under another name.
    #[must_use]
    pub fn with(&self, name: &str, mut labels: Vec<EnumLabel>) -> EnumType {
        let name: Arc<str> = name.into();
        labels.sort_by(|a, b| a.key.cmp(&b.key));
        let named = |label: EnumLabel| Arc::new(EnumLabel { of: name.clone(), ..label });
        let labels: Vec<Arc<EnumLabel>> = labels.into_iter().map(named).collect();
        let mut known = self.known.write();
        for label in &labels {
            known.insert(label.oid, label.clone());
        }
        drop(known);
        EnumType { oid: self.oid, name, labels, known: self.known.clone() }
    }

    /// The same type once its newest labels are committed.
    #[must_use]
    pub fn settled(&self) -> EnumType {
        let settled = |label: &Arc<EnumLabel>| EnumLabel { fresh: false, ..(**label).clone() };
        self.with(&self.name, self.labels.iter().map(settled).collect())
    }

    /// Its OID.
    #[must_use]
    pub fn oid(&self) -> u32 {
        self.oid
    }

    /// Its name as messages spell it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its labels in order.
    #[must_use]
    pub fn labels(&self) -> &[Arc<EnumLabel>] {
        &self.labels
    }

    /// A label by its name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<EnumLabel>> {
        self.labels.iter().find(|label| &*label.name == name)
    }

    /// A label by the OID that a row has.
    #[must_use]
    pub fn label(&self, oid: u32) -> Option<Arc<EnumLabel>> {
        let own = self.labels.iter().find(|label| label.oid == oid).cloned();
        own.or_else(|| self.known.read().get(&oid).cloned())
    }

    /// The value that a text stands for.
    pub fn read(&self, text: &str) -> SqlResult<Datum> {
        let label = self.find(text).ok_or_else(|| {
            let message = format!("invalid input value for enum {}: \"{text}\"", self.name);
            SqlError::new(sqlstate::INVALID_TEXT, message)
        })?;
        self.usable(label)
    }

    /// A label as a value; 55P04 while its addition is not committed.
    pub fn usable(&self, label: &Arc<EnumLabel>) -> SqlResult<Datum> {
        if label.fresh {
            let message = format!("unsafe use of new value \"{}\" of enum type {}", label.name, self.name);
            return Err(SqlError::new(sqlstate::UNSAFE_NEW_ENUM_VALUE, message)
                .hint("New enum values must be committed before they can be used."));
        }
        Ok(Datum::Enum(label.clone()))
    }
}

/// The enum types among those that values are read as.
#[derive(Debug, Clone, Default)]
pub struct EnumTypes(Vec<Arc<EnumType>>);

impl EnumTypes {
    /// Of these.
    pub fn of(types: impl Iterator<Item = Arc<EnumType>>) -> EnumTypes {
        EnumTypes(types.collect())
    }

    fn get(&self, ty: SqlType) -> SqlResult<Option<&Arc<EnumType>>> {
        if !ty.is_enum() {
            return Ok(None);
        }
        let found = self.0.iter().find(|known| known.oid == ty.oid);
        found.map(Some).ok_or_else(|| SqlError::internal("a value of an enum type that is not known"))
    }

    /// Reads a value from its text form.
    pub fn decode_text(&self, text: &str, ty: SqlType, zone: &TimeZone) -> SqlResult<Datum> {
        match self.get(ty)? {
            Some(of) => of.read(text),
            None => decode_text(text, ty, zone),
        }
    }

    /// Reads a value from its binary form, which of an enum is its text.
    pub fn decode_binary(&self, bytes: &[u8], ty: SqlType) -> SqlResult<Datum> {
        match self.get(ty)? {
            Some(of) => of.read(utf8(bytes)?),
            None => decode_binary(bytes, ty),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::key::{self, KeyOrder};
    use crate::types::{compare, order_key};

    fn label(oid: u32, key: Vec<u8>) -> EnumLabel {
        let name = format!("label {oid}").into();
        EnumLabel { oid, key: key.into(), sort_order: 0.0, name, of: "".into(), fresh: false }
    }

    fn encoded(label: &Arc<EnumLabel>, descending: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let order = KeyOrder { descending, nulls_first: false };
        key::encode(&Datum::Enum(label.clone()), SqlType { oid: 20_000, typmod: -1 }, order, &mut bytes);
        // What follows in a key of several columns does not count before this column.
        bytes.push(0x7f);
        bytes
    }

    proptest! {
        #[test]
        fn keys_of_an_index_survive_labels_put_anywhere(places in prop::collection::vec(0usize..100, 1..60)) {
            let mut state = EnumType::new(20_000, "mood", Vec::new());
            let mut written: Vec<(u32, Vec<u8>, Vec<u8>)> = Vec::new();
            for (n, place) in places.iter().enumerate() {
                let at = place % (state.labels().len() + 1);
                let low = at.checked_sub(1).map(|n| &*state.labels()[n].key);
                let new = order_key::between(low, state.labels().get(at).map(|label| &*label.key));
                let mut labels: Vec<EnumLabel> = state.labels().iter().map(|l| (**l).clone()).collect();
                labels.push(label(n as u32, new));
                let older = state.clone();
                state = state.with("mood", labels);
                prop_assert_eq!(state.labels()[at].oid, n as u32, "it is where it was put");
                prop_assert_eq!(older.label(n as u32).map(|l| l.oid), Some(n as u32), "an older state knows it");
                let new = &state.labels()[at];
                written.push((new.oid, encoded(new, false), encoded(new, true)));
            }
            let place = |oid: u32| state.labels().iter().position(|label| label.oid == oid);
            for (a, up_a, down_a) in &written {
                let a_label = state.label(*a).unwrap();
                prop_assert_eq!(&encoded(&a_label, false), up_a, "a label's key never changes");
                for (b, up_b, down_b) in &written {
                    let wanted = place(*a).cmp(&place(*b));
                    prop_assert_eq!(up_a.cmp(up_b), wanted);
                    prop_assert_eq!(down_b.cmp(down_a), wanted);
                    let values = (Datum::Enum(a_label.clone()), Datum::Enum(state.label(*b).unwrap()));
                    prop_assert_eq!(compare(&values.0, &values.1, SqlType::TEXT), Some(wanted));
                }
            }
        }
    }
}
