//! Two kinds of plots as SVG text: lines and stacked bars.

use std::fmt::Write;

use super::escaped;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 240.0;
/// Left, right, top, bottom.
const MARGIN: (f64, f64, f64, f64) = (56.0, 12.0, 26.0, 24.0);
/// Distinct also to people who see few colours.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

fn colour(n: usize) -> &'static str {
    COLOURS[n % COLOURS.len()]
}

fn open() -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" font-size=\"11\">")
}

fn legend<'a>(out: &mut String, names: impl Iterator<Item = &'a str>) {
    let mut x = MARGIN.0;
    for (n, name) in names.enumerate() {
        let _ = write!(out, "<rect x=\"{x:.0}\" y=\"6\" width=\"10\" height=\"10\" fill=\"{}\"/>", colour(n));
        let _ = write!(out, "<text x=\"{:.0}\" y=\"15\">{}</text>", x + 14.0, escaped(name));
        x += 24.0 + 6.2 * name.chars().count() as f64;
    }
}

/// Horizontal lines with their values; `top` is the highest value.
fn grid(out: &mut String, top: f64) {
    for part in 0..=4 {
        let share = f64::from(part) / 4.0;
        let y = HEIGHT - MARGIN.3 - share * (HEIGHT - MARGIN.2 - MARGIN.3);
        let _ = write!(
            out,
            "<line x1=\"{}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:.0}</text>",
            MARGIN.0,
            WIDTH - MARGIN.1,
            MARGIN.0 - 6.0,
            y + 4.0,
            top * share
        );
    }
}

fn height(value: f64, top: f64) -> f64 {
    if top > 0.0 { value / top * (HEIGHT - MARGIN.2 - MARGIN.3) } else { 0.0 }
}

/// Lines over a common scale that starts at zero upwards.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: Vec<(String, Vec<(f64, f64)>)>,
}

impl Lines {
    pub(super) fn add(&mut self, name: &str, points: Vec<(f64, f64)>) {
        self.lines.push((name.to_owned(), points));
    }

    pub(super) fn draw(&self) -> String {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let left = points().map(|p| p.0).fold(f64::INFINITY, f64::min);
        let right = points().map(|p| p.0).fold(f64::NEG_INFINITY, f64::max);
        let top = points().map(|p| p.1).fold(0.0, f64::max);
        let span = if right > left { right - left } else { 1.0 };
        let mut out = open();
        grid(&mut out, top);
        legend(&mut out, self.lines.iter().map(|(name, _)| name.as_str()));
        for (n, (_, points)) in self.lines.iter().enumerate() {
            let at = |(x, y): &(f64, f64)| {
                let x = MARGIN.0 + (x - left) / span * (WIDTH - MARGIN.0 - MARGIN.1);
                format!("{x:.1},{:.1}", HEIGHT - MARGIN.3 - height(*y, top))
            };
            let path: Vec<String> = points.iter().map(at).collect();
            let _ = write!(
                out,
                "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\" points=\"{}\"/>",
                colour(n),
                path.join(" ")
            );
        }
        if right > left {
            let label = |x: f64, anchor: &str, value: f64| {
                format!(
                    "<text x=\"{x:.0}\" y=\"{:.0}\" text-anchor=\"{anchor}\">{value:.1}</text>",
                    HEIGHT - 8.0
                )
            };
            out += &label(MARGIN.0, "start", left);
            out += &label(WIDTH - MARGIN.1, "end", right);
        }
        out + "</svg>"
    }
}

/// One bar a side, stacked from its parts.
#[derive(Debug, Default)]
pub(super) struct Bars {
    bars: Vec<(String, Vec<(String, f64)>)>,
}

impl Bars {
    pub(super) fn add(&mut self, name: &str, parts: Vec<(String, f64)>) {
        self.bars.push((name.to_owned(), parts));
    }

    pub(super) fn draw(&self) -> String {
        let sum = |parts: &[(String, f64)]| parts.iter().map(|(_, value)| value).sum::<f64>();
        let top = self.bars.iter().map(|(_, parts)| sum(parts)).fold(0.0, f64::max);
        let mut roles: Vec<&str> = Vec::new();
        for (role, _) in self.bars.iter().flat_map(|(_, parts)| parts) {
            if !roles.contains(&role.as_str()) {
                roles.push(role);
            }
        }
        let mut out = open();
        grid(&mut out, top);
        legend(&mut out, roles.iter().copied());
        let room = (WIDTH - MARGIN.0 - MARGIN.1) / self.bars.len().max(1) as f64;
        for (n, (name, parts)) in self.bars.iter().enumerate() {
            let x = MARGIN.0 + room * (n as f64 + 0.25);
            let mut y = HEIGHT - MARGIN.3;
            for (role, value) in parts {
                let tall = height(*value, top);
                y -= tall;
                let paint = colour(roles.iter().position(|known| known == role).unwrap_or(0));
                let _ = write!(
                    out,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{tall:.1}\" fill=\"{paint}\"/>",
                    room / 2.0
                );
            }
            let _ = write!(
                out,
                "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
                x + room / 4.0,
                HEIGHT - 8.0,
                escaped(name)
            );
        }
        out + "</svg>"
    }
}
