//! Enums of reasons, which users see as one word in CamelCase in conditions, events and metrics.

/// Defines an enum of reasons, and the word of each for users. Variants after `containing` have the words of another enum.
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
/// assert_eq!(StartReason::all().len(), 2);
/// ```
#[macro_export]
macro_rules! reasons {
    (
        $(#[$meta:meta])*
        $visibility:vis enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident => $word:literal,)+
        } $(containing {
            $($(#[$nested_meta:meta])* $nested:ident($type:ty),)+
        })?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $name {
            $($(#[$variant_meta])* $variant,)+
            $($($(#[$nested_meta])* $nested($type),)+)?
        }

        impl $name {
            /// Returns all reasons.
            #[must_use]
            #[allow(dead_code)] // Only tests of the documentation list the reasons.
            $visibility fn all() -> Vec<Self> {
                let all = vec![$(Self::$variant),+];
                $($(let all = [all, <$type>::all().into_iter().map(Self::$nested).collect()].concat();)+)?
                all
            }

            /// Returns the reason as users see it: one word in CamelCase.
            #[must_use]
            $visibility fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                    $($(Self::$nested(reason) => reason.as_str(),)+)?
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
