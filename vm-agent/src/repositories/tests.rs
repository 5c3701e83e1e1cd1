use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use super::*;
use crate::git::testing::{SEED, Volume, contents, git, write};
use crate::supervise::confinement::AgentUser;

#[tokio::test]
async fn a_clone_holds_the_files_of_origin_and_becomes_current() -> anyhow::Result<()> {
    let volume = Volume::with_origin()?;
    assert!(volume.repositories.current().await?.is_none() && volume.repositories.list().await?.is_empty());
    let repository = volume.repositories.clone_url(&volume.origin_url(), UrlTrust::Operator).await?;
    assert_eq!(repository.name(), "origin");
    for (path, text) in SEED {
        assert_eq!(fs::read_to_string(repository.worktree().join(path))?, *text, "{path}");
    }
    assert!(!repository.worktree().join(".git").exists());
    let config = fs::metadata(repository.git().git_dir().join("config"))?;
    assert_eq!(config.permissions().mode() & 0o777, 0o600);

    let restarted = Repositories::new(volume.path("data"), None, None);
    assert_eq!(restarted.current().await?.map(|it| it.name().to_owned()).as_deref(), Some("origin"));
    assert_eq!(restarted.list().await?, ["origin"]);
    Ok(())
}

#[tokio::test]
async fn a_second_clone_of_the_same_takes_up_what_is_new_and_loses_nothing() -> anyhow::Result<()> {
    let (volume, repository) = Volume::with_clone().await?;
    write(repository.worktree(), "mine.txt", "untracked\n")?;
    volume.commit_at_origin("main", "src/main.rs", "fn main() { new() }\n")?;
    let again = volume.repositories.clone_url(&format!("{}/", volume.origin_url()), UrlTrust::Operator).await?;
    assert_eq!(again.name(), "origin");
    assert_eq!(fs::read_to_string(again.worktree().join("src/main.rs"))?, "fn main() { new() }\n");

    write(repository.worktree(), "src/lib.rs", "edited here\n")?;
    volume.commit_at_origin("main", "src/lib.rs", "edited there\n")?;
    volume.commit_at_origin("main", "mine.txt", "there too\n")?;
    let before = contents(repository.worktree())?;
    volume.repositories.clone_url(&volume.origin_url(), UrlTrust::Operator).await?;
    assert_eq!(contents(repository.worktree())?, before);
    assert_eq!(volume.repositories.list().await?, ["origin"]);
    Ok(())
}

#[tokio::test]
async fn a_run_begins_where_origin_is_and_origin_is_not_asked_for_each() -> anyhow::Result<()> {
    let (volume, repository) = Volume::with_clone().await?;
    volume.commit_at_origin("main", "src/main.rs", "fn main() { new() }\n")?;
    repository.ask_origin().await?;
    repository.follow_origin().await?;
    assert_eq!(fs::read_to_string(repository.worktree().join("src/main.rs"))?, "fn main() { new() }\n");
    volume.commit_at_origin("main", "src/main.rs", "fn main() { newer() }\n")?;
    repository.ask_origin().await?;
    repository.follow_origin().await?;
    assert_eq!(fs::read_to_string(repository.worktree().join("src/main.rs"))?, "fn main() { new() }\n", "a moment ago");

    fs::rename(volume.path("origin.git"), volume.path("gone.git"))?;
    let restarted = Repositories::new(volume.path("data"), None, None);
    let repository = restarted.current().await?.expect("it is there");
    assert!(matches!(repository.ask_origin().await, Err(GitError::Failed { .. })));
    assert_eq!(fs::read_to_string(repository.worktree().join("src/main.rs"))?, "fn main() { new() }\n");
    Ok(())
}

