//! The watch loop: lists and watches the objects of a kind, until the process exits.
//!
//! A watch that breaks is restarted with a back-off, independently of others. The API server ends each watch after
//! [`WATCH_SECONDS`]; it is then resumed where it ended. What is done with the objects, and what a failure means, is up to a
//! [`Handler`].

use std::fmt::Debug;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::Api;
use kube::Resource;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Config, DefaultBackoff, Event, watcher};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::{Level, debug, info, warn};

use crate::health::WATCH_SECONDS;
use crate::log_limit::LogLimit;

/// Handler of the objects and failures of a watch.
pub(crate) trait Handler<K: Send + 'static>: Send {
    /// Interval in which a failure is logged at most once. A failure of a higher level is logged nevertheless.
    const LOG_INTERVAL: Duration;

    /// True if the interval ends when a list is complete, so that the next failure is logged.
    const LOG_AFTER_LIST: bool;

    /// Called when a list begins. The objects that are listed follow, and then [`Handler::list_finished`]. A list that fails
    /// begins again.
    fn list_started(&mut self);

    /// Called with each object of a list.
    fn listed(&mut self, object: K) -> impl Future<Output = ()> + Send;

    /// Called when a list is complete. Objects that it does not have are gone.
    fn list_finished(&mut self) -> impl Future<Output = ()> + Send;

    /// Called when an object was created or changed.
    fn changed(&mut self, object: K) -> impl Future<Output = ()> + Send;

    /// Called when an object was deleted.
    fn deleted(&mut self, object: K) -> impl Future<Output = ()> + Send;

    /// Called when a list or watch has failed, before it is tried again. Returns the message for the log.
    fn failed(&mut self, error: &watcher::Error) -> impl Future<Output = Message> + Send;
}

/// Message for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Level of the message: `WARN`, `INFO` or `DEBUG`.
    pub(crate) level: Level,
    /// Text of the message.
    pub(crate) text: String,
}

impl Message {
    /// Creates a warning.
    pub(crate) fn warning(text: String) -> Self {
        Self {
            level: Level::WARN,
            text,
        }
    }
}

/// Watches the objects of `api` that `config` selects. Runs until the process exits.
pub(crate) async fn watch<K>(api: Api<K>, config: Config, handler: &mut impl Handler<K>)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let config = config.timeout(WATCH_SECONDS);
    let events = watcher(api, config).backoff(DefaultBackoff::default());
    process(events, handler).await;
}

/// Passes the events of a watch to the handler, until the watch ends.
pub(crate) async fn process<K: Send + 'static, H: Handler<K>>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    handler: &mut H,
) {
    let mut events = std::pin::pin!(events);
    let mut limit = LogLimit::new(H::LOG_INTERVAL);
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => handler.list_started(),
            Ok(Event::InitApply(object)) => handler.listed(object).await,
            Ok(Event::InitDone) => {
                if H::LOG_AFTER_LIST {
                    limit.reset();
                }
                handler.list_finished().await;
            }
            Ok(Event::Apply(object)) => handler.changed(object).await,
            Ok(Event::Delete(object)) => handler.deleted(object).await,
            Err(error) => {
                let Message { level, text } = handler.failed(&error).await;
                match limit.limited(level, Instant::now()) {
                    Level::WARN => warn!("{text}"),
                    Level::INFO => info!("{text}"),
                    _ => debug!("{text}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    /// Handler that records its calls.
    #[derive(Default)]
    struct Log(Vec<String>);

    impl Handler<&'static str> for Log {
        const LOG_INTERVAL: Duration = Duration::from_secs(60);
        const LOG_AFTER_LIST: bool = true;

        fn list_started(&mut self) {
            self.0.push("begins".into());
        }

        async fn listed(&mut self, object: &'static str) {
            self.0.push(format!("listed {object}"));
        }

        async fn list_finished(&mut self) {
            self.0.push("ends".into());
        }

        async fn changed(&mut self, object: &'static str) {
            self.0.push(format!("changed {object}"));
        }

        async fn deleted(&mut self, object: &'static str) {
            self.0.push(format!("deleted {object}"));
        }

        async fn failed(&mut self, error: &watcher::Error) -> Message {
            self.0.push("failed".into());
            Message::warning(error.to_string())
        }
    }

    #[tokio::test]
    async fn events_are_passed_to_the_handler_in_order() {
        let mut log = Log::default();
        let events = vec![
            Ok(Event::Init),
            Ok(Event::InitApply("a")),
            Ok(Event::InitDone),
            Ok(Event::Apply("b")),
            Err(watcher::Error::NoResourceVersion),
            Ok(Event::Delete("a")),
        ];
        process(stream::iter(events), &mut log).await;
        assert_eq!(
            log.0,
            ["begins", "listed a", "ends", "changed b", "failed", "deleted a"]
        );
    }
}
