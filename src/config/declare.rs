//! One declaration makes a key: its field, how it is read, and its row in `config show`. What it means stands in
//! [`reference`](super::reference).
//!
//! ```text
//! settings! {
//!     /// How much work clients can cause.
//!     pub struct Limits(at) {
//!         /// Unknown modules in flight.
//!         "concurrency" => concurrency: Said<usize> = at.count(64, 1..=10_000);
//!     }
//!     also {}
//! }
//! ```
//!
//! `at` is where the loader stands: at this key of this section. `also` holds fields that are no keys.

/// Declares a section of the configuration: a struct, its `read` and its [`Entries`](super::show::Entries).
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $name:ident($at:ident $(, $argument:ident: $argument_type:ty)*) {
            $( $(#[$key_meta:meta])* $key:literal => $field:ident: $type:ty = $read:expr; )*
        }
        also {
            $( $(#[$other_meta:meta])* $other:ident: $other_type:ty = $make:expr; )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $( $(#[$key_meta])* pub $field: $type, )*
            $( $(#[$other_meta])* pub $other: $other_type, )*
        }

        impl $name {
            /// Reads the section; later keys may have defaults that depend on earlier ones.
            pub(in crate::config) fn read(
                $at: &mut $crate::config::loader::At<'_, '_>
                $(, $argument: $argument_type)*
            ) -> $name {
                $(
                    $at.key = $key;
                    let $field: $type = $read;
                )*
                $( let $other: $other_type = $make; )*
                $name { $($field,)* $($other,)* }
            }
        }

        impl $crate::config::show::Entries for $name {
            fn entries(&self, path: &str, found: &mut Vec<$crate::config::show::Entry>) {
                let dot = if path.is_empty() { "" } else { "." };
                $( self.$field.entries(&format!("{path}{dot}{}", $key), found); )*
            }
        }
    };
}

pub(super) use settings;
