//! Report of the `admission` benchmark.

use std::time::Duration;

/// Results of one server in one round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Answers per second.
    pub(crate) rate: f64,
    /// Median latency.
    pub(crate) median: Duration,
    /// 99th percentile of the latency.
    pub(crate) p99: Duration,
    /// Longest latency.
    pub(crate) longest: Duration,
    /// Processor time of the server per request.
    pub(crate) processor: Duration,
}

/// Results of all rounds for one mix of requests.
#[derive(Debug)]
pub(crate) struct Rows {
    /// Name of the mix.
    title: &'static str,
    /// Names and figures of the servers. The first is the operator.
    servers: Vec<(&'static str, Vec<Figures>)>,
}

impl Rows {
    /// Creates rows without figures.
    pub(crate) fn new(title: &'static str, servers: impl Iterator<Item = &'static str>) -> Self {
        let servers = servers.map(|name| (name, Vec::new())).collect();
        Self { title, servers }
    }

    /// Adds figures of the server at this index.
    pub(crate) fn add(&mut self, index: usize, figures: Figures) {
        if let Some((_, rounds)) = self.servers.get_mut(index) {
            rounds.push(figures);
        }
    }

    /// Prints the medians of the rounds.
    #[expect(clippy::print_stdout, reason = "the report is the output of the program")]
    pub(crate) fn print(&self) {
        println!("  {}", self.title);
        for (name, rounds) in &self.servers {
            let figure = |of: &dyn Fn(&Figures) -> f64| median(rounds.iter().map(of));
            let ms = |of: fn(&Figures) -> Duration| 1e3 * figure(&|figures| of(figures).as_secs_f64());
            println!(
                "    {name:26} {:6.0}/s  median {:7.2} ms  p99 {:7.2} ms  longest {:7.2} ms  processor {:6.3} ms",
                figure(&|figures| figures.rate),
                ms(|figures| figures.median),
                ms(|figures| figures.p99),
                ms(|figures| figures.longest),
                ms(|figures| figures.processor),
            );
        }
        let Some(((_, operator), others)) = self.servers.split_first() else {
            return;
        };
        for (name, other) in others {
            let ratio = |of: fn(&Figures) -> Duration| {
                let rounds = operator.iter().zip(other);
                median(rounds.map(|(operator, other)| of(operator).as_secs_f64() / of(other).as_secs_f64()))
            };
            println!(
                "    operator ÷ {name:24}    median {:7.2}     p99 {:7.2}                          processor {:6.2}",
                ratio(|figures| figures.median),
                ratio(|figures| figures.p99),
                ratio(|figures| figures.processor),
            );
        }
    }
}

fn median(all: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = all.collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}
