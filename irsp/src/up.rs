//! `irsp up`: every role in one process, joined by the embedded bus, with one HTTP listener for all of them.
//!
//! Order of a start: ports, data directory, files, roles, HTTP, `ready`. Whatever is refused is refused before the
//! next step leaves anything behind.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use irsp_account::AccountServer;
use irsp_appserver::AppServer;
use irsp_broker::MessageServer;
use irsp_config::Settings;
use irsp_protocol::Server;

use crate::failure::Failure;
use crate::http::{Doors, Http, Part, Served};
use crate::stop::{self, Signals};
use crate::welcome::{self, Listening};
use crate::{console, datadir, firststart, ports, well_known, wiring};

/// Runs until a signal asks for the end.
pub(crate) async fn run(settings: Settings) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let advertised = well_known::part(&settings)?;
    let doors = Doors::take("http.listen", settings.http.listen, &settings)?;
    let mqtt_listeners = settings.mqtt_listeners().into_iter();
    let mqtt_ports = ports::take_all(mqtt_listeners.chain(settings.federation_listener()).collect())?;
    let _claim = datadir::claim(&settings.files(), &Server::ALL)?;
    let start = firststart::prepare(&settings, SystemTime::now())?;
    // The message server binds its own listeners; we held the ports only until nothing else could be refused.
    drop(mqtt_ports);
    let roles = Roles::start(&settings).await?;

    let mut listening = Listening::of(&roles.message);
    listening.extend(doors.listening());
    let mut served = roles.served();
    served.parts.push(advertised);
    let mut http = Http::start(doors, served)?;
    console::say(welcome::platform(&settings, start, &listening));
    console::say(welcome::ready(&listening));

    let ended = stop::until_end(&mut signals, &mut http, || roles.message.reload_certificates()).await;
    let deadline = settings.stop.deadline;
    signals
        .while_stopping(deadline, drain(roles, http, deadline))
        .await;
    ended
}

/// The three servers of the domain.
pub(crate) struct Roles {
    pub(crate) message: MessageServer,
    account: AccountServer,
    app: AppServer,
}

impl Roles {
    pub(crate) async fn start(settings: &Settings) -> Result<Roles, Failure> {
        let failed = Failure::role;
        let message = MessageServer::start(wiring::broker(settings)?).await;
        let message = message.map_err(|error| failed("message server")(&error))?;
        let to_account = message
            .attach(Server::Account)
            .map_err(|error| failed("message server")(&error))?;
        let to_app = message
            .attach(Server::App)
            .map_err(|error| failed("message server")(&error))?;
        let account = AccountServer::start(wiring::account(settings)?, to_account).await;
        let account = account.map_err(|error| failed("account server")(&error))?;
        let app = AppServer::start(wiring::appserver(settings)?, to_app);
        let app = app.map_err(|error| failed("application server")(&error))?;
        Ok(Roles {
            message,
            account,
            app,
        })
    }

    pub(crate) fn served(&self) -> Served {
        let parts = vec![
            Part {
                router: self.account.router(),
                openapi: Some(irsp_account::openapi()),
            },
            Part {
                router: self.app.router(),
                openapi: Some(irsp_appserver::openapi()),
            },
        ];
        Served {
            parts,
            roles: vec![
                Arc::new(self.message.observed()),
                Arc::new(self.account.observed()),
                Arc::new(self.app.observed()),
            ],
            bus: None,
        }
    }
}

/// The doors first, then the roles behind them: clients are told, what is accepted is on disk. The bus goes last, so
/// that the other servers still answer what the message server hands over while it drains.
pub(crate) async fn drain(roles: Roles, http: Http, deadline: Duration) {
    let Roles {
        message,
        account,
        app,
    } = roles;
    http.close();
    // Connections get half of the time, so that the other half is left to write down what they sent.
    tokio::join!(message.stop(deadline / 2), account.stop(), app.stop());
    http.wait().await;
}
