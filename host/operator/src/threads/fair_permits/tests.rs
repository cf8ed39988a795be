use super::*;

/// Log of calls in their order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, text: String) {
        self.0.lock().push(text);
    }

    fn text(&self) -> String {
        self.0.lock().join(" ")
    }
}

/// Calls components for a namespace for this many milliseconds. Logs `a`; `a!` if its own components have used up their share;
/// and `a?` if no permit was free in time.
fn call(permits: &FairPermits, log: &Log, namespace: &str, owner: PluginOwner, millis: u64) {
    work(
        permits,
        log,
        namespace,
        owner,
        Weight::heavy_if(owner == PluginOwner::Tenant),
        millis,
    );
}

/// Does work of this weight for a namespace, and logs as [`call`] does.
fn work(permits: &FairPermits, log: &Log, namespace: &str, owner: PluginOwner, weight: Weight, millis: u64) {
    let (permits, log, namespace) = (permits.clone(), log.clone(), namespace.to_owned());
    tokio::spawn(async move {
        match permits.permit(&namespace, owner, weight).await {
            Ok(permit) => {
                log.note(namespace);
                tokio::time::sleep(Duration::from_millis(millis)).await;
                drop(permit);
            }
            Err(PermitError::Overdrawn { namespace }) => log.note(format!("{namespace}!")),
            Err(PermitError::OthersFirst) => log.note(format!("{namespace}?")),
        }
    });
}

async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn the_namespace_that_has_used_least_goes_first() {
    let (permits, log) = (FairPermits::new(1), Log::default());
    // A long call runs meanwhile.
    call(&permits, &log, "x", PluginOwner::Administrator, 10_000);
    for namespace in ["a", "a", "a", "a", "b", "c"] {
        pass(1).await;
        call(&permits, &log, namespace, PluginOwner::Administrator, 100);
    }
    pass(1000).await;
    assert_eq!(log.text(), "x a b c a a a");
}

#[tokio::test(start_paused = true)]
async fn no_namespace_has_all_permits() {
    let (permits, log) = (FairPermits::new(2), Log::default());
    for namespace in ["a", "a", "a", "b"] {
        call(&permits, &log, namespace, PluginOwner::Administrator, 1000);
        pass(1).await;
    }
    assert_eq!(log.text(), "a a b");
    pass(1000).await;
    assert_eq!(log.text(), "a a b a");
}

#[tokio::test(start_paused = true)]
async fn heavy_work_never_has_all_permits() {
    let (permits, log) = (FairPermits::new(2), Log::default());
    for (namespace, weight) in [
        ("a", Weight::Heavy),
        ("b", Weight::Heavy),
        ("c", Weight::Heavy),
        ("d", Weight::Light),
        ("e", Weight::Light),
    ] {
        work(
            &permits,
            &log,
            namespace,
            PluginOwner::Administrator,
            weight,
            1000,
        );
        pass(1).await;
    }
    assert_eq!(log.text(), "a b d");
    pass(3000).await;
    assert_eq!(log.text(), "a b d c e");
}

#[tokio::test(start_paused = true)]
async fn tenants_leave_a_permit_and_have_one_per_namespace() {
    let (permits, log) = (FairPermits::new(3), Log::default());
    for namespace in ["a", "a", "b", "c"] {
        call(&permits, &log, namespace, PluginOwner::Tenant, 600);
        pass(1).await;
    }
    call(&permits, &log, "d", PluginOwner::Administrator, 10);
    pass(10).await;
    assert_eq!(log.text(), "a b d");
    pass(5000).await;
    assert_eq!(log.text(), "a b d c a");
}

#[tokio::test(start_paused = true)]
async fn tenants_leave_a_permit_even_with_one_processor() {
    let (permits, log) = (FairPermits::new(1), Log::default());
    for (namespace, owner) in [
        ("a", PluginOwner::Tenant),
        ("b", PluginOwner::Tenant),
        ("c", PluginOwner::Administrator),
    ] {
        call(&permits, &log, namespace, owner, 1000);
        pass(1).await;
    }
    assert_eq!(log.text(), "a c");
}

#[tokio::test(start_paused = true)]
async fn own_components_of_a_namespace_have_a_limited_share() {
    let (permits, log) = (FairPermits::new(2), Log::default());
    for _ in 0..15 {
        call(&permits, &log, "a", PluginOwner::Tenant, 1000);
        pass(1001).await;
    }
    // Ten seconds at once, and a quarter of the time that has passed.
    assert_eq!(log.text(), format!("{}a!", "a ".repeat(14)));
    call(&permits, &log, "a", PluginOwner::Administrator, 1);
    call(&permits, &log, "b", PluginOwner::Tenant, 1);
    pass(10).await;
    assert!(log.text().ends_with("a! a b"), "{}", log.text());
    pass(60_000).await;
    call(&permits, &log, "a", PluginOwner::Tenant, 1);
    pass(10).await;
    assert!(log.text().ends_with(" a b a"), "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_too_long_fails_and_takes_no_permit() {
    let (permits, log) = (FairPermits::new(2), Log::default());
    for (namespace, millis) in [("a", 6000), ("b", 1), ("a", 1)] {
        call(&permits, &log, namespace, PluginOwner::Tenant, millis);
        pass(1).await;
    }
    pass(5000).await;
    assert_eq!(log.text(), "a b? a?");
    pass(1000).await;
    call(&permits, &log, "b", PluginOwner::Tenant, 1);
    pass(10).await;
    assert_eq!(log.text(), "a b? a? b");
}

/// A namespace waits at most for one call of each namespace before it, and is not reported as overdrawn.
#[tokio::test(start_paused = true)]
async fn long_calls_delay_others_by_one_call_each() {
    let (permits, log) = (FairPermits::new(1), Log::default());
    let most = call_time(PluginOwner::Tenant).as_millis() as u64;
    for namespace in ["a", "b", "a", "b", "c"] {
        call(&permits, &log, namespace, PluginOwner::Tenant, most);
        pass(1).await;
    }
    pass(PATIENCE.as_millis() as u64).await;
    assert_eq!(log.text(), "a b c a? b?");
}
