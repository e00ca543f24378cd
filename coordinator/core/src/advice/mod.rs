//! What to change, with evidence.