/// What a kill in the middle of it leaves: the note, some files new, the index old or new, the branch where it was.
#[tokio::test]
async fn taking_up_what_is_new_is_finished_after_a_kill() -> anyhow::Result<()> {
    for (removed, index) in [(false, "HEAD"), (true, "refs/remotes/origin/main")] {
        let (volume, repository) = Volume::with_clone().await?;
        let git_dir = repository.git().git_dir().to_owned();
        write(repository.worktree(), "mine.txt", "untracked\n")?;
        let head = git(&git_dir, &["rev-parse", "HEAD"])?;
        fs::remove_file(volume.path("seed/docs/a.txt"))?;
        volume.commit_at_origin("main", "src/main.rs", "fn main() { new() }\n")?;
        volume.commit_at_origin("main", "src/added.rs", "new\n")?;
        repository.ask_origin().await?;
        let upstream = git(&git_dir, &["rev-parse", "refs/remotes/origin/main"])?;
        let note = format!("main\n{}\n{}\n", head.trim(), upstream.trim());
        fs::write(volume.path("data/repos/origin/following"), note)?;
        write(repository.worktree(), "src/added.rs", "new\n")?;
        git(&git_dir, &["read-tree", index])?;
        if removed {
            fs::remove_file(repository.worktree().join("docs/a.txt"))?;
        }

        let restarted = Repositories::new(volume.path("data"), None, None);
        let repository = restarted.current().await?.expect("it is there");
        let read = |path: &str| fs::read_to_string(repository.worktree().join(path));
        assert_eq!(read("src/main.rs")?, "fn main() { new() }\n");
        assert_eq!((read("src/added.rs")?, read("mine.txt")?), ("new\n".to_owned(), "untracked\n".to_owned()));
        assert!(read("docs/a.txt").is_err(), "gone at origin");
        assert_eq!(git(&git_dir, &["rev-parse", "HEAD"])?, upstream);
        assert!(!volume.path("data/repos/origin/following").exists());
        assert_eq!(git(&git_dir, &["--work-tree=../tree", "status", "--porcelain"])?.trim(), "?? mine.txt");
    }
    Ok(())
}

/// A folder that is a file now, or a link that leads out, and a file that is a folder: what was in their place goes, and nothing behind
/// the link does.
#[tokio::test]
async fn what_origin_has_turned_into_something_else_is_finished_and_nothing_outside_is_touched() -> anyhow::Result<()> {
    let (volume, repository) = Volume::with_clone().await?;
    let git_dir = repository.git().git_dir().to_owned();
    let head = git(&git_dir, &["rev-parse", "HEAD"])?;
    fs::create_dir(volume.path("outside"))?;
    fs::write(volume.path("outside/a.txt"), "somebody else's")?;
    fs::remove_dir_all(volume.path("seed/docs"))?;
    std::os::unix::fs::symlink(volume.path("outside"), volume.path("seed/docs"))?;
    fs::remove_dir_all(volume.path("seed/src"))?;
    fs::write(volume.path("seed/src"), "a file\n")?;
    fs::remove_file(volume.path("seed/README.md"))?;
    volume.commit_at_origin("main", "README.md/in", "a folder\n")?;
    repository.ask_origin().await?;
    let upstream = git(&git_dir, &["rev-parse", "refs/remotes/origin/main"])?;
    let note = format!("main\n{}\n{}\n", head.trim(), upstream.trim());
    fs::write(volume.path("data/repos/origin/following"), note)?;

    let restarted = Repositories::new(volume.path("data"), None, None);
    let repository = restarted.current().await?.expect("it is there");
    assert_eq!(fs::read_to_string(volume.path("outside/a.txt"))?, "somebody else's");
    assert_eq!(fs::read_to_string(repository.worktree().join("src"))?, "a file\n");
    assert_eq!(fs::read_to_string(repository.worktree().join("README.md/in"))?, "a folder\n");
    assert_eq!(git(&git_dir, &["rev-parse", "HEAD"])?, upstream);
    assert!(!volume.path("data/repos/origin/following").exists());
    assert_eq!(git(&git_dir, &["--work-tree=../tree", "status", "--porcelain"])?.trim(), "");
    Ok(())
}

/// As on a full disk: git leaves off in the middle, at a file whose content it cannot have.
#[tokio::test]
async fn what_could_not_be_taken_up_wholly_is_finished_before_anything_works_on_it() -> anyhow::Result<()> {
    let (volume, repository) = Volume::with_clone().await?;
    let git_dir = repository.git().git_dir().to_owned();
    for (path, text) in
        [("README.md", "# New\n"), ("added.txt", "new and long\n"), ("src/main.rs", "fn main() { new() }\n")]
    {
        volume.commit_at_origin("main", path, text)?;
    }
    repository.ask_origin().await?;
    let blob = git(&git_dir, &["rev-parse", "refs/remotes/origin/main:src/main.rs"])?;
    let object = git_dir.join("objects").join(&blob[..2]).join(blob[2..].trim());
    fs::rename(&object, volume.path("aside"))?;
    assert!(matches!(repository.follow_origin().await, Err(GitError::Failed { .. })));
    let read = |path: &str| fs::read_to_string(repository.worktree().join(path));
    assert_eq!(read("added.txt")?, "new and long\n", "half of it is there");
    assert!(volume.path("data/repos/origin/following").exists());
    assert!(repository.snapshot().await.is_err() && repository.checkout("other", true).await.is_err());

    write(repository.worktree(), "README.md", "worked on since\n")?;
    write(repository.worktree(), "added.txt", "new an")?;
    fs::rename(volume.path("aside"), &object)?;
    repository.snapshot().await?;
    assert_eq!(read("src/main.rs")?, "fn main() { new() }\n");
    assert_eq!((read("README.md")?, read("added.txt")?), ("worked on since\n".into(), "new and long\n".into()));
    let head = git(&git_dir, &["rev-parse", "HEAD"])?;
    assert_eq!(head, git(&git_dir, &["rev-parse", "refs/remotes/origin/main"])?);
    assert!(!volume.path("data/repos/origin/following").exists());
    Ok(())
}

