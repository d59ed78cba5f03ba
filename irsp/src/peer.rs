//! `irsp peer`: other domains (clause 8.5), registered, listed, shown, paused, drained, removed; and the grants to
//! their applications and users, and theirs to ours (clause 8.7).

use irsp_config::Settings;
use irsp_protocol::api::account::{Changed, Page};
use irsp_protocol::api::peer::{
    DeletionView, GrantView, NewGrant, NewPeer, PeerPatch, PeerView, ReceivedGrant,
};
use irsp_protocol::peer::{PeerState, Policy};
use serde::Serialize;

use crate::access::Access;
use crate::cli::{NewPeerArgs, Peer, PeerOrder};
use crate::client::{Client, ClientError};
use crate::console;
use crate::table::Table;

/// Records asked for at once.
const PAGE: u16 = 500;

pub(crate) async fn run(settings: &Settings, peer: Peer) -> Result<(), ClientError> {
    let Peer { access, order } = peer;
    let client = Client::new(settings, &access)?;
    match order {
        PeerOrder::Add(args) => {
            let made: Changed<PeerView> = client.post("/v1/peers", &new_peer(args)?).await?;
            report(&access, &made, "is a peer")
        }
        PeerOrder::List => list(&client, &access).await,
        PeerOrder::Show { domain } => {
            let peer: PeerView = client.get(&format!("/v1/peers/{domain}")).await?;
            console::say(console::json(&peer)?);
            Ok(())
        }
        PeerOrder::Pause { domain } => set(&client, &access, &domain, PeerState::Paused).await,
        PeerOrder::Resume { domain } => set(&client, &access, &domain, PeerState::Active).await,
        PeerOrder::Drain { domain } => set(&client, &access, &domain, PeerState::Draining).await,
        PeerOrder::Remove { domain } => {
            let gone: Changed<PeerView> = client.delete(&format!("/v1/peers/{domain}")).await?;
            report(&access, &gone, "is no peer any more")
        }
        PeerOrder::Grant {
            principal,
            to,
            hears,
            pushes,
        } => {
            let new = NewGrant {
                principal,
                to,
                hears,
                pushes,
            };
            let made: Changed<GrantView> = client.post("/v1/grants", &new).await?;
            granted(&access, &made, "is granted")
        }
        PeerOrder::Withdraw { principal, to } => {
            let path = format!("/v1/grants?principal={principal}&to={to}");
            let gone: Changed<GrantView> = client.delete(&path).await?;
            granted(&access, &gone, "is withdrawn")
        }
        PeerOrder::Grants => {
            let grants: Vec<GrantView> = all(&client, "/v1/grants").await?;
            let rows = |grant: &GrantView| {
                let ends = (grant.principal.to_string(), grant.to.to_string());
                granted_row(ends, grant.hears, grant.pushes)
            };
            show_grants(&access, &grants, rows)
        }
        PeerOrder::Received => {
            let grants: Vec<ReceivedGrant> = all(&client, "/v1/grants/received").await?;
            let rows = |grant: &ReceivedGrant| {
                let ends = (grant.principal.to_string(), grant.to.to_string());
                granted_row(ends, grant.hears, grant.pushes)
            };
            show_grants(&access, &grants, rows)
        }
        PeerOrder::Deletions => deletions(&client, &access).await,
    }
}

fn new_peer(args: NewPeerArgs) -> Result<NewPeer, ClientError> {
    let ca = match args.ca {
        Some(path) => Some(std::fs::read_to_string(&path).map_err(|error| ClientError::File {
            path,
            reason: error.to_string(),
        })?),
        None => None,
    };
    let policy = |kinds: Vec<_>| Policy {
        kinds: match kinds.is_empty() {
            true => Policy::default().kinds,
            false => kinds.into_iter().collect(),
        },
        applications: (!args.apps.is_empty()).then(|| args.apps.iter().cloned().collect()),
    };
    Ok(NewPeer {
        domain: args.domain,
        ca,
        fingerprint: args.fingerprint,
        urls: args.dial,
        inward: Some(policy(args.inward)),
        outward: Some(policy(args.outward)),
        rate_max: args.rate_max,
        out_rate_max: args.out_rate_max,
    })
}

