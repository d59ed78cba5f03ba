//! One macro, so that a key's type, default and reason stand together and are written once.

/// What a person is told about a key: its name and the lines of its reason.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyDoc {
    pub(crate) name: &'static str,
    pub(crate) lines: &'static [&'static str],
}

/// Declares a section: the struct, its defaults, and the reasons as data for the shipped file.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $section:ident {
            $(
                $(#[doc = $line:literal])+
                $(#[serde($($serde:tt)+)])?
                pub $key:ident: $type:ty = $default:expr,
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $section {
            $(
                $(#[doc = $line])+
                $(#[serde($($serde)+)])?
                pub $key: $type,
            )+
        }

        #[cfg(test)]
        impl $section {
            pub(crate) const ABOUT: &'static [&'static str] = &[$($about),+];
            pub(crate) const KEYS: &'static [$crate::section::KeyDoc] = &[
                $($crate::section::KeyDoc { name: stringify!($key), lines: &[$($line),+] },)+
            ];
        }

        impl Default for $section {
            fn default() -> $section {
                $section { $($key: $default,)+ }
            }
        }
    };
}

pub(crate) use section;
