//! Line charts as SVG.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::results::number;

/// Size of a chart in pixels.
const SIZE: (u32, u32) = (720, 400);

/// Colours of the lines, which colour-blind people can tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];

/// A line chart.
#[derive(Debug)]
pub(crate) struct Chart {
    /// Title above the chart.
    pub(crate) title: String,
    /// Horizontal axis.
    pub(crate) x: Axis,
    /// Vertical axis.
    pub(crate) y: Axis,
    /// Labels and points of the lines.
    pub(crate) lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// An axis of a chart.
#[derive(Debug)]
pub(crate) struct Axis {
    /// What the axis shows, with the unit.
    pub(crate) label: String,
    /// Scale of the axis.
    pub(crate) scale: Scale,
}

/// Scale of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Equal distances are equal differences. Starts at 0.
    Linear,
    /// Equal distances are equal ratios. All values must be positive.
    Logarithmic,
}

impl Scale {
    fn position(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Logarithmic => value.log10(),
        }
    }

    fn value(self, position: f64) -> f64 {
        match self {
            Self::Linear => position,
            Self::Logarithmic => 10_f64.powf(position),
        }
    }

    /// Returns the range of positions for these values.
    fn range(self, values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for position in values.map(|value| self.position(value)) {
            (least, most) = (least.min(position), most.max(position));
        }
        if !least.is_finite() || !most.is_finite() {
            return 0.0..1.0;
        }
        match self {
            Self::Linear => 0.0..if most > 0.0 { most * 1.05 } else { 1.0 },
            Self::Logarithmic => (least - 0.1)..(most + 0.1),
        }
    }
}

impl Axis {
    /// Creates an axis.
    pub(crate) fn new(label: impl Into<String>, scale: Scale) -> Self {
        Self {
            label: label.into(),
            scale,
        }
    }
}

impl Chart {
    /// Returns the chart as an SVG document.
    pub(crate) fn svg(&self) -> Result<String> {
        let mut text = String::new();
        self.draw(&mut text)
            .map_err(|error| anyhow!("drawing the chart {:?}: {error}", self.title))?;
        Ok(text)
    }

    fn draw(&self, text: &mut String) -> Result<(), Box<dyn std::error::Error + '_>> {
        let (x, y) = (self.x.scale, self.y.scale);
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(45)
            .y_label_area_size(70)
            .build_cartesian_2d(
                x.range(points().map(|(x, _)| *x)),
                y.range(points().map(|(_, y)| *y)),
            )?;
        chart
            .configure_mesh()
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .label_style(("sans-serif", 13))
            .x_label_formatter(&|at| number(x.value(*at)))
            .y_label_formatter(&|at| number(y.value(*at)))
            .light_line_style(WHITE)
            .draw()?;
        for ((label, points), colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let at = points.iter().map(|(a, b)| (x.position(*a), y.position(*b)));
            chart
                .draw_series(LineSeries::new(at.clone(), colour.stroke_width(2)))?
                .label(label)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
            // Points of a line with many would cover it.
            if points.len() <= 20 {
                chart.draw_series(at.map(|at| Circle::new(at, 3, colour.filled())))?;
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font(("sans-serif", 13))
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        root.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_shows_its_labels_and_lines() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            let chart = Chart {
                title: "Time to create workers".to_owned(),
                x: Axis::new("workers", scale),
                y: Axis::new("seconds", scale),
                lines: vec![
                    ("operator".to_owned(), vec![(100.0, 0.2), (1_000.0, 1.1)]),
                    ("bare client".to_owned(), vec![(100.0, 0.1), (1_000.0, 1.0)]),
                ],
            };
            let svg = chart.svg().expect("a chart");
            for text in ["Time to create workers", "seconds", "operator", "bare client"] {
                assert!(svg.contains(text), "{text:?} is missing in {svg}");
            }
            assert!(svg.contains("<polyline"), "{svg}");
        }
    }

    #[test]
    fn a_chart_without_points_is_empty() {
        let chart = Chart {
            title: "Nothing".to_owned(),
            x: Axis::new("x", Scale::Logarithmic),
            y: Axis::new("y", Scale::Linear),
            lines: vec![("none".to_owned(), Vec::new())],
        };
        assert!(chart.svg().is_ok());
    }
}
