//! Reading a table: all of it, or by an index, or row by row with locks.

use std::sync::Arc;

use super::Cx;
use super::lock::lock_row;
use super::range::{KeyRange, ranges};
use crate::btree::{Direction, Near};
use crate::sql::RowBatch;
use crate::sql::bind::RowLocking;
use crate::sql::expr::EvalCx;
use crate::sql::plan::{Access, IndexAccess, Scan};
use crate::table::{self, IndexScan, RowId, TableScan};
use crate::types::row::has_large;
use crate::types::{Datum, SqlResult};

/// Rows of the first batch from an index, and the most of a later one: few are read in vain when few are wanted.
const FIRST_ROWS: usize = 16;
const ROWS_MAX: usize = 256;
/// A batch ends behind so many bytes that were fetched from outside of rows.
const FETCH_MAX: usize = 1 << 20;

/// Rows that lie apart are announced to the processor's cache so many rows before they are read, and once more.
const FAR: usize = 6;
const SOON: usize = 3;

/// A value is looked up in an index in the time that it takes to read so many rows and to ask each.
const ROWS_PER_LOOKUP: u64 = 16;

/// A table being read.
pub(crate) struct Scanner {
    scan: Arc<Scan>,
    state: State,
    /// The ids of the rows of the last batch.
    pub(crate) ids: Vec<RowId>,
    /// Rows found that are still to be locked, the last first.
    unlocked: Vec<RowId>,
    bytes: Vec<u8>,
}

enum State {
    Start,
    /// A leaf's rows, and how many of them were taken.
    Table(TableScan, table::RowBatch, usize),
    Index(Box<IndexState>),
    Done,
}

struct IndexState {
    /// What [`are_few`] said.
    few: bool,
    ranges: std::vec::IntoIter<KeyRange>,
    current: Option<IndexScan>,
    entries: table::RowBatch,
    at: usize,
    /// Where the last row was found.
    near: Near,
    rows: usize,
}

impl Scanner {
    pub(crate) fn new(scan: Arc<Scan>) -> Scanner {
        Scanner { scan, state: State::Start, ids: Vec::new(), unlocked: Vec::new(), bytes: Vec::new() }
    }

    /// The next rows that pass the filter; their ids are in `ids`.
    pub(crate) async fn next(&mut self, cx: &mut Cx<'_>) -> SqlResult<Option<RowBatch>> {
        match self.scan.locking {
            Some(locking) => self.next_locked(cx, locking).await,
            None => self.next_unlocked(cx).await,
        }
    }

    async fn next_unlocked(&mut self, cx: &mut Cx<'_>) -> SqlResult<Option<RowBatch>> {
        loop {
            match &mut self.state {
                State::Start if !cx.instead.is_empty() => {
                    self.state = State::Done;
                    return self.scan.instead(cx).await;
                }
                State::Start => self.state = start(&self.scan, cx).await?,
                State::Table(scan, batch, taken) => {
                    tokio::task::consume_budget().await;
                    if *taken == batch.len() {
                        *taken = 0;
                        if !scan.next_batch(&cx.db.txns, batch).await? {
                            self.state = State::Done;
                            continue;
                        }
                    }
                    let rows = self.scan.take(batch, taken, &mut self.ids, cx).await?;
                    if !rows.is_empty() {
                        return Ok(Some(rows));
                    }
                }
                State::Index(index) => {
                    let mut out = RowBatch::new(self.scan.width());
                    self.ids.clear();
                    let more = index.fill(&self.scan, cx, &mut self.bytes, &mut self.ids, &mut out).await?;
                    if !more {
                        self.state = State::Done;
                    }
                    if !out.is_empty() {
                        return Ok(Some(out));
                    }
                }
                State::Done => return Ok(None),
            }
        }
    }

    /// One locked row at a time, so that LIMIT locks no more than it returns (unless a sort stands between).
    async fn next_locked(&mut self, cx: &mut Cx<'_>, locking: RowLocking) -> SqlResult<Option<RowBatch>> {
        loop {
            while let Some(id) = self.unlocked.pop() {
                let mut row = RowBatch::new(self.scan.width());
                if self.scan.lock(cx, locking, id, &mut self.bytes, &mut row).await? {
                    self.ids.clear();
                    self.ids.push(id);
                    return Ok(Some(row));
                }
            }
            if self.next_unlocked(cx).await?.is_none() {
                return Ok(None);
            }
            self.unlocked.clear();
            self.unlocked.extend(self.ids.iter().rev());
        }
    }
}

