//! Plans as EXPLAIN shows them. No costs: there are no statistics.

mod structured;

use std::sync::Arc;

pub(crate) use structured::{Field, Format, Value};

use super::{Access, Alternatives, Bounds, IndexAccess, Join, Plan, Scan, Seen, Watch};
use crate::catalog::KeySource;
use crate::sql::bind::{JoinKind, SetOperation, SortKey};
use crate::sql::expr::Expr;

/// An operator's name: as text has it, and in parts.
struct Name {
    text: String,
    fields: Vec<Field>,
}

impl Name {
    fn new(kind: &str) -> Name {
        Name { text: kind.to_owned(), fields: vec![("Node Type", Value::Text(kind.to_owned()))] }
    }

    /// As text has it.
    fn spelled(self, text: String) -> Name {
        Name { text, ..self }
    }

    fn with(mut self, name: &'static str, value: &str) -> Name {
        self.fields.push((name, Value::Text(value.to_owned())));
        self
    }
}

/// An operator.
struct Operator {
    depth: usize,
    name: Name,
    details: Vec<Field>,
    /// What was seen of it.
    seen: Option<Arc<Seen>>,
}

/// A plan, with its number if it is that of a sub-query, and what was seen of its values.
#[derive(Default)]
struct Part {
    subquery: Option<(usize, Option<Arc<Seen>>)>,
    /// From the top down, each before those below it.
    operators: Vec<Operator>,
}

/// What EXPLAIN shows, with what was seen if the plan was run.
pub(crate) struct Shown<'w> {
    parts: Vec<Part>,
    watch: Option<&'w Watch>,
}

impl<'w> Shown<'w> {
    pub(crate) fn new(watch: Option<&'w Watch>) -> Shown<'w> {
        Shown { parts: vec![Part::default()], watch }
    }

    /// A plan.
    pub(crate) fn plan(&mut self, plan: &Plan) {
        show(plan, 0, self);
    }

    /// A change of a table's rows, which are made or found by the plan below.
    pub(crate) fn change(&mut self, verb: &str, table: &str, place: usize, below: &Plan) {
        let name = Name::new("ModifyTable").spelled(format!("{verb} on {table}"));
        self.operator(0, name.with("Operation", verb).with("Relation Name", table), place);
        show(below, 1, self);
    }

    /// A sub-query that is run before the plan.
    pub(crate) fn subquery(&mut self, n: usize, place: usize, plan: &Plan) {
        let seen = self.watch.map(|watch| watch.of(place));
        self.parts.push(Part { subquery: Some((n, seen)), operators: Vec::new() });
        show(plan, 1, self);
    }

    fn operator(&mut self, depth: usize, name: Name, place: usize) {
        let seen = self.watch.map(|watch| watch.of(place));
        if let Some(part) = self.parts.last_mut() {
            part.operators.push(Operator { depth, name, details: Vec::new(), seen });
        }
    }

    /// Of the last operator.
    fn detail(&mut self, name: &'static str, value: Value) {
        if let Some(operator) = self.parts.last_mut().and_then(|part| part.operators.last_mut()) {
            operator.details.push((name, value));
        }
    }

    /// Lines of text.
    pub(crate) fn text(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for part in &self.parts {
            let mut lead = "";
            if let Some((n, seen)) = &part.subquery {
                lead = "  ";
                lines.push(format!("  SubPlan {n}"));
                lines.extend(
                    seen.as_ref().and_then(|seen| seen.memory()).map(|memory| format!("    {memory}")),
                );
            }
            part.operators.iter().for_each(|operator| operator.text(lead, &mut lines));
        }
        lines
    }

    /// All of it in another format, with what there is to say of the whole statement.
    pub(crate) fn structured(&self, format: Format, summary: Vec<Field>) -> String {
        let (whole, subqueries) = match self.parts.split_first() {
            Some((whole, subqueries)) => (tree(&whole.operators, None), subqueries),
            None => (Vec::new(), &[][..]),
        };
        let mut plan = whole.into_iter().next().unwrap_or_default();
        let below = subqueries.iter().flat_map(Part::as_subquery).collect();
        add_plans(&mut plan, below);
        let mut query = vec![("Plan", Value::Group(plan))];
        query.extend(summary);
        structured::render(format, &query)
    }
}

impl Operator {
    fn text(&self, lead: &str, lines: &mut Vec<String>) {
        let depth = self.depth;
        let arrow = if depth == 0 { String::new() } else { format!("{}->  ", "  ".repeat(3 * depth - 2)) };
        let actual = self.seen.as_ref().map_or_else(String::new, |seen| seen.actual());
        lines.push(format!("{lead}{arrow}{}{actual}", self.name.text));
        let indent = "  ".repeat(3 * depth + 1);
        let memory = self.seen.as_ref().and_then(|seen| seen.memory());
        lines.extend(memory.map(|memory| format!("{lead}{indent}{memory}")));
        for (name, value) in &self.details {
            let value = match value {
                Value::Text(text) | Value::Bare(text) => text.clone(),
                Value::Texts(texts) => texts.join(", "),
                Value::Group(_) | Value::Groups(..) => continue,
            };
            lines.push(format!("{lead}{indent}{name}: {value}"));
        }
    }

