//! Plans as EXPLAIN shows them. No costs: there are no statistics.

use std::fmt::Write;

use super::{Access, Alternatives, Bounds, IndexAccess, Plan, Scan, Watch};
use crate::catalog::KeySource;
use crate::sql::bind::{JoinKind, SetOperation};
use crate::sql::expr::Expr;

/// Lines being written, with what was seen if the plan was run.
pub(crate) struct Lines<'w> {
    lines: Vec<String>,
    watch: Option<&'w Watch>,
}

impl<'w> Lines<'w> {
    pub(crate) fn new(watch: Option<&'w Watch>) -> Lines<'w> {
        Lines { lines: Vec::new(), watch }
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines
    }

    /// A line as it is.
    pub(crate) fn plain(&mut self, text: String) {
        self.lines.push(text);
    }

    /// A plan.
    pub(crate) fn plan(&mut self, plan: &Plan) {
        show(plan, 0, self);
    }

    /// A change of a table's rows, which are made or found by the plan below.
    pub(crate) fn change(&mut self, text: &str, place: usize, below: &Plan) {
        self.line(0, text, place);
        show(below, 1, self);
    }

    /// A sub-query that is run before what has been written so far.
    pub(crate) fn subquery(&mut self, n: usize, place: usize, plan: &Plan) {
        self.detail(0, &format!("SubPlan {n}"));
        if let Some(memory) = self.watch.and_then(|watch| watch.of(place).memory()) {
            self.lines.push(format!("    {memory}"));
        }
        let from = self.lines.len();
        show(plan, 1, self);
        self.lines[from..].iter_mut().for_each(|line| line.insert_str(0, "  "));
    }

    /// An operator, at its place.
    fn line(&mut self, depth: usize, text: &str, place: usize) {
        let indent = if depth == 0 { String::new() } else { format!("{}->  ", "  ".repeat(3 * depth - 2)) };
        let seen = self.watch.map(|watch| watch.of(place));
        let actual = seen.as_ref().map_or_else(String::new, |seen| seen.actual());
        self.lines.push(format!("{indent}{text}{actual}"));
        if let Some(memory) = seen.and_then(|seen| seen.memory()) {
            self.detail(depth, &memory);
        }
    }

    fn detail(&mut self, depth: usize, text: &str) {
        self.lines.push(format!("{}{text}", "  ".repeat(3 * depth + 1)));
    }
}

fn number(n: usize) -> String {
    format!("#{}", n + 1)
}

/// The lines of a table's scan.
fn explain_scan(scan: &Scan, place: usize, depth: usize, lines: &mut Lines<'_>) {
    let table = &scan.table;
    let names = |n: usize| table.columns[n].name.clone();
    let alias = if scan.alias == table.name { String::new() } else { format!(" {}", scan.alias) };
    let way = way(&scan.access);
    lines.line(depth, &format!("{way} on {}{alias}", table.name), place);
    if let Access::Index(access) | Access::Few(access, _) = &scan.access {
        let condition = condition(access, &names);
        if !condition.is_empty() {
            lines.detail(depth, &format!("Index Cond: ({condition})"));
        }
    }
    if let Access::Few(_, otherwise) = &scan.access {
        lines.detail(depth, &format!("Unless Few: {}", self::way(otherwise)));
    }
    if let Some(filter) = &scan.filter {
        lines.detail(depth, &format!("Filter: {}", filter.show(&names)));
    }
}

fn way(access: &Access) -> String {
    match access {
        Access::Table => "Seq Scan".to_owned(),
        Access::Index(access) | Access::Few(access, _) => {
            let direction = if access.backward { " Backward" } else { "" };
            format!("Index Scan{direction} using {}", access.index.name)
        }
    }
}

fn condition(access: &IndexAccess, names: &dyn Fn(usize) -> String) -> String {
    let column = |n: usize| match &access.index.columns[n].source {
        KeySource::Column(column) => names(*column),
        KeySource::Expr(formula) => formula.expr().show(names),
    };
    let mut parts: Vec<String> = Vec::new();
    for (n, alternatives) in access.fixed.iter().enumerate() {
        parts.push(match alternatives {
            Alternatives::Values(values) => {
                let values: Vec<String> = values.iter().map(|v| v.show(names)).collect();
                match &values[..] {
                    [one] => format!("{} = {one}", column(n)),
                    many => format!("{} IN ({})", column(n), many.join(", ")),
                }
            }
            Alternatives::Subquery(subquery) => format!("{} IN (SubPlan {subquery})", column(n)),
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

fn show(plan: &Plan, depth: usize, lines: &mut Lines<'_>) {
    let place = plan.place();
    match plan {
        Plan::One => lines.line(depth, "Result", place),
        Plan::Scan(scan) => explain_scan(scan, place, depth, lines),
        Plan::Values(..) => lines.line(depth, "Values Scan", place),
        Plan::Series(..) => lines.line(depth, "Function Scan on generate_series", place),
        Plan::Filter(input, filter) => {
            lines.line(depth, "Filter", place);
            lines.detail(depth, &format!("Filter: {}", filter.show(&number)));
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
            lines.line(depth, &text, place);
            if !join.keys.is_empty() {
                let width = join.left_width;
                let pairs = join
                    .keys
                    .iter()
                    .map(|(a, b, _)| format!("({} = {})", a.show(&number), b.show(&|n| number(n + width))));
                lines.detail(depth, &format!("Hash Cond: {}", pairs.collect::<Vec<_>>().join(" AND ")));
            }
            if let Some(filter) = &join.filter {
                lines.detail(depth, &format!("Join Filter: {}", filter.show(&number)));
            }
            show(left, depth + 1, lines);
            show(right, depth + 1, lines);
        }
        Plan::Aggregate(input, aggregation) => {
            let keys = &aggregation.keys;
            lines.line(depth, if keys.is_empty() { "Aggregate" } else { "HashAggregate" }, place);
            if !keys.is_empty() {
                lines.detail(depth, &format!("Group Key: {}", list(keys.iter().map(|(e, _)| e))));
            }
            show(input, depth + 1, lines);
        }
        Plan::Lock(input, _) => {
            lines.line(depth, "LockRows", place);
            show(input, depth + 1, lines);
        }
        Plan::Sort(input, keys) => {
            lines.line(depth, "Sort", place);
            let mut text = String::from("Sort Key: ");
            for (n, key) in keys.iter().enumerate() {
                let comma = if n > 0 { ", " } else { "" };
                let direction = if key.order.descending { " DESC" } else { "" };
                // Writing to a String cannot fail.
                let _ = write!(text, "{comma}{}{direction}", key.expr.show(&number));
            }
            lines.detail(depth, &text);
            show(input, depth + 1, lines);
        }
        Plan::Limit(input, ..) => {
            lines.line(depth, "Limit", place);
            show(input, depth + 1, lines);
        }
        Plan::Distinct(input, _) => {
            lines.line(depth, "HashAggregate", place);
            show(input, depth + 1, lines);
        }
        Plan::DistinctOn(input, _) => {
            lines.line(depth, "Unique", place);
            show(input, depth + 1, lines);
        }
        Plan::Append(inputs) => {
            lines.line(depth, "Append", place);
            inputs.iter().for_each(|input| show(input, depth + 1, lines));
        }
        Plan::SetOp(left, right, operation, all, _) => {
            let name = match operation {
                SetOperation::Intersect => "Intersect",
                SetOperation::Except | SetOperation::Union => "Except",
            };
            let all = if *all { " All" } else { "" };
            lines.line(depth, &format!("HashSetOp {name}{all}"), place);
            show(left, depth + 1, lines);
            show(right, depth + 1, lines);
        }
    }
}
