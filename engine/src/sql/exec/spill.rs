//! Rows on the local disk: how operators that have to remember rows go on when these do not fit `work_mem`.
//!
//! A sort writes sorted runs. Whatever hashes writes rows that it has no room for into **partitions** by the hash of their key:
//! equal keys share one, and each is worked on later as if it were all there is, with another hash if need be.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::BytesMut;

use super::Cx;
use super::node::{BATCH, Node};
use crate::spill::{Budget, Payload, Run, RunReader, RunWriter, SpillFile};
use crate::sql::RowBatch;
use crate::types::large::LargeRef;
use crate::types::{Datum, EnumLabel, SqlError, SqlResult, SqlType, decode_binary, encode_binary};

/// Partitions at a time: their blocks take half of what an operator may hold.
pub(super) const PARTITIONS: usize = 8;
/// So often rows are partitioned anew; a key of which there is more than fits is not made less by that.
pub(super) const LEVELS: u32 = 8;
/// PostgreSQL's defaults, for sessions that say nothing.
const WORK_MEM: usize = 4 << 20;
const HASH_MEM_MULTIPLIER: f64 = 2.0;

fn work_mem(cx: &Cx<'_>) -> usize {
    cx.ctx.session().memory("work_mem").map_or(WORK_MEM, |kb| kb << 10)
}

/// What an operator of this statement may hold.
pub(super) fn budget(cx: &Cx<'_>) -> Budget {
    Budget::new(cx.spill, work_mem(cx))
}

/// What one may hold that hashes: `hash_mem_multiplier` times as much.
pub(crate) fn hash_budget(cx: &Cx<'_>) -> Budget {
    let multiplier = cx.ctx.session().number("hash_mem_multiplier").unwrap_or(HASH_MEM_MULTIPLIER);
    Budget::new(cx.spill, (work_mem(cx) as f64 * multiplier) as usize)
}

/// A row on its way through a sort.
pub(super) struct Row(pub(super) Vec<Datum>);

/// Bytes that a row takes in memory, about.
pub(super) fn held(row: &[Datum]) -> usize {
    size_of::<Vec<Datum>>() + size_of_val(row) + row.iter().map(|datum| datum.string_bytes()).sum::<usize>()
}

impl Payload for Row {
    fn held(&self) -> usize {
        held(&self.0)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_row(&self.0, out);
    }

    fn decode(bytes: &[u8]) -> SqlResult<Row> {
        take_row(bytes).map(Row)
    }
}

fn damaged() -> SqlError {
    SqlError::corrupt("a temporary file is not as it was written")
}

/// Appends a row's bytes: a byte of kind and the value's bytes for each column, those of strings behind their length.
pub(super) fn put_row(row: &[Datum], out: &mut Vec<u8>) {
    for datum in row {
        put(datum, out);
    }
}

fn put(datum: &Datum, out: &mut Vec<u8>) {
    let mut fixed = |kind: u8, bytes: &[u8]| {
        out.push(kind);
        out.extend_from_slice(bytes);
    };
    match datum {
        Datum::Null => fixed(0, &[]),
        Datum::Bool(b) => fixed(1, &[u8::from(*b)]),
        Datum::Int2(n) => fixed(2, &n.to_le_bytes()),
        Datum::Int4(n) => fixed(3, &n.to_le_bytes()),
        Datum::Int8(n) => fixed(4, &n.to_le_bytes()),
        Datum::Float4(f) => fixed(5, &f.to_le_bytes()),
        Datum::Float8(f) => fixed(6, &f.to_le_bytes()),
        Datum::Oid(n) => fixed(7, &n.to_le_bytes()),
        Datum::Date(n) => fixed(8, &n.to_le_bytes()),
        Datum::Timestamp(n) => fixed(9, &n.to_le_bytes()),
        Datum::TimestampTz(n) => fixed(10, &n.to_le_bytes()),
        Datum::Text(s) => put_string(11, s.as_bytes(), out),
        Datum::Bytea(b) => put_string(12, b, out),
        Datum::Numeric(_) => {
            let mut bytes = BytesMut::new();
            encode_binary(datum, SqlType::NUMERIC, &mut bytes);
            put_string(13, &bytes, out);
        }
        Datum::Enum(label) => {
            fixed(15, &label.oid.to_le_bytes());
            out.extend_from_slice(&label.sort_order.to_le_bytes());
            for part in [&*label.key, label.name.as_bytes(), label.of.as_bytes()] {
                put_bytes(part, out);
            }
        }
        Datum::Large(at) => {
            fixed(14, &at.writer.to_le_bytes());
            out.extend_from_slice(&at.number.to_le_bytes());
            out.extend_from_slice(&at.len.to_le_bytes());
        }
    }
}

