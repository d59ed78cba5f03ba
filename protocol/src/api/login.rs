//! Bodies about logins of users and the codes that reset passwords (clause 7.1).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::address::Id;
use crate::credential::LoginId;
use crate::secret::Secret;
use crate::time::Timestamp;

/// A refresh token in exchange for a new token and the next refresh token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    #[schema(value_type = String, format = "password")]
    pub refresh_token: Secret,
}

/// The login to end: that of the refresh token, else that of the request's own credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Logout {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "password")]
    pub refresh_token: Option<Secret>,
}

/// One login of a user that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoginView {
    #[schema(value_type = String, example = "00f1e2d3c4b5a697")]
    pub id: LoginId,
    /// When the password was entered.
    #[schema(value_type = String, format = "date-time")]
    pub since: Timestamp,
    /// When its refresh token was last used; `since` before that.
    #[schema(value_type = String, format = "date-time")]
    pub used: Timestamp,
    /// It ends then unless its refresh token is used before.
    #[schema(value_type = String, format = "date-time")]
    pub expires: Timestamp,
    /// From where it was last used.
    pub from: String,
    /// The request's own credentials are of this login.
    pub current: bool,
}

/// The logins of a user, the one last used first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Logins {
    pub logins: Vec<LoginView>,
}

/// The login that was ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoginGone {
    #[schema(value_type = String, example = "00f1e2d3c4b5a697")]
    pub login: LoginId,
}

/// A code with which a user sets a new password once, without the old one. Shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResetCode {
    #[schema(value_type = String, example = "ann")]
    pub id: Id,
    #[schema(value_type = String, example = "7kq2-mx4w-9tc3-hnef-r8vz-0pyd-j6bg")]
    pub code: Secret,
    #[schema(value_type = String, format = "date-time")]
    pub expires: Timestamp,
}

/// A new password by a reset code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordByCode {
    #[schema(example = "ann")]
    pub id: String,
    #[schema(value_type = String, format = "password")]
    pub code: Secret,
    #[schema(value_type = String, format = "password", min_length = 8, max_length = 256)]
    pub password: Secret,
}
