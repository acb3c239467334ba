//! Fills the tables as clause 4.3.3 says, by COPY.

use std::fmt::{Arguments, Write};
use std::pin::Pin;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::{Client, CopyInSink, Error};

use super::dice::Dice;
use super::schema::{DROP, KEYS, TABLES};
use super::size::{DISTRICTS, Size};
use crate::workload::Target;
use crate::{BenchError, sql};

/// What is sent to the server at once.
const CHUNK: usize = 256 << 10;
/// When everything that is there at first was made.
const THEN: &str = "2026-01-01 00:00:00";

/// Drops the tables, makes and fills them.
pub(super) async fn load(target: &Target, size: Size) -> Result<(), BenchError> {
    let filled = async {
        let client = sql::connect(target).await?;
        client.batch_execute(DROP).await?;
        for statement in TABLES {
            client.batch_execute(statement).await?;
        }
        let mut dice = Dice::new(1);
        items(&client, &mut dice, size).await?;
        for w_id in 1..=size.warehouses {
            warehouse(&client, &mut dice, w_id).await?;
            stock(&client, &mut dice, w_id, size).await?;
            customers(&client, &mut dice, w_id, size).await?;
            orders(&client, &mut dice, w_id, size).await?;
        }
        for statement in KEYS {
            client.batch_execute(statement).await?;
        }
        client.batch_execute("vacuum analyze").await
    };
    filled.await.map_err(sql::failed("cannot load TPC-C's tables"))
}

/// Rows on their way into a table.
struct Filling {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    rows: String,
}

impl Filling {
    async fn of(client: &Client, table: &str) -> Result<Filling, Error> {
        let sink = client.copy_in(&format!("copy {table} from stdin")).await?;
        Ok(Filling { sink: Box::pin(sink), rows: String::with_capacity(2 * CHUNK) })
    }

    /// Columns with tabs between them.
    fn add(&mut self, row: Arguments<'_>) {
        // A String takes everything.
        let _ = writeln!(self.rows, "{row}");
    }

    async fn send_full(&mut self) -> Result<(), Error> {
        if self.rows.len() < CHUNK { Ok(()) } else { self.send().await }
    }

    async fn send(&mut self) -> Result<(), Error> {
        let rows = std::mem::replace(&mut self.rows, String::with_capacity(2 * CHUNK));
        self.sink.send(rows.into()).await
    }

    async fn finish(mut self) -> Result<(), Error> {
        self.send().await?;
        self.sink.as_mut().finish().await.map(|_| ())
    }
}

/// Two streets, city, state, zip.
fn address(dice: &mut Dice) -> String {
    let (streets, city) = ((dice.text(10, 20), dice.text(10, 20)), dice.text(10, 20));
    format!("{}\t{}\t{city}\t{}\t{}", streets.0, streets.1, dice.text(2, 2), dice.zip())
}

/// 0.0000 to `most` ten-thousandths.
fn rate(dice: &mut Dice, most: i32) -> String {
    format!("0.{:04}", dice.between(0, most))
}

async fn items(client: &Client, dice: &mut Dice, size: Size) -> Result<(), Error> {
    let mut rows = Filling::of(client, "item").await?;
    for i_id in 1..=size.items {
        let (image, name, price) = (dice.between(1, 10_000), dice.text(14, 24), dice.between(100, 10_000));
        let price = format!("{}.{:02}", price / 100, price % 100);
        rows.add(format_args!("{i_id}\t{image}\t{name}\t{price}\t{}", dice.data()));
        rows.send_full().await?;
    }
    rows.finish().await
}

async fn warehouse(client: &Client, dice: &mut Dice, w_id: i32) -> Result<(), Error> {
    let mut rows = Filling::of(client, "warehouse").await?;
    let (name, address, tax) = (dice.text(6, 10), address(dice), rate(dice, 2000));
    rows.add(format_args!("{w_id}\t{name}\t{address}\t{tax}\t300000.00"));
    rows.finish().await
}

