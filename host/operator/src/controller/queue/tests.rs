use std::time::Duration;

use super::*;

fn soon(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

/// The part before the slash is the tenant: `a/1` and `a` belong to `a`.
impl Tenant for &'static str {
    fn tenant(&self) -> &str {
        self.split_once('/').map_or(*self, |(tenant, _)| tenant)
    }
}

/// Returns the next key and the seconds until it was due.
async fn next(queue: &WorkQueue<&'static str>) -> Option<(&'static str, u64)> {
    next_of(queue, 16).await
}

async fn next_of(queue: &WorkQueue<&'static str>, share: usize) -> Option<(&'static str, u64)> {
    let start = Instant::now();
    let key = tokio::time::timeout(Duration::from_secs(1000), queue.next(share))
        .await
        .ok()?;
    Some((key, start.elapsed().as_secs()))
}

#[tokio::test(start_paused = true)]
async fn each_key_is_returned_once_at_its_due_time() {
    let queue = WorkQueue::default();
    queue.add("b", soon(20), Priority::Usual);
    queue.add("a", soon(10), Priority::Usual);
    queue.add("a", soon(30), Priority::Usual);
    queue.add("b", soon(15), Priority::Usual);
    assert_eq!(next(&queue).await, Some(("a", 10)));
    assert_eq!(next(&queue).await, Some(("b", 5)));
    queue.done("a", None, false);
    queue.done("b", None, false);
    assert_eq!(next(&queue).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_key_added_while_it_is_processed_is_requeued() {
    let queue = WorkQueue::default();
    queue.add("a", Instant::now(), Priority::Usual);
    assert_eq!(next(&queue).await, Some(("a", 0)));
    queue.add("a", Instant::now(), Priority::Usual);
    queue.add("a", soon(5), Priority::Usual);
    assert_eq!(next(&queue).await, None, "no other worker gets it");
    queue.done("a", Some(soon(60)), false);
    assert_eq!(next(&queue).await, Some(("a", 0)));
    queue.done("a", Some(soon(60)), false);
    assert_eq!(next(&queue).await, Some(("a", 60)));
}

#[tokio::test(start_paused = true)]
async fn only_urgent_additions_shorten_the_back_off() {
    let queue = WorkQueue::default();
    let fail = async |queue: &WorkQueue<_>| {
        assert!(next(queue).await.is_some());
        queue.done("a", Some(soon(60)), true);
    };
    queue.add("a", Instant::now(), Priority::Usual);
    fail(&queue).await;
    queue.add("a", Instant::now(), Priority::Usual);
    assert_eq!(next(&queue).await, Some(("a", 60)));
    queue.add("a", Instant::now(), Priority::Usual);
    queue.done("a", Some(soon(60)), true);
    queue.add("a", Instant::now(), Priority::Urgent);
    assert_eq!(next(&queue).await, Some(("a", 0)));
}

#[tokio::test(start_paused = true)]
async fn an_urgent_addition_during_a_failing_run_skips_the_back_off() {
    let queue = WorkQueue::default();
    queue.add("a", Instant::now(), Priority::Usual);
    assert_eq!(next(&queue).await, Some(("a", 0)));
    queue.add("a", Instant::now(), Priority::Usual);
    queue.add("a", Instant::now(), Priority::Urgent);
    queue.done("a", Some(soon(300)), true);
    assert_eq!(
        next(&queue).await,
        Some(("a", 0)),
        "a user has fixed it meanwhile"
    );
    queue.done("a", Some(soon(300)), true);
    assert_eq!(
        next(&queue).await,
        Some(("a", 300)),
        "the urgent addition has been used up"
    );
}

#[tokio::test(start_paused = true)]
async fn outdated_due_times_are_removed() {
    let queue = WorkQueue::default();
    for key in ["a", "b"] {
        queue.add(key, Instant::now(), Priority::Usual);
    }
    for _ in 0..10_000 {
        let (key, _) = next(&queue).await.unwrap_or_default();
        queue.done(key, Some(soon(3600)), false);
        queue.add(key, Instant::now(), Priority::Usual);
    }
    let times = queue.inner.lock().heap.len();
    assert!(times <= 2 * 2 + SLACK, "{times} due times for 2 keys");
    assert_eq!(
        next(&queue).await.map(|(_, after)| after),
        Some(0),
        "no key was lost"
    );
}

/// One tenant has many keys, all of them due before those of the others.
#[tokio::test(start_paused = true)]
async fn tenants_are_served_round_robin() {
    let queue = WorkQueue::default();
    for key in ["many/1", "many/2", "many/3", "many/4"] {
        queue.add(key, Instant::now(), Priority::Urgent);
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    for key in ["one/1", "two/1"] {
        queue.add(key, Instant::now(), Priority::Usual);
    }
    let mut order = Vec::new();
    for _ in 0..6 {
        order.extend(next(&queue).await);
    }
    let order: Vec<_> = order.into_iter().map(|(key, _)| key).collect();
    assert_eq!(order, ["many/1", "one/1", "two/1", "many/2", "many/3", "many/4"]);
}

/// The keys of the tenant `many` are requeued at once each time.
#[tokio::test(start_paused = true)]
async fn the_share_of_a_tenant_is_limited() {
    let queue = WorkQueue::default();
    for key in ["many/1", "many/2", "many/3"] {
        queue.add(key, Instant::now(), Priority::Usual);
    }
    assert_eq!(next_of(&queue, 2).await, Some(("many/1", 0)));
    assert_eq!(next_of(&queue, 2).await, Some(("many/2", 0)));
    assert_eq!(next_of(&queue, 2).await, None);
    queue.add("one/1", Instant::now(), Priority::Usual);
    assert_eq!(next_of(&queue, 2).await, Some(("one/1", 0)));
    queue.done("many/1", Some(Instant::now()), false);
    assert_eq!(next_of(&queue, 2).await, Some(("many/3", 0)));
    for key in ["many/2", "many/3", "one/1"] {
        queue.done(key, None, false);
    }
    assert_eq!(next_of(&queue, 2).await, Some(("many/1", 0)));
    queue.done("many/1", None, false);
    let inner = queue.inner.lock();
    assert!(
        inner.by_tenant.is_empty() && inner.round_robin.is_empty() && inner.entries.is_empty(),
        "the queue is not empty: {inner:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_backlog_counts_waiting_keys() {
    let queue = WorkQueue::default();
    queue.add("a", Instant::now(), Priority::Usual);
    queue.add("b", Instant::now(), Priority::Usual);
    queue.add("c", soon(100), Priority::Usual);
    assert_eq!(next(&queue).await, Some(("a", 0)));
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(queue.backlog(), (1, Duration::from_secs(3)));
}
