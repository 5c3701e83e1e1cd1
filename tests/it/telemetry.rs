//! What the programs tell of themselves.

mod traces;
