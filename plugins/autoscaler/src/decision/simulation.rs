//! A Dask cluster in small, with `adaptive_target` as Dask computes it, and workers that take a while to start.

use super::*;
use crate::policy;
use dask_operator_plugin::serde_json::{Value, json};

/// A cluster of one group, whose workers have one thread each.
struct Cluster {
    policy: Policy,
    memory: Memory,
    now: Seconds,
    again: Option<Seconds>,
    /// How many workers the group is asked to have.
    replicas: u32,
    /// When each worker that was asked for registers.
    starting: Vec<Seconds>,
    /// Seconds of work that the task of each registered worker still takes; 0 for none.
    workers: Vec<Seconds>,
    /// When each worker that leaves is gone.
    leaving: Vec<Seconds>,
    /// Seconds of work of each task that no worker has.
    queue: Vec<Seconds>,
    /// How long a worker takes to register.
    start_up: Seconds,
    /// How many workers can run at all.
    room: usize,
    /// Whether the scheduler counts tasks that no worker has (it does since 2023).
    counts_queue: bool,
    /// When the group got how many workers.
    changes: Vec<(Seconds, u32)>,
    /// How often what is remembered changed.
    writes: usize,
}

impl Cluster {
    fn new(spec: &Value, replicas: u32, start_up: Seconds) -> Self {
        let mut cluster = Self {
            policy: policy::policy(spec),
            memory: Memory::default(),
            now: 1_767_225_600,
            again: None,
            replicas: 0,
            starting: Vec::new(),
            workers: vec![0; replicas as usize],
            leaving: Vec::new(),
            queue: Vec::new(),
            start_up,
            room: usize::MAX,
            counts_queue: true,
            changes: Vec::new(),
            writes: 0,
        };
        cluster.replicas = replicas;
        cluster
    }

    /// `Scheduler.adaptive_target`, with the default target duration of 5 s, where memory is plenty.
    fn adaptive_target(&self) -> u32 {
        const TARGET_DURATION: Seconds = 5;
        let registered = self.workers.len() + self.leaving.len();
        // Each worker is given one task more than it runs; the rest waits at the scheduler.
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

    fn second(&mut self) {
        self.now += 1;
        let now = self.now;
        for left in &mut self.workers {
            *left = (*left - 1).max(0);
        }
        self.leaving.retain(|gone| *gone > now);
        let free = self.room.saturating_sub(self.workers.len());
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
        // The host asks every five seconds, and when the plan said so.
        if now % 5 == 0 || self.again.is_some_and(|again| again <= now) {
            self.decide();
        }
    }

    fn decide(&mut self) {
        let busy = self.workers.iter().filter(|left| **left > 0).count();
        let number = |count: usize| u32::try_from(count).expect("small");
        let sight = Sight {
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
        let decision = decide(&self.policy, &sight, &self.memory);
        self.writes += usize::from(decision.memory != self.memory);
        self.memory = decision.memory;
        self.again = decision.again;
        if decision.replicas != self.replicas {
            self.changes.push((self.now, decision.replicas));
            self.scale(decision.replicas);
        }
    }

    /// What the worker-group component does: who never started goes first, then who is idle; who has work hands it on.
    fn scale(&mut self, replicas: u32) {
        for _ in self.replicas..replicas {
            self.starting.push(self.now + self.start_up);
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
            self.second();
        }
    }

    /// How often the number of workers went the other way than before.
    fn turns(&self) -> usize {
        let numbers: Vec<u32> = self.changes.iter().map(|(_, replicas)| *replicas).collect();
        let ups: Vec<bool> = numbers.windows(2).map(|pair| pair[1] > pair[0]).collect();
        ups.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    fn most(&self) -> u32 {
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
fn up_with_the_work_and_down_to_the_minimum_without_turning_back() {
    for start_up in [0, 3, 30, 120, 290] {
        for counts_queue in [true, false] {
            let mut cluster = Cluster::new(&spec(), 1, start_up);
            cluster.counts_queue = counts_queue;
            cluster.run(60);
            assert_eq!(cluster.changes, [], "there is nothing to do");
            cluster.queue = vec![20; 400];
            cluster.run(20 * 400 + 2000);
            let what = format!("{start_up} s, {counts_queue}: {:?}", cluster.changes);
            assert!(
                cluster.queue.is_empty() && cluster.workers.iter().all(|left| *left == 0),
                "{what}"
            );
            assert_eq!((cluster.most(), cluster.replicas), (20, 1), "{what}");
            assert!(cluster.turns() <= 1, "{what}");
        }
    }
}

#[test]
fn a_steady_load_changes_nothing_and_nothing_is_written() {
    for work in [1, 2, 7, 19, 40] {
        let mut cluster = Cluster::new(&spec(), 1, 30);
        // Each task is long, so that there is always work for so many workers.
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
        assert!(cluster.turns() == 0);
    }
}

#[test]
fn workers_that_start_slowly_are_waited_for() {
    // Ten were asked for, three are there and have enough for now: the scheduler's number is three.
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
fn workers_that_never_start_and_are_not_needed_go() {
    let mut cluster = Cluster::new(&spec(), 3, 0);
    cluster.replicas = 10;
    cluster.starting = vec![cluster.now; 7];
    cluster.room = 3;
    cluster.queue = vec![10_000; 3];
    cluster.run(299);
    assert_eq!(cluster.changes, [], "they are starting");
    cluster.run(300);
    assert_eq!(cluster.replicas, 3, "{:?}", cluster.changes);
    assert_eq!(cluster.turns(), 0);
    cluster.run(1000);
    assert_eq!(cluster.replicas, 3, "{:?}", cluster.changes);
}

#[test]
fn workers_that_never_start_but_are_needed_stay() {
    let mut cluster = Cluster::new(&spec(), 3, 0);
    cluster.room = 3;
    cluster.queue = vec![100_000; 10];
    cluster.run(3000);
    assert_eq!(
        (cluster.replicas, cluster.turns()),
        (10, 0),
        "{:?}",
        cluster.changes
    );
}

#[test]
fn bursts_that_follow_each_other_find_the_workers_of_the_last() {
    let mut cluster = Cluster::new(&spec(), 1, 20);
    cluster.queue = vec![10; 100];
    cluster.run(120);
    let full = cluster.replicas;
    for _ in 0..10 {
        cluster.queue = vec![10; 100];
        cluster.run(80);
    }
    assert_eq!(
        (full, cluster.replicas, cluster.turns()),
        (20, 20, 0),
        "{:?}",
        cluster.changes
    );
}
