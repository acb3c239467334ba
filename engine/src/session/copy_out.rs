//! COPY TO STDOUT: rows of a plan as lines, or in the binary format.

use bytes::{BufMut, BytesMut};

use super::copy::{Format, write_field, write_header, write_trailer};
use super::copy_in::format_of;
use super::portal::{Portal, Progress};
use super::run::Tag;
use super::{Failure, Session, metrics};
use crate::sql::{Column, CopyFormat, CopySpec, StatementKind};
use crate::types::{Datum, SqlError, TimeZone, encode_binary, text_of};
use crate::wire::{Wire, backend};

impl Session {
    /// Runs COPY TO STDOUT; its command tag.
    pub(super) async fn copy_out(&mut self, portal: &mut Portal, wire: &mut Wire) -> Result<Tag, Failure> {
        let (StatementKind::CopyTo(spec), Some(plan)) = (portal.kind().clone(), portal.plan.clone()) else {
            return Err(SqlError::internal("COPY TO without a plan").into());
        };
        let parameters = match std::mem::replace(&mut portal.progress, Progress::Done) {
            Progress::Ready(parameters) => parameters,
            Progress::Running(_) | Progress::Done => {
                return Err(SqlError::internal("COPY TO cannot be run twice").into());
            }
        };
        let mut running = self.start(&plan, portal.kind(), parameters)?;
        let columns = &plan.columns;
        let writer = Writer::new(&spec, columns, &self.derived.zone);
        backend::copy_response(&mut wire.out, b'H', columns.len() as u16, writer.binary);
        writer.head(&mut wire.out);
        let mut rows = 0u64;
        while self.pull(&mut running).await? {
            for row in running.batch.rows() {
                backend::message(&mut wire.out, b'd', |out| writer.row(out, row));
            }
            rows += running.batch.len() as u64;
            self.send_if_full(wire).await?;
        }
        writer.tail(&mut wire.out);
        backend::copy_done(&mut wire.out);
        self.notices(&mut running, wire);
        metrics::ROWS.inc_by(rows);
        Ok(format!("COPY {rows}").into())
    }
}

struct Writer<'a> {
    format: Format,
    binary: bool,
    columns: &'a [Column],
    zone: TimeZone,
}

impl Writer<'_> {
    fn new<'a>(spec: &CopySpec, columns: &'a [Column], zone: &TimeZone) -> Writer<'a> {
        Writer {
            format: format_of(spec),
            binary: spec.format == CopyFormat::Binary,
            columns,
            zone: zone.clone(),
        }
    }

    fn head(&self, out: &mut BytesMut) {
        if self.binary {
            backend::message(out, b'd', write_header);
        } else if self.format.header {
            let names = self.columns.iter().map(|column| Some(column.name.clone()));
            backend::message(out, b'd', |out| self.line(out, names));
        }
    }

    fn tail(&self, out: &mut BytesMut) {
        if self.binary {
            backend::message(out, b'd', write_trailer);
        }
    }

    fn row(&self, out: &mut BytesMut, row: &[Datum]) {
        if self.binary {
            return self.binary_row(out, row);
        }
        let texts = row
            .iter()
            .zip(self.columns)
            .map(|(datum, column)| (!datum.is_null()).then(|| text_of(datum, column.ty, &self.zone)));
        self.line(out, texts);
    }

    fn line(&self, out: &mut BytesMut, fields: impl Iterator<Item = Option<String>>) {
        for (n, field) in fields.enumerate() {
            if n > 0 {
                out.put_u8(self.format.delimiter);
            }
            write_field(out, field.as_deref(), &self.format);
        }
        out.put_u8(b'\n');
    }

    fn binary_row(&self, out: &mut BytesMut, row: &[Datum]) {
        out.put_u16(row.len() as u16);
        for (datum, column) in row.iter().zip(self.columns) {
            if datum.is_null() {
                out.put_i32(-1);
                continue;
            }
            let start = out.len();
            out.put_u32(0);
            encode_binary(datum, column.ty, out);
            let len = (out.len() - start - 4) as u32;
            out[start..start + 4].copy_from_slice(&len.to_be_bytes());
        }
    }
}
