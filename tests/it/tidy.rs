//! Style as a test: what a reader is promised of files and documents.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use system_tests::pictures::{DOCUMENTED, Documented};

const FILE_LINES_MAX: usize = 500;
const ARCHITECTURE_LINES_MAX: usize = 200;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files that git tracks, or would, whose name ends so.
fn files(ending: &str) -> Vec<String> {
    let listed = Command::new("git")
        .arg("-C")
        .arg(root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .expect("git is installed");
    let listed = String::from_utf8(listed.stdout).expect("names are text");
    listed.lines().filter(|name| name.ends_with(ending) && root().join(name).is_file()).map(str::to_owned).collect()
}

/// What the page on security names is there to be run.
#[test]
fn every_test_that_the_page_on_security_names_exists() {
    let page = read("docs/security.md");
    let table = page.split("## Attacks, and what stops them").nth(1).and_then(|rest| rest.split("\n## ").next());
    let code: String = files(".rs").iter().map(|path| read(path)).collect();
    let names = table.expect("the table").split('`').skip(1).step_by(2).filter(|name| name.contains('_'));
    let missing: Vec<&str> = names.filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn no_file_is_too_long_to_read() {
    let sources = files(".rs");
    assert!(sources.len() > 100, "found too few files: {}", sources.len());
    for file in sources {
        let lines = read(&file).lines().count();
        assert!(lines <= FILE_LINES_MAX, "{file} has {lines} lines");
    }
    assert!(read("ARCHITECTURE.md").lines().count() <= ARCHITECTURE_LINES_MAX);
}

#[test]
fn every_variable_is_in_the_readme_and_every_one_there_is_read() {
    let quoted = |text: &str, mark: char| -> BTreeSet<String> {
        let is_name = |word: &&str| {
            word.len() > 3 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_') && word.contains(['_', 'M'])
        };
        text.split(mark).filter(is_name).map(str::to_owned).collect()
    };
    let code = |path: &str| quoted(read(path).split("mod tests").next().unwrap_or_default(), '"');
    let mut known = code("relay-http/src/config.rs");
    known.extend(code("relay-http/src/config/fly.rs"));
    known.extend(code("relay-http/src/config/links.rs"));
    known.extend(code("relay-http/src/config/twilio.rs"));
    known.extend(code("relay-core/src/telemetry/logs.rs"));
    known.extend(code("relay-core/src/telemetry/traces.rs"));
    known.extend(code("vm-agent/src/config.rs"));
    let readme = read("README.md");
    for name in &known {
        let mut rows = readme.lines().filter(|line| line.starts_with("| `"));
        assert!(rows.any(|row| row.contains(&format!("`{name}`"))), "{name} is not in the README's tables");
    }
    known.insert("RUST_LOG".to_owned());
    for line in readme.lines().filter(|line| line.starts_with("| `")) {
        let first = line.split('`').nth(1).unwrap_or_default();
        if first.contains('_') && first == first.to_uppercase() {
            assert!(known.contains(first), "{first} is in the README, but nobody reads it");
        }
    }
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    for file in files(".md") {
        let folder: PathBuf = Path::new(&file).parent().unwrap_or(Path::new("")).to_owned();
        for link in read(&file).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if path.is_empty() || link.contains("://") || link.contains(' ') {
                continue;
            }
            assert!(root().join(&folder).join(path).exists(), "{file} points to {link}");
        }
    }
}

/// Nothing else is shown, so nothing goes out of date unseen.
#[test]
fn every_picture_is_shown_in_a_document_and_drawn_by_a_test() {
    let shown: BTreeSet<String> = files(".png").into_iter().filter(|path| path.starts_with("docs/images/")).collect();
    let listed = DOCUMENTED.iter().map(|picture| format!("docs/images/{}.png", picture.name)).collect();
    assert_eq!(shown, listed, "what is in docs/images, and what tests/src/pictures.rs lists");
    let documents: String = files(".md").iter().map(|path| read(path)).collect();
    let code: String =
        files(".rs").iter().filter(|path| path.starts_with("tests/it/")).map(|path| read(path)).collect();
    for Documented { name, test, .. } in DOCUMENTED {
        assert!(documents.contains(&format!("images/{name}.png")), "no document shows {name}.png");
        assert!(code.contains(&format!("async fn {test}(")), "{name}.png is drawn by no test: there is no {test}");
    }
}

#[test]
fn no_test_is_forgotten() {
    for crate_tests in ["tests/it", "relay-core/tests/it", "vm-agent/tests/it"] {
        let main = read(&format!("{crate_tests}/main.rs"));
        for entry in fs::read_dir(root().join(crate_tests)).expect("a folder of tests").filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") {
                assert!(main.contains(&format!("mod {module};")), "{crate_tests}/{name} is not in main.rs");
            }
        }
    }
}
