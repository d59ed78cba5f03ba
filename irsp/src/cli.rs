//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use irsp_config::{ConfigError, Settings, Sources};
use irsp_protocol::api::app::Period;
use irsp_protocol::peer::{Carried, Fingerprint, PeerUrl};
use irsp_protocol::{Address, Domain, Id, MessageId, Principal, Server};

use crate::access::Access;
use crate::admin::Admin;
use crate::conform::Conform;
use crate::endpoint::Endpoint;

#[derive(Debug, Parser)]
#[command(
    version,
    about = "The IRSP platform: message server, account server and application server"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Without a command: up.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Where the settings come from; the same for every command.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// TOML file with settings; config/irsp.toml shows every key.
    #[arg(long, value_name = "FILE", env = "IRSP_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Data directory (the same as --set data_dir=DIR).
    #[arg(long, value_name = "DIR", env = "IRSP_DATA", global = true)]
    data: Option<PathBuf>,
    /// Sets one key; may be repeated. Wins over the file and the environment.
    #[arg(long, value_name = "SECTION.KEY=VALUE", global = true)]
    set: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Every role in one process.
    Up,
    /// The message server alone; the other roles attach to it over MQTT/TLS.
    Broker,
    /// The account server alone, attached to the bus.
    Account,
    /// The application server alone, attached to the bus.
    Appserver,
    /// Says whether irsp could start with these settings, and shows them.
    Check,
    /// Makes an application and many devices on a running platform.
    Provision(Order),
    /// Draws the way of one message through all servers.
    Trace(Trace),
    /// Shows what was accepted, how it ended and what is in flight; fails unless it adds up.
    Ledger(Access),
    /// Dead letters: what could not be delivered and is kept to be sent again or discarded.
    Dead(Dead),
    /// Receipts by principal, state and kind, the newest first.
    Messages(Messages),
    /// Shows the stages messages pass, as they pass them.
    Tail(Tail),
    /// Other domains: registers, lists, shows, pauses, drains and removes them, and grants their applications something.
    Peer(Peer),
    /// Users, devices, applications, bindings and the audit log of a running platform.
    Admin(Admin),
    /// The HTTP service of an external application: set, confirm, pause, rotate, replay, see what was delivered.
    Endpoint(Endpoint),
    /// Conformance: tries what is promised on a running platform.
    Conform(Conform),
    /// Copies the data directory as it stands, also while it is in use.
    Backup {
        /// The directory to make; it appears whole or not at all.
        to: PathBuf,
    },
    /// Puts a backup into the data directory, which no server may be using.
    Restore(RestoreOrder),
}

impl Command {
    /// Whether it asks a running platform, and what it says is to be JSON.
    pub(crate) fn asks_for_json(&self) -> bool {
        let access = match self {
            Command::Trace(order) => &order.access,
            Command::Ledger(access) => access,
            Command::Dead(order) => &order.access,
            Command::Messages(order) => &order.access,
            Command::Tail(order) => &order.access,
            Command::Peer(order) => &order.access,
            Command::Admin(order) => &order.access,
            Command::Endpoint(order) => &order.access,
            Command::Up
            | Command::Broker
            | Command::Account
            | Command::Appserver
            | Command::Check
            | Command::Provision(_)
            | Command::Conform(_)
            | Command::Backup { .. }
            | Command::Restore(_) => return false,
        };
        access.json
    }
}

#[derive(Debug, Args)]
pub(crate) struct Trace {
    /// The message's id.
    pub(crate) id: MessageId,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Args)]
