//! What is at Fly.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Apps by name.
    pub apps: BTreeMap<String, App>,
    /// Redis databases by name, with their addresses.
    pub redis: BTreeMap<String, String>,
    /// Apps that had a public address at any time.
    pub were_public: BTreeSet<String>,
    /// Machines of apps that were made before the app had a private address.
    pub without_private_address: BTreeSet<String>,
    /// How many things were numbered.
    made: usize,
}

/// An app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// The types of its addresses.
    pub addresses: Vec<String>,
    /// Its volumes by id.
    pub volumes: BTreeMap<String, Volume>,
    /// Its machines.
    pub machines: Vec<Machine>,
    /// Its secrets by name.
    pub secrets: BTreeMap<String, Secret>,
    /// Tags of images that were pushed and of which no machine was made.
    pub images: BTreeSet<String>,
    /// Tokens for it by id, with their names.
    pub tokens: BTreeMap<String, String>,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// What it is called; several may have one name.
    pub name: String,
    /// Where it is.
    pub region: String,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub region: String,
    /// The tag of its image.
    pub tag: String,
    /// What it was told with its deployment, besides what is in the file.
    pub env: BTreeMap<String, String>,
    /// Whether its checks fail.
    #[serde(default)]
    pub fails: bool,
}

/// A secret: what is known of it from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Of its value.
    pub digest: String,
    /// Whether the machines know it.
    pub deployed: bool,
}

impl State {
    /// Of the file, or nothing at all where there is none.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
    }

    /// Into the file.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        Ok(fs::write(path, serde_json::to_string_pretty(self)?)?)
    }

    pub(super) fn app(&mut self, name: &str) -> anyhow::Result<&mut App> {
        self.apps.get_mut(name).with_context(|| format!("Could not find App {name:?}"))
    }

    pub(super) fn next_id(&mut self) -> String {
        self.made += 1;
        format!("{:014x}", self.made)
    }
}
