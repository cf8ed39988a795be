//! Enums of what users see as one word: types and reasons of conditions, and values of labels of metrics.

/// Defines an enum of reasons, and the word of each for users. Variants after `containing` have the words of another enum.
///
/// The doc comment of a variant is also its description. Of a reason of a condition, it is part of
/// `docs/reference/conditions.md`: it says what the reason means, and what to do.
///
/// ```
/// dask_operator_core::reasons! {
///     /// Reason why a file can't be read.
///     pub enum FileReason {
///         /// There is no such file.
///         Missing => "FileMissing",
///     }
/// }
///
/// dask_operator_core::reasons! {
///     /// Reason why a program can't be started.
///     pub enum StartReason {
///         /// The program is not executable.
///         NotExecutable => "NotExecutable",
///     } containing {
///         /// The program can't be read.
///         File(FileReason),
///     }
/// }
///
/// assert_eq!(StartReason::File(FileReason::Missing).as_str(), "FileMissing");
/// assert_eq!(StartReason::File(FileReason::Missing).description(), "There is no such file.");
/// assert_eq!(StartReason::all().len(), 2);
/// ```
#[macro_export]
macro_rules! reasons {
    (
        $(#[$meta:meta])*
        $visibility:vis enum $name:ident {
            $($(#[doc = $description:literal])+ $variant:ident => $word:literal,)+
        } $(containing {
            $($(#[doc = $nested_description:literal])+ $nested:ident($type:ty),)+
        })?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $name {
            $($(#[doc = $description])+ $variant,)+
            $($($(#[doc = $nested_description])+ $nested($type),)+)?
        }

        impl $name {
            /// Returns all reasons.
            #[must_use]
            #[allow(dead_code)] // Only the documentation lists all reasons of some enums.
            $visibility fn all() -> Vec<Self> {
                let all = vec![$(Self::$variant),+];
                $($(let all = [all, <$type>::all().into_iter().map(Self::$nested).collect()].concat();)+)?
                all
            }

            /// Returns the reason as users see it: one word.
            #[must_use]
            $visibility fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                    $($(Self::$nested(reason) => reason.as_str(),)+)?
                }
            }

            /// Returns the description for users: the doc comment of the reason.
            #[must_use]
            #[allow(dead_code)] // The documentation describes the reasons of some enums only.
            $visibility fn description(self) -> &'static str {
                match self {
                    // Each line of a doc comment begins with a space.
                    $(Self::$variant => concat!($($description),+).trim_start(),)+
                    $($(Self::$nested(reason) => reason.description(),)+)?
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
