//! The command line of `irsp admin`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use irsp_protocol::Id;

use super::certificates::Certificates;
use super::conditions::Conditions;
use super::grants::Grants;
use super::transfer::{Export, Import};
use crate::access::Access;

#[derive(Debug, Args)]
pub(crate) struct Admin {
    #[command(flatten)]
    pub(crate) access: Access,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
    #[command(subcommand)]
    pub(crate) order: Order,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Order {
    #[command(flatten)]
    Own(OwnOrder),
    #[command(flatten)]
    Office(OfficeOrder),
}

/// What needs no token: the password, code or refresh token is shown instead.
#[derive(Debug, Subcommand)]
pub(crate) enum OwnOrder {
    /// Shows tokens for a password; with --out they go into files instead.
    Login {
        id: Id,
        /// The file that holds the password.
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
        /// FILE for the token, FILE.refresh for the refresh token: FILE is a --token-file then.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Renews the tokens that a login has put into files.
    Refresh {
        /// The --out of the login.
        file: PathBuf,
    },
    /// Ends the login that has put its tokens into files, and removes them.
    Logout {
        /// The --out of the login.
        file: PathBuf,
    },
    /// Sets a new password with a reset code, once.
    Redeem {
        id: Id,
        /// The file that holds the reset code.
        #[arg(long, value_name = "FILE")]
        code_file: PathBuf,
        /// The file that holds the new password.
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
    },
}

/// What is done with a token.
#[derive(Debug, Subcommand)]
pub(crate) enum OfficeOrder {
    /// People and operators.
    #[command(subcommand)]
    Users(UserOrder),
    /// Devices and their verification codes.
    #[command(subcommand)]
    Devices(DeviceOrder),
    /// Applications and their keys.
    #[command(subcommand)]
    Apps(AppOrder),
    /// Who owns which device.
    #[command(subcommand)]
    Bindings(BindingOrder),
    /// Who the token belongs to.
    Me,
    /// Who did what to whom, from where.
    Audit(AuditFilter),
    /// What has become of a change at the other servers.
    Operation {
        /// The number that the change was answered with.
        number: u64,
    },
    /// All records of a kind, without secrets.
    Export(Export),
    /// All records of a file, or none. New secrets are shown this once.
    Import(Import),
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserOrder {
    /// Those that fit; all unless narrowed.
    List {
        /// Ids that begin like this.
        #[arg(long)]
        prefix: Option<String>,
        /// user, operator or admin.
        #[arg(long)]
        role: Option<String>,
        /// enabled or disabled.
        #[arg(long)]
        state: Option<String>,
    },
    /// One of them.
    Show { id: Id },
    /// Registers a user.
    Add {
        id: Id,
        /// The file that holds the password.
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
        /// user, operator or admin; user unless given.
        #[arg(long)]
        role: Option<String>,
    },
    /// Changes role or standing.
    Set {
        id: Id,
        /// user, operator or admin.
        #[arg(long)]
        role: Option<String>,
        #[command(flatten)]
        standing: Standing,
    },
    /// Sets a password; every login and older token ends.
    Password {
        id: Id,
        /// The file that holds the new password.
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
        /// The file that holds the one until now: one's own is not changed without.
        #[arg(long, value_name = "FILE")]
        old_file: Option<PathBuf>,
    },
    /// Makes a code with which the user sets a new password once; shown this once.
    Reset { id: Id },
    /// The logins of a user that have not ended.
    Logins { id: Id },
    /// Ends a login of a user, or all of them.
    Logout {
        id: Id,
        /// One of `logins`; all unless given.
        login: Option<String>,
    },
    /// Deletes a user with the user's bindings. The id is not used again.
    Delete { id: Id },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceOrder {
    /// Those that fit; all unless narrowed.
    List {
        /// Ids that begin like this.
        #[arg(long)]
        prefix: Option<String>,
        /// What this user owns.
        #[arg(long)]
        owner: Option<Id>,
        /// room, or room=hall.
        #[arg(long)]
        attribute: Option<String>,
        /// enabled or disabled.
        #[arg(long)]
        state: Option<String>,
    },
    /// One of them.
    Show { id: Id },
    /// Registers a device; its verification code is shown this once.
    Add {
        id: Id,
        /// How it answers a push: ack or mqtt.
        #[arg(long)]
        answers: Option<String>,
        /// room=hall; may be repeated.
        #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
        attributes: Vec<(String, Option<String>)>,
        #[command(flatten)]
        certificates: Certificates,
    },
    /// Changes how it answers, its attributes, its certificates or its standing.
    Set {
        id: Id,
        /// ack or mqtt.
        #[arg(long)]
        answers: Option<String>,
        /// room=hall; room= takes it away; may be repeated.
        #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
        attributes: Vec<(String, Option<String>)>,
        #[command(flatten)]
        certificates: Certificates,
        /// Takes every certificate away.
        #[arg(long, conflicts_with_all = ["certificates", "issued"])]
        no_certificates: bool,
        #[command(flatten)]
        standing: Standing,
    },
    /// Its verification codes, without the codes themselves.
    Codes { id: Id },
    /// Makes another code beside those there are, shown this once.
    AddCode {
        id: Id,
        /// From then on it opens nothing, such as 2026-12-24T00:00:00Z.
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// The end of the codes there are now.
        #[arg(long, value_name = "TIME")]
        others_expire: Option<String>,
    },
    /// Revokes a code; sessions opened with it end.
    RevokeCode {
        id: Id,
        /// One of `codes`.
        code: String,
    },
    /// Makes a new verification code, shown this once; the old one and its sessions end.
    Reset {
        id: Id,
        /// Also ends its bindings.
        #[arg(long)]
        unbind: bool,
        /// Its bindings stay; without either the domain's account.reset_unbinds says.
        #[arg(long, conflicts_with = "unbind")]
        keep_bindings: bool,
    },
    /// Deletes a device with its bindings and what waits for it. The id is not used again.
    Delete { id: Id },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AppOrder {
    /// Those that fit; all unless narrowed.
    List {
        /// Ids that begin like this.
        #[arg(long)]
        prefix: Option<String>,
        /// enabled or disabled.
        #[arg(long)]
        state: Option<String>,
    },
    /// One of them.
    Show { id: Id },
    /// Registers an application; its key is shown this once.
    Add {
        id: Id,
        #[command(flatten)]
        grants: Grants,
    },
    /// Changes what it is granted or its standing.
    Set {
        id: Id,
        #[command(flatten)]
        grants: Grants,
        #[command(flatten)]
        standing: Standing,
    },
    /// Makes a new key, shown this once; the old one and its sessions end.
    Rotate {
        id: Id,
        /// Keeps the old key beside it until the next rotation.
        #[arg(long)]
        overlap: bool,
    },
    /// Deletes an application. The id is not used again.
    Delete { id: Id },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BindingOrder {
    /// Those that fit; all unless narrowed.
    List {
        #[arg(long)]
        device: Option<Id>,
        #[arg(long)]
        user: Option<Id>,
    },
    /// Binds a device to the token's user, who has its code.
    Add {
        device: Id,
        /// The file that holds the device's verification code.
        #[arg(long, value_name = "FILE")]
        code_file: PathBuf,
    },
    /// Shares a device with a user, or changes what that user may do.
    Share {
        device: Id,
        user: Id,
        /// Some of presence, receive, push.
        #[arg(long, value_delimiter = ',', required = true)]
        rights: Vec<String>,
    },
    /// Gives a device to another user.
    Transfer {
        device: Id,
        #[arg(long)]
        to: Id,
        /// What the owner until now may do afterwards: some of presence, receive, push; nothing unless given.
        #[arg(long, value_delimiter = ',')]
        keep: Vec<String>,
    },
    /// Ends a binding.
    Delete { device: Id, user: Id },
}

#[derive(Debug, Args)]
pub(crate) struct AuditFilter {
    /// Who did it: usr/ann; nobody is a refused login.
    #[arg(long)]
    pub(crate) who: Option<String>,
    /// device.reset, or device for all that was done to devices.
    #[arg(long)]
    pub(crate) action: Option<String>,
    /// To whom: dev/lamp-1.
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// How it ended: 200 done; 401, 403, 429 refused.
    #[arg(long)]
    pub(crate) status: Option<u16>,
    /// Not before this time, such as 2026-11-23T00:00:00Z.
    #[arg(long)]
    pub(crate) from: Option<String>,
    /// Before this time.
    #[arg(long)]
    pub(crate) to: Option<String>,
    /// Only the newest N that fit.
    #[arg(long, value_name = "N")]
    pub(crate) last: Option<usize>,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Standing {
    /// May log in no more; sessions end.
    #[arg(long)]
    disable: bool,
    /// May log in again.
    #[arg(long)]
    enable: bool,
}

impl Standing {
    pub(super) fn disabled(&self) -> Option<bool> {
        (self.disable || self.enable).then_some(self.disable)
    }
}

fn attribute(text: &str) -> Result<(String, Option<String>), String> {
    match text.split_once('=') {
        Some((name, "")) => Ok((name.to_owned(), None)),
        Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
        None => Err("write NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::Cli;

    #[test]
    fn orders_are_read_and_half_ones_refused() {
        for (words, good) in [
            (&["users", "list", "--state", "disabled"][..], true),
            (&["users", "add", "ann", "--password-file", "f"], true),
            (&["users", "add", "ann"], false),
            (&["users", "set", "ann", "--disable", "--enable"], false),
            (&["devices", "add", "lamp-1", "--attribute", "room=hall"], true),
            (&["devices", "add", "lamp-1", "--attribute", "room"], false),
            (&["devices", "show", "no way"], false),
            (
                &["apps", "add", "climate", "--hears", "dev/lamp-1, usr/ann"],
                true,
            ),
            (&["bindings", "delete", "lamp-1"], false),
            (
                &["bindings", "share", "lamp-1", "bob", "--rights", "push,receive"],
                true,
            ),
            (&["bindings", "share", "lamp-1", "bob"], false),
            (&["bindings", "transfer", "lamp-1", "--to", "bob"], true),
            (&["bindings", "add", "lamp-1"], false),
            (
                &[
                    "devices",
                    "set",
                    "lamp-1",
                    "--certificate",
                    "f",
                    "--no-certificates",
                ],
                false,
            ),
            (&["devices", "add", "lamp-1", "--issued", "ca.crt"], false),
            (
                &[
                    "devices",
                    "add-code",
                    "lamp-1",
                    "--expires",
                    "2026-12-24T00:00:00Z",
                ],
                true,
            ),
            (&["devices", "revoke-code", "lamp-1"], false),
            (&["users", "logout", "ann"], true),
            (
                &[
                    "users",
                    "password",
                    "ann",
                    "--password-file",
                    "f",
                    "--old-file",
                    "o",
                ],
                true,
            ),
            (&["redeem", "ann", "--password-file", "f"], false),
            (&["login", "ann"], false),
            (&["login", "ann", "--password-file", "f", "--out", "t"], true),
            (&["refresh"], false),
            (&["audit", "--last", "5", "--json"], true),
            (&["operation", "seven"], false),
            (&["export", "devices", "--format", "csv"], true),
            (&["export", "secrets"], false),
            (&["import", "devices", "file.csv"], true),
            (&["export", "grants"], true),
            (&["devices", "delete", "lamp-1", "--if-match", "7"], true),
            (&["--idempotency-key", "k", "devices", "add", "lamp-1"], true),
            (
                &["devices", "reset", "lamp-1", "--unbind", "--keep-bindings"],
                false,
            ),
        ] {
            let line = ["irsp", "admin"].iter().chain(words);
            assert_eq!(Cli::try_parse_from(line).is_ok(), good, "{words:?}");
        }
    }
}
