//! A diff file by file, for people: what became of each, whether the diff shows it, and what has changed beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use relay_core::protocol::ChangedFiles;
use relay_core::protocol::changed::{
    Became, Beside, BesideKind, CHANGED_FILES_MAX, Change, ChangedFile, Content, PATH_CHARS_MAX, Sizes,
};
use std::os::unix::ffi::OsStrExt;

use super::capture::{is_recordable, split_once};
use super::manifest::{Manifest, zero_terminated};
use super::patch::{Part, parts};
use super::repository::Repository;
use super::snapshot::{compare, unexpected};
use super::{GitError, ObjectId};
use crate::text::{clip_start, visible};

/// A file as `diff-tree --raw` tells it.
pub(super) struct Raw<'a> {
    pub(super) modes: (&'a str, &'a str),
    pub(super) blobs: (&'a str, &'a str),
    pub(super) status: u8,
    pub(super) from: Option<&'a [u8]>,
    pub(super) path: &'a [u8],
}

/// What `diff-tree --numstat` counts; nothing of what is no text, or is too large.
pub(super) type Lines = Option<(u32, u32)>;

/// A file's part of a diff, as far as the diff holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Section {
    utf8: bool,
    cut: bool,
}

impl Repository {
    /// The files in which the trees differ. `diff` is their difference as git writes it, which may have been `cut`.
    pub(super) async fn changed_files(
        &self,
        base: &ObjectId,
        tree: &ObjectId,
        diff: &[u8],
        cut: bool,
    ) -> Result<ChangedFiles, GitError> {
        let listing = compare(self.git(), &["--raw", "--numstat", "-z"], base.as_str(), tree.as_str()).output().await?;
        let files = parse(&listing).ok_or_else(|| unexpected("diff-tree"))?;
        let total = files.len();
        let files = &files[..total.min(CHANGED_FILES_MAX)];
        let sizes = self.sizes(files).await?;
        let mut sections = sections(diff, cut).into_iter();
        let shown = files.iter().map(|(raw, lines)| {
            let before_and_after = Sizes { before: size(&sizes, raw.blobs.0), after: size(&sizes, raw.blobs.1) };
            // A file that became a link, or the reverse, is two parts: one is gone, one is new.
            let own: Vec<Section> = sections.by_ref().take(if raw.status == b'T' { 2 } else { 1 }).collect();
            let content = match lines {
                Some((insertions, deletions)) => {
                    let utf8 = own.iter().all(|section| section.utf8);
                    Content::Text { insertions: *insertions, deletions: *deletions, utf8 }
                }
                None if is_too_large(before_and_after) => Content::TooLarge(before_and_after),
                None => Content::Binary(before_and_after),
            };
            let is_whole = !own.is_empty() && own.iter().all(|section| !section.cut);
            ChangedFile { path: name(raw.path), change: raw.change(), content, became: raw.became(), cut: !is_whole }
        });
        let shown = shown.collect();
        let more = u32::try_from(total - files.len()).unwrap_or(u32::MAX);
        Ok(ChangedFiles { shown, more, beside: Vec::new() })
    }