async fn start(scan: &Scan, cx: &Cx<'_>) -> SqlResult<State> {
    let few = are_few(scan, cx).await?;
    let Some(access) = scan.index(few) else {
        let table = TableScan::new(&scan.table.store, cx.snapshot.clone());
        return Ok(State::Table(table, table::RowBatch::new(), 0));
    };
    let ranges = ranges(access, &cx.eval())?;
    Ok(State::Index(Box::new(IndexState {
        few,
        ranges: ranges.into_iter(),
        current: None,
        entries: table::RowBatch::new(),
        at: 0,
        near: Near::default(),
        rows: FIRST_ROWS,
    })))
}

/// Whether the values of a sub-query that may be looked up in an index are so few that this is the shorter way.
async fn are_few(scan: &Scan, cx: &Cx<'_>) -> SqlResult<bool> {
    let Access::Few(access, _) = &scan.access else { return Ok(false) };
    let Some(n) = access.subquery() else { return Ok(false) };
    let few = cx.eval().list(n)?.few().map(<[Datum]>::len);
    let Some(few) = few else { return Ok(false) };
    let rows = cx.db.txns.rows_at_most(&scan.table.store).await?;
    Ok((few as u64).saturating_mul(ROWS_PER_LOOKUP) <= rows)
}

impl Scan {
    /// Columns of a row that it gives.
    pub(crate) fn width(&self) -> usize {
        self.table.columns.len() + usize::from(self.with_id)
    }

    /// The index to read, if one is to be read.
    fn index(&self, few: bool) -> Option<&IndexAccess> {
        match &self.access {
            Access::Index(access) => Some(access),
            Access::Few(access, _) if few => Some(access),
            Access::Few(_, otherwise) => match &**otherwise {
                Access::Index(access) => Some(access),
                Access::Table | Access::Few(..) => None,
            },
            Access::Table => None,
        }
    }

    /// Decodes a row to the end of `out`, if it passes the filter.
    pub(crate) async fn decode(
        &self,
        id: RowId,
        bytes: &[u8],
        cx: &Cx<'_>,
        out: &mut RowBatch,
    ) -> SqlResult<bool> {
        if has_large(bytes) {
            return Ok(self.decode_large(id, bytes, cx, out).await?.is_some());
        }
        self.decode_whole(id, bytes, cx, out)
    }

    fn decode_whole(&self, id: RowId, bytes: &[u8], cx: &Cx<'_>, out: &mut RowBatch) -> SqlResult<bool> {
        let eval = cx.eval();
        out.push_with(|data| self.decode_to(id, bytes, &eval, data))
    }

    /// The same for a row with values outside; of one that does not pass the filter, only those are fetched that the
    /// filter looks at. The row's length with what was fetched, if it passes.
    async fn decode_large(
        &self,
        id: RowId,
        bytes: &[u8],
        cx: &Cx<'_>,
        out: &mut RowBatch,
    ) -> SqlResult<Option<usize>> {
        let (system, table) = (&cx.db.txns, &self.table.store);
        let mut asked = Vec::new();
        if let Some(filter) = &self.filter {
            filter.columns(&mut asked);
        }
        let row = system.with_values(table, id, bytes, |n| asked.contains(&n)).await?;
        if !self.decode_whole(id, &row, cx, out)? {
            return Ok(None);
        }
        out.pop();
        let fetched = |n: usize| self.fetched.get(n).copied().unwrap_or(false);
        let row = system.with_values(table, id, &row, fetched).await?;
        self.decode_whole(id, &row, cx, out)?;
        Ok(Some(row.len()))
    }

    fn decode_to(
        &self,
        id: RowId,
        bytes: &[u8],
        eval: &EvalCx<'_>,
        data: &mut Vec<Datum>,
    ) -> SqlResult<bool> {
        let start = data.len();
        self.decode_any(id, bytes, data)?;
        match &self.filter {
            Some(filter) => filter.is_true(&data[start..], eval),
            None => Ok(true),
        }
    }

    /// Decodes a row whether or not it passes the filter.
    fn decode_any(&self, id: RowId, bytes: &[u8], data: &mut Vec<Datum>) -> SqlResult<bool> {
        self.table.layout.decode_into(bytes, &self.wanted, data)?;
        if self.with_id {
            data.push(Datum::Int8(id.0 as i64));
        }
        Ok(true)
    }

    /// The row that stands for this table while a changed row is judged again.
    async fn instead(&self, cx: &Cx<'_>) -> SqlResult<Option<RowBatch>> {
        let stands_in = cx.instead.iter().find(|instead| instead.alias == self.alias);
        let Some((id, bytes)) = stands_in.and_then(|instead| instead.row.as_ref()) else {
            return Ok(None);
        };
        let mut out = RowBatch::new(self.width());
        Ok(self.decode(*id, bytes, cx, &mut out).await?.then_some(out))
    }

