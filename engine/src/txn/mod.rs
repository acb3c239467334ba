//! Transactions: identifiers, snapshots, commit table, versions, row locks.