/// A fetch that nobody waits for any more is not met by another one, and does not outlive the process.
#[tokio::test]
async fn one_fetch_of_a_repository_goes_on_at_a_time_and_ends_with_the_process() -> anyhow::Result<()> {
    let (volume, repository) = Volume::with_clone().await?;
    let slow = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/origin.git", slow.local_addr()?);
    git(repository.git().git_dir(), &["config", "remote.origin.url", &url])?;
    let mut first = tokio::select! {
        asked = repository.ask_origin() => panic!("nobody has answered: {asked:?}"),
        called = slow.accept() => called?.0,
    };
    tokio::select! {
        fetched = repository.fetch() => panic!("the first one goes on: {fetched:?}"),
        _ = slow.accept() => panic!("two fetches at a time"),
        () = tokio::time::sleep(Duration::from_millis(700)) => {}
    }
    volume.repositories.shut_down().await;
    let mut asked = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut first, &mut asked);
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("the first one is broken off")?;
    Ok(())
}

#[tokio::test]
async fn repositories_of_one_name_lie_side_by_side() -> anyhow::Result<()> {
    let (volume, _first) = Volume::with_clone().await?;
    git(&volume.path(""), &["clone", "-q", "--bare", "origin.git", "bob/origin.git"])?;
    let bobs = volume.path("bob/origin.git").display().to_string();
    let second = volume.repositories.clone_url(&bobs, UrlTrust::Operator).await?;
    assert_eq!(second.name(), "bob-origin");
    assert_eq!(volume.repositories.list().await?, ["bob-origin", "origin"]);
    assert_eq!(volume.repositories.clone_url(&bobs, UrlTrust::Operator).await?.name(), "bob-origin");
    assert_eq!(volume.repositories.switch("origin").await?.name(), "origin");
    assert_eq!(volume.repositories.current().await?.map(|it| it.name().to_owned()).as_deref(), Some("origin"));
    for bad in ["absent", "", "..", "../data", ".current", "/"] {
        assert!(matches!(volume.repositories.switch(bad).await, Err(GitError::NotFound(_))), "{bad}");
    }
    Ok(())
}

#[tokio::test]
async fn a_clone_that_fails_or_was_cut_off_leaves_nothing() -> anyhow::Result<()> {
    let volume = Volume::with_origin()?;
    let missing = volume.path("missing.git").display().to_string();
    let failed = volume.repositories.clone_url(&missing, UrlTrust::Operator).await;
    assert!(matches!(&failed, Err(GitError::Invalid(text)) if text.contains("missing.git")), "{failed:?}");
    assert!(volume.repositories.current().await?.is_none());
    assert_eq!(fs::read_dir(volume.path("data/repos"))?.count(), 0);

    write(&volume.path("data/repos/.cloning"), "git/objects/half", "x")?;
    volume.repositories.clone_url(&volume.origin_url(), UrlTrust::Operator).await?;
    assert!(!volume.path("data/repos/.cloning").exists());
    let refused = volume.repositories.clone_url(&volume.origin_url(), UrlTrust::Person).await;
    assert!(matches!(refused, Err(GitError::Invalid(_))), "a person cannot name a path of this machine");
    Ok(())
}

