//! Invites people to the console, and takes that back.

use anyhow::{Context, bail};
use relay_core::time::{Timestamp, humane};
use secrecy::SecretString;

use super::table::table;
use super::{Report, explain, open};
use crate::channels::console::conversations;
use crate::channels::console::person::{GuestName, Person};
use crate::clock;
use crate::config::AdminConfig;
use crate::guests::{self, Full, GUESTS_MAX, INVITATIONS_MAX};
use crate::http::under;
use crate::links::Links;

/// Everybody works on the one VM there is.
const SHARED_VM: &str =
    "VM_DIRECTORY is not fly: guests work in the same files as everybody else, and their agent has the same home.\n";

/// A link for `name`, and nothing else on standard output.
pub(super) async fn invite(config: &AdminConfig, name: &GuestName) -> anyhow::Result<Report> {
    let public_url = config.public_url.as_ref().context("PUBLIC_URL is needed: the link begins with it")?;
    let secret = secret(config)?;
    let store = open(config).await?;
    let links = Links::configured(&config.link_keys, secret);
    match guests::invite(&*store, secret, &links, name).await.map_err(explain)? {
        Ok(signed) => {
            let url = under(&public_url.url, &format!("/console/invited/{signed}"));
            let days = |time: std::time::Duration| time.as_secs() / (24 * 3600);
            let aside = format!(
                "Good for one browser, within {} days; that may then stay for {}.\n{}",
                days(guests::OPEN_FOR),
                days(guests::STAY),
                if config.fly.is_some() { "" } else { SHARED_VM }
            );
            Ok(Report { text: format!("{url}\n"), aside, is_well: true })
        }
        Err(Full::Guests) => bail!("there are {GUESTS_MAX} guests, which is as many as there can be; forget one first"),
        Err(Full::Invitations) => bail!(
            "this guest has {INVITATIONS_MAX} open invitations and browsers; wait until some have ended, or uninvite them first"
        ),
    }
}

/// From now on nothing of theirs is accepted any more.
pub(super) async fn uninvite(config: &AdminConfig, name: &GuestName) -> anyhow::Result<Report> {
    let (store, secret) = (open(config).await?, secret(config)?);
    match guests::uninvite(&*store, secret, name).await.map_err(explain)? {
        true => Ok(Report::of(format!(
            "{0} is uninvited; the conversations stay until relay admin forget console:guest/{0}\n",
            name.as_str()
        ))),
        false => bail!("there is no guest of that name"),
    }
}

/// Who is invited, and whether they came.
pub(super) async fn list(config: &AdminConfig) -> anyhow::Result<Report> {
    let (store, secret, now) = (open(config).await?, secret(config)?, clock::now());
    let mut rows = Vec::new();
    for name in guests::names(&*store).await.map_err(explain)? {
        let guest = guests::guest(&*store, secret, &name).await.map_err(explain)?;
        let person = Person::Guest(name.clone());
        let list = conversations::of(&*store, secret, &person).await.map_err(explain)?;
        rows.push([
            name.as_str().to_owned(),
            ago(guest.invited_at, now),
            guest.accepted_at.map_or_else(|| "no".to_owned(), |at| ago(at, now)),
            if guest.is_welcome(now) { "yes" } else { "no" }.to_owned(),
            list.iter().count().to_string(),
        ]);
    }
    if rows.is_empty() {
        return Ok(Report::of("nobody is invited\n".to_owned()));
    }
    Ok(Report::of(table(["GUEST", "INVITED", "ACCEPTED", "WELCOME", "CONVERSATIONS"], &rows)))
}

fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", humane(now.since(at)))
}

fn secret(config: &AdminConfig) -> anyhow::Result<&SecretString> {
    config.relay_secret.as_ref().context("RELAY_SECRET is needed; set it as the relays have it")
}
