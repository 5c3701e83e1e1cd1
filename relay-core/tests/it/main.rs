//! Tests of the core from outside: the store contract, the machine against its model, the simulated world.

mod machine_props;
mod redis;
mod sim;
mod store;
