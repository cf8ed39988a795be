//! The figures, side by side.

use std::time::Duration;

/// What was seen of one server in one round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Answers a second.
    pub(crate) rate: f64,
    /// In which half of the requests were answered.
    pub(crate) median: Duration,
    /// In which 99 of 100 were.
    pub(crate) p99: Duration,
    /// The longest.
    pub(crate) longest: Duration,
    /// Processor time of the server for one request.
    pub(crate) processor: Duration,
}

/// All rounds of one mix of requests.
#[derive(Debug)]
pub(crate) struct Rows {
    what: &'static str,
    /// Names and figures of the servers. The first is the operator.
    servers: Vec<(&'static str, Vec<Figures>)>,
}

impl Rows {
    /// Nothing yet.
    pub(crate) fn new(what: &'static str, servers: impl Iterator<Item = &'static str>) -> Self {
        let servers = servers.map(|name| (name, Vec::new())).collect();
        Self { what, servers }
    }

    /// Adds figures of the server at this place.
    pub(crate) fn add(&mut self, place: usize, figures: Figures) {
        if let Some((_, rounds)) = self.servers.get_mut(place) {
            rounds.push(figures);
        }
    }

    /// Prints the medians of the rounds.
    #[expect(clippy::print_stdout, reason = "this is what the program is for")]
    pub(crate) fn print(&self) {
        println!("  {}", self.what);
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