    fn fields(&self, relationship: Option<&str>) -> Vec<Field> {
        let mut fields = self.name.fields.clone();
        if let Some(relationship) = relationship {
            fields.insert(1, ("Parent Relationship", Value::Text(relationship.to_owned())));
        }
        fields.extend(self.seen.iter().flat_map(|seen| seen.fields()));
        fields.extend(self.details.iter().cloned());
        fields
    }
}

impl Part {
    fn as_subquery(&self) -> Vec<Vec<Field>> {
        let mut plans = tree(&self.operators, Some("SubPlan"));
        if let (Some(plan), Some((n, seen))) = (plans.first_mut(), &self.subquery) {
            plan.insert(2, ("Subplan Name", Value::Text(format!("SubPlan {n}"))));
            plan.extend(seen.iter().flat_map(|seen| seen.memory_fields()).map(of_list));
        }
        plans
    }
}

/// What a list of values held, beside what the plan that gave them did.
fn of_list((name, value): Field) -> Field {
    match name {
        "Peak Memory Usage" => ("List Peak Memory Usage", value),
        _ => ("List Disk Usage", value),
    }
}

/// Operators of one depth, each with those below it.
fn tree(operators: &[Operator], relationship: Option<&str>) -> Vec<Vec<Field>> {
    let mut plans: Vec<Vec<Field>> = Vec::new();
    let mut rest = operators;
    while let Some((first, others)) = rest.split_first() {
        let below = others.iter().take_while(|operator| operator.depth > first.depth).count();
        let (below, behind) = others.split_at(below);
        let related = relationship.map(|related| match (related, plans.len()) {
            ("Outer", 1) => "Inner",
            _ => related,
        });
        let mut fields = first.fields(related);
        let is_append = first.name.text == "Append";
        add_plans(&mut fields, tree(below, Some(if is_append { "Member" } else { "Outer" })));
        plans.push(fields);
        rest = behind;
    }
    plans
}

fn add_plans(fields: &mut Vec<Field>, plans: Vec<Vec<Field>>) {
    if plans.is_empty() {
        return;
    }
    match fields.last_mut() {
        Some(("Plans", Value::Groups(_, there))) => there.extend(plans),
        _ => fields.push(("Plans", Value::Groups("Plan", plans))),
    }
}

fn number(n: usize) -> String {
    format!("#{}", n + 1)
}

/// A table's scan.
fn explain_scan(scan: &Scan, place: usize, depth: usize, shown: &mut Shown<'_>) {
    let table = &scan.table;
    let names = |n: usize| table.columns[n].name.clone();
    let alias = if scan.alias == table.name { String::new() } else { format!(" {}", scan.alias) };
    let way = way(&scan.access);
    let name = match scan.access.index() {
        None => Name::new("Seq Scan"),
        Some(access) => {
            let direction = if access.backward { "Backward" } else { "Forward" };
            Name::new("Index Scan").with("Scan Direction", direction).with("Index Name", &access.index.name)
        }
    };
    let name = name.with("Relation Name", &table.name).with("Alias", &scan.alias);
    shown.operator(depth, name.spelled(format!("{way} on {}{alias}", table.name)), place);
    if let Some(access) = scan.access.index() {
        let condition = condition(access, &names);
        if !condition.is_empty() {
            shown.detail("Index Cond", Value::Text(format!("({condition})")));
        }
    }
    if let Access::Few(_, otherwise) = &scan.access {
        shown.detail("Unless Few", Value::Text(self::way(otherwise)));
    }
    // What the index answers is asked again of rows that changed meanwhile alone.
    if let Some(filter) = scan.filter.as_ref().filter(|_| !scan.answered) {
        shown.detail("Filter", Value::Text(filter.show(&names)));
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

fn list<'a>(exprs: impl Iterator<Item = &'a Expr>) -> Value {
    Value::Texts(exprs.map(|e| e.show(&number)).collect())
}

fn show(plan: &Plan, depth: usize, shown: &mut Shown<'_>) {
    let place = plan.place();
    match plan {
        Plan::One => shown.operator(depth, Name::new("Result"), place),
        Plan::Scan(scan) => explain_scan(scan, place, depth, shown),
        Plan::Values(..) => shown.operator(depth, Name::new("Values Scan"), place),
        Plan::Series(..) => {
            let name = Name::new("Function Scan").with("Function Name", "generate_series");
            shown.operator(depth, name.spelled("Function Scan on generate_series".to_owned()), place);
        }
        Plan::Filter(input, filter) => {
            shown.operator(depth, Name::new("Filter"), place);
            shown.detail("Filter", Value::Text(filter.show(&number)));
            show(input, depth + 1, shown);
        }
        // A projection costs nothing worth a line of its own.
        Plan::Project(input, _) => show(input, depth, shown),
        Plan::Join(left, right, join) => {
            show_join(join, place, depth, shown);
            show(left, depth + 1, shown);
            show(right, depth + 1, shown);
        }
        Plan::Aggregate(input, aggregation) => {
            let keys = &aggregation.keys;
            let name = Name::new("Aggregate");
            shown.operator(
                depth,
                if keys.is_empty() { name.with("Strategy", "Plain") } else { hashed(name) },
                place,
            );
            if !keys.is_empty() {
                shown.detail("Group Key", list(keys.iter().map(|(e, _)| e)));
            }
            show(input, depth + 1, shown);
        }
        Plan::Lock(input, _) => {
            shown.operator(depth, Name::new("LockRows"), place);
            show(input, depth + 1, shown);
        }
        Plan::Sort(input, keys) => {
            shown.operator(depth, Name::new("Sort"), place);
            let key = |key: &SortKey| {
                let direction = if key.order.descending { " DESC" } else { "" };
                format!("{}{direction}", key.expr.show(&number))
            };
            shown.detail("Sort Key", Value::Texts(keys.iter().map(key).collect()));
            show(input, depth + 1, shown);
        }
        Plan::Limit(input, ..) => {
            shown.operator(depth, Name::new("Limit"), place);
            show(input, depth + 1, shown);
        }
        Plan::Distinct(input, _) => {
            shown.operator(depth, hashed(Name::new("Aggregate")), place);
            show(input, depth + 1, shown);
        }
        Plan::DistinctOn(input, _) => {
            shown.operator(depth, Name::new("Unique"), place);
            show(input, depth + 1, shown);
        }
        Plan::Append(inputs) => {
            shown.operator(depth, Name::new("Append"), place);
            inputs.iter().for_each(|input| show(input, depth + 1, shown));
        }
        Plan::SetOp(left, right, operation, all, _) => {
            let command = match operation {
                SetOperation::Intersect => "Intersect",
                SetOperation::Except | SetOperation::Union => "Except",
            };
            let command = format!("{command}{}", if *all { " All" } else { "" });
            let name = Name::new("SetOp").spelled(format!("HashSetOp {command}"));
            shown.operator(depth, name.with("Strategy", "Hashed").with("Command", &command), place);
            show(left, depth + 1, shown);
            show(right, depth + 1, shown);
        }
    }
}

fn hashed(name: Name) -> Name {
    let text = format!("Hash{}", name.text);
    name.spelled(text).with("Strategy", "Hashed")
}

fn show_join(join: &Join, place: usize, depth: usize, shown: &mut Shown<'_>) {
    let is_hashed = !join.keys.is_empty();
    let (kind, how) = if is_hashed { ("Hash Join", "Hash") } else { ("Nested Loop", "Nested Loop") };
    let (of, text) = match join.kind {
        JoinKind::Inner => ("Inner", kind.to_owned()),
        JoinKind::Left => ("Left", format!("{how} Left Join")),
    };
    shown.operator(depth, Name::new(kind).spelled(text).with("Join Type", of), place);
    if is_hashed {
        let right = |n: usize| number(n + join.left_width);
        let pairs = join.keys.iter().map(|(a, b, _)| format!("({} = {})", a.show(&number), b.show(&right)));
        shown.detail("Hash Cond", Value::Text(pairs.collect::<Vec<_>>().join(" AND ")));
    }
    if let Some(filter) = &join.filter {
        shown.detail("Join Filter", Value::Text(filter.show(&number)));
    }
}