#[tokio::test]
async fn an_empty_repository_can_be_worked_on() -> anyhow::Result<()> {
    let volume = Volume::with_origin()?;
    git(&volume.path(""), &["init", "-q", "--bare", "-b", "trunk", "empty.git"])?;
    let url = volume.path("empty.git").display().to_string();
    let repository = volume.repositories.clone_url(&url, UrlTrust::Operator).await?;
    let before = repository.snapshot().await?;
    assert_eq!((before.base.as_ref(), before.branch.as_str()), (None, "trunk"));
    repository.prepare_for_agent().await?;
    write(repository.worktree(), "first", "x")?;
    assert_eq!(repository.changes(&before).await?.map(|changes| changes.stat.files), Some(1));
    repository.restore(&before).await?;
    assert!(contents(repository.worktree())?.is_empty());
    Ok(())
}

#[tokio::test]
async fn an_origin_with_a_detached_head_gets_a_branch_here() -> anyhow::Result<()> {
    let volume = Volume::with_origin()?;
    volume.commit_at_origin("main", "README.md", "newer\n")?;
    let old = volume.origin(&["rev-parse", "main~1"])?.trim().to_owned();
    volume.origin(&["update-ref", "--no-deref", "HEAD", &old])?;
    let repository = volume.repositories.clone_url(&volume.origin_url(), UrlTrust::Operator).await?;
    let branch = format!("detached-{}", &old[..7]);
    let branches = repository.branches().await?;
    assert_eq!((branches.current.as_str(), branches.others), (branch.as_str(), vec!["main".to_owned()]));
    let before = repository.snapshot().await?;
    assert_eq!((before.base.as_ref().map(ToString::to_string), &before.branch), (Some(old), &branch));
    repository.prepare_for_agent().await?;
    assert_eq!(fs::read_to_string(repository.worktree().join("README.md"))?, "# Sample\n");
    volume.repositories.clone_url(&volume.origin_url(), UrlTrust::Operator).await?;
    repository.checkout("main", false).await?;
    assert_eq!(fs::read_to_string(repository.worktree().join("README.md"))?, "newer\n");
    repository.checkout(&branch, false).await?;
    Ok(())
}

#[tokio::test]
async fn locks_of_a_git_that_was_killed_are_removed_at_the_next_start() -> anyhow::Result<()> {
    let (volume, repository) = Volume::with_clone().await?;
    let git_dir = repository.git().git_dir();
    let locks = [
        git_dir.join("index.lock"),
        git_dir.join("refs/heads/main.lock"),
        git_dir.join("refs/textslash/snapshot.lock"),
        git_dir.with_file_name("snapshot.index.lock"),
        git_dir.with_file_name("scratch.tree.index.lock"),
    ];
    fs::create_dir_all(git_dir.join("refs/textslash"))?;
    for lock in &locks {
        fs::write(lock, "")?;
    }
    assert!(repository.snapshot().await.is_err(), "a lock is respected while the process lives");
    let restarted = Repositories::new(volume.path("data"), None, None);
    let repository = restarted.require("origin").await?;
    let before = repository.snapshot().await?;
    write(repository.worktree(), "new", "x")?;
    assert!(repository.changes(&before).await?.is_some());
    repository.checkout("other", true).await?;
    Ok(())
}

#[tokio::test]
async fn the_worktree_is_handed_to_the_agents_user() -> anyhow::Result<()> {
    let volume = Volume::with_origin()?;
    let agent = AgentUser { uid: 1777, gid: 1777 };
    let repositories = Repositories::new(volume.path("data"), None, Some(agent));
    let repository = repositories.clone_url(&volume.origin_url(), UrlTrust::Operator).await?;
    let before = repository.snapshot().await?;
    if !rustix::process::geteuid().is_root() {
        assert!(repository.prepare_for_agent().await.is_err(), "only root may give files away");
        return Ok(());
    }
    let outside = volume.path("outside");
    fs::write(&outside, "")?;
    fs::hard_link(&outside, repository.worktree().join("hard"))?;
    std::os::unix::fs::symlink(&outside, repository.worktree().join("soft"))?;
    repository.prepare_for_agent().await?;
    for path in ["", "src", "src/main.rs", "soft", ".git", ".git/HEAD", ".git/objects"] {
        assert_eq!(fs::symlink_metadata(repository.worktree().join(path))?.uid(), 1777, "{path}");
    }
    assert_eq!(fs::metadata(&outside)?.uid(), 0, "a file that may lie outside is not given away");
    assert_eq!(fs::metadata(repository.git().git_dir())?.uid(), 0);
    write(repository.worktree(), "README.md", "changed")?;
    repository.restore(&before).await?;
    Ok(())
}
