//! `relay admin`: what an operator can see of the store, and mend. Called by `main`; everything is returned as text.
//!
//! It works beside running relays and takes no lease. Message bodies, diffs and phone numbers are shown only when they are
//! asked for.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use relay_core::id::{Address, ChannelKind, ConversationId};
use relay_core::store::{Store, StoreError};
use secrecy::SecretString;

use crate::channels::console::person::GuestName;
use crate::clock;
use crate::config::{AdminConfig, StateStore};
use crate::identity;
use crate::store::{connect, reason};

mod access;
mod check;
mod conversations;
pub(crate) mod forget;
mod guests;
mod letters;
mod table;
mod twilio;
pub(crate) mod vms;

/// What can be asked for.
#[derive(Clone, Debug, Subcommand)]
pub enum Admin {
    /// Conversations, those that are due or will be soonest first, and counts over everything.
    Conversations {
        /// How many conversations to show.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// Write JSON.
        #[arg(long)]
        json: bool,
    },
    /// The state of one conversation.
    Show {
        /// The conversation's id, or a person's address: whatsapp:+15551230000, +15551230000, console:main, console:guest/NAME; a
        /// further conversation in the console is console:main/2. Addresses need RELAY_SECRET.
        user: String,
        /// Show what people wrote, too, and their address.
        #[arg(long)]
        bodies: bool,
    },
    /// Chat messages that were given up, the oldest first.
    DeadLetters {
        /// How many to show.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// Write JSON.
        #[arg(long)]
        json: bool,
        /// Show what they say, too.
        #[arg(long)]
        bodies: bool,
    },
    /// Put dead letters back, to be sent again.
    Redrive(Redrive),
    /// Take in what people wrote to us at Twilio and no relay ever got: safe to run at any time. Needs the relays' settings for
    /// Twilio, and RELAY_SECRET.
    Reconcile {
        /// How far back to look: 90s, 15m, 2h, 3d.
        #[arg(long, value_parser = twilio::parse_span)]
        since: Duration,
    },
    /// Make the templates with the buttons at Twilio, but for those that are set, and print the settings that name them.
    TwilioTemplate,
    /// Erase a person: their conversation, its files, pictures and dead letters; of the console, all of their conversations, and
    /// that they were a guest. With VM_DIRECTORY=fly also their machine and its volume; what a VM has that everybody shares is left
    /// alone.
    Forget {
        /// As for `show`.
        user: String,
        /// At Twilio as well: the words and files of all messages with them.
        #[arg(long)]
        twilio: bool,
    },
    /// Print a link by which one browser can become a guest's of the console. Needs PUBLIC_URL, RELAY_SECRET and LINK_KEYS as the
    /// relays have them.
    Invite {
        /// What to call the guest: lower-case letters, digits, dashes. The same name again leads to the same conversations.
        #[arg(value_parser = GuestName::parse)]
        name: GuestName,
    },
    /// Take a guest's invitations back, also those that were accepted. Needs RELAY_SECRET.
    Uninvite {
        /// What the guest was called.
        #[arg(value_parser = GuestName::parse)]
        name: GuestName,
    },
    /// Who was invited, when, and whether they came. Needs RELAY_SECRET.
    Guests,
    /// The machines and volumes of VM_APP at Fly.io. Needs VM_DIRECTORY, VM_APP and FLY_API_TOKEN as the relays have them.
    Vms {
        /// Only those that belong to nobody whom the store knows.
        #[arg(long)]
        orphans: bool,
        /// Write JSON.
        #[arg(long)]
        json: bool,
    },
    /// Whether the store is fit for relays, and how to mend it. Ends with 1 if anything is wrong.
    Check,
    /// The rule for a VM's own Redis user, which may publish what its runs report and nothing else.
    VmAcl {
        /// The user's name.
        #[arg(long, default_value = "vm", value_parser = access::parse_name)]
        name: String,
        /// Whose VM it is, as for `show`. Nobody: one that serves everybody.
        users: Vec<String>,
    },
}

/// Which letters.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Redrive {
    /// The letter's number.
    letter: Option<u64>,
    /// All that there are now.
    #[arg(long)]
    all: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What was asked for; for standard output.
    pub text: String,
    /// What is to be known beside it; for standard error.
    pub aside: String,
    /// Whether all is well.
    pub is_well: bool,
}

impl Report {
    fn of(text: String) -> Self {
        Self { text, aside: String::new(), is_well: true }
    }
}

