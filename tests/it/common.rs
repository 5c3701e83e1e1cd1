//! What several tests look at from outside.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use system_tests::process::descendants_alive;
use system_tests::stack::{BOUND, Stack, git};
use system_tests::wait::wait_for;

/// Every file below `directory` but the agent's own `.git`: path, permissions and content, and every folder.
pub(crate) fn contents(directory: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder").filter_map(Result::ok) {
            let path = entry.path();
            let relative = path.strip_prefix(directory).expect("below the directory").to_owned();
            if relative == Path::new(".git") {
                continue;
            }
            let metadata = fs::symlink_metadata(&path).expect("a file that is there");
            let content = if metadata.is_dir() {
                folders.push(path);
                Vec::new()
            } else if metadata.is_symlink() {
                fs::read_link(&path).expect("a link").into_os_string().into_encoded_bytes()
            } else {
                fs::read(&path).expect("a readable file")
            };
            found.insert(relative, (metadata.permissions().mode(), content));
        }
    }
    found
}

/// The one branch that a run pushed to `origin`, and its tree.
pub(crate) fn pushed(origin: &Path) -> Option<(String, String)> {
    let branches = git(origin, &["for-each-ref", "--format=%(refname:short)", "refs/heads/textslash/"]);
    let branch = branches.lines().next()?.to_owned();
    assert_eq!(branches.lines().count(), 1, "one run pushes one branch: {branches}");
    let tree = git(origin, &["rev-parse", &format!("{branch}^{{tree}}")]);
    Some((branch, tree))
}

/// The tree that the latest buttons stand for.
pub(crate) fn shown_tree(entries: &[serde_json::Value]) -> String {
    let payload = entries.iter().rev().find_map(|entry| entry["choice"]["approve"].as_str());
    payload.and_then(|payload| payload.rsplit(':').next()).expect("a message with a choice").to_owned()
}

/// Every live process of a stack's runs: the environment of each names the folder of its run, whoever its parent is by now.
pub(crate) fn processes_of_runs(stack: &Stack) -> Vec<String> {
    descendants_alive(&format!("{}/vm/runs/", stack.folder().display()))
}

/// Wait until no run has a process.
pub(crate) async fn no_process_left(stack: &Stack) {
    wait_for("every process of the runs to be gone", BOUND, async || {
        let alive = processes_of_runs(stack);
        if alive.is_empty() { Ok(()) } else { Err(alive) }
    })
    .await;
}
