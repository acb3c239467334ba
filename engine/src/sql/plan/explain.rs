//! Plans as EXPLAIN shows them. No costs: there are no statistics.

use std::fmt::Write;

use super::{Access, Bounds, IndexAccess, Plan, Scan};
use crate::catalog::KeySource;
use crate::sql::bind::{JoinKind, SetOperation};
use crate::sql::expr::Expr;

/// The plan's lines.
pub(crate) fn explain(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    show(plan, 0, &mut lines);
    lines
}

fn line(depth: usize, text: &str, lines: &mut Vec<String>) {
    let indent = if depth == 0 { String::new() } else { format!("{}->  ", "  ".repeat(3 * depth - 2)) };
    lines.push(format!("{indent}{text}"));
}

fn detail(depth: usize, text: &str, lines: &mut Vec<String>) {
    lines.push(format!("{}{text}", "  ".repeat(3 * depth + 1)));
}

fn number(n: usize) -> String {
    format!("#{}", n + 1)
}

/// The lines of a table's scan.
fn explain_scan(scan: &Scan, depth: usize, lines: &mut Vec<String>) {
    let table = &scan.table;
    let names = |n: usize| table.columns[n].name.clone();
    let alias = if scan.alias == table.name { String::new() } else { format!(" {}", scan.alias) };
    match &scan.access {
        Access::Table => line(depth, &format!("Seq Scan on {}{alias}", table.name), lines),
        Access::Index(access) => {
            let direction = if access.backward { " Backward" } else { "" };
            let text = format!("Index Scan{direction} using {} on {}{alias}", access.index.name, table.name);
            line(depth, &text, lines);
            let condition = condition(access, &names);
            if !condition.is_empty() {
                detail(depth, &format!("Index Cond: ({condition})"), lines);
            }
        }
    }
    if let Some(filter) = &scan.filter {
        detail(depth, &format!("Filter: {}", filter.show(&names)), lines);
    }
}

fn condition(access: &IndexAccess, names: &dyn Fn(usize) -> String) -> String {
    let column = |n: usize| match &access.index.columns[n].source {
        KeySource::Column(column) => names(*column),
        KeySource::Expr(formula) => formula.expr().show(names),
    };
    let mut parts: Vec<String> = Vec::new();
    for (n, alternatives) in access.fixed.iter().enumerate() {
        let values: Vec<String> = alternatives.iter().map(|v| v.show(names)).collect();
        parts.push(match &values[..] {
            [one] => format!("{} = {one}", column(n)),
            many => format!("{} IN ({})", column(n), many.join(", ")),
        });
    }
    let behind = |bounds: &Bounds| {
        let ends = [(&bounds.lower, ">"), (&bounds.upper, "<")].into_iter();
        let shown = ends.filter_map(|(end, symbol)| {
            let (value, included) = end.as_ref()?;
            let equal = if *included { "=" } else { "" };
            Some(format!("{} {symbol}{equal} {}", column(access.fixed.len()), value.show(names)))
        });
        shown.collect::<Vec<_>>().join(" AND ")
    };
    match &access.bounds[..] {
        [] => {}
        [one] => parts.push(behind(one)),
        several => {
            let ways: Vec<String> = several.iter().map(|way| format!("({})", behind(way))).collect();
            let any = ways.join(" OR ");
            parts.push(if parts.is_empty() { any } else { format!("({any})") });
        }
    }
    parts.join(" AND ")
}

fn list<'a>(exprs: impl Iterator<Item = &'a Expr>) -> String {
    exprs.map(|e| e.show(&number)).collect::<Vec<_>>().join(", ")
}

fn show(plan: &Plan, depth: usize, lines: &mut Vec<String>) {
    match plan {
        Plan::One => line(depth, "Result", lines),
        Plan::Scan(scan) => explain_scan(scan, depth, lines),
        Plan::Values(..) => line(depth, "Values Scan", lines),
        Plan::Series(..) => line(depth, "Function Scan on generate_series", lines),
        Plan::Filter(input, filter) => {
            line(depth, "Filter", lines);
            detail(depth, &format!("Filter: {}", filter.show(&number)), lines);
            show(input, depth + 1, lines);
        }
        // A projection costs nothing worth a line of its own.
        Plan::Project(input, _) => show(input, depth, lines),
        Plan::Join(left, right, join) => {
            let how = if join.keys.is_empty() { "Nested Loop" } else { "Hash" };
            let text = match (join.kind, join.keys.is_empty()) {
                (JoinKind::Inner, true) => how.to_owned(),
                (JoinKind::Inner, false) => format!("{how} Join"),
                (JoinKind::Left, _) => format!("{how} Left Join"),
            };
            line(depth, &text, lines);
            if !join.keys.is_empty() {
                let width = join.left_width;
                let pairs = join
                    .keys
                    .iter()
                    .map(|(a, b, _)| format!("({} = {})", a.show(&number), b.show(&|n| number(n + width))));
                detail(depth, &format!("Hash Cond: {}", pairs.collect::<Vec<_>>().join(" AND ")), lines);
            }
            if let Some(filter) = &join.filter {
                detail(depth, &format!("Join Filter: {}", filter.show(&number)), lines);
            }
            show(left, depth + 1, lines);
            show(right, depth + 1, lines);
        }
        Plan::Aggregate(input, aggregation) => {
            let keys = &aggregation.keys;
            line(depth, if keys.is_empty() { "Aggregate" } else { "HashAggregate" }, lines);
            if !keys.is_empty() {
                detail(depth, &format!("Group Key: {}", list(keys.iter().map(|(e, _)| e))), lines);
            }
            show(input, depth + 1, lines);
        }
        Plan::Lock(input, _) => {
            line(depth, "LockRows", lines);
            show(input, depth + 1, lines);
        }
        Plan::Sort(input, keys) => {
            line(depth, "Sort", lines);
            let mut text = String::from("Sort Key: ");
            for (n, key) in keys.iter().enumerate() {
                let comma = if n > 0 { ", " } else { "" };
                let direction = if key.order.descending { " DESC" } else { "" };
                // Writing to a String cannot fail.
                let _ = write!(text, "{comma}{}{direction}", key.expr.show(&number));
            }
            detail(depth, &text, lines);
            show(input, depth + 1, lines);
        }
        Plan::Limit(input, ..) => {
            line(depth, "Limit", lines);
            show(input, depth + 1, lines);
        }
        Plan::Distinct(input, _) => {
            line(depth, "HashAggregate", lines);
            show(input, depth + 1, lines);
        }
        Plan::DistinctOn(input, _) => {
            line(depth, "Unique", lines);
            show(input, depth + 1, lines);
        }
        Plan::Append(inputs) => {
            line(depth, "Append", lines);
            inputs.iter().for_each(|input| show(input, depth + 1, lines));
        }
        Plan::SetOp(left, right, operation, all, _) => {
            let name = match operation {
                SetOperation::Intersect => "Intersect",
                SetOperation::Except | SetOperation::Union => "Except",
            };
            let all = if *all { " All" } else { "" };
            line(depth, &format!("HashSetOp {name}{all}"), lines);
            show(left, depth + 1, lines);
            show(right, depth + 1, lines);
        }
    }
}