fn put_string(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    put_bytes(bytes, out);
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// What is still to be read of a row.
struct Rest<'b>(&'b [u8]);

impl<'b> Rest<'b> {
    fn fixed<const N: usize>(&mut self) -> SqlResult<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk().ok_or_else(damaged)?;
        self.0 = rest;
        Ok(*head)
    }

    fn string(&mut self) -> SqlResult<&'b [u8]> {
        let len = u32::from_le_bytes(self.fixed()?) as usize;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn datum(&mut self) -> SqlResult<Datum> {
        Ok(match self.fixed::<1>()?[0] {
            0 => Datum::Null,
            1 => Datum::Bool(self.fixed::<1>()?[0] != 0),
            2 => Datum::Int2(i16::from_le_bytes(self.fixed()?)),
            3 => Datum::Int4(i32::from_le_bytes(self.fixed()?)),
            4 => Datum::Int8(i64::from_le_bytes(self.fixed()?)),
            5 => Datum::Float4(f32::from_le_bytes(self.fixed()?)),
            6 => Datum::Float8(f64::from_le_bytes(self.fixed()?)),
            7 => Datum::Oid(u32::from_le_bytes(self.fixed()?)),
            8 => Datum::Date(i32::from_le_bytes(self.fixed()?)),
            9 => Datum::Timestamp(i64::from_le_bytes(self.fixed()?)),
            10 => Datum::TimestampTz(i64::from_le_bytes(self.fixed()?)),
            11 => Datum::text(self.text()?),
            12 => Datum::Bytea(self.string()?.into()),
            13 => decode_binary(self.string()?, SqlType::NUMERIC).map_err(|_| damaged())?,
            14 => Datum::Large(LargeRef {
                writer: u64::from_le_bytes(self.fixed()?),
                number: u32::from_le_bytes(self.fixed()?),
                len: u32::from_le_bytes(self.fixed()?),
            }),
            15 => Datum::Enum(Arc::new(EnumLabel {
                oid: u32::from_le_bytes(self.fixed()?),
                sort_order: f32::from_le_bytes(self.fixed()?),
                key: self.string()?.into(),
                name: self.text()?.into(),
                of: self.text()?.into(),
                // It is a value already.
                fresh: false,
            })),
            _ => return Err(damaged()),
        })
    }

    fn text(&mut self) -> SqlResult<&'b str> {
        std::str::from_utf8(self.string()?).map_err(|_| damaged())
    }
}

fn take_row(bytes: &[u8]) -> SqlResult<Vec<Datum>> {
    let (mut rest, mut row) = (Rest(bytes), Vec::new());
    while !rest.0.is_empty() {
        row.push(rest.datum()?);
    }
    Ok(row)
}

/// A key's partition among those of a level.
pub(super) fn partition_of(level: u32, key: &[u8]) -> usize {
    let mut hasher = DefaultHasher::new();
    (level, key).hash(&mut hasher);
    (hasher.finish() % PARTITIONS as u64) as usize
}

/// Rows by the hash of their keys.
pub(super) struct Partitions {
    file: SpillFile,
    level: u32,
    writers: Vec<RunWriter>,
}

