//! Running it for real: what brings it to where it runs, tried without an account anywhere.

mod fly_sh;
