//! Simulation of a small Dask cluster, with `adaptive_target` as Dask computes it, and workers that take time to start.

use super::*;
use crate::policy;
use dask_operator_plugin::serde_json::{Value, json};

/// A cluster with one group, whose workers have one thread each.
struct Cluster {
    policy: Policy,
    state: DecisionState,
    now: Seconds,
    next_at: Option<Seconds>,
    /// Number of workers in the spec of the group.
    replicas: u32,
    /// Times at which requested workers register.
    starting: Vec<Seconds>,
    /// Remaining seconds of the task of each registered worker. 0 if it has none.
    workers: Vec<Seconds>,
    /// Times at which leaving workers are gone.
    leaving: Vec<Seconds>,
    /// Seconds of work of each task that is not assigned to a worker.
    queue: Vec<Seconds>,
    /// Seconds that a worker takes to register.
    startup: Seconds,
    /// Maximum number of workers that can run.
    capacity: usize,
    /// True if the scheduler counts tasks that are not assigned to a worker, as it does since 2023.
    counts_queue: bool,
    /// Times and results of all changes of the number of workers.
    changes: Vec<(Seconds, u32)>,
    /// Number of changes of the decision state.
    writes: usize,
}

impl Cluster {
    fn new(spec: &Value, replicas: u32, startup: Seconds) -> Self {
        let mut cluster = Self {
            policy: policy::policy(spec),
            state: DecisionState::default(),
            now: 1_767_225_600,
            next_at: None,
            replicas: 0,
            starting: Vec::new(),
            workers: vec![0; replicas as usize],
            leaving: Vec::new(),
            queue: Vec::new(),
            startup,
            capacity: usize::MAX,
            counts_queue: true,
            changes: Vec::new(),
            writes: 0,
        };
        cluster.replicas = replicas;
        cluster
    }

    /// Computes `Scheduler.adaptive_target` with the default target duration of 5 s and sufficient memory.
    fn adaptive_target(&self) -> u32 {
        const TARGET_DURATION: Seconds = 5;
        let registered = self.workers.len() + self.leaving.len();
        // Each worker is assigned one task more than it runs. The other tasks wait at the scheduler.
        let given = if self.counts_queue {
            self.queue.len()
        } else {
            self.workers.len().min(self.queue.len())
        };
        let queued = &self.queue[..given];
        let occupancy: Seconds = self.workers.iter().chain(queued).sum();
        let busy = self.workers.iter().filter(|left| **left > 0).count();
        let cpu = usize::try_from((occupancy + TARGET_DURATION - 1) / TARGET_DURATION).expect("positive");
        let mut target = cpu.min(busy + queued.len());
        if !self.queue.is_empty() && registered == 0 {
            target = target.max(1);
        }
        let idle = self.workers.len() - busy;
        u32::try_from(if target >= registered {
            target
        } else {
            registered - idle
        })
        .expect("small")
    }

    fn advance_second(&mut self) {
        self.now += 1;
        let now = self.now;
        for left in &mut self.workers {
            *left = (*left - 1).max(0);
        }
        self.leaving.retain(|gone| *gone > now);
        let free = self.capacity.saturating_sub(self.workers.len());
        let ready = self
            .starting
            .iter()
            .filter(|ready| **ready <= now)
            .count()
            .min(free);
        self.starting.sort_unstable();
        self.starting.drain(..ready);
        self.workers.extend(vec![0; ready]);
        for left in self.workers.iter_mut().filter(|left| **left == 0) {
            *left = self.queue.pop().unwrap_or(0);
        }
        // The host plans every five seconds, and at the times that plans request.
        if now % 5 == 0 || self.next_at.is_some_and(|next_at| next_at <= now) {
            self.decide();
        }
    }

    fn decide(&mut self) {
        let busy = self.workers.iter().filter(|left| **left > 0).count();
        let number = |count: usize| u32::try_from(count).expect("small");
        let input = Input {
            now: self.now,
            current: self.replicas,
            demand: Some(Demand {
                desired: self.adaptive_target(),
                others: 0,
                registered: number(self.workers.len() + self.leaving.len()),
                pods: number(self.workers.len() + self.leaving.len()),
                per_pod: 1,
                busy: number(busy),
            }),
            cooldown_until: None,
        };
        let decision = decide(&self.policy, &input, &self.state);
        self.writes += usize::from(decision.state != self.state);
        self.state = decision.state;
        self.next_at = decision.next_at;
        if decision.replicas != self.replicas {
            self.changes.push((self.now, decision.replicas));
            self.scale(decision.replicas);
        }
    }

