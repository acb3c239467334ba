//! Payment (clause 2.5): of a customer, in 15 of 100 cases one of another warehouse, to a warehouse and its district.

use tokio_postgres::{Client, Error, Statement};

use super::super::decimal::Decimal;
use super::super::dice::Dice;
use super::super::size::{DISTRICTS, Size};
use super::customer::{Find, Named};
use super::remote;

#[derive(Debug, Clone)]
pub(in super::super) struct Input {
    w_id: i32,
    d_id: i32,
    customer_w_id: i32,
    customer_d_id: i32,
    customer: Named,
    amount: Decimal,
}

impl Input {
    pub(super) fn draw(dice: &mut Dice, size: Size, w_id: i32) -> Input {
        let d_id = dice.between(1, DISTRICTS);
        let customer_w_id = remote(dice, size, w_id, 15);
        let customer_d_id = if customer_w_id == w_id { d_id } else { dice.between(1, DISTRICTS) };
        let amount = Decimal::cents(i64::from(dice.between(100, 500_000)));
        Input { w_id, d_id, customer_w_id, customer_d_id, customer: Named::draw(dice, size), amount }
    }
}

pub(in super::super) struct Payment {
    warehouse: Statement,
    district: Statement,
    find: Find,
    customer: Statement,
    bad_credit: Statement,
    history: Statement,
}

impl Payment {
    pub(super) async fn prepare(client: &Client) -> Result<Payment, Error> {
        let prepare = |statement: &'static str| client.prepare(statement);
        Ok(Payment {
            warehouse: prepare(
                "update warehouse set w_ytd = w_ytd + $2 where w_id = $1 \
                 returning w_name, w_street_1, w_street_2, w_city, w_state, w_zip",
            )
            .await?,
            district: prepare(
                "update district set d_ytd = d_ytd + $3 where d_w_id = $1 and d_id = $2 \
                 returning d_name, d_street_1, d_street_2, d_city, d_state, d_zip",
            )
            .await?,
            find: Find::prepare(client).await?,
            customer: prepare(
                "update customer set c_balance = c_balance - $4, c_ytd_payment = c_ytd_payment + $4, \
                 c_payment_cnt = c_payment_cnt + 1 where c_w_id = $1 and c_d_id = $2 and c_id = $3 \
                 returning c_credit, c_first, c_middle, c_last, c_street_1, c_street_2, c_city, c_state, c_zip, \
                 c_phone, c_since, c_credit_lim, c_discount, c_balance",
            )
            .await?,
            bad_credit: prepare(
                "update customer set c_data = substr($4 || c_data, 1, 500) \
                 where c_w_id = $1 and c_d_id = $2 and c_id = $3 returning substr(c_data, 1, 200)",
            )
            .await?,
            history: prepare(
                "insert into history (h_c_id, h_c_d_id, h_c_w_id, h_d_id, h_w_id, h_date, h_amount, h_data) \
                 values ($1, $2, $3, $4, $5, now(), $6, $7)",
            )
            .await?,
        })
    }

    pub(super) async fn run(&self, client: &mut Client, input: &Input) -> Result<(), Error> {
        let Input { w_id, d_id, customer_w_id: c_w_id, customer_d_id: c_d_id, customer, amount } = input;
        let txn = client.transaction().await?;
        let warehouse = txn.query_one(&self.warehouse, &[w_id, amount]).await?;
        let district = txn.query_one(&self.district, &[w_id, d_id, amount]).await?;
        let Some(c_id) = self.find.number(&txn, (*c_w_id, *c_d_id), customer).await? else {
            return txn.rollback().await;
        };
        let row = txn.query_one(&self.customer, &[c_w_id, c_d_id, &c_id, amount]).await?;
        let credit: &str = row.try_get(0)?;
        if credit == "BC" {
            let note = format!("{c_id} {c_d_id} {c_w_id} {d_id} {w_id} {:.2} ", amount.to_f64());
            txn.query_one(&self.bad_credit, &[c_w_id, c_d_id, &c_id, &note]).await?;
        }
        let names: (&str, &str) = (warehouse.try_get(0)?, district.try_get(0)?);
        let data = format!("{}    {}", names.0, names.1);
        txn.execute(&self.history, &[&c_id, c_d_id, c_w_id, d_id, w_id, amount, &data]).await?;
        txn.commit().await
    }
}
