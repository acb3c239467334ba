//! SAVEPOINT, RELEASE and ROLLBACK TO: the block's names for the savepoints of the transaction below.
//!
//! What must hold: the n-th name here is savepoint n there. What a client may have back at a savepoint is all that it
//! changed behind it: rows, locks, catalog, settings, cursors.

use super::block::State;
use super::{Session, codes};
use crate::types::{SqlError, SqlResult, sqlstate};

/// A savepoint of the block.
pub(super) struct Savepoint {
    name: Box<str>,
    /// Portals with this number or a higher one were made behind it.
    serial: u64,
    settings: usize,
    read_only: Option<bool>,
}

impl Session {
    /// SAVEPOINT. A name may be used again: the newest one of it counts.
    pub(super) fn set_savepoint(&mut self, name: &str) -> SqlResult<()> {
        self.need_block("SAVEPOINT")?;
        let Some(txn) = self.block.txn.as_mut() else {
            return Err(SqlError::internal("an open block without a transaction"));
        };
        let number = txn.set_savepoint();
        debug_assert_eq!(number, self.block.savepoints.len(), "names and savepoints go together");
        self.block.serial += 1;
        self.block.savepoints.push(Savepoint {
            name: name.into(),
            serial: self.block.serial,
            settings: self.settings.mark(),
            read_only: self.block.read_only,
        });
        Ok(())
    }

    /// RELEASE SAVEPOINT: forgets it and those inside it.
    pub(super) fn release_savepoint(&mut self, name: &str) -> SqlResult<()> {
        self.need_block("RELEASE SAVEPOINT")?;
        let number = self.find_savepoint(name)?;
        if let Some(txn) = self.block.txn.as_mut() {
            txn.release_savepoint(number);
        }
        self.block.savepoints.truncate(number);
        Ok(())
    }

    /// ROLLBACK TO SAVEPOINT: the way out of a failed block, too.
    pub(super) fn rollback_to_savepoint(&mut self, name: &str) -> SqlResult<()> {
        self.need_block("ROLLBACK TO SAVEPOINT")?;
        let number = self.find_savepoint(name)?;
        self.take_back(number);
        self.block.state = State::Open;
        Ok(())
    }

    /// Takes back what was done behind savepoint `number`, which stays.
    pub(super) fn take_back(&mut self, number: usize) {
        self.block.savepoints.truncate(number + 1);
        let Some(to) = self.block.savepoints.get(number) else {
            return;
        };
        self.portals.retain(|portal| portal.serial < to.serial);
        self.settings.rollback_to(to.settings);
        self.block.read_only = to.read_only;
        if let Some(txn) = self.block.txn.as_mut() {
            txn.rollback_to_savepoint(number);
            txn.end_statement();
        }
    }

    fn find_savepoint(&self, name: &str) -> SqlResult<usize> {
        self.block.savepoints.iter().rposition(|savepoint| &*savepoint.name == name).ok_or_else(|| {
            SqlError::new(codes::INVALID_SAVEPOINT, format!("savepoint \"{name}\" does not exist"))
        })
    }

    fn need_block(&self, what: &str) -> SqlResult<()> {
        if self.block.is_explicit() {
            return Ok(());
        }
        let message = format!("{what} can only be used in transaction blocks");
        Err(SqlError::new(sqlstate::NO_ACTIVE_TRANSACTION, message))
    }
}
