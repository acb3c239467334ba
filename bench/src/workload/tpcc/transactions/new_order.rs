//! New-Order (clause 2.4): an order of 5 to 15 items. One in a hundred names an item that does not exist, and is rolled
//! back after everything before it was done.

use tokio_postgres::{Client, Error, Statement, Transaction};

use super::super::decimal::Decimal;
use super::super::dice::Dice;
use super::super::size::{DISTRICTS, Size};
use super::remote;

/// A number that no item has.
const UNUSED_ITEM: i32 = 0;

#[derive(Debug, Clone)]
pub(in super::super) struct Input {
    w_id: i32,
    d_id: i32,
    c_id: i32,
    lines: Vec<Line>,
}

#[derive(Debug, Clone)]
struct Line {
    i_id: i32,
    supply_w_id: i32,
    quantity: i32,
}

impl Input {
    pub(super) fn draw(dice: &mut Dice, size: Size, w_id: i32) -> Input {
        let line = |dice: &mut Dice| Line {
            i_id: dice.item(size),
            supply_w_id: remote(dice, size, w_id, 1),
            quantity: dice.between(1, 10),
        };
        let mut lines: Vec<Line> = (0..dice.between(5, 15)).map(|_| line(dice)).collect();
        if dice.percent(1) {
            lines.iter_mut().last().into_iter().for_each(|last| last.i_id = UNUSED_ITEM);
        }
        Input { w_id, d_id: dice.between(1, DISTRICTS), c_id: dice.customer(size), lines }
    }
}

pub(in super::super) struct NewOrder {
    warehouse: Statement,
    district: Statement,
    customer: Statement,
    order: Statement,
    new_order: Statement,
    item: Statement,
    /// One for each district: each has a column of its own in the table.
    stock: Vec<Statement>,
    stock_taken: Statement,
    line: Statement,
}

impl NewOrder {
    pub(super) async fn prepare(client: &Client) -> Result<NewOrder, Error> {
        let mut stock = Vec::new();
        for d_id in 1..=DISTRICTS {
            let select = format!(
                "select s_quantity, s_data, s_dist_{d_id:02} from stock where s_w_id = $1 and s_i_id = $2 for update"
            );
            stock.push(client.prepare(&select).await?);
        }
        let prepare = |statement: &'static str| client.prepare(statement);
        Ok(NewOrder {
            warehouse: prepare("select w_tax from warehouse where w_id = $1").await?,
            district: prepare(
                "update district set d_next_o_id = d_next_o_id + 1 where d_w_id = $1 and d_id = $2 \
                 returning d_next_o_id - 1, d_tax",
            )
            .await?,
            customer: prepare(
                "select c_discount, c_last, c_credit from customer where c_w_id = $1 and c_d_id = $2 and c_id = $3",
            )
            .await?,
            order: prepare(
                "insert into orders (o_w_id, o_d_id, o_id, o_c_id, o_entry_d, o_ol_cnt, o_all_local) \
                 values ($1, $2, $3, $4, now(), $5, $6)",
            )
            .await?,
            new_order: prepare("insert into new_order (no_w_id, no_d_id, no_o_id) values ($1, $2, $3)").await?,
            item: prepare("select i_price, i_name, i_data from item where i_id = $1").await?,
            stock,
            stock_taken: prepare(
                "update stock set s_quantity = $3, s_ytd = s_ytd + $4, s_order_cnt = s_order_cnt + 1, \
                 s_remote_cnt = s_remote_cnt + $5 where s_w_id = $1 and s_i_id = $2",
            )
            .await?,
            line: prepare(
                "insert into order_line (ol_w_id, ol_d_id, ol_o_id, ol_number, ol_i_id, ol_supply_w_id, ol_quantity, \
                 ol_amount, ol_dist_info) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .await?,
        })
    }

    pub(super) async fn run(&self, client: &mut Client, input: &Input) -> Result<(), Error> {
        let Input { w_id, d_id, c_id, lines } = input;
        let txn = client.transaction().await?;
        let tax: Decimal = txn.query_one(&self.warehouse, &[w_id]).await?.try_get(0)?;
        let district = txn.query_one(&self.district, &[w_id, d_id]).await?;
        let (o_id, district_tax): (i32, Decimal) = (district.try_get(0)?, district.try_get(1)?);
        let customer = txn.query_one(&self.customer, &[w_id, d_id, c_id]).await?;
        let discount: Decimal = customer.try_get(0)?;
        let local = i32::from(lines.iter().all(|line| line.supply_w_id == *w_id));
        txn.execute(&self.order, &[w_id, d_id, &o_id, c_id, &(lines.len() as i32), &local]).await?;
        txn.execute(&self.new_order, &[w_id, d_id, &o_id]).await?;
        let mut total = 0.0;
        for (number, line) in (1..).zip(lines) {
            match self.add(&txn, (*w_id, *d_id, o_id, number), line).await? {
                Some(amount) => total += amount.to_f64(),
                None => return txn.rollback().await,
            }
        }
        // What the terminal would show.
        total *= (1.0 - discount.to_f64()) * (1.0 + tax.to_f64() + district_tax.to_f64());
        std::hint::black_box(total);
        txn.commit().await
    }

    /// Takes a line's items from stock and enters it. None: there is no such item.
    async fn add(
        &self,
        txn: &Transaction<'_>,
        (w_id, d_id, o_id, number): (i32, i32, i32, i32),
        line: &Line,
    ) -> Result<Option<Decimal>, Error> {
        let Line { i_id, supply_w_id, quantity } = line;
        let Some(item) = txn.query_opt(&self.item, &[i_id]).await? else { return Ok(None) };
        let price: Decimal = item.try_get(0)?;
        let stock = txn.query_one(&self.stock[d_id as usize - 1], &[supply_w_id, i_id]).await?;
        let (left, info): (i32, &str) = (stock.try_get(0)?, stock.try_get(2)?);
        // Clause 2.4.2.2: what would fall below ten is filled up.
        let left = if left >= quantity + 10 { left - quantity } else { left - quantity + 91 };
        let remote = i32::from(*supply_w_id != w_id);
        txn.execute(&self.stock_taken, &[supply_w_id, i_id, &left, quantity, &remote]).await?;
        let amount = price.times(*quantity);
        txn.execute(&self.line, &[&w_id, &d_id, &o_id, &number, i_id, supply_w_id, quantity, &amount, &info])
            .await?;
        Ok(Some(amount))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_order_in_a_hundred_names_an_item_that_does_not_exist() {
        let (mut dice, size) = (Dice::new(1), Size { warehouses: 1, items: 100, customers: 10 });
        let unused = (0..20_000)
            .map(|_| Input::draw(&mut dice, size, 1))
            .filter(|input| input.lines.iter().any(|line| line.i_id == UNUSED_ITEM))
            .count();
        assert!((140..260).contains(&unused), "{unused}");
    }
}
