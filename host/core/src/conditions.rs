//! Types of the conditions that only the host writes.

/// A component trapped, exceeded a limit or failed otherwise.
pub const PLUGIN_FAILED: &str = "PluginFailed";

/// Children of a kind that the component declares can't be listed.
pub const KIND_NOT_LISTED: &str = "KindNotListed";

/// The component's plan violated a rule, or a policy did not permit it.
pub const PLAN_REFUSED: &str = "PlanRefused";

/// The API server refused what was planned.
pub const APPLY_FAILED: &str = "ApplyFailed";

/// The resource is invalid until a user changes it.
pub const SPEC_INVALID: &str = "SpecInvalid";

/// A policy in monitor mode would not have permitted the plan as it is.
pub const POLICY_VIOLATED: &str = "PolicyViolated";

/// Types of the conditions that the host writes, and that no plan may contain. They are present while there is a problem, and
/// removed afterwards.
pub const OF_HOST: [&str; 6] = [
    PLUGIN_FAILED,
    KIND_NOT_LISTED,
    PLAN_REFUSED,
    APPLY_FAILED,
    SPEC_INVALID,
    POLICY_VIOLATED,
];
