//! What holds of every decision, whatever the autoscaler, the group and the load.

use proptest::prelude::*;

use super::*;
use crate::status;

fn pace() -> impl Strategy<Value = Pace> {
    let step = prop_oneof![
        Just(Step::Unlimited),
        (1..20_u32).prop_map(Step::Workers),
        (1..200_u32).prop_map(Step::Percent),
    ];
    (
        prop_oneof![Just(0), 0..300_i64],
        step,
        prop_oneof![Just(0), 0..60_i64],
    )
        .prop_map(|(window, step, period)| Pace { window, step, period })
}

fn policy() -> impl Strategy<Value = Policy> {
    (0..20_u32, 0..60_u32, pace(), pace()).prop_map(|(minimum, more, up, down)| Policy {
        minimum,
        maximum: minimum + more,
        up,
        down,
    })
}

/// What a scheduler says where there is work for so many workers and all that are asked for have registered.
fn load(work: u32, current: u32) -> Option<Demand> {
    Some(Demand {
        desired: work,
        others: 0,
        registered: current,
        pods: current,
        per_pod: 1,
        busy: work.min(current),
    })
}

fn any_demand() -> impl Strategy<Value = Option<Demand>> {
    let demand =
        (0..100_u32, 0..5_u32, 0..80_u32, 0..80_u32).prop_map(|(desired, others, registered, busy)| Demand {
            desired,
            others,
            registered,
            pods: registered,
            per_pod: 1,
            busy: busy.min(registered),
        });
    proptest::option::weighted(0.9, demand)
}

/// One after the other: seconds that pass, what the scheduler says, and a number of workers that somebody else sets.
type Story = Vec<(Seconds, Option<Demand>, Option<u32>)>;

fn story() -> impl Strategy<Value = Story> {
    let step = (
        0..40_i64,
        any_demand(),
        proptest::option::weighted(0.05, 0..80_u32),
    );
    proptest::collection::vec(step, 1..60)
}

/// Decides all along a story, and hands each decision on with the present number of workers before it.
fn tell(
    policy: &Policy,
    current: u32,
    story: &Story,
    mut restart: impl FnMut(Memory, u32) -> Memory,
) -> Vec<(u32, Decision)> {
    let (mut now, mut current, mut memory) = (1_767_225_600, current, Memory::default());
    let mut decisions = Vec::new();
    for (seconds, demand, set) in story {
        now += seconds;
        current = set.unwrap_or(current);
        let sight = Sight {
            now,
            current,
            demand: *demand,
            cooldown_until: None,
        };
        let decision = decide(policy, &sight, &memory);
        memory = restart(decision.memory.clone(), current);
        decisions.push((current, decision.clone()));
        current = decision.replicas;
    }
    decisions
}

