//! Checks for the tests of each part.

use super::page::Description;
use super::*;

impl Registry {
    /// Checks that the text has these lines, and that it has samples of each metric, with labels as described.
    pub(crate) fn assert_has(&self, lines: &[&str]) {
        let text = self.text();
        for line in lines {
            assert!(
                text.lines().any(|found| found == *line),
                "{line} is not in\n{text}"
            );
        }
        for description in &self.described {
            description.check(&text);
        }
    }
}

impl Description {
    /// Checks that the text has samples of this metric, and that their labels are as described.
    fn check(&self, text: &str) {
        let is_histogram = self.metric_type == "histogram";
        let sample = format!("{}{}", self.name, if is_histogram { "_count" } else { "" });
        let samples = text.lines().filter_map(|line| line.strip_prefix(&sample));
        let samples: Vec<_> = samples.filter(|rest| rest.starts_with(['{', ' '])).collect();
        assert!(!samples.is_empty(), "{sample} is not in\n{text}");
        for rest in samples {
            let pairs = rest.rsplit_once("\"}").map_or("", |(labels, _)| &labels[1..]);
            let labels: Vec<_> = pairs
                .split("\",")
                .filter_map(|pair| pair.split_once("=\""))
                .collect();
            let names: Vec<_> = labels.iter().map(|(name, _)| *name).collect();
            let described: Vec<_> = self.labels.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, described, "labels of {sample}");
            for ((name, value), (_, values)) in labels.iter().zip(&self.labels) {
                let is_described = values.is_empty() || values.contains(value);
                assert!(is_described, "{name}=\"{value}\" of {sample} is not described");
            }
        }
    }
}

#[test]
fn the_text_has_the_version() {
    Registry::default().assert_has(&[concat!(
        "dask_operator_build_info{version=\"",
        env!("CARGO_PKG_VERSION"),
        "\"} 1"
    )]);
}