/// Do what was asked for.
pub async fn run(command: Admin, config: &AdminConfig) -> anyhow::Result<Report> {
    match command {
        Admin::Conversations { limit, json } => {
            let listing = conversations::Listing::read(&*open(config).await?, limit).await;
            let listing = listing.map_err(explain)?;
            Ok(Report::of(if json { listing.json() } else { listing.text(clock::now()) }))
        }
        Admin::Show { user, bodies } => {
            let store = open(config).await?;
            let id = find(&*store, &user, config.relay_secret.as_ref()).await?;
            let overview = store.overview(&id).await.map_err(explain)?;
            let overview = overview.with_context(|| format!("there is no conversation {id}"))?;
            let state = store.conversation(&id).await.map_err(explain)?;
            Ok(Report::of(conversations::show(&overview, state.as_ref(), bodies, clock::now())))
        }
        Admin::DeadLetters { limit, json, bodies } => {
            let letters = open(config).await?.dead_letters(limit).await.map_err(explain)?;
            Ok(Report::of(if json {
                letters::json(&letters, bodies)
            } else {
                letters::text(&letters, bodies, clock::now())
            }))
        }
        Admin::Redrive(Redrive { letter, .. }) => letters::redrive(&*open(config).await?, letter).await,
        Admin::Reconcile { since } => twilio::reconcile(config, since).await,
        Admin::TwilioTemplate => twilio::templates(config).await,
        Admin::Forget { user, twilio } => forget::forget(config, &user, twilio).await,
        Admin::Invite { name } => guests::invite(config, &name).await,
        Admin::Uninvite { name } => guests::uninvite(config, &name).await,
        Admin::Guests => guests::list(config).await,
        Admin::Vms { orphans, json } => vms::list(config, orphans, json).await,
        Admin::Check => Ok(check::report(&check::findings(config).await)),
        Admin::VmAcl { name, users } => {
            let conversations: Result<Vec<_>, _> =
                users.iter().map(|user| conversation(user, config.relay_secret.as_ref())).collect();
            Ok(access::report(&config.store, &name, &conversations?, &clock::password()))
        }
    }
}

/// The store, and its clock; for looking, so nothing is made where there is nothing.
async fn open(config: &AdminConfig) -> anyhow::Result<Arc<dyn Store>> {
    match &config.store.state_store {
        StateStore::SqliteFile(path) if !path.exists() => {
            bail!("STATE_STORE: there is no {}; set it as the relay has it", path.display())
        }
        StateStore::SqliteMemory => bail!("STATE_STORE: what is in a relay's memory can't be looked into"),
        _ => {}
    }
    let store = connect(&config.store)?;
    clock::follow(&*store).await.map_err(explain)?;
    Ok(store)
}

fn explain(error: StoreError) -> anyhow::Error {
    match &error {
        StoreError::Unavailable(_) => anyhow!("the store is unavailable: {}", reason(&error)),
        StoreError::Unreadable(_) => anyhow!(error),
    }
}

/// Which conversation `user` names: by its id, or by a person's address.
fn conversation(user: &str, relay_secret: Option<&SecretString>) -> anyhow::Result<ConversationId> {
    let Some(address) = address(user)? else {
        return ConversationId::parse(user).context("neither a conversation's id nor an address");
    };
    let secret =
        relay_secret.context("RELAY_SECRET is needed to find a conversation by address; set it, or give the id")?;
    Ok(identity::named(secret, &address))
}

/// The same, of a person who may be known by more than one address.
async fn find(store: &dyn Store, user: &str, relay_secret: Option<&SecretString>) -> anyhow::Result<ConversationId> {
    let named = conversation(user, relay_secret)?;
    if address(user)?.is_none() {
        return Ok(named);
    }
    Ok(identity::led_to(store, &named).await.map_err(explain)?.unwrap_or(named))
}

/// The address that `user` is, if it is one.
fn address(user: &str) -> anyhow::Result<Option<Address>> {
    let channel = match user.split_once(':') {
        Some(("whatsapp", _)) => ChannelKind::Twilio,
        Some(("console", _)) => ChannelKind::Console,
        None if user.starts_with('+') => ChannelKind::Twilio,
        None => return Ok(None),
        Some(_) => bail!("an address begins with whatsapp: or console:"),
    };
    let name = if user.starts_with('+') { format!("whatsapp:{user}") } else { user.to_owned() };
    Ok(Some(Address { channel, name }))
}

#[cfg(test)]
mod tests;
