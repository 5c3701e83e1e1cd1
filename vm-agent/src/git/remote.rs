//! Addresses of repositories: which are taken from whom, and what is called by them.

use std::path::{Path, PathBuf};

use url::Url;

use super::GitError;

/// Longest address that is looked at.
const URL_BYTES_MAX: usize = 2048;

/// Who gave an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlTrust {
    /// The operator, by the environment: any address that git knows, and paths of this machine.
    Operator,
    /// A person, in the chat: `https://…`, `ssh://…` or `git@host:path`, without a password.
    Person,
}

/// A repository's address, checked: it cannot be an option, a command or, from a person, a path of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteUrl {
    text: String,
    form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Url(Url),
    /// `user@host:path`.
    Scp {
        host: String,
        path: String,
    },
    Path(PathBuf),
}

impl RemoteUrl {
    /// Check the address `text` that was given by someone of this `trust`.
    pub fn parse(text: &str, trust: UrlTrust) -> Result<Self, GitError> {
        let text = text.trim();
        let odd = text.is_empty()
            || text.len() > URL_BYTES_MAX
            || text.starts_with('-')
            || text.chars().any(|c| c.is_control() || c.is_whitespace());
        if odd {
            return Err(not_an_address());
        }
        let form = if text.contains("://") {
            Form::Url(parse_url(text, trust)?)
        } else if let Some((host, path)) = parse_scp(text) {
            Form::Scp { host, path }
        } else if trust == UrlTrust::Operator && !text.contains("::") {
            Form::Path(std::path::absolute(text).map_err(|_| not_an_address())?)
        } else {
            return Err(not_an_address());
        };
        let text = match &form {
            Form::Path(path) => path.to_str().ok_or_else(not_an_address)?.to_owned(),
            Form::Url(_) | Form::Scp { .. } => text.to_owned(),
        };
        let remote = Self { text, form };
        if remote.segments().is_empty() { Err(not_an_address()) } else { Ok(remote) }
    }

    /// The address as git takes it. May hold the operator's credentials: not for messages.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address as people and the agent may see it.
    pub fn shown(&self) -> String {
        without_credentials(&self.text)
    }

    /// The transports that git may use to reach it, as `GIT_ALLOW_PROTOCOL` wants them.
    pub(crate) fn protocols(&self) -> &str {
        match &self.form {
            // A server may send a caller on from http to https.
            Form::Url(url) if url.scheme() == "http" => "http:https",
            Form::Url(url) => url.scheme(),
            Form::Scp { .. } => "ssh",
            Form::Path(_) => "file",
        }
    }

    /// The parts of its path, without the ending `.git`.
    pub(crate) fn segments(&self) -> Vec<&str> {
        let path = match &self.form {
            Form::Url(url) => url.path(),
            Form::Scp { path, .. } => path,
            Form::Path(_) => &self.text,
        };
        let mut segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        if let Some(last) = segments.pop() {
            let last = last.strip_suffix(".git").unwrap_or(last);
            segments.extend((!last.is_empty()).then_some(last));
        }
        segments
    }

    /// True when both lead to the same repository, as far as their text tells.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        let place = |remote: &Self| match &remote.form {
            Form::Url(url) => (url.host_str().unwrap_or_default().to_ascii_lowercase(), url.port()),
            Form::Scp { host, .. } => (host.to_ascii_lowercase(), None),
            Form::Path(_) => (String::new(), None),
        };
        place(self) == place(other) && self.segments() == other.segments()
    }

    /// Owner and name of the repository when it is one of the site at `web`: by http, or by ssh to the same host.
    pub(crate) fn repository_on(&self, web: &Url) -> Option<(String, String)> {
        let here = match &self.form {
            Form::Url(url) if url.scheme() == "ssh" => url.host_str() == web.host_str(),
            Form::Url(url) => url.origin() == web.origin(),
            Form::Scp { host, .. } => Some(host.as_str()) == web.host_str(),
            Form::Path(_) => false,
        };
        let segments = self.segments();
        let below = match &self.form {
            Form::Url(url) if url.scheme() != "ssh" => {
                let base: Vec<&str> = web.path().split('/').filter(|part| !part.is_empty()).collect();
                segments.strip_prefix(base.as_slice())?
            }
            _ => segments.as_slice(),
        };
        match below {
            [owner, name] if here => Some(((*owner).to_owned(), (*name).to_owned())),
            _ => None,
        }
    }
}

fn not_an_address() -> GitError {
    GitError::Invalid(
        "That is not a repository's address that I can use. Send one like \
          `https://github.com/owner/name` or `git@github.com:owner/name`."
            .to_owned(),
    )
}

fn parse_url(text: &str, trust: UrlTrust) -> Result<Url, GitError> {
    let url = Url::parse(text).map_err(|_| not_an_address())?;
    let schemes: &[&str] = match trust {
        UrlTrust::Operator => &["https", "http", "ssh", "git", "file"],
        UrlTrust::Person => &["https", "ssh"],
    };
    if !schemes.contains(&url.scheme()) || url.query().is_some() || url.fragment().is_some() {
        return Err(not_an_address());
    }
    let host_is_fine = url.scheme() == "file" || url.host_str().is_some_and(|host| !host.starts_with('-'));
    if !host_is_fine || url.username().starts_with('-') {
        return Err(not_an_address());
    }
    let names_someone = url.password().is_some() || (url.scheme() == "https" && !url.username().is_empty());
    if trust == UrlTrust::Person && names_someone {
        return Err(GitError::Invalid(
            "That address holds a password or a token. Please do not send those in the chat, and make a \
             new one: this one has been seen. The operator sets `GITHUB_TOKEN` instead; then send the address without it."
                .to_owned(),
        ));
    }
    Ok(url)
}

