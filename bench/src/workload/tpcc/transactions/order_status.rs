//! Order-Status (clause 2.6): a customer's last order and its lines. It only reads.

use tokio_postgres::{Client, Error, Statement};

use super::super::dice::Dice;
use super::super::size::{DISTRICTS, Size};
use super::customer::{Find, Named};

#[derive(Debug, Clone)]
pub(in super::super) struct Input {
    w_id: i32,
    d_id: i32,
    customer: Named,
}

impl Input {
    pub(super) fn draw(dice: &mut Dice, size: Size, w_id: i32) -> Input {
        Input { w_id, d_id: dice.between(1, DISTRICTS), customer: Named::draw(dice, size) }
    }
}

pub(in super::super) struct OrderStatus {
    find: Find,
    customer: Statement,
    order: Statement,
    lines: Statement,
}

impl OrderStatus {
    pub(super) async fn prepare(client: &Client) -> Result<OrderStatus, Error> {
        let prepare = |statement: &'static str| client.prepare(statement);
        Ok(OrderStatus {
            find: Find::prepare(client).await?,
            customer: prepare(
                "select c_balance, c_first, c_middle, c_last from customer \
                 where c_w_id = $1 and c_d_id = $2 and c_id = $3",
            )
            .await?,
            order: prepare(
                "select o_id, o_carrier_id, o_entry_d from orders \
                 where o_w_id = $1 and o_d_id = $2 and o_c_id = $3 order by o_id desc limit 1",
            )
            .await?,
            lines: prepare(
                "select ol_i_id, ol_supply_w_id, ol_quantity, ol_amount, ol_delivery_d from order_line \
                 where ol_w_id = $1 and ol_d_id = $2 and ol_o_id = $3",
            )
            .await?,
        })
    }

    pub(super) async fn run(&self, client: &mut Client, input: &Input) -> Result<(), Error> {
        let Input { w_id, d_id, customer } = input;
        let txn = client.transaction().await?;
        if let Some(c_id) = self.find.number(&txn, (*w_id, *d_id), customer).await? {
            txn.query_one(&self.customer, &[w_id, d_id, &c_id]).await?;
            if let Some(order) = txn.query_opt(&self.order, &[w_id, d_id, &c_id]).await? {
                let o_id: i32 = order.try_get(0)?;
                txn.query(&self.lines, &[w_id, d_id, &o_id]).await?;
            }
        }
        txn.commit().await
    }
}
