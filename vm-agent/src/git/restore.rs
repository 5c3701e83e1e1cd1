//! Putting the worktree back: all of it, or the paths of a diff.
//!
//! The worktree is read again, compared with what it is to be, and only the differences are touched: wrong things are
//! removed first, then directories, links and files are made anew, so that nothing is ever written through a link that
//! a run left behind. Every step can be repeated after a crash. No process of the run may be alive; a full restore
//! reads the worktree once more at the end and fails if it is not as it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use relay_core::id::{RunId, TreeHash};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::manifest::{Entry, Manifest};
use super::park::before_ref;
use super::repository::Repository;
use super::snapshot::Snapshot;
use super::{GitError, ObjectId, WORKTREE_TIMEOUT, blocking};

/// Which entries may be touched.
enum Scope {
    All,
    /// These, what is below them, and the directories above them.
    Paths(BTreeSet<PathBuf>),
}

impl Scope {
    fn holds(&self, path: &Path) -> bool {
        match self {
            Self::All => true,
            Self::Paths(paths) => {
                path.ancestors().any(|above| paths.contains(above))
                    || paths.range(path.to_owned()..).next().is_some_and(|next| next.starts_with(path))
            }
        }
    }
}

/// What has to be done, in this order.
#[derive(Default)]
struct Plan {
    /// Deepest first, each with whether it goes with all it holds. Another directory that is not empty by then holds
    /// what is out of scope, and stays.
    remove: Vec<(PathBuf, bool)>,
    /// Shallowest first.
    directories: Vec<PathBuf>,
    links: Vec<(PathBuf, std::ffi::OsString)>,
    files: Vec<(PathBuf, u32, ObjectId)>,
    modes: Vec<(PathBuf, u32)>,
}

impl Repository {
    /// Make the worktree what it was at `before`, whatever was done to it since: contents, links, modes and empty
    /// directories of tracked, untracked and ignored files; nested repositories that were made since go, with their
    /// `.git`. The agent's own `.git` is thrown away. Not restored: times, owners, and pipes or sockets that are gone.
    pub async fn restore(&self, before: &Snapshot) -> Result<(), GitError> {
        let _turn = self.turn().await;
        self.discard_agent_git().await?;
        let was = self.manifest_of(before).await?;
        let now = self.capture().await?;
        self.apply(&now, &was, &Scope::All).await?;
        let reached = self.capture().await?;
        let still_wrong = changed_entries(&reached, &was, &Scope::All).next().map(|path| path.display().to_string());
        match still_wrong {
            None => Ok(()),
            Some(path) => Err(GitError::Invalid(format!(
                "The files were put back, but `{path}` changed again meanwhile. Something may still be writing to the repository."
            ))),
        }
    }

    /// Make the paths of the diff that was shown, from `before`'s commit to `tree`, what they were at `before`: the way
    /// the worktree is left once the work is on a branch. Ignored files, and empty directories, that the run made stay
    /// where they are. The agent's own `.git` is thrown away.
    pub async fn restore_shown(&self, before: &Snapshot, tree: &TreeHash) -> Result<(), GitError> {
        let _turn = self.turn().await;
        self.discard_agent_git().await?;
        let base_tree = self.base_tree(before).await?;
        let shown = Scope::Paths(self.differing_paths(base_tree.as_str(), tree.as_str()).await?);
        let was = self.manifest_of(before).await?;
        let now = self.capture().await?;
        self.apply(&now, &was, &shown).await
    }

    /// Put the work of the parked `run`, on the local `branch`, into the worktree again. Refused, with nothing touched,
    /// when a file that it changes is no longer as it was when the work was parked.
    pub async fn bring_back(&self, run: &RunId, branch: &str) -> Result<(), GitError> {
        let _turn = self.turn().await;
        let gone =
            || GitError::NotFound(format!("Nothing is kept of run {}: there is no branch `{branch}`.", run.number()));
        let commit = self.resolve(&format!("refs/heads/{branch}^{{commit}}")).await?.ok_or_else(gone)?;
        let was = self.resolve(&before_ref(branch)).await?.ok_or_else(gone)?;
        let shown = self.differing_paths(was.as_str(), commit.as_str()).await?;
        let (was, kept) = (self.tree_entries(&was).await?, self.tree_entries(&commit).await?);
        let now = self.capture().await?;
        if let Some(conflict) = conflict(&now, &was, &kept, &shown) {
            return Err(GitError::Invalid(format!(
                "The work of run {} was not brought back: `{}` has changed since. The work is safe on the branch `{branch}`.",
                run.number(),
                conflict.display()
            )));
        }
        let mut wanted = now.clone();
        wanted.0.retain(|path, entry| {
            let changed = shown.contains(path) && !matches!(entry, Entry::Directory { .. });
            let replaced = path.ancestors().any(|above| shown.contains(above) && kept.contains_key(above));
            !changed && !replaced
        });
        for path in &shown {
            if let Some((mode, blob)) = kept.get(path) {
                wanted.0.insert(path.clone(), self.entry(mode, blob).await?);
            }
        }
        self.apply(&now, &wanted, &Scope::Paths(shown)).await
    }