    /// Decodes rows of a batch, all but those before `taken`, as long as not too much was fetched.
    async fn take(
        &self,
        batch: &table::RowBatch,
        taken: &mut usize,
        ids: &mut Vec<RowId>,
        cx: &Cx<'_>,
    ) -> SqlResult<RowBatch> {
        let mut out = RowBatch::new(self.width());
        ids.clear();
        let mut fetched = 0;
        loop {
            self.take_whole(batch, taken, ids, &mut out, cx)?;
            if *taken == batch.len() || fetched >= FETCH_MAX {
                return Ok(out);
            }
            let (id, bytes) = batch.get(*taken);
            *taken += 1;
            if let Some(len) = self.decode_large(id, bytes, cx, &mut out).await? {
                ids.push(id);
                fetched += len;
            }
        }
    }

    /// The rows up to the next one that has values outside.
    fn take_whole(
        &self,
        batch: &table::RowBatch,
        taken: &mut usize,
        ids: &mut Vec<RowId>,
        out: &mut RowBatch,
        cx: &Cx<'_>,
    ) -> SqlResult<()> {
        let eval = cx.eval();
        while *taken < batch.len() {
            let (id, bytes) = batch.get(*taken);
            if has_large(bytes) {
                break;
            }
            *taken += 1;
            if out.push_with(|data| self.decode_to(id, bytes, &eval, data))? {
                ids.push(id);
            }
        }
        Ok(())
    }

    /// Locks a row and decodes its newest version, if it still passes the filter.
    async fn lock(
        &self,
        cx: &mut Cx<'_>,
        locking: RowLocking,
        id: RowId,
        bytes: &mut Vec<u8>,
        out: &mut RowBatch,
    ) -> SqlResult<bool> {
        match lock_row(cx, &self.table, locking, id, bytes).await? {
            Some(_) => self.decode(id, bytes, cx, out).await,
            None => Ok(false),
        }
    }
}

impl IndexState {
    /// Follows entries to rows; false when there are no more.
    async fn fill(
        &mut self,
        scan: &Scan,
        cx: &Cx<'_>,
        bytes: &mut Vec<u8>,
        ids: &mut Vec<RowId>,
        out: &mut RowBatch,
    ) -> SqlResult<bool> {
        let Some(access) = scan.index(self.few) else { return Ok(false) };
        let system = &cx.db.txns;
        let (mut row_key, mut fetched) = (Vec::new(), 0);
        loop {
            while self.at < self.entries.len() {
                let (id, entry_key) = self.entries.get(self.at);
                self.at += 1;
                if self.near.is_apart() {
                    let ahead = |rows: usize| self.entries.id(self.at + rows);
                    system.prefetch(&scan.table.store, ahead(FAR), ahead(SOON));
                }
                if !system.get_near(cx.snapshot, &scan.table.store, id, &mut self.near, bytes).await? {
                    continue;
                }
                let start = out.len();
                let passes = match has_large(bytes) {
                    true => {
                        let len = scan.decode_large(id, bytes, cx, out).await?;
                        fetched += len.unwrap_or(0);
                        len.is_some()
                    }
                    // Its key is compared below.
                    false if scan.answered => out.push_with(|data| scan.decode_any(id, bytes, data))?,
                    false => scan.decode_whole(id, bytes, cx, out)?,
                };
                if !passes {
                    continue;
                }
                if !has_key(access, out.row(start), entry_key, &mut row_key)? {
                    out.pop();
                    continue;
                }
                ids.push(id);
                if access.is_point() {
                    // The key's only row; there may be other keys.
                    self.current = None;
                    self.at = self.entries.len();
                }
                if out.len() >= self.rows || fetched >= FETCH_MAX {
                    self.rows = (self.rows * 2).min(ROWS_MAX);
                    return Ok(true);
                }
            }
            tokio::task::consume_budget().await;
            if !self.next_entries(access, cx).await? {
                return Ok(false);
            }
        }
    }

    async fn next_entries(&mut self, access: &IndexAccess, cx: &Cx<'_>) -> SqlResult<bool> {
        loop {
            self.at = 0;
            if let Some(scan) = &mut self.current {
                if scan.next_batch(&cx.db.txns, &mut self.entries).await? {
                    return Ok(true);
                }
                self.current = None;
            }
            let Some((lower, upper)) = self.ranges.next() else {
                self.entries.clear();
                return Ok(false);
            };
            let direction = if access.backward { Direction::Backward } else { Direction::Forward };
            self.current = Some(IndexScan::new(cx.snapshot, &access.index.store, lower, upper, direction));
        }
    }
}

/// Whether an entry is the one of this version of its row: others lead to it too while they are not cleaned up.
fn has_key(access: &IndexAccess, row: &[Datum], entry_key: &[u8], row_key: &mut Vec<u8>) -> SqlResult<bool> {
    row_key.clear();
    let is_in = access.index.key(row, row_key)?.is_some();
    Ok(is_in && row_key == entry_key)
}
