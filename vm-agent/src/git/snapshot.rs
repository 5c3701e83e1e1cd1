//! What a run changed: the worktree before it, the worktree after it, and of the difference the part that a commit
//! takes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use relay_core::id::TreeHash;
use relay_core::protocol::changed::Beside;
use relay_core::protocol::{ChangedFiles, DIFF_BYTES_MAX, DiffStat};
use relay_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::capture::{path_list, split_once};
use super::changed_files::beside;
use super::manifest::{Entry, Manifest, Recorded, zero_terminated};
use super::repository::Repository;
use super::{Call, Git, GitError, ObjectId};
use crate::clock;

/// The mode that a tree has for a submodule.
const SUBMODULE: &str = "160000";
/// Where the newest snapshot is found, which keeps its contents from being pruned.
const NEWEST: &str = "refs/textslash/snapshot";
/// The file whose age tells when contents were pruned last.
const PRUNED: &str = "textslash-pruned";
/// How often pruning is worth its time.
const PRUNE_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// Loose objects, in one of git's 256 directories of them, that are many enough to prune.
const LOOSE_OBJECTS_MANY: usize = 100;
/// Age of the contents that pruning may take: far above the time that any decision is waited for.
const PRUNE_EXPIRY: &str = "--expire=7.days.ago";

/// A file that is larger is not looked through for lines: the diff says that it differs, and no more.
pub(super) const DIFFED_BYTES_MAX: u64 = 1024 * 1024;

/// Everything about a worktree at one moment: the commit it was based on, and every file, link, mode and empty
/// directory in it, ignored ones too (not the agent's own `.git`). The contents lie in git's store; this names them,
/// and is small.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The commit that was checked out; none when the branch has none yet.
    pub base: Option<ObjectId>,
    /// The branch that was checked out.
    pub branch: String,
    /// A tree that holds the manifest and keeps every content.
    pub root: ObjectId,
    /// When it was taken, which is also the date of a commit made of it.
    pub taken_at: Timestamp,
}

/// What a run changed of the files that a commit takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// The base commit's tree with the run's changes in it: exactly what an approval commits.
    pub tree: TreeHash,
    /// What the diff touches.
    pub stat: DiffStat,
    /// The unified diff from the base commit's tree to `tree`, cut at [`DIFF_BYTES_MAX`].
    pub diff: String,
    /// True when `diff` was cut.
    pub diff_cut: bool,
    /// The same, file by file, and what has changed beside it.
    pub files: ChangedFiles,
}

impl Repository {
    /// Keep the worktree as it is, once it is no mixture. No run may be at work.
    pub async fn snapshot(&self) -> Result<Snapshot, GitError> {
        let _turn = self.turn().await;
        self.finish_following().await?;
        self.prune_when_many().await?;
        let manifest = self.capture().await?;
        // Here and below all run to their ends: a git that is killed leaves its locks.
        let (root, base, branch) = tokio::join!(self.keep(&manifest), self.resolve("HEAD^{commit}"), self.branch());
        Ok(Snapshot { base: base?, branch: branch?, root: root?, taken_at: clock::now() })
    }

    /// What changed since `before`; none when nothing did that a commit would take.
    ///
    /// Taken: every changed file that `before.base` knows, and every new or changed one that no `.gitignore` excludes
    /// (the rules as the run left them). Left out: ignored files, files that are not committed and were not touched,
    /// the insides of submodules, empty directories, modes other than *executable*. The files of a repository that the
    /// run made inside this one are files like all others; its `.git` is not.
    pub async fn changes(&self, before: &Snapshot) -> Result<Option<Changes>, GitError> {
        Ok(self.changes_and_beside(before).await?.0)
    }

