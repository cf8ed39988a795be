//! Tasks that run as long as the operator does.
//!
//! If such a task ended, by a panic say, no other part would notice: the operator would be ready without its webhook.
//! So the operator exits when one of them ends, and is restarted.

use std::collections::HashMap;
use std::fmt;

use tokio::task::{Id, JoinSet};

/// Set of named tasks.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

/// End of a task.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TaskEnd {
    name: &'static str,
    panicked: bool,
}

impl fmt::Display for TaskEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.panicked { "panicked" } else { "ended" };
        write!(
            f,
            "{} has {how}, which is a defect of the operator: it starts again",
            self.name
        )
    }
}

impl std::error::Error for TaskEnd {}

impl Tasks {
    /// Runs a task in the background. `name` is used in the error when it ends.
    pub(crate) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.tasks.spawn(task);
        self.names.insert(handle.id(), name);
    }

    /// Waits until one task has ended; forever if there is none.
    pub(crate) async fn first_end(&mut self) -> TaskEnd {
        let (id, panicked) = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => (id, false),
            Some(Err(error)) => (error.id(), error.is_panic()),
            None => return std::future::pending().await,
        };
        TaskEnd {
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
    async fn the_ended_task_is_named() {
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
            TaskEnd {
                name: "three",
                panicked: true
            }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn without_tasks_the_wait_does_not_end() {
        let mut tasks = Tasks::default();
        let none = tokio::time::timeout(Duration::from_secs(60), tasks.first_end()).await;
        assert!(none.is_err(), "{none:?}");
    }
}
