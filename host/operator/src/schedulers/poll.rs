//! Asks one scheduler again and again, for as long as somebody wants to know.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, info};

use super::dask::{Failure, Talk};
use super::{Answers, ClusterKey, Inner, Known, Place, place, questions};

/// The shortest period that is granted.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest time until a scheduler that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two questions to one scheduler, when there is a reason to ask early.
const EARLY: Duration = Duration::from_millis(200);

/// After so long an answer is waited for without holding up others.
const SLOW: Duration = Duration::from_secs(1);

/// Asks the scheduler of `cluster` until nobody wants to know anything any more.
pub(super) async fn poll(inner: Arc<Inner>, cluster: ClusterKey, wake: Arc<Notify>) {
    let mut talk: Option<(Place, Box<dyn Talk>)> = None;
    let mut failures = 0_u32;
    loop {
        let wanted = {
            let mut all = inner.lock();
            let wanted = all.get(&cluster).and_then(questions);
            if wanted.is_none() {
                all.remove(&cluster);
                inner.kept().forget(&cluster);
            }
            wanted
        };
        let Some((questions, tls, period)) = wanted else {
            return;
        };
        inner.pace.turn().await;
        let answered = match place::find(&inner.stores, &cluster, tls) {
            Err(message) => Err(Failure {
                kind: "no-scheduler",
                message,
            }),
            Ok(place) => {
                if talk.as_ref().is_none_or(|(known, _)| *known != place) {
                    talk = Some((place.clone(), inner.dask.talk(&place)));
                }
                match &mut talk {
                    Some((_, talk)) => ask(&inner, talk.as_mut(), &questions).await,
                    None => continue,
                }
            }
        };
        let asked = Instant::now();
        failures = if answered.is_ok() {
            0
        } else {
            failures.saturating_add(1)
        };
        inner.learn(&cluster, answered);
        let period = period.max(SHORTEST);
        let wait = match failures {
            0 | 1 => period,
            more => period.max((SHORTEST * 2_u32.saturating_pow(more.min(10) - 1)).min(PATIENCE)),
        };
        tokio::select! {
            () = tokio::time::sleep_until(asked + wait) => {}
            () = wake.notified() => tokio::time::sleep_until(asked + EARLY).await,
        }
    }
}

async fn ask(inner: &Inner, talk: &mut dyn Talk, questions: &super::Questions) -> Result<Answers, Failure> {
    // The semaphore is never closed.
    let permit = inner.permits.acquire().await;
    let start = Instant::now();
    let mut asking = talk.ask(questions);
    let answered = match tokio::time::timeout(SLOW, &mut asking).await {
        Ok(answered) => answered,
        Err(_) => {
            drop(permit);
            asking.await
        }
    };
    let outcome = answered
        .as_ref()
        .map_or_else(|failure| failure.kind, |_| "success");
    inner.metrics.asked("facts", outcome, start.elapsed());
    answered
}

/// Lets workers of `cluster` hand on what they hold and leave, and looks at once what came of it.
pub(super) async fn retire(inner: Arc<Inner>, cluster: ClusterKey, tls: bool, addresses: Vec<String>) {
    let start = Instant::now();
    let retired = match place::find(&inner.stores, &cluster, tls) {
        Ok(place) => inner.dask.talk(&place).retire(&addresses).await,
        Err(message) => Err(Failure {
            kind: "no-scheduler",
            message,
        }),
    };
    let outcome = retired
        .as_ref()
        .map_or_else(|failure| failure.kind, |_| "success");
    inner.metrics.asked("retire", outcome, start.elapsed());
    let gone: Vec<String> = match retired {
        Ok(gone) if gone.len() == addresses.len() => {
            info!(%cluster, workers = gone.len(), duration = ?start.elapsed(), "workers have handed on what they held");
            gone
        }
        Ok(gone) => {
            info!(
                %cluster, asked = addresses.len(), workers = gone.len(), duration = ?start.elapsed(),
                "some workers could not hand on what they hold"
            );
            gone
        }
        Err(failure) => {
            info!(%cluster, "workers could not be retired: {}", failure.message);
            Vec::new()
        }
    };
    let all_gone = gone.len() >= addresses.len();
    if let Some(watched) = inner.lock().get_mut(&cluster) {
        watched.retiring.retain(|address| !gone.contains(address));
        watched.retired.extend(gone);
        watched.version += 1;
        watched.tell(&inner.news);
    }
    if !all_gone {
        // Whoever has to leave still is asked again, but not at once.
        tokio::time::sleep(PATIENCE / 3).await;
        if let Some(watched) = inner.lock().get_mut(&cluster) {
            watched.retiring.retain(|address| !addresses.contains(address));
            watched.version += 1;
            watched.tell(&inner.news);
        }
    }
}

impl Inner {
    /// Takes in what a scheduler answered, and says so to everybody who does not know.
    fn learn(&self, cluster: &ClusterKey, answered: Result<Answers, Failure>) {
        let bytes = answered.as_ref().map_or(0, Answers::bytes);
        let mut all = self.lock();
        let Some(watched) = all.get_mut(cluster) else {
            return;
        };
        let has_room = self.kept().keep(cluster, bytes);
        let answered = answered.and_then(|answers| if has_room { Ok(answers) } else { Err(no_room()) });
        let (known, news) = match (answered, &watched.known) {
            (Ok(answers), Known::Answers(before)) => {
                let news = !answers.say_the_same(before);
                (Known::Answers(Arc::new(answers)), news)
            }
            (Ok(answers), _) => {
                watched.answers_since = answers.asked_at;
                (Known::Answers(Arc::new(answers)), true)
            }
            (Err(failure), Known::Silent(before)) => {
                let news = failure.message != *before;
                (Known::Silent(failure.message), news)
            }
            (Err(failure), _) => {
                debug!(%cluster, "the scheduler does not answer: {}", failure.message);
                (Known::Silent(failure.message), true)
            }
        };
        if let Known::Answers(answers) = &known {
            let known: BTreeSet<&String> = answers.workers.iter().map(|worker| &worker.address).collect();
            watched.retired.retain(|address| known.contains(address));
        }
        let before = std::mem::replace(&mut watched.known, known);
        watched.version += u64::from(news);
        watched.tell(&self.news);
        drop(all);
        // It may be large, and nobody waits for it.
        drop(before);
    }
}

/// What is said where a scheduler's answer can't be kept. It is the same each time: what is new is told.
fn no_room() -> Failure {
    Failure {
        kind: "busy",
        message: "there is no room now for its answer beside those of other schedulers: those of one namespace may have as much as \
                  they leave free for all others; it is asked again. Where this stays, have fewer workers in this namespace"
            .to_owned(),
    }
}