    /// The same, and what has changed beside that: of it nothing is told otherwise where a commit would take nothing.
    pub async fn changes_and_beside(&self, before: &Snapshot) -> Result<(Option<Changes>, Vec<Beside>), GitError> {
        let _turn = self.turn().await;
        let (was, now, base_tree) = tokio::join!(self.manifest_of(before), self.capture(), self.base_tree(before));
        let (was, now, base_tree) = (was?, now?, base_tree?);
        if was == now {
            return Ok((None, Vec::new()));
        }
        let base = self.tree_entries(&base_tree).await?;
        let is_submodule = |path: &Path| base.get(path).is_some_and(|(mode, _)| mode == SUBMODULE);
        let beside = beside(&was, &now, is_submodule);
        let changed = changed_paths(&was, &now);
        let taken = self.without_ignored(changed, &now, &base).await?;
        let edits = taken.into_iter().map(|path| (path, now.0.get(path).and_then(Entry::recorded))).collect();
        let tree = self.edit_tree(&base_tree, &edits).await?;
        if tree == base_tree {
            return Ok((None, beside));
        }
        let (diff, diff_cut) = self.diff(&base_tree, &tree).await?;
        let mut files = self.changed_files(&base_tree, &tree, &diff, diff_cut).await?;
        files.beside.clone_from(&beside);
        let stat = self.diff_stat(&base_tree, &tree).await?;
        let tree = TreeHash::parse(tree.as_str()).map_err(|_| unexpected("write-tree"))?;
        Ok((Some(Changes { tree, stat, diff: text_of(&diff), diff_cut, files }), beside))
    }

    /// The entries that `snapshot` holds.
    pub(super) async fn manifest_of(&self, snapshot: &Snapshot) -> Result<Manifest, GitError> {
        let name = format!("{}:manifest", snapshot.root);
        let bytes = self.git().call("cat-file").args(["blob", &name]).output().await?;
        Manifest::decode(&bytes).ok_or_else(|| unexpected("cat-file"))
    }

    /// The tree of the snapshot's commit, or the empty one.
    pub(super) async fn base_tree(&self, snapshot: &Snapshot) -> Result<ObjectId, GitError> {
        match &snapshot.base {
            Some(base) => self.git().call("rev-parse").args(["--verify", &format!("{base}^{{tree}}")]).object().await,
            None => self.git().call("mktree").object().await,
        }
    }

    /// The tree `base` with `edits` in it: a path with what it is to hold, or with nothing to take it out.
    pub(super) async fn edit_tree(
        &self,
        base: &ObjectId,
        edits: &BTreeMap<&Path, Option<Recorded<'_>>>,
    ) -> Result<ObjectId, GitError> {
        let git = self.scratch_index("tree.index").await?;
        git.call("read-tree").arg(base.as_str()).output().await?;
        let (mut gone, mut present) = (Vec::new(), Vec::new());
        for (path, recorded) in edits {
            let path = path.as_os_str().as_bytes();
            match recorded {
                Some((mode, blob)) => {
                    present.extend_from_slice(format!("{mode} {blob}\t").as_bytes());
                    present.extend_from_slice(path);
                    present.push(0);
                }
                None => gone.extend_from_slice(&[path, b"\0"].concat()),
            }
        }
        git.call("update-index").args(["--force-remove", "-z", "--stdin"]).stdin(gone).output().await?;
        git.call("update-index").args(["--add", "--replace", "-z", "--index-info"]).stdin(present).output().await?;
        git.call("write-tree").object().await
    }

    /// Git with an empty index that serves one operation.
    async fn scratch_index(&self, name: &str) -> Result<Git, GitError> {
        let index = self.scratch(name);
        match tokio::fs::remove_file(&index).await {
            Err(failure) if failure.kind() != std::io::ErrorKind::NotFound => {
                Err(GitError::io("A file of the last operation could not be removed")(failure))
            }
            _ => Ok(self.git().with_index(index)),
        }
    }

