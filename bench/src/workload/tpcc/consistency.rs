//! Consistency conditions 1 to 4 (clauses 3.3.2.1 to 3.3.2.4), asked of the database when the load is over. A database
//! that does not fulfil them has lost or made up something: its figures are worth nothing.

use tokio_postgres::types::FromSqlOwned;
use tokio_postgres::{Client, Error};

use super::decimal::Decimal;
use crate::workload::Target;
use crate::{BenchError, sql};

/// Warehouse and district.
type District = (i32, i32);

/// What the conditions speak of; every list in the order of warehouse and district.
#[derive(Debug, Clone, Default)]
struct State {
    warehouse_ytd: Vec<(i32, Decimal)>,
    districts_ytd: Vec<(i32, Decimal)>,
    next_order: Vec<(District, i64)>,
    last_order: Vec<(District, i64)>,
    lines_ordered: Vec<(District, i64)>,
    lines: Vec<(District, i64)>,
    /// Lowest, highest, how many; districts without new orders are missing.
    new_orders: Vec<(District, [i64; 3])>,
}

/// Reads the state and checks it.
pub(super) async fn check(target: &Target) -> Result<String, BenchError> {
    let read = async { read(&sql::connect(target).await?).await };
    let state = read.await.map_err(sql::failed("cannot read what the consistency conditions speak of"))?;
    violated(&state).map_or_else(
        || Ok(format!("conditions 3.3.2.1 to 3.3.2.4 hold in {} districts", state.next_order.len())),
        |what| Err(BenchError::Peer(format!("TPC-C's data is not consistent: {what}"))),
    )
}

async fn read(client: &Client) -> Result<State, Error> {
    let by_district = |what: &str, from: &str, letter: &str| {
        let key = format!("{letter}_w_id, {letter}_d_id");
        format!("select {key}, {what} from {from} group by {key} order by {key}")
    };
    let counts = |sql: String| async move { by_district_of(client, &sql).await };
    let new = "min(no_o_id)::int8, max(no_o_id)::int8, count(*)";
    let rows = client.query(&by_district(new, "new_order", "no"), &[]).await?;
    let new_orders = rows.iter().map(|row| {
        Ok(((row.try_get(0)?, row.try_get(1)?), [row.try_get(2)?, row.try_get(3)?, row.try_get(4)?]))
    });
    Ok(State {
        warehouse_ytd: pairs(client, "select w_id, w_ytd from warehouse order by w_id").await?,
        districts_ytd: pairs(
            client,
            "select d_w_id, sum(d_ytd) from district group by d_w_id order by d_w_id",
        )
        .await?,
        next_order: counts(
            "select d_w_id, d_id, d_next_o_id::int8 from district order by d_w_id, d_id".into(),
        )
        .await?,
        last_order: counts(by_district("max(o_id)::int8", "orders", "o")).await?,
        lines_ordered: counts(by_district("sum(o_ol_cnt)", "orders", "o")).await?,
        lines: counts(by_district("count(*)", "order_line", "ol")).await?,
        new_orders: new_orders.collect::<Result<_, Error>>()?,
    })
}

async fn pairs<T: FromSqlOwned>(client: &Client, sql: &str) -> Result<Vec<(i32, T)>, Error> {
    let rows = client.query(sql, &[]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

async fn by_district_of(client: &Client, sql: &str) -> Result<Vec<(District, i64)>, Error> {
    let rows = client.query(sql, &[]).await?;
    rows.iter().map(|row| Ok(((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?))).collect()
}

/// The first condition that does not hold, and where.
fn violated(state: &State) -> Option<String> {
    if state.warehouse_ytd.is_empty() || state.next_order.is_empty() {
        return Some("there is no warehouse".into());
    }
    if state.warehouse_ytd != state.districts_ytd {
        let (of_warehouses, of_districts) = (&state.warehouse_ytd, &state.districts_ytd);
        return Some(format!("3.3.2.1: W_YTD {of_warehouses:?}, sums of D_YTD {of_districts:?}"));
    }
    let last: Vec<_> = state.next_order.iter().map(|(district, next)| (*district, next - 1)).collect();
    if last != state.last_order {
        return Some(format!("3.3.2.2: D_NEXT_O_ID - 1 {last:?}, highest O_ID {:?}", state.last_order));
    }
    for (district, [lowest, highest, count]) in &state.new_orders {
        if !last.contains(&(*district, *highest)) {
            return Some(format!(
                "3.3.2.2: district {district:?}: highest NO_O_ID {highest}, orders {last:?}"
            ));
        }
        if highest - lowest + 1 != *count {
            return Some(format!(
                "3.3.2.3: district {district:?}: NO_O_ID {lowest} to {highest}, {count} rows"
            ));
        }
    }
    (state.lines_ordered != state.lines).then(|| {
        format!("3.3.2.4: sums of O_OL_CNT {:?}, order lines {:?}", state.lines_ordered, state.lines)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consistent() -> State {
        State {
            warehouse_ytd: vec![(1, Decimal::cents(300))],
            districts_ytd: vec![(1, Decimal::cents(300))],
            next_order: vec![((1, 1), 11), ((1, 2), 21)],
            last_order: vec![((1, 1), 10), ((1, 2), 20)],
            lines_ordered: vec![((1, 1), 100), ((1, 2), 200)],
            lines: vec![((1, 1), 100), ((1, 2), 200)],
            new_orders: vec![((1, 2), [18, 20, 3])],
        }
    }

    #[test]
    fn each_condition_finds_what_violates_it() {
        assert_eq!(violated(&consistent()), None);
        type Spoil = fn(&mut State);
        let spoilt: [(&str, Spoil); 6] = [
            ("no warehouse", |state| *state = State::default()),
            ("3.3.2.1", |state| state.districts_ytd[0].1 = Decimal::cents(299)),
            ("3.3.2.2", |state| state.last_order[1].1 = 19),
            ("3.3.2.2", |state| state.new_orders[0].1 = [17, 19, 3]),
            ("3.3.2.3", |state| state.new_orders[0].1[2] = 2),
            ("3.3.2.4", |state| state.lines[0].1 = 99),
        ];
        for (condition, spoil) in spoilt {
            let mut state = consistent();
            spoil(&mut state);
            let said = violated(&state).unwrap_or_default();
            assert!(said.contains(condition), "{condition}: {said}");
        }
    }
}
