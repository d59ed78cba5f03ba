//! The settings of the platform: typed, each with its default and reason in one place ([`settings`]), and the
//! shipped file `config/irsp.toml` that says the same to a person.
//!
//! ```text
//! defaults  <  TOML file (--config)  <  environment (IRSP_SECTION__KEY)  <  --set section.key=value
//! ```
//!
//! Every value remembers where it came from, so an error is one line that names the file, variable or option, the
//! key, and what to do. There are no secrets in settings: they name files that hold them.

mod address;
pub mod duration;
mod error;
mod files;
mod load;
mod networks;
mod path;
mod section;
pub mod settings;
#[cfg(test)]
mod shipped;
mod validate;

pub use error::{BadValue, ConfigError, Origin};
pub use files::{CertificateFiles, Files};
pub use load::Sources;
pub use networks::{Networks, NotANetwork};
pub use settings::{
    Account, AppServer, Broker, Bus, Courier, External, Federation, Http, Log, LogFormat, Metrics, Mqtt,
    Settings, Stop, Tls,
};
pub use validate::Invalid;
