//! COPY FROM STDIN: the session reads CopyData by itself until CopyDone or CopyFail.
//!
//! In the extended protocol a client may send Sync right after Execute, before its data (tokio-postgres does): Sync and
//! Flush are ignored while data is expected. After an error here, the CopyData that is still under way is ignored by
//! [`Session::handle`].

use std::pin::pin;

use bytes::Bytes;

use super::copy::{Binary, Fields, Format, Found, Layout, Reader};
use super::run::{Tag, guarded};
use super::{Failure, Session, violation};
use crate::sql::{CopyFormat, CopyIn, CopySpec, StatementKind};
use crate::types::{SqlError, sqlstate};
use crate::wire::frontend::{self, Frontend};
use crate::wire::{Wire, WireError, backend};

/// What a client sent while data was expected.
enum Piece {
    Data(Bytes),
    Done,
}

impl Session {
    /// Runs COPY FROM STDIN; its command tag.
    pub(super) async fn copy_in(&mut self, spec: &CopySpec, wire: &mut Wire) -> Result<Tag, Failure> {
        let kind = StatementKind::CopyFrom(spec.clone());
        self.begin_statement(&kind)?;
        let (sink, columns) = {
            let txn = self.block.txn.as_mut().ok_or_else(no_transaction)?;
            txn.begin_statement();
            let work = pin!(CopyIn::start(&self.db, &self.context, txn, spec));
            let sink = guarded(&self.interrupt, &self.clock, work).await?;
            let columns = sink.columns().len();
            (sink, columns)
        };
        let binary = spec.format == CopyFormat::Binary;
        backend::copy_response(&mut wire.out, b'G', columns as u16, binary);
        wire.flush().await?;
        let rows = if binary {
            self.take_binary(sink, wire).await?
        } else {
            self.take_lines(sink, format_of(spec), wire).await?
        };
        Ok(format!("COPY {rows}").into())
    }

    async fn take_lines(
        &mut self,
        mut sink: CopyIn,
        format: Format,
        wire: &mut Wire,
    ) -> Result<u64, Failure> {
        let mut reader = Reader::new(format);
        let mut fields = Fields::default();
        loop {
            let last = match self.piece(wire).await? {
                Piece::Data(data) => {
                    reader.push(&data);
                    false
                }
                Piece::Done => true,
            };
            while reader.next(last, &mut fields)? == Found::Row {
                self.put_line(&mut sink, &fields, reader.line()).await?;
            }
            if last {
                return self.end_copy(sink).await;
            }
        }
    }

    async fn put_line(&mut self, sink: &mut CopyIn, fields: &Fields, line: u64) -> Result<(), Failure> {
        tokio::task::consume_budget().await;
        if let Some(error) = self.interrupt.stopped() {
            return Err(error.into());
        }
        check_count(fields.len(), sink, line)?;
        let values: Vec<Option<&str>> =
            fields.iter().collect::<Result<_, SqlError>>().map_err(|e| at(e, line))?;
        let txn = self.block.txn.as_mut().ok_or_else(no_transaction)?;
        let work = pin!(sink.push_text(txn, &values));
        guarded(&self.interrupt, &self.clock, work).await.map_err(|e| at(e, line))?;
        Ok(())
    }

    async fn take_binary(&mut self, mut sink: CopyIn, wire: &mut Wire) -> Result<u64, Failure> {
        let mut reader = Binary::default();
        let mut row = 0;
        loop {
            let last = match self.piece(wire).await? {
                Piece::Data(data) => {
                    reader.push(&data);
                    false
                }
                Piece::Done => true,
            };
            while let Some(fields) = reader.next()? {
                row += 1;
                check_count(fields.len(), &sink, row)?;
                let mut values = Vec::with_capacity(fields.len());
                for (bytes, column) in fields.iter().zip(sink.columns()) {
                    values.push(match bytes {
                        Some(bytes) => sink.decode_binary(bytes, column).map_err(|e| at(e, row))?,
                        None => crate::types::Datum::Null,
                    });
                }
                let txn = self.block.txn.as_mut().ok_or_else(no_transaction)?;
                let work = pin!(sink.push(txn, values));
                guarded(&self.interrupt, &self.clock, work).await.map_err(|e| at(e, row))?;
            }
            if last {
                reader.finish()?;
                return self.end_copy(sink).await;
            }
        }
    }

    async fn end_copy(&mut self, sink: CopyIn) -> Result<u64, Failure> {
        let txn = self.block.txn.as_mut().ok_or_else(no_transaction)?;
        let work = pin!(sink.finish(txn));
        Ok(guarded(&self.interrupt, &self.clock, work).await?)
    }

    /// The next message that matters.
    async fn piece(&mut self, wire: &mut Wire) -> Result<Piece, Failure> {
        loop {
            let next = pin!(async { Ok(wire.next().await) });
            let next = guarded(&self.interrupt, &self.clock, next).await?;
            let frame = next?.ok_or(WireError::Closed)?;
            match frontend::decode(frame.tag, &frame.body) {
                Ok(Frontend::CopyData(_)) => return Ok(Piece::Data(frame.body)),
                Ok(Frontend::CopyDone) => return Ok(Piece::Done),
                Ok(Frontend::CopyFail(reason)) => return Err(failed(reason).into()),
                Ok(Frontend::Sync | Frontend::Flush) => {}
                Ok(Frontend::Terminate) => return Err(WireError::Closed.into()),
                _ => return Err(violation("unexpected message type during COPY from stdin")),
            }
        }
    }
}

fn no_transaction() -> SqlError {
    SqlError::internal("COPY without a transaction")
}

fn failed(reason: &str) -> SqlError {
    SqlError::new(sqlstate::QUERY_CANCELED, format!("COPY from stdin failed: {reason}"))
}

/// Says in which row it went wrong, as PostgreSQL's CONTEXT does.
fn at(error: SqlError, line: u64) -> SqlError {
    match error.detail {
        Some(_) => error,
        None => error.detail(format!("COPY, line {line}.")),
    }
}

fn check_count(got: usize, sink: &CopyIn, line: u64) -> Result<(), SqlError> {
    let columns = sink.columns();
    if got > columns.len() {
        let error = SqlError::new(sqlstate::BAD_COPY_FORMAT, "extra data after last expected column");
        return Err(at(error, line));
    }
    match columns.get(got) {
        None => Ok(()),
        Some(missing) => {
            let message = format!("missing data for column \"{}\"", missing.name);
            Err(at(SqlError::new(sqlstate::BAD_COPY_FORMAT, message), line))
        }
    }
}

/// The data's format, of the statement's options.
pub(super) fn format_of(spec: &CopySpec) -> Format {
    let layout = match spec.format {
        CopyFormat::Csv => Layout::Csv { quote: spec.quote, escape: spec.escape },
        CopyFormat::Text | CopyFormat::Binary => Layout::Text,
    };
    Format { layout, delimiter: spec.delimiter, null: spec.null.clone(), header: spec.header }
}
