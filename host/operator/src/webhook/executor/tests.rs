use std::sync::mpsc;

use super::*;

fn within(milliseconds: u64) -> TimeLimits {
    let deadline = Instant::now() + Duration::from_millis(milliseconds);
    TimeLimits {
        end: deadline,
        deadline,
    }
}

fn cost(namespace: &str) -> RequestCost {
    RequestCost {
        namespace: namespace.into(),
        owner: PluginOwner::Administrator,
        text: 1,
        tree: 1,
    }
}

/// Returns a request that calls plugins of the namespace.
fn own(namespace: &str) -> RequestCost {
    RequestCost {
        owner: PluginOwner::Tenant,
        ..cost(namespace)
    }
}

/// Returns a request that takes this number of MiB of the shared memory.
fn large(namespace: &str, megabytes: usize) -> RequestCost {
    RequestCost {
        tree: FREE + (megabytes << 20),
        ..cost(namespace)
    }
}

async fn run<T: Send + 'static>(
    executor: &Executor,
    milliseconds: u64,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ExecutorError> {
    let limits = within(milliseconds);
    executor.run(cost("n"), limits.end, limits, work).await
}

#[tokio::test]
async fn a_permit_is_taken_until_the_work_has_ended() {
    // A namespace gets one of two permits.
    let executor = Executor::new(1);
    let (go_on, wait) = mpsc::channel::<()>();
    let late = run(&executor, 50, move || wait.recv().unwrap_or_default()).await;
    assert_eq!(late, Err(ExecutorError::Late));
    assert_eq!(run(&executor, 50, || ()).await, Err(ExecutorError::Busy));
    drop(go_on);
    assert_eq!(run(&executor, 60_000, || 1).await, Ok(1));
    let panics = || -> u8 { panic!("on purpose") };
    let failed = run(&executor, 60_000, panics).await;
    assert!(matches!(failed, Err(ExecutorError::Failed(_))), "{failed:?}");
    assert_eq!(run(&executor, 60_000, || 2).await, Ok(2));
}

#[tokio::test]
async fn classification_has_threads_of_its_own() {
    let executor = Executor::new(1);
    let (go_on, wait) = mpsc::channel::<()>();
    let late = executor.run_short(within(50), 0, move || wait.recv().unwrap_or_default());
    assert_eq!(late.await, Err(ExecutorError::Late));
    assert_eq!(
        executor.run_short(within(50), 0, || ()).await,
        Err(ExecutorError::Busy)
    );
    assert_eq!(run(&executor, 60_000, || 1).await, Ok(1));
    drop(go_on);
    assert_eq!(executor.run_short(within(60_000), 0, || 2).await, Ok(2));
}

#[tokio::test]
async fn classification_of_light_requests_never_waits_for_heavy_ones() {
    let executor = Executor::new(1);
    let (go_on, wait) = mpsc::channel::<()>();
    let much = 1 << 20;
    let late = executor.run_short(within(50), much, move || wait.recv().unwrap_or_default());
    assert_eq!(late.await, Err(ExecutorError::Late));
    assert_eq!(
        executor.run_short(within(50), much, || ()).await,
        Err(ExecutorError::Busy)
    );
    assert_eq!(executor.run_short(within(60_000), 1, || 1).await, Ok(1));
    drop(go_on);
    assert_eq!(executor.run_short(within(60_000), much, || 2).await, Ok(2));
}

/// Returns a permit if one is free at once.
async fn permit(executor: &Executor, cost: RequestCost) -> Option<Permit> {
    let soon = Instant::now() + Duration::from_millis(1);
    executor.permit(cost, soon).await.ok()
}

