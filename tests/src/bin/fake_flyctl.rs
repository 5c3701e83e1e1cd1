//! Stands in for flyctl, so far as `deploy/fly.sh` calls it. Called as `curl`, it is a relay that is ready.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is this program's purpose")]

use std::env;
use std::path::Path;
use std::process::ExitCode;

use system_tests::fake_flyctl;

fn main() -> ExitCode {
    let mut arguments = env::args();
    let name = arguments.next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == "curl") {
        println!(r#"{{"status":"ok"}}"#);
        return ExitCode::SUCCESS;
    }
    let words: Vec<String> = arguments.collect();
    match fake_flyctl::call(&words) {
        Ok(told) => {
            print!("{told}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
