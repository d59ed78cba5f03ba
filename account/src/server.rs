//! The account server's life: start, router, stop.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use irsp_courier::store::{Store, StoreError, forget_restored};
use irsp_courier::{Courier, Ledger, Observed, bus};
use irsp_directory::Flood;
use irsp_directory::token::TokenSigner;
use irsp_directory::{Directory, HashKey};
use irsp_protocol::change::{Cause, Entity, EntityKey, Role};
use irsp_protocol::secret::SecretHash;
use irsp_protocol::{Id, Principal, Server, Timestamp};
use prometheus_client::registry::Registry;
use ring::rand::SystemRandom;
use rusqlite::Connection;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::account::Account;
use crate::api;
use crate::change::{Conditions, Order, Target};
use crate::door::{Door, LoginDoor};
use crate::follow::Lead;
use crate::keys;
use crate::metrics::Metrics;
use crate::observed::Observer;
use crate::password::{PasswordError, Passwords};
use crate::refusal::Refusal;
use crate::retention;
use crate::settings::{ADMIN, Kept, Settings};
use crate::store::entity::Found;
use crate::store::{Author, Draft, MIGRATIONS, entity, login, user};

/// Why an account server cannot start. Each names the file.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Password(String),
    #[error("the admin token and the token key cannot be registered: {0}")]
    Register(String),
}

