//! The review page: a diff to be read on a phone and decided on, for whoever has its signed link.
//!
//! What is shown was made by the VM and lies in the store in parts. A page reads the index and the parts whose rows it shows, and
//! no others, so what it costs does not grow with the diff.

mod changed;
mod colour;
mod diff;
mod languages;
mod page;
mod paint;
mod read;
pub(crate) mod signs;
mod standing;

pub use diff::fragment;
pub use page::{Notice, Shown, answered, notice, page};
pub use read::{Stretch, Subject, index, picture, stretch};
pub use standing::Standing;
