//! A customer is named by number, or in six of ten cases by last name: then the middle one of those who bear it, by
//! first name (clause 2.5.2.2).

use tokio_postgres::{Client, Error, Statement, Transaction};

use super::super::dice::Dice;
use super::super::size::Size;

/// How the terminal names a customer.
#[derive(Debug, Clone)]
pub(super) enum Named {
    Number(i32),
    Last(String),
}

impl Named {
    pub(super) fn draw(dice: &mut Dice, size: Size) -> Named {
        if dice.percent(60) { Named::Last(dice.last_name(size)) } else { Named::Number(dice.customer(size)) }
    }
}

/// The statement that finds one by last name.
pub(super) struct Find(Statement);

impl Find {
    pub(super) async fn prepare(client: &Client) -> Result<Find, Error> {
        let by_name =
            "select c_id from customer where c_w_id = $1 and c_d_id = $2 and c_last = $3 order by c_first";
        client.prepare(by_name).await.map(Find)
    }

    /// The customer's number; none when nobody in the district has the name.
    pub(super) async fn number(
        &self,
        txn: &Transaction<'_>,
        (w_id, d_id): (i32, i32),
        named: &Named,
    ) -> Result<Option<i32>, Error> {
        let last = match named {
            Named::Number(number) => return Ok(Some(*number)),
            Named::Last(last) => last,
        };
        let rows = txn.query(&self.0, &[&w_id, &d_id, last]).await?;
        let middle = rows.len().div_ceil(2).checked_sub(1).and_then(|at| rows.get(at));
        middle.map(|row| row.try_get(0)).transpose()
    }
}
