//! Every role in this process, through the roles' own start functions.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use axum::Router;
use irsp_account::AccountServer;
use irsp_appserver::AppServer;
use irsp_broker::{Limits, Listeners, MessageServer};
use irsp_protocol::{Domain, Expiry, Server};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::pki;
use crate::platform::{Doors, LOOPBACK, Setup};

/// Retries are quick, so that stories are.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(500);

/// The three servers and their HTTP listeners.
pub(crate) struct Here {
    message: MessageServer,
    account: AccountServer,
    app: AppServer,
    close: CancellationToken,
    serving: JoinSet<()>,
}

impl Here {
    /// Starts on the data in `data`; on the same doors as before, if there was a before.
    pub(crate) async fn start(data: &Path, setup: &Setup, before: Option<&Doors>) -> Result<(Here, Doors)> {
        let domain = Domain::new("home.example").map_err(|error| anyhow!("{error}"))?;
        let tls = match before {
            Some(_) => pki::Files::in_dir(&data.join("pki")),
            None => pki::make(&data.join("pki"))?,
        };
        let courier = irsp_courier::Settings {
            retry_min: RETRY_MIN,
            retry_max: RETRY_MAX,
            ..irsp_courier::Settings::default()
        };
        let message = MessageServer::start(irsp_broker::Settings {
            domain: domain.clone(),
            data_dir: data.to_owned(),
            listeners: Listeners {
                tcp: Some(before.map_or(LOOPBACK, |doors| doors.tcp)),
                tls: Some(before.map_or(LOOPBACK, |doors| doors.tls)),
                ws: Some(before.map_or(LOOPBACK, |doors| doors.ws)),
                wss: None,
                ws_path: "/mqtt".to_owned(),
                proxies: setup.proxies.iter().flat_map(|network| network.parse()).collect(),
                certificate: tls.cert,
                key: tls.key,
                server_authorities: tls.ca.clone(),
                client_authorities: None,
                revoked: None,
            },
            federation: irsp_broker::Federation {
                listen: None,
                certificate: data.join("pki/peer.crt"),
                key: data.join("pki/peer.key"),
                discovery: irsp_broker::Discovery::default(),
                push_size_max: 1_000_000,
            },
            limits: limits(setup),
            presence_grace: setup.presence_grace,
            message_expiry: Expiry::default(),
            courier: courier.clone(),
        })
        .await?;
        let account_settings = irsp_account::Settings {
            courier: courier.clone(),
            ..irsp_account::Settings::new(data.to_owned(), domain.clone())
        };
        let app_settings = irsp_appserver::Settings {
            courier,
            ..irsp_appserver::Settings::new(data.to_owned(), domain)
        };
        let account = AccountServer::start(account_settings, message.attach(Server::Account)?).await?;
        let app = AppServer::start(app_settings, message.attach(Server::App)?)?;

        let (close, mut serving) = (CancellationToken::new(), JoinSet::new());
        let account_at = before.map_or(LOOPBACK, |doors| doors.account);
        let app_at = before.map_or(LOOPBACK, |doors| doors.app);
        let doors = Doors {
            tcp: door(&message, "mqtt.tcp")?,
            tls: door(&message, "mqtt.tls")?,
            ws: door(&message, "mqtt.ws")?,
            account: serve(account_at, account.router(), &close, &mut serving).await?,
            app: serve(app_at, app.router(), &close, &mut serving).await?,
            ca: tls.ca,
        };
        let here = Here {
            message,
            account,
            app,
            close,
            serving,
        };
        Ok((here, doors))
    }

    /// An orderly stop. What was accepted is on disk, and the ledgers have no residue.
    pub(crate) async fn stop(self, deadline: Duration) -> Result<()> {
        let Here {
            message,
            account,
            app,
            close,
            mut serving,
        } = self;
        for (name, ledger) in [
            ("message", message.ledger().await?),
            ("account", account.ledger().await?),
            ("app", app.ledger().await?),
        ] {
            anyhow::ensure!(
                ledger.residue() == 0,
                "the {name} server's ledger has a residue: {ledger:?}"
            );
        }
        close.cancel();
        tokio::join!(message.stop(deadline / 2), account.stop(), app.stop());
        while serving.join_next().await.is_some() {}
        Ok(())
    }
}

fn door(message: &MessageServer, key: &str) -> Result<SocketAddr> {
    let found = message.addresses().iter().find(|(name, _)| *name == key);
    Ok(found.with_context(|| format!("no listener {key}"))?.1)
}

async fn serve(
    at: SocketAddr,
    router: Router,
    close: &CancellationToken,
    serving: &mut JoinSet<()>,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind(at).await?;
    let address = listener.local_addr()?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let closed = close.clone().cancelled_owned();
    serving.spawn(async move {
        // A listener that ends early is seen by the story that calls it.
        let _ = axum::serve(listener, service)
            .with_graceful_shutdown(closed)
            .await;
    });
    Ok(address)
}

fn limits(setup: &Setup) -> Limits {
    Limits {
        connections_max: setup.connections_max,
        connections_per_address_max: setup.connections_per_address_max,
        connections_per_principal_max: setup.connections_per_principal_max,
        connection_rate_max: 1_000,
        login_failures_free: 5,
        login_delay: Duration::from_millis(100),
        login_delay_max: Duration::from_secs(2),
        publish_rate_max: setup.publish_rate_max,
        connect_timeout: setup.connect_timeout,
        packet_size_max: 1 << 20,
        receive_max: 256,
        inflight_max: 64,
        topic_alias_max: 16,
        keep_alive_max: Duration::from_secs(18 * 3600),
        session_expiry_max: Duration::from_secs(7 * 86_400),
        queue_messages_max: setup.queue_messages_max,
        queue_bytes_max: 16 << 20,
        stored_messages_max: 100_000,
        stored_bytes_max: 1 << 30,
        subscriptions_max: setup.subscriptions_max,
        filter_bytes_max: 1_024,
        filter_levels_max: 24,
        retained_max: setup.retained_max,
        retained_bytes_max: 1 << 30,
        write_timeout: setup.write_timeout,
        stall_timeout: setup.stall_timeout,
    }
}
