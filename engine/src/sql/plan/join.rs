//! Joins: which conditions go to which side, and which make the join's keys.

use std::sync::Arc;

use super::{Join, Plan, Request, filtered};
use crate::sql::bind::{JoinKind, Rel};
use crate::sql::expr::{Comparison, Expr};
use crate::types::SqlType;

/// Which sides an expression looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Neither,
    Left,
    Right,
    Both,
}

fn side(expr: &Expr, left_width: usize) -> Side {
    let mut columns = Vec::new();
    expr.columns(&mut columns);
    let (left, right) = (columns.iter().any(|n| *n < left_width), columns.iter().any(|n| *n >= left_width));
    match (left, right) {
        (false, false) => Side::Neither,
        (true, false) => Side::Left,
        (false, true) => Side::Right,
        (true, true) => Side::Both,
    }
}

pub(super) fn build(kind: JoinKind, left: Rel, right: Rel, on: Option<Expr>, request: Request) -> Plan {
    let (left_width, right_width) = (left.width(), right.width());
    let width = left_width + right_width;
    let mut needed = Request {
        needed: Some(request.needed.clone().unwrap_or_else(|| vec![true; width])),
        ..Request::default()
    };
    let mut conditions = Vec::new();
    if let Some(on) = on {
        on.conjuncts(&mut conditions);
    }
    let mut above = Vec::new();
    let (mut to_left, mut to_right, mut here) = (Vec::new(), Vec::new(), Vec::new());
    match kind {
        // WHERE and ON mean the same.
        JoinKind::Inner => conditions.extend(request.filters),
        JoinKind::Left => {
            for filter in request.filters {
                // A condition on the side that may be missing is asked of what the join made.
                match side(&filter, left_width) {
                    Side::Left => to_left.push(filter),
                    _ => above.push(filter),
                }
            }
        }
    }
    for condition in conditions {
        match side(&condition, left_width) {
            Side::Left if kind == JoinKind::Inner => to_left.push(condition),
            Side::Right => to_right.push(condition),
            _ => here.push(condition),
        }
    }
    for condition in above.iter().chain(&here) {
        needed.mark(width, condition);
    }
    let needed = needed.needed.unwrap_or_default();
    for condition in &mut to_right {
        condition.shift_columns(&|n| n - left_width);
    }
    let (keys, rest) = keys(here, left_width);
    let of = |filters, needed: &[bool]| Request { filters, needed: Some(needed.to_vec()), order: Vec::new() };
    let left = super::build(left, of(to_left, &needed[..left_width]));
    let right = super::build(right, of(to_right, &needed[left_width..]));
    let join = Join { kind, keys, filter: Expr::and(rest), left_width, right_width };
    filtered(Plan::Join(Box::new(left), Box::new(right), Arc::new(join)), above)
}

/// Splits off conditions of the form left = right.
#[allow(clippy::type_complexity, reason = "used once, named at its use")]
fn keys(conditions: Vec<Expr>, left_width: usize) -> (Vec<(Expr, Expr, SqlType)>, Vec<Expr>) {
    let mut keys = Vec::new();
    let mut rest = Vec::new();
    for condition in conditions {
        let Expr::Compare(Comparison::Eq, ty, pair) = &condition else {
            rest.push(condition);
            continue;
        };
        let (a, b) = (pair.0.clone(), pair.1.clone());
        let (left, mut right) = match (side(&a, left_width), side(&b, left_width)) {
            (Side::Left, Side::Right) => (a, b),
            (Side::Right, Side::Left) => (b, a),
            _ => {
                rest.push(condition);
                continue;
            }
        };
        right.shift_columns(&|n| n - left_width);
        keys.push((left, right, *ty));
    }
    (keys, rest)
}
