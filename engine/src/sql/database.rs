//! The database: transactions and catalog of one volume.

use std::path::PathBuf;
use std::sync::Arc;

use sextant_volume::LogStore;

use crate::buffer::BufferPool;
use crate::catalog::{Catalog, Relation};
use crate::space;
use crate::spill::Spill;
use crate::table::Cleanable;
use crate::txn::TransactionSystem;
use crate::types::{SqlError, SqlResult};

/// One open database.
pub struct Database {
    /// Its transactions.
    pub txns: Arc<TransactionSystem>,
    /// Its catalog.
    pub catalog: Catalog,
    /// Room for what statements cannot hold in memory.
    pub spill: Arc<Spill>,
}

impl Database {
    /// Opens the database on a volume; formats a new one. `cache_bytes` bounds the page cache.
    /// Temporary files are made where the system has them.
    pub async fn open(store: Arc<dyn LogStore>, cache_bytes: usize) -> SqlResult<Arc<Database>> {
        Database::open_with(store, cache_bytes, std::env::temp_dir()).await
    }

    /// The same with temporary files in `temp_dir`.
    pub async fn open_with(
        store: Arc<dyn LogStore>,
        cache_bytes: usize,
        temp_dir: PathBuf,
    ) -> SqlResult<Arc<Database>> {
        let pool = BufferPool::new(store, cache_bytes)?;
        space::format_if_new(&pool).await?;
        let spill = Spill::new(temp_dir);
        let txns = TransactionSystem::open_with(pool, spill.clone()).await?;
        let catalog = Catalog::open(txns.clone()).await?;
        let database = Arc::new(Database { txns, catalog, spill });
        let weak = Arc::downgrade(&database);
        let tables = move || weak.upgrade().map(|database| database.cleanable()).unwrap_or_default();
        database.txns.clean_in_background(Box::new(tables));
        Ok(database)
    }

    /// Every table with its indexes, as committed.
    fn cleanable(&self) -> Vec<Cleanable> {
        let view = self.catalog.view(None);
        let tables = view.relations().filter_map(|relation| match relation {
            Relation::Table(table) => Some(table),
            _ => None,
        });
        tables
            .map(|table| Cleanable {
                table: table.store.clone(),
                indexes: table.indexes.iter().map(|index| index.store.clone()).collect(),
            })
            .collect()
    }
}

impl From<crate::buffer::StorageError> for SqlError {
    fn from(error: crate::buffer::StorageError) -> SqlError {
        crate::txn::TxnError::Storage(error).into()
    }
}

impl From<crate::txn::TxnError> for SqlError {
    fn from(error: crate::txn::TxnError) -> SqlError {
        let said = SqlError::new(error.sqlstate(), error.to_string());
        match error {
            crate::txn::TxnError::Dependencies => said.hint("The transaction might succeed if retried."),
            _ => said,
        }
    }
}
