//! What the relay serves to browsers and tools, besides the console.

mod admin;
mod review;
mod stream;