#[tokio::test(start_paused = true)]
async fn no_namespace_takes_all_permits() {
    let executor = Executor::new(2);
    let first = [
        permit(&executor, cost("a")).await,
        permit(&executor, cost("a")).await,
    ];
    assert!(first.iter().all(Option::is_some));
    assert!(permit(&executor, cost("a")).await.is_none());
    let second = [
        permit(&executor, cost("b")).await,
        permit(&executor, cost("c")).await,
    ];
    assert!(second.iter().all(Option::is_some));
    assert!(
        permit(&executor, cost("d")).await.is_none(),
        "all permits are taken"
    );
    drop(first);
    assert!(permit(&executor, cost("d")).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn the_namespace_with_the_fewest_permits_goes_first() {
    let executor = Arc::new(Executor::new(2));
    let mut held = Vec::new();
    for namespace in ["a", "a", "b", "c"] {
        held.extend(permit(&executor, cost(namespace)).await);
    }
    assert_eq!(held.len(), 4);
    let log = Arc::new(Mutex::new(Vec::new()));
    for namespace in ["a", "b", "b", "d"] {
        let (executor, log) = (executor.clone(), log.clone());
        tokio::spawn(async move {
            let later = Instant::now() + Duration::from_secs(60);
            if let Ok(permit) = executor.permit(cost(namespace), later).await {
                log.lock().push(namespace);
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(permit);
            }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // `c` releases its permit: `d` has none, `b` has one, and `a` has its maximum.
    held.pop();
    tokio::time::sleep(Duration::from_millis(3500)).await;
    assert_eq!(*log.lock(), ["d", "b", "b"]);
    drop(held);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(log.lock().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn plugins_of_namespaces_take_at_most_half_of_the_permits() {
    let executor = Executor::new(2);
    let first = permit(&executor, own("a")).await;
    assert!(first.is_some());
    assert!(
        permit(&executor, own("a")).await.is_none(),
        "one permit per namespace"
    );
    let second = permit(&executor, own("b")).await;
    assert!(second.is_some());
    assert!(
        permit(&executor, own("c")).await.is_none(),
        "half of the permits are taken"
    );
    let others = [
        permit(&executor, cost("a")).await,
        permit(&executor, cost("c")).await,
    ];
    assert!(others.iter().all(Option::is_some));
    drop((first, others));
    assert!(permit(&executor, own("c")).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn heavy_requests_never_take_all_permits() {
    let executor = Executor::new(2);
    let namespaces = ["a", "b", "c", "d"];
    let mut heavy = Vec::new();
    for namespace in namespaces {
        heavy.extend(permit(&executor, large(namespace, 1)).await);
    }
    assert_eq!(heavy.len(), 3);
    assert!(permit(&executor, own("e")).await.is_none());
    assert!(permit(&executor, cost("e")).await.is_some());
    heavy.pop();
    assert!(permit(&executor, own("e")).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn plugins_of_a_namespace_get_a_part_of_the_time() {
    let executor = Executor::new(2);
    let second = Duration::from_secs(1);
    let mut turns = 0;
    while let Some(mut permit) = permit(&executor, own("a")).await {
        tokio::time::sleep(second).await;
        permit.used = 2 * second;
        turns += 1;
    }
    // The namespace gets ten seconds at once, and a quarter of the elapsed time.
    assert_eq!(turns, 6);
    let error = executor.permit(own("a"), Instant::now() + second).await.err();
    assert_eq!(error, Some(ExecutorError::Overdrawn("a".into())));
    assert!(permit(&executor, cost("a")).await.is_some() && permit(&executor, own("b")).await.is_some());
    assert_eq!(executor.own_time(&cost("a")), Duration::ZERO);
    assert_eq!(executor.own_time(&cost("b")), OWN_TIME);
    // The time exceeds the limit by three quarters of a second, which take three seconds to be forgotten. One of them has passed.
    let start = Instant::now();
    assert!(executor.permit(own("a"), start + 60 * second).await.is_ok());
    let waited = start.elapsed();
    assert!(waited > second && waited < 3 * second, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn time_of_other_work_is_not_charged_to_the_namespace() {
    let executor = Executor::new(2);
    let permit = permit(&executor, own("a")).await;
    assert!(permit.is_some());
    tokio::time::sleep(Duration::from_secs(60)).await;
    drop(permit);
    assert_eq!(executor.used("a"), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_request_also_waits_for_the_time_limit() {
    let executor = Arc::new(Executor::new(2));
    let second = Duration::from_secs(1);
    let held = permit(&executor, own("a")).await;
    let waiting = tokio::spawn({
        let executor = executor.clone();
        async move {
            executor
                .permit(own("a"), Instant::now() + 60 * second)
                .await
                .is_ok()
        }
    });
    tokio::time::sleep(second).await;
    let start = Instant::now();
    if let Some(mut permit) = held {
        permit.used = 12 * second;
    }
    assert!(waiting.await.unwrap_or_default());
    assert!(start.elapsed() >= 8 * second, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn memory_is_shared_and_small_requests_need_none() {
    let executor = Executor::new(4);
    let first = permit(&executor, large("a", 60)).await;
    assert!(first.is_some());
    assert!(
        permit(&executor, large("a", 5)).await.is_none(),
        "the namespace has used its part"
    );
    let other = permit(&executor, large("b", 64)).await;
    assert!(other.is_some());
    assert!(
        permit(&executor, large("d", 5)).await.is_none(),
        "all memory is used"
    );
    assert!(permit(&executor, cost("a")).await.is_some() && permit(&executor, cost("d")).await.is_some());
    drop(other);
    assert!(permit(&executor, large("d", 64)).await.is_some());
    drop(first);
    assert!(
        permit(&executor, large("a", 1000)).await.is_some(),
        "the largest requests get memory too"
    );
}

#[tokio::test(start_paused = true)]
async fn large_requests_are_not_starved_by_smaller_ones() {
    let executor = Arc::new(Executor::new(8));
    let held = [
        permit(&executor, large("a", 64)).await,
        permit(&executor, large("b", 24)).await,
    ];
    let waiting = tokio::spawn({
        let executor = executor.clone();
        async move {
            let later = Instant::now() + Duration::from_secs(60);
            executor.permit(large("d", 64), later).await.is_ok()
        }
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(permit(&executor, large("e", 8)).await.is_none());
    assert!(permit(&executor, cost("e")).await.is_some());
    drop(held);
    assert!(waiting.await.unwrap_or_default());
}

#[tokio::test(start_paused = true)]
async fn with_too_much_text_the_largest_namespace_loses_its_last_request() {
    let executor = Arc::new(Executor::new(1));
    let held = [
        permit(&executor, cost("x")).await,
        permit(&executor, cost("y")).await,
    ];
    assert!(held.iter().all(Option::is_some));
    let wait = |namespace: &'static str, mebibytes: usize| {
        let executor = executor.clone();
        let cost = RequestCost {
            text: mebibytes << 20,
            ..cost(namespace)
        };
        tokio::spawn(async move {
            let later = Instant::now() + Duration::from_secs(60);
            executor.permit(cost, later).await.is_ok()
        })
    };
    let mut waiting = Vec::new();
    for (namespace, mebibytes) in [("a", 8), ("b", 8), ("a", 16), ("b", 2)] {
        waiting.push(wait(namespace, mebibytes));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(held);
    let mut served = Vec::new();
    for waits in waiting {
        served.push(waits.await.unwrap_or_default());
    }
    assert_eq!(served, [true, true, false, true]);
}
