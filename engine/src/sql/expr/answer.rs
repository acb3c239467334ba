//! What the sub-queries of a statement came to. They do not depend on its rows, and are run before it.

use crate::spill::{Budget, Inserted, KeySet, SetBuilder};
use crate::types::{Datum, SqlResult, SqlType, key};

/// So many values at most are kept as they are, to be looked up in an index.
const FEW: usize = 10_000;
/// They hold at most this part of what the list may hold.
const FEW_PART: usize = 8;
/// Bytes of such a value beside its own.
const OVERHEAD: usize = size_of::<Datum>();

/// What one of them came to.
#[derive(Debug)]
pub(crate) enum Answer {
    Value(Datum),
    List(ValueList),
}

/// The values of `IN (SELECT ...)` as they come.
pub(crate) struct ListBuilder {
    keys: SetBuilder,
    has_null: bool,
    few: Few,
}

/// The values themselves, each once, while they are few.
struct Few {
    values: Option<Vec<Datum>>,
    budget: Budget,
}

/// The values of `IN (SELECT ...)`.
#[derive(Debug)]
pub(crate) struct ValueList {
    keys: KeySet,
    has_null: bool,
    few: Option<Vec<Datum>>,
    _budget: Budget,
}

impl Few {
    fn add(&mut self, value: &Datum, bytes: usize) {
        let Some(values) = &mut self.values else { return };
        self.budget.take(bytes + OVERHEAD);
        values.push(value.clone());
        if values.len() > FEW || self.budget.is_full() {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.values = None;
        self.budget = self.budget.part(1);
    }
}

impl ListBuilder {
    pub(crate) fn new(budget: Budget) -> ListBuilder {
        let few = Few { values: Some(Vec::new()), budget: budget.part(FEW_PART) };
        ListBuilder { keys: SetBuilder::new(budget), has_null: false, few }
    }

    /// Adds a value of the sub-query's type.
    pub(crate) async fn add(&mut self, value: &Datum, ty: SqlType) -> SqlResult<()> {
        match value {
            Datum::Null => self.has_null = true,
            value => {
                let key = bytes(value, ty);
                let len = key.len();
                match self.keys.insert(key).await? {
                    Inserted::New => self.few.add(value, len),
                    Inserted::Known => {}
                    Inserted::Unknown => self.few.forget(),
                }
            }
        }
        Ok(())
    }

    /// All are there.
    pub(crate) async fn finish(self) -> SqlResult<ValueList> {
        let Few { values, budget } = self.few;
        Ok(ValueList {
            keys: self.keys.finish().await?,
            has_null: self.has_null,
            few: values,
            _budget: budget,
        })
    }
}

impl ValueList {
    /// All of its values but NULL, each once, if they are few.
    pub(crate) fn few(&self) -> Option<&[Datum]> {
        self.few.as_deref()
    }

    /// Whether a value is among them; `None` where NULL leaves that open.
    pub(super) fn contains(&self, value: &Datum, ty: SqlType) -> SqlResult<Option<bool>> {
        if self.keys.is_empty() && !self.has_null {
            return Ok(Some(false));
        }
        if !value.is_null() && self.keys.contains(&bytes(value, ty))? {
            return Ok(Some(true));
        }
        Ok((!self.has_null && !value.is_null()).then_some(false))
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
    use crate::spill::Spill;
    use crate::types::oids;

    async fn list(values: &[Datum], ty: SqlType) -> ValueList {
        let mut list = ListBuilder::new(Budget::new(&Spill::new(std::env::temp_dir()), 1 << 20));
        for value in values {
            list.add(value, ty).await.unwrap();
        }
        list.finish().await.unwrap()
    }

    #[tokio::test]
    async fn in_follows_sqls_logic_of_three_values() {
        let (int4, int8) = (SqlType::INT4, SqlType::INT8);
        let is_in = |list: &ValueList, value: Datum| list.contains(&value, int4).unwrap();
        let nothing = list(&[], int4).await;
        assert_eq!(is_in(&nothing, Datum::Null), Some(false), "nothing is in an empty list");
        let seven = list(&[Datum::Int8(7), Datum::Int8(7)], int8).await;
        assert_eq!(is_in(&seven, Datum::Int4(7)), Some(true), "integers of different sizes");
        assert_eq!(is_in(&seven, Datum::Int4(8)), Some(false));
        assert_eq!(is_in(&seven, Datum::Null), None);
        let with_null = list(&[Datum::Int8(7), Datum::Null], int8).await;
        assert_eq!(is_in(&with_null, Datum::Int4(7)), Some(true));
        assert_eq!(is_in(&with_null, Datum::Int4(8)), None);
        let only_null = list(&[Datum::Null], int4).await;
        assert_eq!(is_in(&only_null, Datum::Int4(1)), None);
        let blank = SqlType { oid: oids::BPCHAR, ..SqlType::TEXT };
        let padded = list(&[Datum::text("a  ")], blank).await;
        assert_eq!(padded.contains(&Datum::text("a"), blank).unwrap(), Some(true));
    }
}
