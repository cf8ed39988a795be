//! Tasks that run as long as the operator does.
//!
//! One that ends, by a panic say, would be missed by nobody: the operator would be ready, and its webhook gone. So the
//! operator ends with it, and is started again.

use std::collections::HashMap;
use std::fmt;

use tokio::task::{Id, JoinSet};

/// Tasks by name.
#[derive(Debug, Default)]
pub struct Tasks {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

/// A task that has ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    name: &'static str,
    panicked: bool,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.panicked { "panicked" } else { "ended" };
        write!(
            f,
            "{} has {how}, which is a defect of the operator: it starts again",
            self.name
        )
    }
}

impl std::error::Error for Ended {}

impl Tasks {
    /// Runs a task in the background, that is called `name` where it ends.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.tasks.spawn(task);
        self.names.insert(handle.id(), name);
    }

    /// Waits until one has ended; for ever where there is none.
    pub async fn first_end(&mut self) -> Ended {
        let (id, panicked) = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => (id, false),
            Some(Err(error)) => (error.id(), error.is_panic()),
            None => return std::future::pending().await,
        };
        Ended {
            name: self.names.remove(&id).unwrap_or("a task"),
            panicked,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_ends_is_named() {
        let mut tasks = Tasks::default();
        tasks.spawn("one", std::future::pending());
        let none = tokio::time::timeout(Duration::from_secs(60), tasks.first_end()).await;
        assert!(none.is_err(), "{none:?}");
        tasks.spawn("two", async {});
        assert_eq!(
            tasks.first_end().await.to_string(),
            "two has ended, which is a defect of the operator: it starts again"
        );
        tasks.spawn("three", async { panic!("on purpose") });
        assert_eq!(
            tasks.first_end().await,
            Ended {
                name: "three",
                panicked: true
            }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_tasks_never_end() {
        let mut tasks = Tasks::default();
        let none = tokio::time::timeout(Duration::from_secs(60), tasks.first_end()).await;
        assert!(none.is_err(), "{none:?}");
    }
}
