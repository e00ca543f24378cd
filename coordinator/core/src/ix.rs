//! Dense indices of what the core keeps in tables.
//!
//! Ids from outside are looked up once per event; inside, things are named by the place they have in their table. An
//! index is valid only as long as the thing it names.

use std::fmt;

macro_rules! index {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub u32);

        impl $type {
            /// As an index of a slice.
            #[must_use]
            pub const fn at(self) -> usize {
                self.0 as usize
            }
        }

        impl From<usize> for $type {
            /// Tables are bounded far below `u32::MAX`; what lies above is a defect and saturates.
            fn from(at: usize) -> Self {
                Self(u32::try_from(at).unwrap_or(u32::MAX))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

index!(
    /// An agent in the agent table.
    AgentIx
);
index!(
    /// A task in the table of live tasks.
    TaskIx
);
index!(
    /// A class of tasks with the same kind and requirements.
    ClassIx
);
