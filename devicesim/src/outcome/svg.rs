//! Plots as inline SVG: lines over an axis with readable ticks, and the ladder of a message. No script, no file beside it.

use std::fmt::Write as _;

use super::Ladder;
use super::junit::escape;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;
/// Colours that the colour-blind can tell apart (Okabe and Ito).
const COLOURS: [&str; 8] = [
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4d4d4d", "#8a6d00",
];

/// A line of a plot.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// How values stand on the vertical axis.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Log,
}

pub(super) struct Plot<'a> {
    pub(super) y_name: &'a str,
    pub(super) x_name: &'a str,
    pub(super) scale: Scale,
    pub(super) lines: Vec<Line>,
    /// Places on the horizontal axis and what is written there; made from the range when empty.
    pub(super) x_ticks: Vec<(f64, String)>,
}

impl Plot<'_> {
    /// The plot with its legend; a sentence where there is nothing to draw.
    pub(super) fn draw(&self) -> String {
        let lines: Vec<&Line> = self.lines.iter().filter(|line| !line.points.is_empty()).collect();
        let all = || lines.iter().flat_map(|line| line.points.iter());
        let Some(x_max) = all().map(|point| point.0).reduce(f64::max) else {
            return "<p class=\"none\">Nothing was measured.</p>".to_owned();
        };
        let x_min = all().map(|point| point.0).fold(x_max, f64::min);
        let y_max = all().map(|point| point.1).fold(0.0, f64::max);
        let y_min = all()
            .map(|point| point.1)
            .filter(|y| *y > 0.0)
            .fold(y_max, f64::min);
        let y_ticks = match self.scale {
            Scale::Linear => linear_ticks(y_max),
            Scale::Log => log_ticks(y_min, y_max),
        };
        let (low, high) = (
            y_ticks.first().copied().unwrap_or(0.0),
            y_ticks.last().copied().unwrap_or(1.0),
        );
        let x = |value: f64| LEFT + (value - x_min) / (x_max - x_min).max(1e-9) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| {
            let part = match self.scale {
                Scale::Linear => value / high.max(1e-9),
                Scale::Log => (value.max(low) / low).ln() / (high / low).ln().max(1e-9),
            };
            HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
        };
        let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
        let (left, right, bottom) = (LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM);
        // Writing to a String cannot fail, here and below.
        for tick in &y_ticks {
            let (at, label) = (y(*tick), number(*tick));
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                left - 6.0,
                at + 4.0
            );
        }
        let own_ticks: Vec<(f64, String)>;
        let x_ticks = if self.x_ticks.is_empty() {
            let step = step(x_max - x_min);
            let first = (x_min / step).ceil() as i64;
            let last = (x_max / step).floor() as i64;
            own_ticks = (first..=last)
                .map(|n| (n as f64 * step, number(n as f64 * step)))
                .collect();
            &own_ticks
        } else {
            &self.x_ticks
        };
        for (place, label) in x_ticks
            .iter()
            .filter(|(place, _)| (x_min..=x_max).contains(place))
        {
            let _ = write!(
                svg,
                "<line class=\"tick\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{bottom}\" y2=\"{1}\"/>\
                 <text x=\"{0:.1}\" y=\"{2}\" text-anchor=\"middle\">{3}</text>",
                x(*place),
                bottom + 5.0,
                bottom + 18.0,
                escape(label)
            );
        }
        let _ = write!(
            svg,
            "<text class=\"axis\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
             <text class=\"axis\" transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            (left + right) / 2.0,
            HEIGHT - 8.0,
            escape(self.x_name),
            (TOP + bottom) / 2.0,
            escape(self.y_name)
        );
        for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let points: Vec<String> = line
                .points
                .iter()
                .map(|(px, py)| format!("{:.1},{:.1}", x(*px), y(*py)))
                .collect();
            let _ = write!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" points=\"{}\"/>",
                points.join(" ")
            );
            if let [only] = &points[..] {
                let (cx, cy) = only.split_once(',').unwrap_or((only, "0"));
                let _ = write!(svg, "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"3\" fill=\"{colour}\"/>");
            }
        }
        svg.push_str("</svg><p class=\"legend\">");
        for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let _ = write!(
                svg,
                "<span><i style=\"background:{colour}\"></i>{}</span>",
                escape(&line.name)
            );
        }
        svg.push_str("</p>");
        svg
    }
}

