//! Closed sets of label values, and a row of counters with one for each value, held by handle.

use std::marker::PhantomData;

use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

/// A closed set of label values.
pub(crate) trait Label: Copy + Send + Sync + 'static {
    /// The label's name.
    const NAME: &'static str;
    const ALL: &'static [Self];

    fn word(self) -> &'static str;
    /// The value's place in `ALL`.
    fn place(self) -> usize;
}

/// Declares a closed set: its values, the label's name and the word of each value.
macro_rules! label {
    (
        $(#[doc = $about:literal])+
        $label:ident = $name:literal { $($(#[doc = $doc:literal])* $value:ident = $word:literal,)+ }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $label { $($(#[doc = $doc])* $value,)+ }

        impl $crate::metrics::label::Label for $label {
            const NAME: &'static str = $name;
            const ALL: &'static [$label] = &[$($label::$value),+];

            fn word(self) -> &'static str {
                match self { $($label::$value => $word,)+ }
            }

            fn place(self) -> usize {
                self as usize
            }
        }
    };
}

pub(crate) use label;

/// One instrument for each value of a label.
#[derive(Debug)]
pub(crate) struct Each<L, M> {
    row: Box<[M]>,
    label: PhantomData<L>,
}

pub(crate) type Counters<L> = Each<L, Counter>;
pub(crate) type Gauges<L> = Each<L, Gauge>;

impl<L: Label, M: Metric + TypedMetric + Clone + Default> Each<L, M> {
    pub(crate) fn register(registry: &mut Registry, name: &str, help: &str) -> Each<L, M> {
        let family: Family<[(&'static str, &'static str); 1], M> = Family::default();
        let series = |value: &L| family.get_or_create_owned(&[(L::NAME, value.word())]);
        let row = L::ALL.iter().map(series).collect();
        registry.register(name, help, family.clone());
        Each {
            row,
            label: PhantomData,
        }
    }

    pub(crate) fn of(&self, value: L) -> &M {
        &self.row[value.place()]
    }
}

/// One counter for each pair of values of two labels.
#[derive(Debug)]
pub(crate) struct Pairs<A, B> {
    row: Box<[Counter]>,
    labels: PhantomData<(A, B)>,
}

impl<A: Label, B: Label> Pairs<A, B> {
    pub(crate) fn register(registry: &mut Registry, name: &str, help: &str) -> Pairs<A, B> {
        let family: Family<[(&'static str, &'static str); 2], Counter> = Family::default();
        let mut row = Vec::with_capacity(A::ALL.len() * B::ALL.len());
        for a in A::ALL {
            for b in B::ALL {
                row.push(family.get_or_create_owned(&[(A::NAME, a.word()), (B::NAME, b.word())]));
            }
        }
        registry.register(name, help, family);
        Pairs {
            row: row.into(),
            labels: PhantomData,
        }
    }

    pub(crate) fn of(&self, a: A, b: B) -> &Counter {
        &self.row[a.place() * B::ALL.len() + b.place()]
    }
}
