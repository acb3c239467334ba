//! The five transactions. Each file has what its terminal types in, the statements, and the order in which they run.
//!
//! What must hold: input is drawn before, so that a transaction that is tried again is the same one; nothing is
//! committed but by the last statement.

mod customer;
mod delivery;
mod new_order;
mod order_status;
mod payment;
mod stock_level;

use tokio_postgres::{Client, Error};

use super::dice::Dice;
use super::size::Size;
pub(super) use delivery::Delivery;
pub(super) use new_order::NewOrder;
pub(super) use order_status::OrderStatus;
pub(super) use payment::Payment;
pub(super) use stock_level::StockLevel;

/// Names, in the order in which they are reported; the first is what a TPC-C figure counts.
pub(super) const NAMES: [&str; 5] = ["new-order", "payment", "order-status", "delivery", "stock-level"];

/// How many of a hundred are of each (clause 5.2.3 asks for at least 43, 4, 4, 4 beside new-order).
const MIX: [i32; 5] = [45, 43, 4, 4, 4];

/// What a terminal runs next.
#[derive(Debug, Clone)]
pub(super) enum Job {
    NewOrder(new_order::Input),
    Payment(payment::Input),
    OrderStatus(order_status::Input),
    Delivery(delivery::Input),
    StockLevel(stock_level::Input),
}

impl Job {
    /// The next one of a terminal of warehouse `w_id`, which always looks at the same district's stock.
    pub(super) fn draw(dice: &mut Dice, size: Size, w_id: i32, d_id: i32) -> Job {
        match kind(dice.between(1, 100)) {
            0 => Job::NewOrder(new_order::Input::draw(dice, size, w_id)),
            1 => Job::Payment(payment::Input::draw(dice, size, w_id)),
            2 => Job::OrderStatus(order_status::Input::draw(dice, size, w_id)),
            3 => Job::Delivery(delivery::Input::draw(dice, w_id)),
            _ => Job::StockLevel(stock_level::Input::draw(dice, w_id, d_id)),
        }
    }

    /// Its place in [`NAMES`].
    pub(super) fn kind(&self) -> usize {
        match self {
            Job::NewOrder(_) => 0,
            Job::Payment(_) => 1,
            Job::OrderStatus(_) => 2,
            Job::Delivery(_) => 3,
            Job::StockLevel(_) => 4,
        }
    }
}

/// Which kind the `drawn`-th of a hundred is.
fn kind(drawn: i32) -> usize {
    let below = MIX.iter().scan(0, |sum, share| {
        *sum += share;
        Some(*sum)
    });
    below.take_while(|bound| *bound < drawn).count()
}

/// The statements of all five, prepared on one connection.
pub(super) struct Prepared {
    new_order: NewOrder,
    payment: Payment,
    order_status: OrderStatus,
    delivery: Delivery,
    stock_level: StockLevel,
}

impl Prepared {
    pub(super) async fn on(client: &Client) -> Result<Prepared, Error> {
        Ok(Prepared {
            new_order: NewOrder::prepare(client).await?,
            payment: Payment::prepare(client).await?,
            order_status: OrderStatus::prepare(client).await?,
            delivery: Delivery::prepare(client).await?,
            stock_level: StockLevel::prepare(client).await?,
        })
    }

    /// Runs one to its end: committed, or for an order of an item that does not exist rolled back.
    pub(super) async fn run(&self, client: &mut Client, job: &Job) -> Result<(), Error> {
        match job {
            Job::NewOrder(input) => self.new_order.run(client, input).await,
            Job::Payment(input) => self.payment.run(client, input).await,
            Job::OrderStatus(input) => self.order_status.run(client, input).await,
            Job::Delivery(input) => self.delivery.run(client, input).await,
            Job::StockLevel(input) => self.stock_level.run(client, input).await,
        }
    }
}

/// Another warehouse than `w_id`, where there is one, in so many of a hundred cases.
fn remote(dice: &mut Dice, size: Size, w_id: i32, of_hundred: i32) -> i32 {
    if size.warehouses == 1 || !dice.percent(of_hundred) {
        return w_id;
    }
    let other = dice.between(1, size.warehouses - 1);
    if other < w_id { other } else { other + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_that_of_the_standard() {
        let mut counts = [0; 5];
        (1..=100).for_each(|drawn| counts[kind(drawn)] += 1);
        assert_eq!(counts, MIX);
    }

    #[test]
    fn a_remote_warehouse_is_another_one() {
        let (mut dice, size) = (Dice::new(1), Size { warehouses: 3, items: 100, customers: 10 });
        let drawn: Vec<i32> = (0..300).map(|_| remote(&mut dice, size, 2, 100)).collect();
        assert!(drawn.contains(&1) && drawn.contains(&3) && !drawn.contains(&2));
        assert_eq!(remote(&mut dice, Size { warehouses: 1, ..size }, 1, 100), 1);
    }
}