/// Under a constant load, decides again only when the last decision said so, until nothing is left to do.
fn settle(
    policy: &Policy,
    start: u32,
    work: u32,
    memory: Memory,
    now: Seconds,
) -> (Vec<u32>, Memory, Seconds) {
    let (mut now, mut memory, mut all) = (now, memory, vec![start]);
    for _ in 0..5000 {
        let current = all[all.len() - 1];
        let sight = Sight {
            now,
            current,
            demand: load(work, current),
            cooldown_until: None,
        };
        let decision = decide(policy, &sight, &memory);
        memory = decision.memory;
        all.push(decision.replicas);
        match decision.again {
            Some(again) => {
                assert!(again > now, "it would be asked again at once");
                now = again;
            }
            None if decision.replicas == current => return (all, memory, now),
            // The group has changed, which leads to a new decision.
            None => now += 1,
        }
    }
    panic!("{all:?} has no end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn never_below_the_minimum_nor_above_the_maximum(policy in policy(), start in 0..80_u32, story in story()) {
        for (_, decision) in tell(&policy, start, &story, |memory, _| memory) {
            prop_assert!((policy.minimum..=policy.maximum).contains(&decision.replicas), "{decision:?}");
        }
    }

    #[test]
    fn no_step_within_the_limits_is_too_long(policy in policy(), start in 0..80_u32, story in story()) {
        for (current, decision) in tell(&policy, start, &story, |memory, _| memory) {
            let pace = if decision.replicas > current { &policy.up } else { &policy.down };
            let outside = policy.limit(current) != current;
            prop_assert!(outside || decision.replicas.abs_diff(current) <= pace.step.of(current), "{decision:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_small(policy in policy(), start in 0..80_u32, story in story()) {
        for (_, decision) in tell(&policy, start, &story, |memory, _| memory) {
            let Memory { higher, lower, .. } = &decision.memory;
            prop_assert!(higher.len().max(lower.len()) <= history::CAPACITY);
            prop_assert!(higher.is_empty() || lower.is_empty());
        }
    }

    #[test]
    fn a_restart_changes_nothing(policy in policy(), start in 0..80_u32, story in story()) {
        let through = tell(&policy, start, &story, |memory, current| status::reread(&memory, current));
        prop_assert_eq!(through, tell(&policy, start, &story, |memory, _| memory));
    }

    #[test]
    fn nothing_changes_until_it_said_that_it_will(
        policy in policy(), start in 0..80_u32, story in story(), part in 0.0..1.0_f64,
    ) {
        let decisions = tell(&policy, start, &story, |memory, _| memory);
        let now: Seconds = 1_767_225_600 + story.iter().map(|(seconds, ..)| seconds).sum::<Seconds>();
        if let (Some((current, last)), Some((_, demand, _))) = (decisions.last(), story.last())
            && *current == last.replicas
            && last.wait.as_ref().is_none_or(|wait| !matches!(wait, Wait::Starting { .. }))
        {
            let span = last.again.map_or(10_000, |again| again - now - 1);
            let later = now + (span as f64 * part) as Seconds;
            let sight = Sight { now: later, current: *current, demand: *demand, cooldown_until: None };
            let decision = decide(&policy, &sight, &last.memory);
            prop_assert_eq!((decision.replicas, &decision.wait, decision.again), (last.replicas, &last.wait, last.again));
            // What leaves the window while it waits for the next step may be forgotten before.
            if !matches!(last.wait, Some(Wait::Period { .. })) {
                prop_assert_eq!(&decision.memory, &last.memory);
            }
        }
    }

    #[test]
    fn a_constant_load_is_reached_in_bounded_time_by_going_one_way_and_nothing_changes_after(
        policy in policy(), start in 0..80_u32, story in story(), work in 0..80_u32,
    ) {
        // Whatever was before.
        let before = tell(&policy, start, &story, |memory, _| memory);
        let (_, last) = &before[before.len() - 1];
        let now: Seconds = 1_767_225_600 + story.iter().map(|(seconds, ..)| seconds).sum::<Seconds>();
        let (all, memory, end) = settle(&policy, last.replicas, work, last.memory.clone(), now);
        let (reached, wanted) = (all[all.len() - 1], policy.limit(work));
        prop_assert_eq!(reached, wanted, "{:?}", all);
        prop_assert!(all.is_sorted() || all.is_sorted_by(|a, b| a >= b), "it goes to and fro: {:?}", all);
        let (windows, periods) = (policy.up.window + policy.down.window, policy.up.period + policy.down.period);
        // A step goes one worker at least.
        let bound = windows + (periods + 2) * (Seconds::from(wanted.abs_diff(last.replicas)) + 1);
        prop_assert!(end - now <= bound, "it took {} s and not {bound} s", end - now);

        for later in [1, 5, 60, 100_000] {
            let sight = Sight { now: end + later, current: reached, demand: load(work, reached), cooldown_until: None };
            let decision = decide(&policy, &sight, &memory);
            prop_assert_eq!((decision.replicas, decision.again), (reached, None));
            prop_assert_eq!(&decision.memory, &memory, "the status would be written again");
        }
    }

    #[test]
    fn it_goes_down_to_no_less_than_was_wanted_within_the_window(
        policy in policy(), start in 0..80_u32, mut story in story(),
    ) {
        // Workers that somebody else adds meanwhile were never wanted.
        for (.., set) in &mut story {
            *set = None;
        }
        let decisions = tell(&policy, start, &story, |memory, _| memory);
        let mut now = 0;
        let mut wanted: Vec<(Seconds, u32)> = Vec::new();
        for ((seconds, demand, _), (current, decision)) in story.iter().zip(&decisions) {
            now += seconds;
            // A number was wanted until the next was.
            if demand.is_some() {
                if let Some(last) = wanted.last_mut() {
                    last.0 = now;
                }
                wanted.push((now, decision.wanted));
            }
            let within = wanted.iter().filter(|(until, _)| until + policy.down.window > now);
            let most = within.map(|(_, wanted)| *wanted).max().unwrap_or(decision.wanted);
            let outside = policy.limit(*current) != *current;
            prop_assert!(
                outside || decision.replicas >= *current || decision.replicas >= most,
                "from {current} to {} though {most} were wanted", decision.replicas
            );
        }
    }

    #[test]
    fn nothing_is_scaled_during_a_cool_down(policy in policy(), current in 0..80_u32, demand in any_demand()) {
        let sight = Sight { now: 1000, current, demand, cooldown_until: Some(1001) };
        let decision = decide(&policy, &sight, &Memory::default());
        prop_assert_eq!((decision.replicas, decision.again), (current, Some(1001)));
        let sight = Sight { cooldown_until: Some(1000), ..sight };
        let over = decide(&policy, &sight, &Memory::default());
        let without = decide(&policy, &Sight { cooldown_until: None, ..sight }, &Memory::default());
        prop_assert_eq!(over, without);
    }
}
