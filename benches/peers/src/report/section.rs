// SPDX-License-Identifier: MPL-2.0
//! What is told of one measurement: a sentence, a table, a plot.

use std::fmt::Write as _;
use std::path::Path;

use plotters::prelude::*;

type Failure = Box<dyn std::error::Error>;

/// Lines over a logarithmic or even axis.
pub(crate) struct Plot {
    pub(crate) file: &'static str,
    pub(crate) title: &'static str,
    pub(crate) across: &'static str,
    pub(crate) up: &'static str,
    /// What stands at each place of the axis.
    pub(crate) places: Vec<String>,
    /// A value for each place, if there is one.
    pub(crate) lines: Vec<(String, Vec<Option<f64>>)>,
}

pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) plot: Option<Plot>,
}

impl Section {
    /// As Markdown; plots are in `folder`, which the text names `link`.
    pub(crate) fn write(&self, out: &mut String, folder: &Path, link: &str) -> Result<(), Failure> {
        writeln!(out, "\n## {}\n\n{}\n", self.title, self.text)?;
        writeln!(out, "| {} |", self.head.join(" | "))?;
        let rule = |(at, _): (usize, &String)| if at == 0 { "---" } else { "---:" };
        let rules: Vec<_> = self.head.iter().enumerate().map(rule).collect();
        writeln!(out, "| {} |", rules.join(" | "))?;
        for row in &self.rows {
            writeln!(out, "| {} |", row.join(" | "))?;
        }
        if let Some(plot) = &self.plot {
            plot.draw(&folder.join(plot.file))?;
            writeln!(out, "\n![{}]({link}/{})", plot.title, plot.file)?;
        }
        Ok(())
    }
}

const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 90, 181),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(0, 140, 100),
    RGBColor(204, 121, 167),
    RGBColor(150, 120, 0),
    RGBColor(90, 90, 90),
    RGBColor(160, 160, 160),
];

impl Plot {
    fn draw(&self, path: &Path) -> Result<(), Failure> {
        let values = self
            .lines
            .iter()
            .flat_map(|(_, line)| line.iter().flatten());
        let (least, most) = values.fold((f64::MAX, 0.0_f64), |(least, most), value| {
            (least.min(*value), most.max(*value))
        });
        let root = SVGBackend::new(path, (860, 460)).into_drawing_area();
        root.fill(&WHITE)?;
        let last = self.places.len() - 1;
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 20))
            .margin(12)
            .margin_right(230)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(
                -0.1..last as f64 + 0.1,
                (least.max(1e-3) / 1.5..most * 1.5).log_scale(),
            )?;
        let place = |at: &f64| {
            let near = at.round();
            match (at - near).abs() < 1e-6 {
                true => self.places.get(near as usize).cloned().unwrap_or_default(),
                false => String::new(),
            }
        };
        chart
            .configure_mesh()
            .x_labels(2 * self.places.len())
            .x_label_formatter(&place)
            .y_label_formatter(&|value| format!("{}", rounded(*value)))
            .x_desc(self.across)
            .y_desc(self.up)
            .draw()?;
        for (number, (name, line)) in self.lines.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let points = line.iter().enumerate();
            let points = points.filter_map(|(at, value)| Some((at as f64, (*value)?)));
            let points: Vec<_> = points.collect();
            let dots = points
                .iter()
                .map(|point| Circle::new(*point, 3, colour.filled()));
            chart.draw_series(dots)?;
            chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
            // The library's own legend covers the lines.
            let y = 50 + 24 * number as i32;
            let mark = vec![(640, y), (664, y)];
            root.draw(&PathElement::new(mark, colour.stroke_width(3)))?;
            let style = ("sans-serif", 13).into_font().color(&BLACK);
            root.draw(&Text::new(name.clone(), (670, y - 7), style))?;
        }
        root.present()?;
        Ok(())
    }
}

/// Three digits that count.
pub(crate) fn rounded(value: f64) -> String {
    match value {
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

pub(crate) fn head(first: &str, others: impl IntoIterator<Item = String>) -> Vec<String> {
    std::iter::once(first.to_owned()).chain(others).collect()
}