    /// What the commit or tree holds, with each path's mode and content.
    pub(super) async fn tree_entries(
        &self,
        tree: &ObjectId,
    ) -> Result<BTreeMap<PathBuf, (String, ObjectId)>, GitError> {
        let listing = self.git().call("ls-tree").args(["-r", "-z", "--full-tree", tree.as_str()]).output().await?;
        zero_terminated(&listing)
            .map(|line| {
                let (head, path) = split_once(line, b'\t')?;
                let mut words = std::str::from_utf8(head).ok()?.split(' ');
                let (mode, _kind, object) = (words.next()?, words.next()?, words.next()?);
                Some((PathBuf::from(OsStr::from_bytes(path)), (mode.to_owned(), ObjectId::parse(object)?)))
            })
            .collect::<Option<_>>()
            .ok_or_else(|| unexpected("ls-tree"))
    }

    /// The paths in which two trees differ.
    pub(super) async fn differing_paths(&self, one: &str, other: &str) -> Result<BTreeSet<PathBuf>, GitError> {
        let listing = compare(self.git(), &["--name-only", "-z", "--no-renames"], one, other).output().await?;
        Ok(zero_terminated(&listing).map(|path| PathBuf::from(OsStr::from_bytes(path))).collect())
    }

    async fn keep(&self, manifest: &Manifest) -> Result<ObjectId, GitError> {
        let git = self.git();
        let memory = git.with_index(self.snapshot_index());
        let listing = git.call("hash-object").args(["-w", "--no-filters", "--stdin"]).stdin(manifest.encode());
        // Contents that the index cannot hold are kept by this tree of numbered files.
        let aside: String = manifest
            .0
            .iter()
            .filter_map(|(path, entry)| match entry {
                Entry::File { blob, .. } if !super::capture::is_recordable(path, false) => Some(blob),
                _ => None,
            })
            .enumerate()
            .map(|(number, blob)| format!("100644 blob {blob}\t{number}\n"))
            .collect();
        let aside = async {
            // Seldom, and every run waits for each of these calls.
            if aside.is_empty() { Ok(None) } else { git.call("mktree").stdin(aside).object().await.map(Some) }
        };
        let (files, listing, aside) = tokio::join!(memory.call("write-tree").object(), listing.object(), aside);
        let (files, listing, aside) = (files?, listing?, aside?);
        let aside = aside.map(|aside| format!("040000 tree {aside}\taside\n")).unwrap_or_default();
        let root = format!("{aside}040000 tree {files}\tfiles\n100644 blob {listing}\tmanifest\n");
        let root = git.call("mktree").stdin(root).object().await?;
        git.call("update-ref").args([NEWEST, root.as_str()]).output().await?;
        Ok(root)
    }