    async fn entry(&self, mode: &str, blob: &ObjectId) -> Result<Entry, GitError> {
        Ok(match mode {
            "120000" => {
                let target = self.git().call("cat-file").args(["blob", blob.as_str()]).output().await?;
                let target = std::os::unix::ffi::OsStringExt::from_vec(target);
                Entry::Link { target, blob: Some(blob.clone()) }
            }
            "100755" => Entry::File { mode: 0o755, blob: blob.clone() },
            "100644" => Entry::File { mode: 0o644, blob: blob.clone() },
            _ => Entry::Directory { mode: 0o755 },
        })
    }

    /// Turn what is in `scope` from `now` into `wanted`.
    async fn apply(&self, now: &Manifest, wanted: &Manifest, scope: &Scope) -> Result<(), GitError> {
        let failed = || GitError::io("The files could not be put back");
        let Plan { remove, directories, links, files, modes } = plan(now, wanted, scope);
        let root = self.worktree().to_owned();
        blocking(move || {
            remove.iter().try_for_each(|(path, whole)| remove_entry(&root.join(path), *whole)).map_err(failed())?;
            directories.iter().try_for_each(|path| make_directory(&root, path)).map_err(failed())?;
            links.iter().try_for_each(|(path, target)| make_link(&root, path, target)).map_err(failed())
        })
        .await?;
        self.write_files(files).await?;
        let root = self.worktree().to_owned();
        blocking(move || {
            let set =
                |(path, mode): &(PathBuf, u32)| fs::set_permissions(root.join(path), Permissions::from_mode(*mode));
            modes.iter().try_for_each(set).map_err(failed())
        })
        .await
    }

    /// Write files that are not there, each from its content in git's store, by one git that hands them out in turn.
    async fn write_files(&self, files: Vec<(PathBuf, u32, ObjectId)>) -> Result<(), GitError> {
        if files.is_empty() {
            return Ok(());
        }
        let failed = GitError::io("The files could not be put back");
        let mut git = self.git().call("cat-file").arg("--batch").spawn()?;
        let (Some(mut asks), Some(answers)) = (git.stdin.take(), git.stdout.take()) else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        let mut answers = BufReader::new(answers);
        let work = async {
            for (path, mode, blob) in &files {
                asks.write_all(format!("{blob}\n").as_bytes()).await?;
                let mut head = String::new();
                answers.read_line(&mut head).await?;
                let size = head.trim_end().strip_prefix(&format!("{blob} blob ")).and_then(|size| size.parse().ok());
                let size: u64 =
                    size.ok_or_else(|| io::Error::other(format!("a content is missing: {}", head.trim_end())))?;
                make_parents(self.worktree(), path)?;
                let path = self.worktree().join(path);
                // Made new and never through a link: what was there before is removed.
                let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
                let mut file = tokio::fs::File::from_std(file);
                let written = tokio::io::copy(&mut (&mut answers).take(size), &mut file).await?;
                file.flush().await?;
                let newline = answers.read_u8().await?;
                if written != size || newline != b'\n' {
                    return Err(io::Error::other("a content is incomplete"));
                }
                fs::set_permissions(&path, Permissions::from_mode(*mode))?;
            }
            Ok(())
        };
        match tokio::time::timeout(WORKTREE_TIMEOUT, work).await {
            Ok(done) => done.map_err(failed),
            Err(_) => Err(GitError::TimedOut { what: "cat-file", limit: WORKTREE_TIMEOUT }),
        }
    }
}

