//! What people see in a browser, besides the console.

mod admin;
