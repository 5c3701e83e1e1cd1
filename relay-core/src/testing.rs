//! What tests of the store and of the whole share: the conformance suite, a store that fails by seed, and a simulated
//! world of relays, VMs and people.

pub mod conformance;
pub mod faulty;
pub mod sim;
