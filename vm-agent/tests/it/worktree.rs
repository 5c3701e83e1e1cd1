//! The worktree, as a person looks into it.

use relay_core::protocol::worktree::{DIRECTORY_CONTENT_TYPE, Directory, EntryKind};
use reqwest::StatusCode;

use crate::support::vm::Vm;

#[tokio::test]
async fn the_worktree_can_be_looked_into_by_whoever_signs_and_nothing_else_can() {
    let vm = Vm::demo().await;
    vm.prompt_for_changes(1, "write hello.txt").await;
    let at = |path: &str| format!("/worktree?path={path}");
    let listed = vm.send("GET", "/worktree", Vec::new()).await;
    assert_eq!(
        (listed.status(), &listed.headers()["content-type"]),
        (StatusCode::OK, &DIRECTORY_CONTENT_TYPE.parse().unwrap())
    );
    let listed: Directory = listed.json().await.unwrap();
    let hello = listed.entries.iter().find(|entry| entry.name == "hello.txt").unwrap();
    assert_eq!((hello.kind, hello.bytes), (EntryKind::File, 18));
    assert!(listed.entries.iter().all(|entry| entry.name != ".git"), "{listed:?}");
    let read = vm.send("GET", &at("hello.txt"), Vec::new()).await;
    assert_eq!(read.headers()["content-type"], "application/octet-stream");
    assert_eq!(read.text().await.unwrap(), "- write hello.txt\n");
    for bad in ["..%2Fgit%2Fconfig", ".git%2Fconfig", "%2Fetc%2Fpasswd", "missing"] {
        assert!(vm.send("GET", &at(bad), Vec::new()).await.status().is_client_error(), "{bad}");
    }
    assert_eq!(vm.send_signed("GET", &at("hello.txt"), Vec::new(), None).await.status(), StatusCode::UNAUTHORIZED);
    // What is signed is the path with what is asked for.
    let other = relay_core::protocol::signature::sign(
        crate::support::vm::SECRET.as_bytes(),
        vm_agent::clock::now(),
        "GET",
        "/worktree",
        b"",
    );
    let status = vm.send_signed("GET", &at("hello.txt"), Vec::new(), Some(&other)).await.status();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}