    /// The sizes of the files that are not told in lines.
    pub(super) async fn sizes(&self, files: &[(Raw<'_>, Lines)]) -> Result<BTreeMap<String, u64>, GitError> {
        let untold = files.iter().filter(|(_, lines)| lines.is_none());
        let names: String =
            untold.flat_map(|(raw, _)| [raw.blobs.0, raw.blobs.1]).map(|blob| format!("{blob}\n")).collect();
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let call = self.git().call("cat-file").arg("--batch-check=%(objectname) %(objectsize)").stdin(names);
        let listing = call.line().await?;
        // One that is not there, as no file is, is told otherwise.
        let size =
            |line: &str| line.split_once(' ').and_then(|(blob, size)| Some((blob.to_owned(), size.parse().ok()?)));
        Ok(listing.lines().filter_map(size).collect())
    }
}

pub(super) fn size(sizes: &BTreeMap<String, u64>, blob: &str) -> Option<u64> {
    sizes.get(blob).copied()
}

pub(super) fn is_too_large(sizes: Sizes) -> bool {
    sizes.before.max(sizes.after) > Some(super::snapshot::DIFFED_BYTES_MAX)
}

/// A name for people.
fn name(path: &[u8]) -> String {
    clip_start(&visible(path), PATH_CHARS_MAX)
}

impl Raw<'_> {
    fn change(&self) -> Change {
        let from = self.from.map(name).unwrap_or_default();
        match self.status {
            b'A' => Change::Added,
            b'D' => Change::Deleted,
            b'R' => Change::Renamed { from },
            b'C' => Change::Copied { from },
            _ => Change::Changed,
        }
    }

    fn became(&self) -> Option<Became> {
        match self.modes {
            (before, after) if before == after => None,
            (_, "000000") | ("000000", "100644") => None,
            (_, "100755") => Some(Became::Executable),
            (_, "120000") => Some(Became::Link),
            ("100755", "100644") => Some(Became::NotExecutable),
            _ => Some(Became::File),
        }
    }
}

/// All files, as `--raw` and then `--numstat` list them in the same order.
pub(super) fn parse(listing: &[u8]) -> Option<Vec<(Raw<'_>, Lines)>> {
    let mut fields = zero_terminated(listing).peekable();
    let mut raws = Vec::new();
    while let Some(head) = fields.next_if(|field| field.starts_with(b":")) {
        let words: Vec<&str> = std::str::from_utf8(&head[1..]).ok()?.split(' ').collect();
        let &[mode_before, mode_after, before, after, status] = words.as_slice() else { return None };
        let status = *status.as_bytes().first()?;
        let from = if matches!(status, b'R' | b'C') { Some(fields.next()?) } else { None };
        let (modes, blobs) = ((mode_before, mode_after), (before, after));
        raws.push(Raw { modes, blobs, status, from, path: fields.next()? });
    }
    raws.into_iter()
        .map(|raw| {
            let (insertions, rest) = split_once(fields.next()?, b'\t')?;
            let (deletions, path) = split_once(rest, b'\t')?;
            if path.is_empty() {
                // Both names follow.
                fields.nth(1)?;
            }
            let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse().ok();
            Some((raw, number(insertions).zip(number(deletions))))
        })
        .collect()
}

fn sections(diff: &[u8], cut: bool) -> Vec<Section> {
    let mut sections = Vec::new();
    for part in parts(diff) {
        match (part, sections.last_mut()) {
            (Part::File(_), _) => sections.push(Section { utf8: true, cut: false }),
            (Part::Line { text, .. }, Some(section)) => section.utf8 &= std::str::from_utf8(text).is_ok(),
            _ => {}
        }
    }
    if let (Some(last), true) = (sections.last_mut(), cut) {
        last.cut = true;
    }
    sections
}

/// What differs between the manifests and is never part of a diff: by submodule, of which `is_submodule` knows, and by what git
/// keeps in a repository within this one.
pub(super) fn beside(was: &Manifest, now: &Manifest, is_submodule: impl Fn(&Path) -> bool) -> Vec<Beside> {
    let paths: BTreeSet<&PathBuf> = was.0.keys().chain(now.0.keys()).collect();
    let mut found: BTreeMap<(&Path, BesideKind), u32> = BTreeMap::new();
    for path in paths {
        let (before, after) = (was.0.get(path), now.0.get(path));
        let is_directory = |entry| matches!(entry, Some(&super::manifest::Entry::Directory { .. }));
        if before == after || (is_directory(before) || before.is_none()) && (is_directory(after) || after.is_none()) {
            continue;
        }
        let submodule = path.ancestors().skip(1).filter(|above| is_submodule(above)).last();
        let place = match submodule {
            Some(submodule) => Some((submodule, BesideKind::Submodule)),
            None => nested_git(path).map(|place| (place, BesideKind::NestedGit)),
        };
        if let Some(place) = place {
            *found.entry(place).or_default() += 1;
        }
    }
    let told = found.into_iter().take(CHANGED_FILES_MAX);
    told.map(|((path, kind), files)| Beside { path: name(path.as_os_str().as_bytes()), kind, files }).collect()
}

/// The `.git` in this path that makes git refuse it.
fn nested_git(path: &Path) -> Option<&Path> {
    let depth = path.components().position(|part| !is_recordable(Path::new(part.as_os_str()), false))?;
    let is_above =
        |above: &&Path| above.components().filter(|part| matches!(part, Component::Normal(_))).count() == depth + 1;
    path.ancestors().find(is_above)
}
