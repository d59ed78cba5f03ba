//! Start and stop: opens the store, joins the bus, and keeps the tasks that have to be ended again.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use irsp_courier::bus::Link;
use irsp_courier::store::{Store, StoreError};
use irsp_courier::{Courier, Ledger, Observed};
use irsp_directory::{Directory, HashKey, store as directory_store};
use irsp_protocol::Server;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catch_up::CatchUp;
use crate::external::{External, Gateway, Seal};
use crate::heard::Heard;
use crate::http::state::{Api, Parts};
use crate::live::Feed;
use crate::metrics::Metrics;
use crate::observed::Observer;
use crate::role::ApplicationServer;
use crate::settings::Settings;
use crate::{following, http, retention, store};

/// Tails of receipts at one time: together they take up a quarter of the questions a server answers at once.
const TAILS_MAX: usize = 16;

/// Why the application server does not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("the hash key {} cannot be read or made: {error}", path.display())]
    HashKey { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A running application server (clause 7.3).
pub struct AppServer {
    courier: Courier,
    router: Router,
    observer: Observer,
    /// Ends streams and background tasks.
    leave: CancellationToken,
    /// Ends the courier, after everything that writes through it.
    stop: CancellationToken,
    tasks: TaskTracker,
    courier_tasks: TaskTracker,
}

impl AppServer {
    /// Opens `app.db` under the data directory and starts working on `link`. Runs within a tokio runtime.
    pub fn start(settings: Settings, link: Link) -> Result<AppServer, StartError> {
        let path = settings.data_dir.join("hash.key");
        let key = HashKey::read_or_make(&path).map_err(|error| StartError::HashKey { path, error })?;
        let store = Store::open(&settings.data_dir.join("app.db"), store::MIGRATIONS)?;
        let seal = Seal::new(&key);
        let external = Arc::new(External::new(settings.external, settings.domain.clone(), seal));
        let directory = Arc::new(Directory::new(key));
        store.read_now(|conn| Ok(directory_store::load(conn, &directory)?))?;
        let heard = Arc::new(Heard::new(store.read_now(store::heard::all)?));

        let uploads = Arc::new(Feed::new());
        let presence = Arc::new(Feed::new());
        let (rights_changed, _) = watch::channel(0);
        let (snapshot_wanted, uploads_stored) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (leave, stop) = (CancellationToken::new(), CancellationToken::new());
        let (tasks, courier_tasks) = (TaskTracker::new(), TaskTracker::new());

        let mut instruments = Registry::default();
        let metrics = Arc::new(Metrics::new(&mut instruments));
        let role = ApplicationServer {
            domain: settings.domain.clone(),
            directory: directory.clone(),
            uploads: uploads.clone(),
            presence: presence.clone(),
            heard: heard.clone(),
            rights_changed: rights_changed.clone(),
            uploads_stored: uploads_stored.clone(),
            snapshot_wanted: snapshot_wanted.clone(),
            metrics: metrics.clone(),
            external: external.clone(),
        };
        let courier = Courier::start(
            Server::App,
            settings.domain.clone(),
            store.clone(),
            link,
            Arc::new(role),
            settings.courier,
            stop.clone(),
            &courier_tasks,
        )?;
        let catch_up = Arc::new(CatchUp {
            courier: courier.clone(),
            directory: directory.clone(),
            presence: presence.clone(),
            rights_changed: rights_changed.clone(),
            snapshot_wanted,
            external: external.clone(),
            retry: settings.catch_up_retry,
            stop: leave.clone(),
        });
        let following = catch_up.clone();
        tasks.spawn(async move { following.follow_directory().await });
        tasks.spawn(async move { catch_up.gather_presence().await });
        let (feed, from, until) = (uploads.clone(), store.clone(), leave.clone());
        tasks.spawn(async move { feed.run(from, until).await });
        let (feed, until) = (presence.clone(), leave.clone());
        tasks.spawn(async move { feed.run(store, until).await });
        let (writer, until) = (courier.clone(), leave.clone());
        tasks.spawn(async move { following::run(writer, &uploads_stored, until).await });
        tasks.spawn(retention::run(
            courier.clone(),
            directory.clone(),
            settings.uploads,
            leave.clone(),
        ));

        let gateway = Gateway::new(
            external.clone(),
            courier.clone(),
            directory.clone(),
            metrics.clone(),
            leave.clone(),
        );
        tasks.spawn(gateway.run());

        let places = Arc::new(Semaphore::new(settings.streams_max));
        let observer = Observer {
            courier: courier.clone(),
            directory: directory.clone(),
            metrics: metrics.clone(),
            instruments: Arc::new(instruments),
            places: places.clone(),
            streams_max: settings.streams_max,
        };
        let router = http::routes(Api(Arc::new(Parts {
            domain: settings.domain,
            directory,
            courier: courier.clone(),
            uploads,
            presence,
            heard,
            rights_changed,
            places,
            tail_places: Arc::new(Semaphore::new(TAILS_MAX)),
            push: settings.push,
            external,
            metrics,
            stop: leave.clone(),
            tasks: tasks.clone(),
        })));
        Ok(AppServer {
            courier,
            router,
            observer,
            leave,
            stop,
            tasks,
            courier_tasks,
        })
    }

    /// The HTTP API, for whoever listens.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// What its operator sees of it.
    pub fn observed(&self) -> impl Observed + use<> {
        self.observer.clone()
    }

    /// Accepted, ended and under way, and the residue that must be 0.
    pub async fn ledger(&self) -> Result<Ledger, StoreError> {
        self.courier.ledger().await
    }

    /// Ends the streams, then the tasks, then the courier; what was accepted is on disk.
    pub async fn stop(self) {
        self.leave.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.courier.close().await;
        self.stop.cancel();
        self.courier_tasks.close();
        self.courier_tasks.wait().await;
    }
}