impl Partitions {
    /// Empty ones; `level` says which hash, and how often the rows have been partitioned before.
    pub(super) fn new(budget: &Budget, level: u32) -> SqlResult<Partitions> {
        let file = budget.file()?;
        let writers = (0..PARTITIONS).map(|_| file.writer()).collect();
        Ok(Partitions { file, level, writers })
    }

    /// Puts a row to those with its key's hash. Answers which partition has to be flushed, if one has.
    pub(super) fn push(&mut self, key: &[u8], row: &[Datum]) -> Option<usize> {
        let n = partition_of(self.level, key);
        self.put(n, row).then_some(n)
    }

    /// Puts a row to those of a partition. True when that has to be flushed.
    pub(super) fn put(&mut self, n: usize, row: &[Datum]) -> bool {
        self.writers[n].push(|out| put_row(row, out))
    }

    /// Writes a partition's block.
    pub(super) async fn flush(&mut self, n: usize) -> SqlResult<()> {
        self.writers[n].flush().await
    }

    /// All rows are there.
    pub(super) async fn finish(self) -> SqlResult<Vec<Stored>> {
        let mut stored = Vec::with_capacity(PARTITIONS);
        for writer in self.writers {
            let run = writer.finish().await?;
            stored.push(Stored { file: self.file.clone(), run, level: self.level + 1 });
        }
        Ok(stored)
    }
}

/// Rows being written as they come.
pub(super) struct Spool {
    file: SpillFile,
    writer: RunWriter,
}

impl Spool {
    pub(super) fn new(budget: &Budget) -> SqlResult<Spool> {
        let file = budget.file()?;
        Ok(Spool { writer: file.writer(), file })
    }

    pub(super) async fn push(&mut self, row: &[Datum]) -> SqlResult<()> {
        if self.writer.push(|out| put_row(row, out)) {
            self.writer.flush().await?;
        }
        Ok(())
    }

    /// All rows are there.
    pub(super) async fn finish(self) -> SqlResult<Stored> {
        Ok(Stored { run: self.writer.finish().await?, file: self.file, level: LEVELS })
    }
}

/// Rows that were written.
#[derive(Clone)]
pub(super) struct Stored {
    file: SpillFile,
    run: Run,
    /// How often they have been partitioned.
    pub(super) level: u32,
}

impl Stored {
    pub(super) fn rows(&self) -> u64 {
        self.run.records()
    }

    pub(super) fn read(&self, width: usize, batch: usize) -> StoredRows {
        StoredRows { reader: self.file.reader(self.run.clone()), width, batch }
    }
}

/// Rows being read again.
pub(crate) struct StoredRows {
    reader: RunReader,
    width: usize,
    batch: usize,
}

impl StoredRows {
    /// The next rows, never an empty batch; `None` at the end.
    pub(super) async fn next(&mut self) -> SqlResult<Option<RowBatch>> {
        let (mut out, mut bytes) = (RowBatch::new(self.width), 0);
        while out.len() < BATCH && bytes < self.batch {
            let Some(record) = self.reader.next().await? else { break };
            bytes += record.len();
            out.push(take_row(record)?);
        }
        Ok((!out.is_empty()).then_some(out))
    }
}

/// Where the rows of a pass come from.
pub(super) enum Source {
    Node(Box<Node>),
    Stored(StoredRows),
    Nothing,
}

impl Source {
    /// The next rows, never an empty batch; `None` at the end, and from then on.
    pub(super) async fn next(&mut self, cx: &mut Cx<'_>) -> SqlResult<Option<RowBatch>> {
        let batch = match self {
            Source::Node(node) => node.next_boxed(cx).await?,
            Source::Stored(rows) => rows.next().await?,
            Source::Nothing => None,
        };
        if batch.is_none() {
            // What the node still holds goes.
            *self = Source::Nothing;
        }
        Ok(batch)
    }
}
