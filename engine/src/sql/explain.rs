//! EXPLAIN, and EXPLAIN ANALYZE, which runs the statement and says what its parts did.

use std::time::{Duration, Instant};

use sqlparser::ast;

use super::RowBatch;
use super::exec::{Change, Cx, Node};
use super::plan::{Format, Plan, Shown, Value, Watch, millis};
use super::subquery::{PlannedSubquery, answers};
use crate::types::{Datum, SqlError, SqlResult, sqlstate};

/// What is explained.
pub(crate) enum Explained {
    Query(Plan),
    Change(Change),
}

/// A planned EXPLAIN.
pub(crate) struct Explain {
    pub(crate) explained: Explained,
    pub(crate) options: ExplainOptions,
    /// How long it took to plan.
    pub(crate) planning: Duration,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExplainOptions {
    pub(crate) analyze: bool,
    timing: bool,
    summary: bool,
    /// Another one than text.
    format: Option<Format>,
}

impl ExplainOptions {
    /// Of an EXPLAIN.
    pub(crate) fn of(statement: &ast::Statement) -> SqlResult<ExplainOptions> {
        let ast::Statement::Explain { analyze, format, options, .. } = statement else {
            return Err(SqlError::internal("options of what is no EXPLAIN"));
        };
        if format.is_some() {
            return Err(SqlError::syntax("syntax error at or near \"FORMAT\""));
        }
        let (mut analyze, mut timing, mut summary, mut format) = (*analyze, None, None, None);
        for option in options.iter().flatten() {
            let name = option.name.value.to_ascii_lowercase();
            let arg = option.arg.as_ref();
            match name.as_str() {
                "analyze" => analyze = boolean(&name, arg)?,
                "timing" => timing = Some(boolean(&name, arg)?),
                "summary" => summary = Some(boolean(&name, arg)?),
                // There is nothing more to say: no costs, and nobody counts pages for a statement.
                "verbose" | "costs" | "buffers" => _ = boolean(&name, arg)?,
                "wal" | "settings" => {
                    if boolean(&name, arg)? {
                        return Err(SqlError::unsupported(format!("EXPLAIN ({})", name.to_uppercase())));
                    }
                }
                "format" => format = format_of(arg)?,
                _ => return Err(SqlError::syntax(format!("unrecognized EXPLAIN option \"{name}\""))),
            }
        }
        if timing == Some(true) && !analyze {
            let message = "EXPLAIN option TIMING requires ANALYZE";
            return Err(SqlError::new(sqlstate::INVALID_PARAMETER_VALUE, message));
        }
        let (timing, summary) = (timing.unwrap_or(true), summary.unwrap_or(analyze));
        Ok(ExplainOptions { analyze, timing, summary, format })
    }
}

fn word(arg: &ast::Expr) -> String {
    match arg {
        ast::Expr::Identifier(ident) => ident.value.to_ascii_lowercase(),
        ast::Expr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(text) => text.to_ascii_lowercase(),
            other => other.to_string().to_ascii_lowercase(),
        },
        other => other.to_string().to_ascii_lowercase(),
    }
}

fn boolean(name: &str, arg: Option<&ast::Expr>) -> SqlResult<bool> {
    match arg.map(word).as_deref() {
        None | Some("true" | "on" | "1") => Ok(true),
        Some("false" | "off" | "0") => Ok(false),
        Some(_) => Err(SqlError::syntax(format!("{name} requires a Boolean value"))),
    }
}

fn format_of(arg: Option<&ast::Expr>) -> SqlResult<Option<Format>> {
    match arg.map(word).as_deref() {
        Some("text") => Ok(None),
        Some("json") => Ok(Some(Format::Json)),
        Some("xml") => Ok(Some(Format::Xml)),
        Some("yaml") => Ok(Some(Format::Yaml)),
        other => Err(SqlError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!("unrecognized value for EXPLAIN option \"format\": \"{}\"", other.unwrap_or_default()),
        )),
    }
}

impl Explain {
    /// The answer; with ANALYZE the statement is run first.
    pub(crate) async fn rows(&self, subqueries: &[PlannedSubquery], cx: &mut Cx<'_>) -> SqlResult<RowBatch> {
        let watch = self.options.analyze.then(|| Watch::new(self.options.timing, &cx.db.spill));
        let began = Instant::now();
        if let Some(watch) = &watch {
            self.run(subqueries, cx, watch).await?;
        }
        let took = began.elapsed();
        let mut shown = Shown::new(watch.as_ref());
        match &self.explained {
            Explained::Query(plan) => shown.plan(plan),
            Explained::Change(change) => change.explain(&mut shown),
        }
        subqueries.iter().enumerate().for_each(|(n, subquery)| subquery.explain(n, &mut shown));
        let summary = self.summary(took);
        let mut batch = RowBatch::new(1);
        match self.options.format {
            Some(format) => {
                let summary = summary.into_iter().map(|(name, ms)| (name, Value::Bare(ms))).collect();
                batch.push([Datum::text(shown.structured(format, summary).as_str())]);
            }
            None => {
                let summary = summary.into_iter().map(|(name, ms)| format!("{name}: {ms} ms"));
                let lines = shown.text().into_iter().chain(summary);
                lines.for_each(|line| batch.push([Datum::text(line.as_str())]));
            }
        }
        Ok(batch)
    }

    /// How long it took to plan it, and to run it.
    fn summary(&self, took: Duration) -> Vec<(&'static str, String)> {
        let ExplainOptions { analyze, summary, .. } = self.options;
        let all = [(true, "Planning Time", self.planning), (analyze, "Execution Time", took)];
        let said = all.into_iter().filter(|(was, ..)| summary && *was);
        said.map(|(_, name, time)| (name, millis(time))).collect()
    }

    async fn run(&self, subqueries: &[PlannedSubquery], cx: &mut Cx<'_>, watch: &Watch) -> SqlResult<()> {
        let answers = answers(subqueries, cx, Some(watch)).await?;
        let mut cx = Cx { subqueries: &answers, ..cx.part() };
        match &self.explained {
            Explained::Query(plan) => {
                let mut node = Node::watched(plan, Some(watch));
                while node.next(&mut cx).await?.is_some() {}
                Ok(())
            }
            Explained::Change(change) => change.run_watched(&mut cx, watch).await,
        }
    }
}
