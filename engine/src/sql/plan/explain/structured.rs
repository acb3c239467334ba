//! EXPLAIN in JSON, YAML and XML: the same tree of named values, spelled as PostgreSQL spells them.

use std::fmt::Write;

/// A value with a name.
pub(crate) type Field = (&'static str, Value);

/// A value.
#[derive(Clone)]
pub(crate) enum Value {
    Text(String),
    /// A number, or true or false.
    Bare(String),
    Texts(Vec<String>),
    Group(Vec<Field>),
    /// Several groups; each is called as said.
    Groups(&'static str, Vec<Vec<Field>>),
}

/// How it is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Yaml,
    Xml,
}

/// What is said of one statement.
pub(super) fn render(format: Format, query: &[Field]) -> String {
    let mut out = String::new();
    match format {
        Format::Json => {
            out.push_str("[\n  ");
            json_group(query, 1, &mut out);
            out.push_str("\n]");
        }
        Format::Yaml => yaml_group(query, 0, true, &mut out),
        Format::Xml => {
            out.push_str("<explain xmlns=\"http://www.postgresql.org/2009/explain\">\n  <Query>\n");
            xml_group(query, 2, &mut out);
            out.push_str("  </Query>\n</explain>");
        }
    }
    out.truncate(out.trim_end().len());
    out
}

fn indent(depth: usize) -> String {
    "  ".repeat(depth)
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a String cannot fail.
            c if c < ' ' => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn json_group(fields: &[Field], depth: usize, out: &mut String) {
    let inner = indent(depth + 1);
    out.push('{');
    for (n, (name, value)) in fields.iter().enumerate() {
        let comma = if n > 0 { "," } else { "" };
        _ = write!(out, "{comma}\n{inner}{}: ", quoted(name));
        json_value(value, depth + 1, out);
    }
    _ = write!(out, "\n{}}}", indent(depth));
}

fn json_value(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Text(text) => out.push_str(&quoted(text)),
        Value::Bare(text) => out.push_str(text),
        Value::Texts(texts) => {
            let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
            _ = write!(out, "[{}]", texts.join(", "));
        }
        Value::Group(fields) => json_group(fields, depth, out),
        Value::Groups(_, groups) => {
            out.push('[');
            for (n, group) in groups.iter().enumerate() {
                let comma = if n > 0 { "," } else { "" };
                _ = write!(out, "{comma}\n{}", indent(depth + 1));
                json_group(group, depth + 1, out);
            }
            _ = write!(out, "\n{}]", indent(depth));
        }
    }
}

/// The first line of a list's element stands behind its dash.
fn yaml_group(fields: &[Field], depth: usize, is_element: bool, out: &mut String) {
    for (n, (name, value)) in fields.iter().enumerate() {
        let lead = match (is_element, n) {
            (true, 0) => format!("{}- ", indent(depth)),
            (true, _) => indent(depth + 1),
            (false, _) => indent(depth),
        };
        _ = write!(out, "{lead}{name}: ");
        let below = depth + 1 + usize::from(is_element);
        match value {
            Value::Text(text) => _ = writeln!(out, "{}", quoted(text)),
            Value::Bare(text) => _ = writeln!(out, "{text}"),
            Value::Texts(texts) => {
                out.push('\n');
                texts.iter().for_each(|text| _ = writeln!(out, "{}- {}", indent(below), quoted(text)));
            }
            Value::Group(fields) => {
                out.push('\n');
                yaml_group(fields, below, false, out);
            }
            Value::Groups(_, groups) => {
                out.push('\n');
                groups.iter().for_each(|group| yaml_group(group, below, true, out));
            }
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn xml_group(fields: &[Field], depth: usize, out: &mut String) {
    let lead = indent(depth);
    for (name, value) in fields {
        let tag = name.replace(' ', "-");
        match value {
            Value::Text(text) => _ = writeln!(out, "{lead}<{tag}>{}</{tag}>", escaped(text)),
            Value::Bare(text) => _ = writeln!(out, "{lead}<{tag}>{text}</{tag}>"),
            Value::Texts(texts) => {
                _ = writeln!(out, "{lead}<{tag}>");
                texts.iter().for_each(|text| _ = writeln!(out, "{lead}  <Item>{}</Item>", escaped(text)));
                _ = writeln!(out, "{lead}</{tag}>");
            }
            Value::Group(fields) => {
                _ = writeln!(out, "{lead}<{tag}>");
                xml_group(fields, depth + 1, out);
                _ = writeln!(out, "{lead}</{tag}>");
            }
            Value::Groups(each, groups) => {
                _ = writeln!(out, "{lead}<{tag}>");
                for group in groups {
                    _ = writeln!(out, "{lead}  <{each}>");
                    xml_group(group, depth + 2, out);
                    _ = writeln!(out, "{lead}  </{each}>");
                }
                _ = writeln!(out, "{lead}</{tag}>");
            }
        }
    }
}
