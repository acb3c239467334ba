//! SQL against a database over a store in memory.

mod alter;
mod checks;
mod columns;
mod concurrency;
mod concurrent_indexes;
mod ddl;
mod dml;
mod errors;
mod explain;
mod expressions;
mod foreign_keys;
mod joins;
mod large;
mod plans;
mod queries;
mod serializable;
mod spill;
mod types;
mod views;
mod workloads;

use std::sync::Arc;

use bytes::BytesMut;
use sextant_volume::memory::MemoryStore;

use super::*;
use crate::txn::{Isolation, Transaction};
use crate::types::{Datum, SqlError, SqlResult, encode_text};

/// A session that runs statements one after the other: autocommit, or between `begin` and `commit`.
pub(super) struct Client {
    pub(super) db: Arc<Database>,
    ctx: SessionContext,
    txn: Option<Transaction>,
    pub(super) notices: Vec<String>,
}

pub(super) async fn open(store: &Arc<MemoryStore>) -> Client {
    let db = Database::open(store.clone(), 32 << 20).await.unwrap();
    Client::new(&db)
}

pub(super) async fn fresh() -> Client {
    open(&MemoryStore::new()).await
}

impl Client {
    pub(super) fn new(db: &Arc<Database>) -> Client {
        Client { db: db.clone(), ctx: SessionContext::new("tester", "test"), txn: None, notices: Vec::new() }
    }

    pub(super) fn begin(&mut self, isolation: Isolation) {
        self.ctx.start_transaction();
        self.txn = Some(self.db.txns.begin(isolation));
    }

    pub(super) async fn commit(&mut self) {
        self.try_commit().await.unwrap();
    }

    async fn try_commit(&mut self) -> SqlResult<()> {
        let mut txn = self.txn.take().unwrap();
        settle(&self.db, &self.ctx, &mut txn).await?;
        txn.commit().await?;
        Ok(())
    }

    pub(super) fn rollback(&mut self) {
        self.txn.take().unwrap().rollback();
    }

    pub(super) async fn prepare(&mut self, sql: &str, declared: &[u32]) -> SqlResult<Arc<Prepared>> {
        let parsed = parse(sql)?.remove(0);
        prepare(&self.db, &self.ctx, self.txn.as_mut(), &parsed, declared).await
    }

    /// Runs a prepared statement: its rows, and its tag.
    pub(super) async fn execute(
        &mut self,
        prepared: &Arc<Prepared>,
        params: Vec<Datum>,
    ) -> SqlResult<(Vec<Vec<Datum>>, String)> {
        let implicit = self.txn.is_none();
        if implicit {
            self.begin(Isolation::ReadCommitted);
        }
        let result = self.pull(prepared, params).await;
        if implicit {
            match &result {
                Ok(_) => self.try_commit().await?,
                Err(_) => self.rollback(),
            }
        }
        result
    }

    async fn pull(
        &mut self,
        prepared: &Arc<Prepared>,
        params: Vec<Datum>,
    ) -> SqlResult<(Vec<Vec<Datum>>, String)> {
        self.ctx.start_statement();
        let txn = self.txn.as_mut().unwrap();
        let mut execution = execute(&self.db, &self.ctx, txn, prepared, params);
        let mut rows = Vec::new();
        while let Some(batch) = execution.next_batch(txn).await? {
            assert!(!batch.is_empty(), "no empty batches");
            assert_eq!(batch.width(), prepared.columns.len(), "rows are as wide as described");
            rows.extend(batch.into_rows());
        }
        self.notices.extend(execution.take_notices().into_iter().map(|n| n.fields.message.clone()));
        Ok((rows, execution.command_tag()))
    }

    /// Runs a statement: its rows as text, columns by `|`, NULL as `-`; without rows its tag.
    pub(super) async fn try_sql(&mut self, sql: &str) -> SqlResult<String> {
        let parsed = parse(sql)?.remove(0);
        match &parsed.kind {
            StatementKind::Vacuum(spec) => {
                return vacuum(&self.db, &self.ctx, spec).await.map(str::to_owned);
            }
            StatementKind::CreateIndexConcurrently | StatementKind::DropIndexConcurrently => {
                let told = index_concurrently(&self.db, &self.ctx, &parsed, None).await?;
                self.notices.extend(told.into_iter().map(|n| n.fields.message.clone()));
                let tag = &sql[..sql.find(" concurrently").unwrap_or(sql.len())];
                return Ok(tag.to_uppercase().replace("UNIQUE ", ""));
            }
            _ => {}
        }
        let prepared = self.prepare(sql, &[]).await?;
        let (rows, tag) = self.execute(&prepared, Vec::new()).await?;
        if prepared.columns.is_empty() {
            return Ok(tag);
        }
        let lines = rows.iter().map(|row| {
            let fields = row.iter().zip(&prepared.columns).map(|(datum, column)| {
                let mut out = BytesMut::new();
                encode_text(datum, column.ty, &mut out);
                if datum.is_null() { "-".to_owned() } else { String::from_utf8(out.to_vec()).unwrap() }
            });
            fields.collect::<Vec<_>>().join("|")
        });
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    pub(super) async fn sql(&mut self, sql: &str) -> String {
        self.try_sql(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    pub(super) async fn err(&mut self, sql: &str) -> SqlError {
        match self.try_sql(sql).await {
            Ok(rows) => panic!("{sql} gave {rows}"),
            Err(error) => error,
        }
    }

    /// Runs statements, and checks each result.
    pub(super) async fn check(&mut self, script: &[(&str, &str)]) {
        for (sql, wanted) in script {
            assert_eq!(self.sql(sql).await, *wanted, "{sql}");
        }
    }

    pub(super) async fn run(&mut self, script: &[&str]) {
        for sql in script {
            self.sql(sql).await;
        }
    }

    pub(super) async fn copy(&mut self, sql: &str, lines: &[&[Option<&str>]]) -> SqlResult<u64> {
        let parsed = parse(sql)?.remove(0);
        let StatementKind::CopyFrom(spec) = &parsed.kind else { panic!("{sql} is not a COPY FROM") };
        let mut txn = self.db.txns.begin(Isolation::ReadCommitted);
        txn.begin_statement();
        let mut sink = CopyIn::start(&self.db, &self.ctx, &mut txn, spec).await?;
        for line in lines {
            sink.push_text(&mut txn, line).await?;
        }
        let count = sink.finish(&mut txn).await?;
        txn.commit().await?;
        Ok(count)
    }
}
