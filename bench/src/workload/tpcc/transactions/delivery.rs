//! Delivery (clause 2.7): the oldest order that is not delivered, of each district, in one transaction. The standard
//! lets it wait in a queue; here the terminal waits for it.

use tokio_postgres::{Client, Error, Statement, Transaction};

use super::super::decimal::Decimal;
use super::super::dice::Dice;
use super::super::size::DISTRICTS;

#[derive(Debug, Clone)]
pub(in super::super) struct Input {
    w_id: i32,
    carrier: i32,
}

impl Input {
    pub(super) fn draw(dice: &mut Dice, w_id: i32) -> Input {
        Input { w_id, carrier: dice.between(1, 10) }
    }
}

pub(in super::super) struct Delivery {
    oldest: Statement,
    taken: Statement,
    order: Statement,
    lines: Statement,
    amount: Statement,
    customer: Statement,
}

impl Delivery {
    pub(super) async fn prepare(client: &Client) -> Result<Delivery, Error> {
        let prepare = |statement: &'static str| client.prepare(statement);
        Ok(Delivery {
            oldest: prepare(
                "select no_o_id from new_order where no_w_id = $1 and no_d_id = $2 \
                 order by no_o_id limit 1 for update",
            )
            .await?,
            taken: prepare("delete from new_order where no_w_id = $1 and no_d_id = $2 and no_o_id = $3")
                .await?,
            order: prepare(
                "update orders set o_carrier_id = $4 where o_w_id = $1 and o_d_id = $2 and o_id = $3 \
                 returning o_c_id",
            )
            .await?,
            lines: prepare(
                "update order_line set ol_delivery_d = now() \
                 where ol_w_id = $1 and ol_d_id = $2 and ol_o_id = $3",
            )
            .await?,
            amount: prepare(
                "select sum(ol_amount) from order_line where ol_w_id = $1 and ol_d_id = $2 and ol_o_id = $3",
            )
            .await?,
            customer: prepare(
                "update customer set c_balance = c_balance + $4, c_delivery_cnt = c_delivery_cnt + 1 \
                 where c_w_id = $1 and c_d_id = $2 and c_id = $3",
            )
            .await?,
        })
    }

    pub(super) async fn run(&self, client: &mut Client, input: &Input) -> Result<(), Error> {
        let txn = client.transaction().await?;
        for d_id in 1..=DISTRICTS {
            self.deliver(&txn, input, d_id).await?;
        }
        txn.commit().await
    }

    /// One district's order, if there is one to deliver.
    async fn deliver(&self, txn: &Transaction<'_>, input: &Input, d_id: i32) -> Result<(), Error> {
        let Input { w_id, carrier } = input;
        let Some(oldest) = txn.query_opt(&self.oldest, &[w_id, &d_id]).await? else { return Ok(()) };
        let o_id: i32 = oldest.try_get(0)?;
        txn.execute(&self.taken, &[w_id, &d_id, &o_id]).await?;
        let c_id: i32 = txn.query_one(&self.order, &[w_id, &d_id, &o_id, carrier]).await?.try_get(0)?;
        txn.execute(&self.lines, &[w_id, &d_id, &o_id]).await?;
        let amount: Decimal = txn.query_one(&self.amount, &[w_id, &d_id, &o_id]).await?.try_get(0)?;
        txn.execute(&self.customer, &[w_id, &d_id, &c_id, &amount]).await?;
        Ok(())
    }
}