async fn stock(client: &Client, dice: &mut Dice, w_id: i32, size: Size) -> Result<(), Error> {
    let mut rows = Filling::of(client, "stock").await?;
    for i_id in 1..=size.items {
        let quantity = dice.between(10, 100);
        let districts: Vec<String> = (0..DISTRICTS).map(|_| dice.text(24, 24)).collect();
        let districts = districts.join("\t");
        rows.add(format_args!("{w_id}\t{i_id}\t{quantity}\t{districts}\t0\t0\t0\t{}", dice.data()));
        rows.send_full().await?;
    }
    rows.finish().await
}

/// Districts' customers and the payment that each has made.
async fn customers(client: &Client, dice: &mut Dice, w_id: i32, size: Size) -> Result<(), Error> {
    let mut rows = Filling::of(client, "customer").await?;
    for (d_id, c_id) in each(size) {
        let (first, last) = (dice.text(8, 16), dice.last_name_at_load(c_id));
        let (address, phone) = (address(dice), dice.phone());
        let credit = if dice.percent(10) { "BC" } else { "GC" };
        let (discount, data) = (rate(dice, 5000), dice.text(300, 500));
        rows.add(format_args!(
            "{w_id}\t{d_id}\t{c_id}\t{first}\tOE\t{last}\t{address}\t{phone}\t{THEN}\t{credit}\t50000.00\t\
             {discount}\t-10.00\t10.00\t1\t0\t{data}"
        ));
        rows.send_full().await?;
    }
    rows.finish().await?;
    let mut rows = Filling::of(client, "history").await?;
    for (d_id, c_id) in each(size) {
        let data = dice.text(12, 24);
        rows.add(format_args!("{c_id}\t{d_id}\t{w_id}\t{d_id}\t{w_id}\t{THEN}\t10.00\t{data}"));
        rows.send_full().await?;
    }
    rows.finish().await
}

/// District and number of each customer, or order, of a warehouse.
fn each(size: Size) -> impl Iterator<Item = (i32, i32)> {
    (1..=DISTRICTS).flat_map(move |d_id| (1..=size.customers).map(move |c_id| (d_id, c_id)))
}

/// Districts, and one order of each customer, the newest of them not delivered.
async fn orders(client: &Client, dice: &mut Dice, w_id: i32, size: Size) -> Result<(), Error> {
    let first_new = size.customers - size.undelivered() + 1;
    let mut districts = Filling::of(client, "district").await?;
    for d_id in 1..=DISTRICTS {
        let (name, address, tax) = (dice.text(6, 10), address(dice), rate(dice, 2000));
        let next = size.customers + 1;
        districts.add(format_args!("{w_id}\t{d_id}\t{name}\t{address}\t{tax}\t30000.00\t{next}"));
    }
    districts.finish().await?;
    let mut new = Filling::of(client, "new_order").await?;
    for (d_id, o_id) in each(size).filter(|(_, o_id)| *o_id >= first_new) {
        new.add(format_args!("{w_id}\t{d_id}\t{o_id}"));
    }
    new.finish().await?;

    let mut lines_of = Vec::new();
    let mut rows = Filling::of(client, "orders").await?;
    for d_id in 1..=DISTRICTS {
        for (o_id, c_id) in (1..).zip(dice.permutation(size.customers)) {
            let lines = dice.between(5, 15);
            let carrier = if o_id < first_new { dice.between(1, 10).to_string() } else { "\\N".into() };
            rows.add(format_args!("{w_id}\t{d_id}\t{o_id}\t{c_id}\t{THEN}\t{carrier}\t{lines}\t1"));
            lines_of.push((d_id, o_id, lines));
            rows.send_full().await?;
        }
    }
    rows.finish().await?;
    let mut rows = Filling::of(client, "order_line").await?;
    for (d_id, o_id, number) in
        lines_of.into_iter().flat_map(|(d, o, lines)| (1..=lines).map(move |n| (d, o, n)))
    {
        let (i_id, info) = (dice.between(1, size.items), dice.text(24, 24));
        let cents = dice.between(1, 999_999);
        let (delivered, amount) = match o_id < first_new {
            true => (THEN, "0.00".to_owned()),
            false => ("\\N", format!("{}.{:02}", cents / 100, cents % 100)),
        };
        rows.add(format_args!(
            "{w_id}\t{d_id}\t{o_id}\t{number}\t{i_id}\t{w_id}\t{delivered}\t5\t{amount}\t{info}"
        ));
        rows.send_full().await?;
    }
    rows.finish().await
}