pub(crate) struct Dead {
    #[command(flatten)]
    pub(crate) access: Access,
    #[command(subcommand)]
    pub(crate) order: DeadOrder,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadOrder {
    /// All of them.
    List,
    /// One, with its data.
    Show {
        /// The message's id.
        id: MessageId,
    },
    /// Sends them again, behind all that waits now.
    Retry {
        #[command(flatten)]
        which: Which,
        /// How long they may take from now, such as 1h; needed once their own expiry has passed.
        #[arg(long, value_name = "TIME")]
        expiry: Option<Period>,
    },
    /// Drops their data; their end stays what it is.
    Discard {
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Peer {
    #[command(flatten)]
    pub(crate) access: Access,
    #[command(subcommand)]
    pub(crate) order: PeerOrder,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeerOrder {
    /// Registers another domain.
    Add(NewPeerArgs),
    /// All of them, and how their links stand.
    List,
    /// One, as JSON.
    Show { domain: Domain },
    /// Ends the link; what is for the domain waits.
    Pause { domain: Domain },
    /// Takes a pause or a drain back.
    Resume { domain: Domain },
    /// Accepts nothing new for the domain; what waits is still sent.
    Drain { domain: Domain },
    /// Ends the link, and what waits with 421.
    Remove { domain: Domain },
    /// Lets an application of another domain hear a device or user, or push to it; or shares a device with a user of
    /// another domain.
    #[command(group(clap::ArgGroup::new("what").required(true).multiple(true)))]
    Grant {
        /// Such as dev/lamp-1.
        principal: Principal,
        /// Such as app/climate@other.example or usr/bob@other.example.
        to: Address,
        /// Its presence; for an application its uploads, too.
        #[arg(long, group = "what")]
        hears: bool,
        /// Pushes to it.
        #[arg(long, group = "what")]
        pushes: bool,
    },
    /// Takes a grant back.
    Withdraw { principal: Principal, to: Address },
    /// The grants there are.
    Grants,
    /// What other domains have granted to users and applications of this one.
    Received,
    /// Which domains were told that a device, user or application is deleted, and what they said.
    Deletions,
}

/// What is settled with another domain.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("trust").required(true)))]
pub(crate) struct NewPeerArgs {
    /// Its name, such as other.example.
    pub(crate) domain: Domain,
    /// The file of the authorities that sign its certificates, PEM.
    #[arg(long, value_name = "FILE", group = "trust")]
    pub(crate) ca: Option<PathBuf>,
    /// The SHA-256 of its certificate.
    #[arg(long, value_name = "HEX", group = "trust")]
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Where it listens, irsp://host:port; may be repeated. Without one only it dials, or it is looked for.
    #[arg(long, value_name = "URL")]
    pub(crate) dial: Vec<PeerUrl>,
    /// What is taken from it: upload, push, message, presence; all unless given.
    #[arg(long = "in", value_name = "KINDS", value_delimiter = ',')]
    pub(crate) inward: Vec<Carried>,
    /// What is sent to it, the same way.
    #[arg(long = "out", value_name = "KINDS", value_delimiter = ',')]
    pub(crate) outward: Vec<Carried>,
    /// The applications of this domain that may take part; all unless given.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub(crate) apps: Vec<Id>,
    /// Messages a second taken from it; what is more waits on its side.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate_max: Option<u32>,
    /// Messages a second sent to it; as fast as it takes them unless given.
    #[arg(long, value_name = "N")]
    pub(crate) out_rate_max: Option<std::num::NonZeroU32>,
}

/// Which dead letters are meant.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// The messages' ids.
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<MessageId>,
    /// All there are.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreOrder {
    /// What `irsp backup` has made.
    pub(crate) from: PathBuf,
    /// Only the database of this server; may be repeated. Keys and certificates stay as they are then.
    #[arg(long, value_name = "message|account|app", value_parser = server)]
    pub(crate) only: Vec<Server>,
    /// In place of databases that are there.
    #[arg(long)]
    pub(crate) replace: bool,
}

fn server(word: &str) -> Result<Server, String> {
    Server::parse(word).ok_or_else(|| "not message, account or app".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct Messages {
    #[command(flatten)]
    pub(crate) access: Access,
    /// Only messages from or to this one, such as dev/lamp-1.
    #[arg(long)]
    pub(crate) principal: Option<String>,
    /// Only messages that stand there, such as in-flight or expired,undeliverable.
    #[arg(long)]
    pub(crate) state: Option<String>,
    /// Only these kinds, such as upload,push (with message, the default) or presence.
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// The oldest first.
    #[arg(long)]
    pub(crate) oldest: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    pub(crate) access: Access,
    /// Only messages from or to this one, such as dev/lamp-1.
    #[arg(long)]
    pub(crate) principal: Option<String>,
    /// Only messages that stand there, such as in-flight or expired,undeliverable.
    #[arg(long)]
    pub(crate) state: Option<String>,
    /// Only these kinds, such as upload,push (with message, the default) or presence.
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// Ends after so many lines.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

/// What `irsp provision` is to make.
#[derive(Debug, Args)]
pub(crate) struct Order {
    /// How many devices.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) devices: u32,
    /// Device ids are PREFIX1 to PREFIXN.
    #[arg(long, default_value = "sim-")]
    pub(crate) prefix: String,
    /// The application the devices upload to; made if it is missing.
    #[arg(long, value_name = "ID")]
    pub(crate) app: Id,
    /// Where the lines client_id,username,password go. Never overwritten: the codes in it are shown only once.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Where the key of a new application goes; without it the key is printed.
    #[arg(long, value_name = "FILE")]
    pub(crate) app_key_out: Option<PathBuf>,
    /// HTTP address of the account server.
    #[arg(long, default_value = "http://127.0.0.1:8080", env = "IRSP_URL")]
    pub(crate) url: String,
    /// The admin token's file; admin.token in the data directory unless given.
    #[arg(long, value_name = "FILE")]
    pub(crate) admin_token: Option<PathBuf>,
}

impl Common {
    pub(crate) fn settings(self) -> Result<Settings, ConfigError> {
        let Common { config, data, set } = self;
        Settings::load(
            Sources {
                file: config,
                data,
                set,
                ..Sources::default()
            }
            .with_environment()?,
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn common_options_stand_before_or_after_the_command() {
        for line in [["irsp", "--data", "d", "check"], ["irsp", "check", "--data", "d"]] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.common.data, Some("d".into()));
            assert!(matches!(cli.command, Some(Command::Check)));
        }
        assert!(Cli::try_parse_from(["irsp"]).unwrap().command.is_none());
    }

    #[test]
    fn a_dead_letter_is_named_or_all_are_meant() {
        let id = "0190163d-8694-739b-aea5-966c26f8ad91";
        for (words, good) in [
            (&["retry", id][..], true),
            (&["retry", id, id, "--expiry", "1h", "--json"], true),
            (&["retry", "--all", "--url", "http://h:1"], true),
            (&["retry"], false),
            (&["retry", id, "--all"], false),
            (&["retry", "17"], false),
            (&["discard", "--all", "--expiry", "1h"], false),
            (&["list"], true),
            (&["show"], false),
        ] {
            let line = ["irsp", "dead"].iter().chain(words);
            assert_eq!(Cli::try_parse_from(line).is_ok(), good, "{words:?}");
        }
    }

    #[test]
    fn a_peer_is_known_by_an_authority_or_a_fingerprint() {
        let print = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
        for (words, good) in [
            (&["add", "b.example", "--ca", "b.crt"][..], true),
            (
                &[
                    "add",
                    "b.example",
                    "--fingerprint",
                    print,
                    "--dial",
                    "irsp://b.example:7443",
                    "--in",
                    "upload,push",
                ][..],
                true,
            ),
            (&["add", "b.example"], false),
            (
                &["add", "b.example", "--ca", "b.crt", "--fingerprint", print],
                false,
            ),
            (
                &["add", "b.example", "--ca", "b.crt", "--dial", "https://b.example"],
                false,
            ),
            (&["add", "b.example", "--ca", "b.crt", "--in", "directory"], false),
            (&["add", "B example", "--ca", "b.crt"], false),
            (&["list", "--json"], true),
            (&["pause", "b.example"], true),
            (&["remove"], false),
            (&["grant", "dev/lamp-1", "app/x@b.example", "--hears"], true),
            (&["grant", "dev/lamp-1", "usr/x@b.example", "--pushes"], true),
            (&["received"], true),
            (&["grant", "dev/lamp-1", "app/x@b.example"], false),
            (&["withdraw", "dev/lamp-1", "app/x@b.example"], true),
        ] {
            let line = ["irsp", "peer"].iter().chain(words);
            assert_eq!(Cli::try_parse_from(line).is_ok(), good, "{words:?}");
        }
    }

    #[test]
    fn an_order_for_no_devices_or_a_malformed_application_is_refused() {
        let order = |devices: &str, app: &str| {
            Cli::try_parse_from([
                "irsp",
                "provision",
                "--devices",
                devices,
                "--app",
                app,
                "--out",
                "creds.csv",
            ])
        };
        assert!(order("1", "climate").is_ok());
        assert!(order("0", "climate").is_err());
        assert!(order("1", "cli/mate").is_err());
    }
}
