//! Property tests of decisions for arbitrary policies, groups and loads.

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

/// Returns the demand for this number of busy workers if all requested workers have registered.
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

/// A sequence of events: seconds that pass, the demand, and a number of workers that a user sets.
type Events = Vec<(Seconds, Option<Demand>, Option<u32>)>;

fn events() -> impl Strategy<Value = Events> {
    let step = (
        0..40_i64,
        any_demand(),
        proptest::option::weighted(0.05, 0..80_u32),
    );
    proptest::collection::vec(step, 1..60)
}

/// Decides for each event. Returns the present number of workers before each decision, and the decision.
fn decide_all(
    policy: &Policy,
    current: u32,
    events: &Events,
    mut carry_over: impl FnMut(DecisionState, u32) -> DecisionState,
) -> Vec<(u32, Decision)> {
    let (mut now, mut current, mut state) = (1_767_225_600, current, DecisionState::default());
    let mut decisions = Vec::new();
    for (seconds, demand, set) in events {
        now += seconds;
        current = set.unwrap_or(current);
        let input = Input {
            now,
            current,
            demand: *demand,
            cooldown_until: None,
        };
        let decision = decide(policy, &input, &state);
        state = carry_over(decision.state.clone(), current);
        decisions.push((current, decision.clone()));
        current = decision.replicas;
    }
    decisions
}

/// Decides under a constant load, at the times that the decisions request, until no change is left.
fn settle(
    policy: &Policy,
    start: u32,
    work: u32,
    state: DecisionState,
    now: Seconds,
) -> (Vec<u32>, DecisionState, Seconds) {
    let (mut now, mut state, mut all) = (now, state, vec![start]);
    for _ in 0..5000 {
        let current = all[all.len() - 1];
        let input = Input {
            now,
            current,
            demand: load(work, current),
            cooldown_until: None,
        };
        let decision = decide(policy, &input, &state);
        state = decision.state;
        all.push(decision.replicas);
        match decision.next_at {
            Some(next_at) => {
                assert!(next_at > now, "the next decision would be immediate");
                now = next_at;
            }
            None if decision.replicas == current => return (all, state, now),
            // The changed group triggers a new decision.
            None => now += 1,
        }
    }
    panic!("{all:?} does not settle");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn stays_within_minimum_and_maximum(policy in policy(), start in 0..80_u32, events in events()) {
        for (_, decision) in decide_all(&policy, start, &events, |state, _| state) {
            prop_assert!((policy.minimum..=policy.maximum).contains(&decision.replicas), "{decision:?}");
        }
    }

    #[test]
    fn steps_within_the_limits_respect_the_maximum_step(policy in policy(), start in 0..80_u32, events in events()) {
        for (current, decision) in decide_all(&policy, start, &events, |state, _| state) {
            let pace = if decision.replicas > current { &policy.up } else { &policy.down };
            let outside = policy.limit(current) != current;
            prop_assert!(outside || decision.replicas.abs_diff(current) <= pace.step.of(current), "{decision:?}");
        }
    }

    #[test]
    fn the_state_is_small(policy in policy(), start in 0..80_u32, events in events()) {
        for (_, decision) in decide_all(&policy, start, &events, |state, _| state) {
            let DecisionState { higher, lower, .. } = &decision.state;
            prop_assert!(higher.len().max(lower.len()) <= history::CAPACITY);
            prop_assert!(higher.is_empty() || lower.is_empty());
        }
    }

    #[test]
    fn a_restart_changes_nothing(policy in policy(), start in 0..80_u32, events in events()) {
        let through = decide_all(&policy, start, &events, |state, current| status::reread(&state, current));
        prop_assert_eq!(through, decide_all(&policy, start, &events, |state, _| state));
    }

    #[test]
    fn nothing_changes_before_the_requested_time(
        policy in policy(), start in 0..80_u32, events in events(), part in 0.0..1.0_f64,
    ) {
        let decisions = decide_all(&policy, start, &events, |state, _| state);
        let now: Seconds = 1_767_225_600 + events.iter().map(|(seconds, ..)| seconds).sum::<Seconds>();
        if let (Some((current, last)), Some((_, demand, _))) = (decisions.last(), events.last())
            && *current == last.replicas
            && last.wait.as_ref().is_none_or(|wait| !matches!(wait, Wait::Starting { .. }))
        {
            let span = last.next_at.map_or(10_000, |next_at| next_at - now - 1);
            let later = now + (span as f64 * part) as Seconds;
            let input = Input { now: later, current: *current, demand: *demand, cooldown_until: None };
            let decision = decide(&policy, &input, &last.state);
            prop_assert_eq!((decision.replicas, &decision.wait, decision.next_at), (last.replicas, &last.wait, last.next_at));
            // An entry that leaves the window while the next step waits may be removed earlier.
            if !matches!(last.wait, Some(Wait::Period { .. })) {
                prop_assert_eq!(&decision.state, &last.state);
            }
        }
    }

    #[test]
    fn reaches_a_constant_load_monotonically_in_bounded_time(
        policy in policy(), start in 0..80_u32, events in events(), work in 0..80_u32,
    ) {
        // An arbitrary history.
        let before = decide_all(&policy, start, &events, |state, _| state);
        let (_, last) = &before[before.len() - 1];
        let now: Seconds = 1_767_225_600 + events.iter().map(|(seconds, ..)| seconds).sum::<Seconds>();
        let (all, state, end) = settle(&policy, last.replicas, work, last.state.clone(), now);
        let (reached, wanted) = (all[all.len() - 1], policy.limit(work));
        prop_assert_eq!(reached, wanted, "{:?}", all);
        prop_assert!(all.is_sorted() || all.is_sorted_by(|a, b| a >= b), "it oscillates: {:?}", all);
        let (windows, periods) = (policy.up.window + policy.down.window, policy.up.period + policy.down.period);
        // Each step changes at least one worker.
        let bound = windows + (periods + 2) * (Seconds::from(wanted.abs_diff(last.replicas)) + 1);
        prop_assert!(end - now <= bound, "it took {} s and not {bound} s", end - now);

        for later in [1, 5, 60, 100_000] {
            let input = Input { now: end + later, current: reached, demand: load(work, reached), cooldown_until: None };
            let decision = decide(&policy, &input, &state);
            prop_assert_eq!((decision.replicas, decision.next_at), (reached, None));
            prop_assert_eq!(&decision.state, &state, "the status would be written again");
        }
    }

    #[test]
    fn scales_down_to_no_less_than_was_wanted_within_the_window(
        policy in policy(), start in 0..80_u32, mut events in events(),
    ) {
        // Workers that a user adds were never wanted.
        for (.., set) in &mut events {
            *set = None;
        }
        let decisions = decide_all(&policy, start, &events, |state, _| state);
        let mut now = 0;
        let mut wanted: Vec<(Seconds, u32)> = Vec::new();
        for ((seconds, demand, _), (current, decision)) in events.iter().zip(&decisions) {
            now += seconds;
            // A number was wanted until the next one was.
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
    fn scales_nothing_during_a_cool_down(policy in policy(), current in 0..80_u32, demand in any_demand()) {
        let input = Input { now: 1000, current, demand, cooldown_until: Some(1001) };
        let decision = decide(&policy, &input, &DecisionState::default());
        prop_assert_eq!((decision.replicas, decision.next_at), (current, Some(1001)));
        let input = Input { cooldown_until: Some(1000), ..input };
        let over = decide(&policy, &input, &DecisionState::default());
        let without = decide(&policy, &Input { cooldown_until: None, ..input }, &DecisionState::default());
        prop_assert_eq!(over, without);
    }
}