/// `user@host:path`, each part of characters that mean nothing to ssh or a shell.
fn parse_scp(text: &str) -> Option<(String, String)> {
    let (user, rest) = text.split_once('@')?;
    let (host, path) = rest.split_once(':')?;
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    let path_is_fine = !path.is_empty()
        && !path.starts_with(['-', ':'])
        && path.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | '~' | '+'));
    (plain(user) && plain(host) && path_is_fine).then(|| (host.to_owned(), path.to_owned()))
}

/// `word` with what stands between `://` and `@` taken out.
pub(crate) fn without_credentials(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    match rest[..authority_end].rfind('@') {
        // The user of ssh says which door is knocked at; it is no secret.
        Some(at) if !scheme.ends_with("ssh") || rest[..at].contains(':') => format!("{scheme}://{}", &rest[at + 1..]),
        _ => word.to_owned(),
    }
}

/// A directory's name for the repository: from the end of its address, of harmless characters.
pub(crate) fn directory_name(segments: &[&str]) -> String {
    let name: String = segments
        .join("-")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' })
        .take(100)
        .collect();
    let name = name.trim_start_matches(['.', '-']);
    if name.is_empty() { "repository".to_owned() } else { name.to_owned() }
}

/// True when `name` can be a repository's directory: what [`directory_name`] gives.
pub(crate) fn is_directory_name(name: &str) -> bool {
    !name.is_empty() && directory_name(&[name]) == name && Path::new(name).components().count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_may_name_https_and_ssh_and_nothing_else() {
        for fine in [
            "https://github.com/o/r",
            "https://github.com/o/r.git/",
            "ssh://git@host:22/o/r.git",
            "git@github.com:o/r.git",
        ] {
            assert!(RemoteUrl::parse(fine, UrlTrust::Person).is_ok(), "{fine}");
        }
        for bad in [
            "",
            "file:///etc",
            "/etc",
            "../x",
            "x",
            "http://github.com/o/r",
            "git://github.com/o/r",
            "ext::sh -c whoami",
            "ext::sh",
            "--upload-pack=touch",
            "-x@host:path",
            "git@-oProxyCommand=x:path",
            "git@host:-path",
            "git@host::path",
            "ssh://-oProxyCommand=x/o/r",
            "ssh://-x@host/o/r",
            "https://user:secret@github.com/o/r",
            "https://token@github.com/o/r",
            "https://github.com/",
            "https://github.com/o/r?x=1",
            "git@host:$(whoami)",
            "a b",
            "https://github.com/o/\nr",
        ] {
            assert!(RemoteUrl::parse(bad, UrlTrust::Person).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_operator_may_name_a_path_and_still_no_command() {
        for fine in ["/srv/x.git", "file:///srv/x.git", "http://127.0.0.1:1/o/r", "https://u:p@host/o/r", "./x"] {
            assert!(RemoteUrl::parse(fine, UrlTrust::Operator).is_ok(), "{fine}");
        }
        for bad in ["ext::sh", "--x", "fd::17", "/"] {
            assert!(RemoteUrl::parse(bad, UrlTrust::Operator).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_site_knows_its_repositories() -> anyhow::Result<()> {
        let owner = |text: &str, web: &str| -> anyhow::Result<_> {
            Ok(RemoteUrl::parse(text, UrlTrust::Operator)?.repository_on(&Url::parse(web)?))
        };
        let found = Some(("o".to_owned(), "r".to_owned()));
        for text in
            ["https://github.com/o/r", "git@github.com:o/r.git", "ssh://git@github.com/o/r", "https://GitHub.com/o/r/"]
        {
            assert_eq!(owner(text, "https://github.com")?, found, "{text}");
        }
        assert_eq!(owner("http://127.0.0.1:9/base/o/r.git", "http://127.0.0.1:9/base")?, found);
        for text in
            ["https://github.com.evil.org/o/r", "http://github.com/o/r", "https://github.com/o", "/github.com/o/r"]
        {
            assert_eq!(owner(text, "https://github.com")?, None, "{text}");
        }
        Ok(())
    }

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(without_credentials("'https://u:p@host/o/r'"), "'https://host/o/r'");
        assert_eq!(without_credentials("https://host/o@r"), "https://host/o@r");
        assert_eq!(without_credentials("ssh://git@host/o"), "ssh://git@host/o");
    }

    #[test]
    fn a_directory_name_cannot_leave_its_directory() {
        assert_eq!(directory_name(&["..", "x y"]), "x-y");
        for bad in ["", ".", "..", "a/b", ".hidden", "-x"] {
            assert!(!is_directory_name(bad), "{bad}");
        }
        assert!(is_directory_name("name.rs"));
    }
}
