use super::*;

/// Log of calls in their order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, text: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).join(" ")
    }
}

/// Calls components for a namespace for this many milliseconds. Logs `a`; `a!` if its own components have used up their share;
/// and `a?` if no permit was free in time.
fn call(shares: &Shares, log: &Log, namespace: &str, owner: PluginOwner, millis: u64) {
    work(
        shares,
        log,
        namespace,
        owner,
        Load::heavy_if(owner == PluginOwner::Tenant),
        millis,
    );
}

/// Does work of this load for a namespace, and logs as [`call`] does.
fn work(shares: &Shares, log: &Log, namespace: &str, owner: PluginOwner, load: Load, millis: u64) {
    let (shares, log, namespace) = (shares.clone(), log.clone(), namespace.to_owned());
    tokio::spawn(async move {
        match shares.permit(&namespace, owner, load).await {
            Ok(permit) => {
                log.note(namespace);
                tokio::time::sleep(Duration::from_millis(millis)).await;
                drop(permit);
            }
            Err(Denied::Overdrawn { namespace }) => log.note(format!("{namespace}!")),
            Err(Denied::OthersFirst) => log.note(format!("{namespace}?")),
        }
    });
}

async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn the_namespace_that_has_used_least_goes_first() {
    let (shares, log) = (Shares::new(1), Log::default());
    // A long call runs meanwhile.
    call(&shares, &log, "x", PluginOwner::Administrator, 10_000);
    for namespace in ["a", "a", "a", "a", "b", "c"] {
        pass(1).await;
        call(&shares, &log, namespace, PluginOwner::Administrator, 100);
    }
    pass(1000).await;
    assert_eq!(log.text(), "x a b c a a a");
}

#[tokio::test(start_paused = true)]
async fn no_namespace_has_all_permits() {
    let (shares, log) = (Shares::new(2), Log::default());
    for namespace in ["a", "a", "a", "b"] {
        call(&shares, &log, namespace, PluginOwner::Administrator, 1000);
        pass(1).await;
    }
    assert_eq!(log.text(), "a a b");
    pass(1000).await;
    assert_eq!(log.text(), "a a b a");
}

#[tokio::test(start_paused = true)]
async fn heavy_work_never_has_all_permits() {
    let (shares, log) = (Shares::new(2), Log::default());
    for (namespace, load) in [
        ("a", Load::Heavy),
        ("b", Load::Heavy),
        ("c", Load::Heavy),
        ("d", Load::Light),
        ("e", Load::Light),
    ] {
        work(&shares, &log, namespace, PluginOwner::Administrator, load, 1000);
        pass(1).await;
    }
    assert_eq!(log.text(), "a b d");
    pass(3000).await;
    assert_eq!(log.text(), "a b d c e");
}

#[tokio::test(start_paused = true)]
async fn tenants_leave_a_permit_and_have_one_per_namespace() {
    let (shares, log) = (Shares::new(3), Log::default());
    for namespace in ["a", "a", "b", "c"] {
        call(&shares, &log, namespace, PluginOwner::Tenant, 600);
        pass(1).await;
    }
    call(&shares, &log, "d", PluginOwner::Administrator, 10);
    pass(10).await;
    assert_eq!(log.text(), "a b d");
    pass(5000).await;
    assert_eq!(log.text(), "a b d c a");
}

#[tokio::test(start_paused = true)]
async fn tenants_leave_a_permit_even_with_one_processor() {
    let (shares, log) = (Shares::new(1), Log::default());
    for (namespace, owner) in [
        ("a", PluginOwner::Tenant),
        ("b", PluginOwner::Tenant),
        ("c", PluginOwner::Administrator),
    ] {
        call(&shares, &log, namespace, owner, 1000);
        pass(1).await;
    }
    assert_eq!(log.text(), "a c");
}

#[tokio::test(start_paused = true)]
async fn own_components_of_a_namespace_have_a_limited_share() {
    let (shares, log) = (Shares::new(2), Log::default());
    for _ in 0..15 {
        call(&shares, &log, "a", PluginOwner::Tenant, 1000);
        pass(1001).await;
    }
    // Ten seconds at once, and a quarter of the time that has passed.
    assert_eq!(log.text(), format!("{}a!", "a ".repeat(14)));
    call(&shares, &log, "a", PluginOwner::Administrator, 1);
    call(&shares, &log, "b", PluginOwner::Tenant, 1);
    pass(10).await;
    assert!(log.text().ends_with("a! a b"), "{}", log.text());
    pass(60_000).await;
    call(&shares, &log, "a", PluginOwner::Tenant, 1);
    pass(10).await;
    assert!(log.text().ends_with(" a b a"), "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_too_long_fails_and_takes_no_permit() {
    let (shares, log) = (Shares::new(2), Log::default());
    for (namespace, millis) in [("a", 6000), ("b", 1), ("a", 1)] {
        call(&shares, &log, namespace, PluginOwner::Tenant, millis);
        pass(1).await;
    }
    pass(5000).await;
    assert_eq!(log.text(), "a b? a?");
    pass(1000).await;
    call(&shares, &log, "b", PluginOwner::Tenant, 1);
    pass(10).await;
    assert_eq!(log.text(), "a b? a? b");
}

/// A namespace waits at most for one call of each namespace before it, and is not reported as overdrawn.
#[tokio::test(start_paused = true)]
async fn long_calls_delay_others_by_one_call_each() {
    let (shares, log) = (Shares::new(1), Log::default());
    let most = call_time(PluginOwner::Tenant).as_millis() as u64;
    for namespace in ["a", "b", "a", "b", "c"] {
        call(&shares, &log, namespace, PluginOwner::Tenant, most);
        pass(1).await;
    }
    pass(PATIENCE.as_millis() as u64).await;
    assert_eq!(log.text(), "a b c a? b?");
}