async fn set(
    client: &Client,
    access: &Access,
    domain: &irsp_protocol::Domain,
    state: PeerState,
) -> Result<(), ClientError> {
    let patch = PeerPatch {
        state: Some(state),
        ..PeerPatch::default()
    };
    let changed: Changed<PeerView> = client.patch(&format!("/v1/peers/{domain}"), &patch).await?;
    report(access, &changed, &format!("is {}", state.as_str()))
}

async fn list(client: &Client, access: &Access) -> Result<(), ClientError> {
    let peers: Vec<PeerView> = all(client, "/v1/peers").await?;
    if access.json {
        console::say(console::json(&peers)?);
        return Ok(());
    }
    if peers.is_empty() {
        console::say("no peers");
        return Ok(());
    }
    let mut table = Table::new([
        "domain",
        "state",
        "linked since",
        "waiting",
        "oldest",
        "address",
        "trouble",
    ]);
    for peer in &peers {
        let link = peer.link.as_ref();
        let shown =
            |time: Option<irsp_protocol::Timestamp>| time.map_or(String::new(), |time| time.to_string());
        table.row(vec![
            peer.domain.to_string(),
            peer.state.as_str().to_owned(),
            shown(link.and_then(|link| link.linked)),
            link.map_or("?".to_owned(), |link| link.waiting.to_string()),
            shown(link.and_then(|link| link.oldest)),
            peer.urls
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" "),
            link.and_then(|link| link.trouble.clone()).unwrap_or_default(),
        ]);
    }
    console::say(table.lines().join("\n"));
    Ok(())
}

fn show_grants<T: Serialize>(
    access: &Access,
    grants: &[T],
    row: impl Fn(&T) -> Vec<String>,
) -> Result<(), ClientError> {
    if access.json {
        console::say(console::json(&grants)?);
        return Ok(());
    }
    if grants.is_empty() {
        console::say("no grants");
        return Ok(());
    }
    let mut table = Table::new(["principal", "to", "hears", "pushes"]);
    for grant in grants {
        table.row(row(grant));
    }
    console::say(table.lines().join("\n"));
    Ok(())
}

fn granted_row((principal, to): (String, String), hears: bool, pushes: bool) -> Vec<String> {
    let word = |granted: bool| if granted { "yes" } else { "no" }.to_owned();
    vec![principal, to, word(hears), word(pushes)]
}

async fn deletions(client: &Client, access: &Access) -> Result<(), ClientError> {
    let told: Vec<DeletionView> = all(client, "/v1/deletions").await?;
    if access.json {
        console::say(console::json(&told)?);
        return Ok(());
    }
    if told.is_empty() {
        console::say("no domain was told of a deletion");
        return Ok(());
    }
    let mut table = Table::new(["principal", "domain", "told", "status", "since"]);
    for one in &told {
        table.row(vec![
            one.principal.to_string(),
            one.domain.to_string(),
            one.told.to_string(),
            one.status.to_string(),
            one.ended.map_or_else(String::new, |at| at.to_string()),
        ]);
    }
    console::say(table.lines().join("\n"));
    Ok(())
}

async fn all<T: serde::de::DeserializeOwned>(client: &Client, path: &str) -> Result<Vec<T>, ClientError> {
    let (mut items, mut after) = (Vec::new(), String::new());
    loop {
        let page: Page<T> = client.get(&format!("{path}?limit={PAGE}{after}")).await?;
        items.extend(page.items);
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(items),
        }
    }
}

fn report(access: &Access, changed: &Changed<PeerView>, what: &str) -> Result<(), ClientError> {
    say(access, changed, &format!("{} {what}", changed.of.domain))
}

fn granted(access: &Access, changed: &Changed<GrantView>, what: &str) -> Result<(), ClientError> {
    say(
        access,
        changed,
        &format!("{} to {} {what}", changed.of.principal, changed.of.to),
    )
}

fn say<T: Serialize>(access: &Access, changed: &Changed<T>, line: &str) -> Result<(), ClientError> {
    if access.json {
        console::say(console::json(changed)?);
    } else if changed.effect.in_effect {
        console::say(line);
    } else {
        console::say(format_args!("{line}, not yet in effect everywhere"));
    }
    Ok(())
}