/// A running account server. It has no sockets of its own: the bus is a link, HTTP is a router to be served.
pub struct AccountServer {
    account: Arc<Account>,
    instruments: Arc<Registry>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl AccountServer {
    /// Opens the store, makes what is missing of the keys and the admin token, and tells the followers of them.
    pub async fn start(settings: Settings, link: bus::Link) -> Result<AccountServer, StartError> {
        let Settings {
            data_dir,
            domain,
            token_lifetime,
            refresh_lifetime,
            reset_lifetime,
            reset_unbinds,
            effect_wait,
            audit_retention,
            operation_retention,
            courier,
        } = settings;
        in_file(&data_dir, |path| std::fs::create_dir_all(path))?;
        let random = SystemRandom::new();
        let hash_key = in_file(&data_dir.join("hash.key"), HashKey::read_or_make)?;
        let signer = in_file(&data_dir.join("token.key"), TokenSigner::read_or_make)?;
        let admin_token = in_file(&data_dir.join("admin.token"), |path| {
            keys::admin_token(path, &random)
        })?;
        let admin_token = hash_key.hash(admin_token.expose().as_bytes());
        let passwords =
            Passwords::new().map_err(|error: PasswordError| StartError::Password(error.to_string()))?;

        let database = data_dir.join("account.db");
        let store = Store::open(&database, MIGRATIONS)?;
        // Whoever reads why it does not start wants to know of which file.
        let unread = |error: StoreError| StoreError::Open {
            path: database.clone(),
            reason: error.to_string(),
        };
        let restored = store.restored().map_err(unread)?;
        let directory = Directory::new(hash_key);
        store
            .read_now(|sql| entity::load(sql, &directory))
            .map_err(unread)?;

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mut instruments = Registry::default();
        let metrics = Arc::new(Metrics::new(&mut instruments));
        let (lead, ended) = Lead::new(store.clone(), Arc::clone(&metrics));
        let courier = Courier::start(
            Server::Account,
            domain.clone(),
            store,
            link,
            lead,
            courier,
            stop.clone(),
            &tasks,
        )
        .map_err(unread)?;
        let flood = Mutex::new(Flood::new(courier.now()));
        let account = Arc::new(Account {
            courier,
            directory: Arc::new(directory),
            domain,
            passwords,
            signer,
            token_lifetime,
            refresh_lifetime,
            reset_lifetime,
            reset_unbinds,
            effect_wait,
            random,
            logins: LoginDoor::new(metrics.logins_throttled.clone()),
            bindings: Door::new(metrics.bindings_throttled.clone()),
            flood,
            metrics,
            tasks: tasks.clone(),
        });
        let server = AccountServer {
            account,
            instruments: Arc::new(instruments),
            stop,
            tasks,
        };
        let account = server.account.clone();
        server.run(async move { account.note_ends(ended).await });
        if let Err(refusal) = begin(&server.account, admin_token, restored).await {
            let reason = refusal.to_string();
            server.stop().await;
            return Err(StartError::Register(reason));
        }
        let kept = Kept {
            audit: audit_retention,
            operations: operation_retention,
        };
        server.run(retention::keep(server.account.clone(), kept));
        Ok(server)
    }

    /// The API. For the callers' addresses in the audit log, and for the limits on logins, it is to be served with
    /// `into_make_service_with_connect_info::<SocketAddr>()`.
    pub fn router(&self) -> axum::Router {
        api::router(self.account.clone())
    }

    /// What its operator sees of it.
    pub fn observed(&self) -> impl Observed + use<> {
        Observer {
            courier: self.account.courier.clone(),
            instruments: Arc::clone(&self.instruments),
        }
    }

    /// Accepted, ended and under way, and the residue that must be 0.
    pub async fn ledger(&self) -> Result<Ledger, StoreError> {
        self.account.courier.ledger().await
    }

    /// Stops accepting, flushes, and waits for every task. What is on its way stays on disk.
    pub async fn stop(self) {
        self.account.courier.close().await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Runs a task of the server until it stops.
    fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }
}

/// What comes before the first request.
async fn begin(
    account: &Account,
    admin_token: SecretHash,
    restored: Option<Timestamp>,
) -> Result<(), Refusal> {
    if let Some(at) = restored {
        go_on_after_restore(account, at).await?;
    }
    register_keys(account, admin_token).await
}

/// A restored store lacks what happened since its copy was taken, and its followers may hold it. With new numbers for all
/// it has, and a change that tells of them, the followers ask for everything and forget what is not there. What had been
/// ended since must not come back: people log in again.
async fn go_on_after_restore(account: &Account, at: Timestamp) -> Result<(), Refusal> {
    warn!(restored = %at, "account.db was restored: its followers are told everything anew, and every login ends");
    let token_key = account.signer.token_key().clone();
    let order = Order {
        author: Author {
            who: Principal::server(Server::Account),
            from: None,
        },
        action: "store.restored",
        target: Target::Many("account.db".to_owned()),
        conditions: Conditions::default(),
    };
    let go_on = move |draft: &mut Draft<'_, '_>| {
        draft.number_anew(at)?;
        login::end_everywhere(draft)?;
        draft.put(Cause::Modify, Entity::TokenKey(token_key.clone()))?;
        forget_restored(draft.sql())
    };
    account.note(order, go_on).await?;
    let directory = account.directory.clone();
    let reload = move |sql: &Connection| entity::load(sql, &directory);
    Ok(account.courier.store().read(reload).await?)
}

/// Makes the admin user with the admin token's hash, and puts the token key into the directory, where either is not as
/// the files say.
async fn register_keys(account: &Account, admin_token: SecretHash) -> Result<(), Refusal> {
    let admin = Id::new(ADMIN).map_err(|error| Refusal::Malformed(error.to_string()))?;
    let token_key = account.signer.token_key().clone();
    let known = account
        .directory
        .user(&admin)
        .is_some_and(|user| user.tokens == [admin_token]);
    if known && account.directory.token_key(&token_key.id).is_some() {
        return Ok(());
    }
    let author = Author {
        who: Principal::server(Server::Account),
        from: None,
    };
    let register = move |draft: &mut Draft<'_, '_>| {
        let key = EntityKey::Principal(Principal::user(admin.clone()));
        match entity::find(draft.sql(), &key)? {
            Found::Live { .. } => user::set_tokens(draft, &admin, &[admin_token])?,
            Found::Deleted { .. } | Found::Never => {
                user::register(draft, &admin, Role::Admin, None, &[admin_token])?;
            }
        }
        let key = EntityKey::TokenKey(token_key.id.clone());
        match entity::find(draft.sql(), &key)? {
            Found::Live { .. } => Ok(()),
            Found::Deleted { .. } | Found::Never => {
                draft.put(Cause::Register, Entity::TokenKey(token_key.clone()))
            }
        }
    };
    let order = Order {
        author,
        action: "keys.register",
        target: Target::Many("usr/admin, token.key".to_owned()),
        conditions: Conditions::default(),
    };
    account.note(order, register).await?;
    Ok(())
}

fn in_file<R>(path: &Path, f: impl FnOnce(&Path) -> io::Result<R>) -> Result<R, StartError> {
    f(path).map_err(|source| StartError::File {
        path: path.to_owned(),
        source,
    })
}