/// The ladder: a rung for each moment, a column for each reporter, in even steps with the times beside.
pub(super) fn ladder(ladder: &Ladder) -> String {
    const STEP: f64 = 22.0;
    let mut columns: Vec<&str> = Vec::new();
    for rung in &ladder.rungs {
        if !columns.contains(&rung.by.as_str()) {
            columns.push(&rung.by);
        }
    }
    let (first, wide) = (120.0, 720.0 / columns.len().max(1) as f64);
    let height = 40.0 + ladder.rungs.len() as f64 * STEP;
    let column =
        |by: &str| first + wide * (columns.iter().position(|known| *known == by).unwrap_or(0) as f64) + 12.0;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">");
    for by in &columns {
        let x = column(by);
        let _ = write!(
            svg,
            "<text class=\"axis\" x=\"{x:.1}\" y=\"14\">{}</text><line class=\"pole\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"22\" y2=\"{:.1}\"/>",
            escape(by),
            height - 8.0
        );
    }
    let mut before: Option<(f64, f64)> = None;
    for (n, rung) in ladder.rungs.iter().enumerate() {
        let (x, y) = (column(&rung.by), 36.0 + n as f64 * STEP);
        if let Some((bx, by)) = before {
            let _ = write!(
                svg,
                "<line class=\"way\" x1=\"{bx:.1}\" y1=\"{by:.1}\" x2=\"{x:.1}\" y2=\"{y:.1}\"/>"
            );
        }
        let _ = write!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>\
             <text x=\"100\" y=\"{:.1}\" text-anchor=\"end\">{:+.1} ms</text>",
            COLOURS[columns.iter().position(|known| *known == rung.by).unwrap_or(0) % COLOURS.len()],
            x + 9.0,
            y + 4.0,
            escape(&rung.what),
            y + 4.0,
            rung.at_ms
        );
        before = Some((x, y));
    }
    svg.push_str("</svg>");
    svg
}

/// A round step that makes five to ten of them.
fn step(range: f64) -> f64 {
    let rough = (range / 7.0).max(1e-9);
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * power >= rough);
    factor.unwrap_or(10.0) * power
}

fn linear_ticks(max: f64) -> Vec<f64> {
    let step = step(max.max(1e-6));
    let count = (max / step).ceil().max(1.0) as u32;
    (0..=count).map(|n| f64::from(n) * step).collect()
}

/// 1, 2 and 5 of each power of ten that the values need.
fn log_ticks(min: f64, max: f64) -> Vec<f64> {
    let (min, max) = (min.max(1e-3), max.max(2e-3));
    let (low, high) = (min.log10().floor() as i32, max.log10().ceil() as i32);
    let all: Vec<f64> = (low..=high)
        .flat_map(|power| [1.0, 2.0, 5.0].map(|factor| factor * 10f64.powi(power)))
        .collect();
    let from = all.iter().rposition(|tick| *tick <= min).unwrap_or(0);
    let to = all
        .iter()
        .position(|tick| *tick >= max)
        .unwrap_or(all.len() - 1)
        .max(from + 1);
    let ticks = &all[from..=to.min(all.len() - 1)];
    // Too many to read: the powers alone, and the two ends.
    if ticks.len() > 11 {
        let is_power = |tick: f64| (tick.log10() - tick.log10().round()).abs() < 1e-9;
        let ends = [ticks[0], ticks[ticks.len() - 1]];
        return ticks
            .iter()
            .copied()
            .filter(|tick| is_power(*tick) || ends.contains(tick))
            .collect();
    }
    ticks.to_vec()
}

/// A number on an axis: `0.05`, `20`, `1.5k`, `3M`.
pub(super) fn number(value: f64) -> String {
    let (value, unit) = match value.abs() {
        v if v >= 1e6 => (value / 1e6, "M"),
        v if v >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_hold_the_values() {
        for max in [0.7, 1.0, 13.0, 99.0, 1234.0] {
            let ticks = linear_ticks(max);
            assert!(
                ticks.last().unwrap() >= &max && (3..=12).contains(&ticks.len()),
                "{max}: {ticks:?}"
            );
        }
        for (min, max) in [(0.3, 0.4), (0.5, 900.0), (1.0, 1.0), (0.0, 0.0), (3.0, 80_000.0)] {
            let ticks = log_ticks(min, max);
            assert!(
                ticks[0] <= min.max(1e-3) && ticks.last().unwrap() >= &max.max(2e-3),
                "{min}..{max}: {ticks:?}"
            );
            assert!((2..=11).contains(&ticks.len()), "{min}..{max}: {ticks:?}");
        }
        let shown: Vec<String> = [0.05, 20.0, 1500.0, 15_000.0, 3e6].map(number).into();
        assert_eq!(shown, ["0.05", "20", "1500", "15k", "3M"]);
    }

    #[test]
    fn a_plot_of_nothing_says_so() {
        let plot = Plot {
            y_name: "y",
            x_name: "x",
            scale: Scale::Log,
            lines: Vec::new(),
            x_ticks: Vec::new(),
        };
        assert!(plot.draw().contains("Nothing was measured"));
    }
}
