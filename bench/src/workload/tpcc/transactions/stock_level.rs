//! Stock-Level (clause 2.8): how many items of a district's last 20 orders run short. It only reads.
//!
//! The standard's sample program joins order lines with stock. Here the items are read first and asked for by number, on
//! every server alike, so that what is measured is not whose planner looks up which side.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement};

use super::super::dice::Dice;

/// Items asked for at once; the last time some of them more than once, which counts them once.
const AT_ONCE: usize = 40;

#[derive(Debug, Clone)]
pub(in super::super) struct Input {
    w_id: i32,
    d_id: i32,
    threshold: i32,
}

impl Input {
    pub(super) fn draw(dice: &mut Dice, w_id: i32, d_id: i32) -> Input {
        Input { w_id, d_id, threshold: dice.between(10, 20) }
    }
}

pub(in super::super) struct StockLevel {
    district: Statement,
    items: Statement,
    short: Statement,
}

impl StockLevel {
    pub(super) async fn prepare(client: &Client) -> Result<StockLevel, Error> {
        let places: Vec<String> = (0..AT_ONCE).map(|n| format!("${}", n + 3)).collect();
        let short = format!(
            "select count(*) from stock where s_w_id = $1 and s_quantity < $2 and s_i_id in ({})",
            places.join(", ")
        );
        Ok(StockLevel {
            district: client
                .prepare("select d_next_o_id from district where d_w_id = $1 and d_id = $2")
                .await?,
            items: client
                .prepare(
                    "select distinct ol_i_id from order_line \
                     where ol_w_id = $1 and ol_d_id = $2 and ol_o_id >= $3 and ol_o_id < $4",
                )
                .await?,
            short: client.prepare(&short).await?,
        })
    }

    pub(super) async fn run(&self, client: &mut Client, input: &Input) -> Result<(), Error> {
        let Input { w_id, d_id, threshold } = input;
        let txn = client.transaction().await?;
        let next: i32 = txn.query_one(&self.district, &[w_id, d_id]).await?.try_get(0)?;
        let rows = txn.query(&self.items, &[w_id, d_id, &(next - 20), &next]).await?;
        let items: Vec<i32> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, Error>>()?;
        let mut short = 0;
        for items in items.chunks(AT_ONCE) {
            let mut values: Vec<&(dyn ToSql + Sync)> = vec![w_id, threshold];
            values.extend(items.iter().cycle().take(AT_ONCE).map(|item| item as &(dyn ToSql + Sync)));
            let counted: i64 = txn.query_one(&self.short, &values).await?.try_get(0)?;
            short += counted;
        }
        // What the terminal would show.
        std::hint::black_box(short);
        txn.commit().await
    }
}