fn plan(now: &Manifest, wanted: &Manifest, scope: &Scope) -> Plan {
    let mut plan = Plan::default();
    for path in changed_entries(now, wanted, scope) {
        let (is, should) = (now.0.get(path), wanted.0.get(path));
        let stays = matches!((is, should), (Some(Entry::Directory { .. }), Some(Entry::Directory { .. })));
        let chmod =
            matches!((is, should), (Some(Entry::File { blob: is, .. }), Some(Entry::File { blob, .. })) if is == blob);
        if is.is_some() && !stays && !chmod {
            plan.remove.push((path.clone(), is == Some(&Entry::Special)));
        }
        match should {
            Some(Entry::Directory { mode }) => {
                if !stays {
                    plan.directories.push(path.clone());
                }
                plan.modes.push((path.clone(), *mode));
            }
            Some(Entry::File { mode, .. }) if chmod => plan.modes.push((path.clone(), *mode)),
            Some(Entry::File { mode, blob }) => plan.files.push((path.clone(), *mode, blob.clone())),
            Some(Entry::Link { target, .. }) => plan.links.push((path.clone(), target.clone())),
            Some(Entry::Special) | None => {}
        }
    }
    plan.remove.reverse();
    plan
}

/// The paths in `scope` at which the two differ, a directory before what it holds. A pipe or socket that is gone does
/// not count, as it cannot be made again.
fn changed_entries<'a>(
    now: &'a Manifest,
    wanted: &'a Manifest,
    scope: &'a Scope,
) -> impl Iterator<Item = &'a PathBuf> + use<'a> {
    let paths: BTreeSet<&PathBuf> = now.0.keys().chain(wanted.0.keys()).collect();
    paths.into_iter().filter(|path| {
        let (is, should) = (now.0.get(*path), wanted.0.get(*path));
        is != should && !(is.is_none() && should == Some(&Entry::Special)) && scope.holds(path)
    })
}

/// The first of the paths that the kept work changes at which the worktree is neither as it was before that work nor as
/// the work left it.
fn conflict<'a>(
    now: &'a Manifest,
    was: &BTreeMap<PathBuf, (String, ObjectId)>,
    kept: &BTreeMap<PathBuf, (String, ObjectId)>,
    shown: &'a BTreeSet<PathBuf>,
) -> Option<&'a Path> {
    let recorded = |side: &BTreeMap<PathBuf, (String, ObjectId)>, path: &Path| {
        side.get(path).filter(|(mode, _)| mode != "160000").map(|(mode, blob)| (mode.clone(), blob.clone()))
    };
    shown.iter().map(PathBuf::as_path).find(|path| {
        let is = now.0.get(*path).and_then(Entry::recorded).map(|(mode, blob)| (mode.to_owned(), blob.clone()));
        let expected = is == recorded(was, path) || is == recorded(kept, path);
        let below = now.0.range(path.to_path_buf()..).skip_while(|(other, _)| other.as_path() == *path);
        let mut below = below.take_while(|(other, _)| other.starts_with(path));
        let buries = kept.contains_key(*path)
            && below.any(|(other, entry)| !matches!(entry, Entry::Directory { .. }) && !shown.contains(other));
        let blocked = path.ancestors().skip(1).any(|above| {
            let in_the_way = now.0.get(above).is_some_and(|entry| !matches!(entry, Entry::Directory { .. }));
            in_the_way && !shown.contains(above)
        });
        !expected || buries || blocked
    })
}

/// Remove what is at `path`. A directory that still holds something stays, unless the `whole` of it is to go.
fn remove_entry(path: &Path, whole: bool) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let removed = match (metadata.is_dir(), whole) {
        (true, true) => fs::remove_dir_all(path),
        (true, false) => fs::remove_dir(path),
        (false, _) => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => other,
    }
}

/// Make the directories above `path`, where something else stands in the place of one, instead of it.
fn make_parents(root: &Path, path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => make_directory(root, parent),
        _ => Ok(()),
    }
}

/// From the top down: what is above `path` is a real directory by the time that `path` itself is looked at.
fn make_directory(root: &Path, path: &Path) -> io::Result<()> {
    make_parents(root, path)?;
    let absolute = root.join(path);
    match fs::symlink_metadata(&absolute) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => fs::remove_file(&absolute)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    DirBuilder::new().mode(0o755).create(&absolute)
}

fn make_link(root: &Path, path: &Path, target: &std::ffi::OsStr) -> io::Result<()> {
    make_parents(root, path)?;
    symlink(target, root.join(path))
}