    /// Of `changed`, what a commit takes.
    async fn without_ignored<'a>(
        &self,
        mut changed: BTreeSet<&'a Path>,
        now: &Manifest,
        base: &BTreeMap<PathBuf, (String, ObjectId)>,
    ) -> Result<BTreeSet<&'a Path>, GitError> {
        let in_submodule = |path: &Path| {
            path.ancestors().skip(1).any(|above| base.get(above).is_some_and(|(mode, _)| mode == SUBMODULE))
        };
        changed.retain(|path| !in_submodule(path));
        let new: Vec<PathBuf> = changed
            .iter()
            .filter(|path| !base.contains_key(**path) && now.0.contains_key(**path))
            .map(|path| path.to_path_buf())
            .collect();
        if new.is_empty() {
            return Ok(changed);
        }
        let call = self.git().call("check-ignore").args(["-z", "--stdin", "--no-index"]).stdin(path_list(&new));
        let outcome = call.outcome().await?;
        if !matches!(outcome.code, Some(0 | 1)) || outcome.cut {
            return Err(GitError::Failed { what: "check-ignore", complaint: outcome.complaint });
        }
        for ignored in zero_terminated(&outcome.stdout) {
            changed.remove(Path::new(OsStr::from_bytes(ignored)));
        }
        Ok(changed)
    }

    /// The diff as git writes it, whole lines of it, and whether it was cut.
    async fn diff(&self, base: &ObjectId, tree: &ObjectId) -> Result<(Vec<u8>, bool), GitError> {
        let call = compare(self.git(), &["--patch"], base.as_str(), tree.as_str());
        let outcome = call.bytes_max(DIFF_BYTES_MAX).outcome().await?;
        if outcome.code != Some(0) && !outcome.cut {
            return Err(GitError::Failed { what: "diff-tree", complaint: outcome.complaint });
        }
        let mut diff = outcome.stdout;
        // What stands for a byte that is no text is longer than the byte.
        let text = String::from_utf8_lossy(&diff);
        let cut = outcome.cut || text.len() > DIFF_BYTES_MAX;
        if cut {
            let end = text.floor_char_boundary(DIFF_BYTES_MAX);
            let lines = text[..end].matches('\n').count();
            let ends = diff.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
            // A diff of a single line has no end to be cut at.
            let end = ends.take(lines).last().unwrap_or_else(|| diff.len().min(DIFF_BYTES_MAX / 3));
            diff.truncate(end);
        }
        Ok((diff, cut))
    }

    pub(super) async fn diff_stat(&self, base: &ObjectId, tree: &ObjectId) -> Result<DiffStat, GitError> {
        let call = compare(self.git(), &["--shortstat"], base.as_str(), tree.as_str());
        let line = call.line().await?;
        let mut stat = DiffStat::default();
        for part in line.split(',') {
            let (number, what) = part.trim().split_once(' ').ok_or_else(|| unexpected("diff-tree"))?;
            let number = number.parse().map_err(|_| unexpected("diff-tree"))?;
            match what {
                what if what.starts_with("file") => stat.files = number,
                what if what.starts_with("insertion") => stat.insertions = number,
                _ => stat.deletions = number,
            }
        }
        Ok(stat)
    }

    /// Give back the space of old snapshots, once a day while there are many loose objects. Only what nothing refers
    /// to, and nothing wrote for days, goes; the index that remembers what was read counts as a reference.
    async fn prune_when_many(&self) -> Result<(), GitError> {
        // Names are spread evenly: one of the directories tells about all, as git's own rule has it.
        let sample = self.git().git_dir().join("objects/17");
        let many = std::fs::read_dir(sample).is_ok_and(|objects| objects.count() > LOOSE_OBJECTS_MANY);
        let marker = self.git().git_dir().join(PRUNED);
        let age = std::fs::metadata(&marker).and_then(|file| file.modified()).ok().and_then(|time| time.elapsed().ok());
        if many && age.is_none_or(|age| age > PRUNE_INTERVAL) {
            std::fs::write(&marker, b"").map_err(GitError::io("The volume could not be written"))?;
            self.git().with_index(self.snapshot_index()).call("prune").arg(PRUNE_EXPIRY).output().await?;
        }
        Ok(())
    }
}

pub(super) fn compare(git: &Git, how: &[&str], one: &str, other: &str) -> Call {
    git.call("diff-tree")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "core.bigFileThreshold")
        .env("GIT_CONFIG_VALUE_0", DIFFED_BYTES_MAX.to_string())
        .args(["-r", "--no-color", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all", "--find-copies"])
        .args(how)
        .args(["--end-of-options", one, other])
}

pub(super) fn unexpected(what: &'static str) -> GitError {
    GitError::Unexpected { what, why: "a line is malformed" }
}

/// A diff as text: what is no UTF-8 in it becomes replacement characters.
fn text_of(diff: &[u8]) -> String {
    String::from_utf8_lossy(diff).into_owned()
}

/// The paths at which git would record something else than before.
fn changed_paths<'a>(was: &'a Manifest, now: &'a Manifest) -> BTreeSet<&'a Path> {
    let recorded = |manifest: &'a Manifest, path: &Path| manifest.0.get(path).and_then(Entry::recorded);
    was.0
        .keys()
        .chain(now.0.keys())
        .map(PathBuf::as_path)
        .filter(|path| super::capture::is_recordable(path, false) && recorded(was, path) != recorded(now, path))
        .collect()
}
