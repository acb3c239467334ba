//! What the sub-queries of a statement came to. They do not depend on its rows, and are run before it.

use std::collections::HashSet;

use crate::types::{Datum, SqlType, key};

/// What one of them came to.
#[derive(Debug)]
pub(crate) enum Answer {
    Value(Datum),
    List(ValueList),
}

/// The values of `IN (SELECT ...)`, each once.
#[derive(Debug, Default)]
pub(crate) struct ValueList {
    keys: HashSet<Vec<u8>>,
    has_null: bool,
}

impl ValueList {
    /// Adds a value of the sub-query's type.
    pub(crate) fn add(&mut self, value: &Datum, ty: SqlType) {
        match value {
            Datum::Null => self.has_null = true,
            value => _ = self.keys.insert(bytes(value, ty)),
        }
    }

    /// Whether a value is among them; `None` where NULL leaves that open.
    pub(super) fn contains(&self, value: &Datum, ty: SqlType) -> Option<bool> {
        if self.keys.is_empty() && !self.has_null {
            return Some(false);
        }
        let found = !value.is_null() && self.keys.contains(&bytes(value, ty));
        if found {
            return Some(true);
        }
        (!self.has_null && !value.is_null()).then_some(false)
    }
}

fn bytes(value: &Datum, ty: SqlType) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    key::encode_equal(value, ty, &mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::oids;

    #[test]
    fn in_follows_sqls_logic_of_three_values() {
        let (int4, int8) = (SqlType::INT4, SqlType::INT8);
        let mut list = ValueList::default();
        assert_eq!(list.contains(&Datum::Null, int4), Some(false), "nothing is in an empty list");
        list.add(&Datum::Int8(7), int8);
        list.add(&Datum::Int8(7), int8);
        assert_eq!(list.keys.len(), 1);
        assert_eq!(list.contains(&Datum::Int4(7), int4), Some(true), "integers of different sizes");
        assert_eq!(list.contains(&Datum::Int4(8), int4), Some(false));
        assert_eq!(list.contains(&Datum::Null, int4), None);
        list.add(&Datum::Null, int8);
        assert_eq!(list.contains(&Datum::Int4(7), int4), Some(true));
        assert_eq!(list.contains(&Datum::Int4(8), int4), None);
        let mut only_null = ValueList::default();
        only_null.add(&Datum::Null, int4);
        assert_eq!(only_null.contains(&Datum::Int4(1), int4), None);
        let blank = SqlType { oid: oids::BPCHAR, ..SqlType::TEXT };
        let mut padded = ValueList::default();
        padded.add(&Datum::text("a  "), blank);
        assert_eq!(padded.contains(&Datum::text("a"), blank), Some(true));
    }
}
