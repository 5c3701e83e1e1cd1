//! What the relay serves to browsers and tools.

mod stream;
