//! Which versions are a transaction's own: those of its id, and those of the subtransactions that it did not roll back.

use std::sync::Arc;

use super::TxId;

/// See the module. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own {
    top: Option<TxId>,
    /// Ids of subtransactions in the order in which they were handed out, which is ascending; `None` for none.
    subs: Option<Arc<Vec<TxId>>>,
}

impl Own {
    /// Whether what `id` wrote is the transaction's own.
    pub(crate) fn contains(&self, id: TxId) -> bool {
        self.top == Some(id) || self.subs.as_ref().is_some_and(|subs| subs.binary_search(&id).is_ok())
    }

    /// The transaction has its id now.
    pub(crate) fn begin(&mut self, top: TxId) {
        self.top = Some(top);
    }

    /// A subtransaction has an id now; it is above all others.
    pub(super) fn push(&mut self, sub: TxId) {
        Arc::make_mut(self.subs.get_or_insert_default()).push(sub);
    }

    /// All but the first `len` subtransactions were rolled back.
    pub(super) fn truncate(&mut self, len: usize) {
        match &mut self.subs {
            Some(_) if len == 0 => self.subs = None,
            Some(subs) => Arc::make_mut(subs).truncate(len),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_rolled_back_is_no_longer_ones_own() {
        let mut own = Own::default();
        assert!(!own.contains(TxId(0)));
        own.begin(TxId(5));
        own.push(TxId(7));
        let before = own.clone();
        own.push(TxId(9));
        let has = |own: &Own| [5, 6, 7, 9].map(|id| own.contains(TxId(id)));
        assert_eq!(has(&own), [true, false, true, true]);
        own.truncate(1);
        assert_eq!(has(&own), [true, false, true, false]);
        own.truncate(0);
        assert_eq!(has(&own), [true, false, false, false]);
        assert_eq!(has(&before), [true, false, true, false], "a snapshot keeps what it knew");
    }
}