    /// Scales as the worker-group plugin does: workers that never started leave first, then idle ones. Busy workers hand their
    /// task back.
    fn scale(&mut self, replicas: u32) {
        for _ in self.replicas..replicas {
            self.starting.push(self.now + self.startup);
        }
        for _ in replicas..self.replicas {
            if self.starting.pop().is_none() {
                self.workers.sort_unstable_by_key(|left| std::cmp::Reverse(*left));
                match self.workers.pop() {
                    Some(left) if left > 0 => self.queue.push(left),
                    _ => {}
                }
                self.leaving.push(self.now + 10);
            }
        }
        self.replicas = replicas;
    }

    fn run(&mut self, seconds: Seconds) {
        for _ in 0..seconds {
            self.advance_second();
        }
    }

    /// Returns the number of changes of direction.
    fn direction_changes(&self) -> usize {
        let numbers: Vec<u32> = self.changes.iter().map(|(_, replicas)| *replicas).collect();
        let ups: Vec<bool> = numbers.windows(2).map(|pair| pair[1] > pair[0]).collect();
        ups.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    fn maximum_reached(&self) -> u32 {
        self.changes
            .iter()
            .map(|(_, replicas)| *replicas)
            .max()
            .unwrap_or(self.replicas)
    }
}

fn spec() -> Value {
    json!({"cluster": "c", "minimum": 1, "maximum": 20})
}

#[test]
fn scales_up_and_down_once() {
    for startup in [0, 3, 30, 120, 290] {
        for counts_queue in [true, false] {
            let mut cluster = Cluster::new(&spec(), 1, startup);
            cluster.counts_queue = counts_queue;
            cluster.run(60);
            assert_eq!(cluster.changes, [], "there is nothing to do");
            cluster.queue = vec![20; 400];
            cluster.run(20 * 400 + 2000);
            let what = format!("{startup} s, {counts_queue}: {:?}", cluster.changes);
            assert!(
                cluster.queue.is_empty() && cluster.workers.iter().all(|left| *left == 0),
                "{what}"
            );
            assert_eq!((cluster.maximum_reached(), cluster.replicas), (20, 1), "{what}");
            assert!(cluster.direction_changes() <= 1, "{what}");
        }
    }
}

#[test]
fn a_steady_load_changes_nothing() {
    for work in [1, 2, 7, 19, 40] {
        let mut cluster = Cluster::new(&spec(), 1, 30);
        // The tasks are long, so that there is always work for this number of workers.
        cluster.queue = vec![100_000; work];
        cluster.run(300);
        let (changes, writes) = (cluster.changes.len(), cluster.writes);
        assert_eq!(cluster.replicas as usize, work.min(20));
        cluster.run(5000);
        assert_eq!(
            (cluster.changes.len(), cluster.writes),
            (changes, writes),
            "{work}"
        );
        assert!(cluster.direction_changes() == 0);
    }
}

#[test]
fn waits_for_workers_that_start_slowly() {
    // Ten workers are requested. Three have registered and are sufficient for now, so the scheduler's number is three.
    let mut cluster = Cluster::new(&spec(), 3, 200);
    cluster.replicas = 10;
    cluster.starting = vec![cluster.now + 200; 7];
    cluster.queue = vec![10_000; 10];
    cluster.counts_queue = false;
    cluster.run(1000);
    assert_eq!(cluster.changes, []);
    assert_eq!(cluster.workers.len(), 10);
}

#[test]
fn removes_unneeded_workers_that_never_start() {
    let mut cluster = Cluster::new(&spec(), 3, 0);
    cluster.replicas = 10;
    cluster.starting = vec![cluster.now; 7];
    cluster.capacity = 3;
    cluster.queue = vec![10_000; 3];
    cluster.run(299);
    assert_eq!(cluster.changes, [], "they are starting");
    cluster.run(300);
    assert_eq!(cluster.replicas, 3, "{:?}", cluster.changes);
    assert_eq!(cluster.direction_changes(), 0);
    cluster.run(1000);
    assert_eq!(cluster.replicas, 3, "{:?}", cluster.changes);
}

#[test]
fn keeps_needed_workers_that_never_start() {
    let mut cluster = Cluster::new(&spec(), 3, 0);
    cluster.capacity = 3;
    cluster.queue = vec![100_000; 10];
    cluster.run(3000);
    assert_eq!(
        (cluster.replicas, cluster.direction_changes()),
        (10, 0),
        "{:?}",
        cluster.changes
    );
}

#[test]
fn keeps_the_workers_between_bursts() {
    let mut cluster = Cluster::new(&spec(), 1, 20);
    cluster.queue = vec![10; 100];
    cluster.run(120);
    let full = cluster.replicas;
    for _ in 0..10 {
        cluster.queue = vec![10; 100];
        cluster.run(80);
    }
    assert_eq!(
        (full, cluster.replicas, cluster.direction_changes()),
        (20, 20, 0),
        "{:?}",
        cluster.changes
    );
}
