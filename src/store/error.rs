use std::fmt;
use std::sync::Arc;

/// Why the store did not answer, or would not do what it was asked.
///
/// Opaque, because what can go wrong grows with the topologies; ask it by its predicates. It holds
/// the server's address, the code of an error reply or the name of a setting at most: never a
/// password, a key or a value.
///
/// ```
/// use tower_redis_kit::Store;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let error = Store::connect("http://localhost").await.unwrap_err();
/// assert!(error.is_invalid_url());
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct StoreError {
    kind: Kind,
    /// What it happened to: an address, the code of an error reply, or what is wrong with a
    /// setting.
    subject: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    InvalidUrl,
    InvalidConfig,
    Refused,
    Unresolved,
    Unauthorized,
    NotRedis,
    WrongTopology,
    Tls,
    Timeout,
    Unavailable,
    /// As `Unavailable`, but after it was sent.
    Lost,
    Overloaded,
    Full,
    NoPermission,
    ErrorReply,
    UnexpectedReply,
    InvalidKey,
    InvalidTimeToLive,
    InvalidValue,
    TooLarge,
    NotACounter,
    Ungrouped,
    Unsupported,
    ShutDown,
}

impl StoreError {
    pub(crate) fn new(kind: Kind) -> StoreError {
        StoreError { kind, subject: None }
    }

    pub(crate) fn about(kind: Kind, subject: impl Into<Arc<str>>) -> StoreError {
        StoreError { kind, subject: Some(subject.into()) }
    }

    /// The error that a reply with this code (`WRONGTYPE`, `NOPERM`, …) means.
    pub(crate) fn reply(code: &str) -> StoreError {
        let kind = match code {
            "NOAUTH" | "WRONGPASS" => Kind::Unauthorized,
            "NOPERM" => Kind::NoPermission,
            "OOM" => Kind::Full,
            "READONLY" | "MASTERDOWN" | "LOADING" | "BUSY" | "CLUSTERDOWN" | "TRYAGAIN" => {
                Kind::Unavailable
            }
            "MOVED" | "ASK" => Kind::WrongTopology,
            _ => Kind::ErrorReply,
        };
        // A code is one word of capitals; anything else could be part of a message.
        let is_code = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_uppercase());
        StoreError { kind, subject: is_code.then(|| code.into()) }
    }

    /// Nothing came within the deadline. A write may have been made all the same.
    pub fn is_timeout(&self) -> bool {
        self.kind == Kind::Timeout
    }

    /// There is no working connection right now. Nothing was sent, or the connection was lost
    /// while waiting for the answer.
    pub fn is_unavailable(&self) -> bool {
        use Kind::{Lost, Refused, ShutDown, Unavailable, Unresolved};
        matches!(self.kind, Unavailable | Lost | Refused | Unresolved | ShutDown)
    }

    /// It certainly was not done: nothing was sent, or the server was not ready for it.
    pub(crate) fn was_not_done(&self) -> bool {
        self.is_overloaded() || (self.is_unavailable() && self.kind != Kind::Lost)
    }

    /// It was sent, and nothing came back: it may have been done, or be done even later.
    pub(crate) fn has_no_answer(&self) -> bool {
        matches!(self.kind, Kind::Timeout | Kind::Lost)
    }

    /// The store was [shut down](crate::Store::shutdown).
    pub fn is_shut_down(&self) -> bool {
        self.kind == Kind::ShutDown
    }

    /// Too many calls were under way; nothing was sent.
    pub fn is_overloaded(&self) -> bool {
        self.kind == Kind::Overloaded
    }

    /// Nothing listens at the address.
    pub fn is_refused(&self) -> bool {
        self.kind == Kind::Refused
    }

    /// The host name has no address.
    pub fn is_unresolved(&self) -> bool {
        self.kind == Kind::Unresolved
    }

    /// The user name or password is wrong or missing.
    pub fn is_unauthorized(&self) -> bool {
        self.kind == Kind::Unauthorized
    }

    /// The server's access list does not allow the command or the key.
    pub fn is_forbidden(&self) -> bool {
        self.kind == Kind::NoPermission
    }

    /// The URL cannot be read, or asks for something this build does not have.
    pub fn is_invalid_url(&self) -> bool {
        self.kind == Kind::InvalidUrl
    }

    /// The environment's Redis settings contradict each other, or one of them cannot be read. Names
    /// the variables, and none of their values. A `REDIS_URL` that can be read but not be used
    /// [is an invalid URL](StoreError::is_invalid_url).
    pub fn is_invalid_config(&self) -> bool {
        self.kind == Kind::InvalidConfig
    }

    /// What listens at the address does not speak Redis's protocol.
    pub fn is_not_redis(&self) -> bool {
        self.kind == Kind::NotRedis
    }

    /// What listens at the address is Redis, but another part of it than the URL says: a cluster's
    /// node, a Sentinel, or neither.
    pub fn is_wrong_topology(&self) -> bool {
        self.kind == Kind::WrongTopology
    }

    /// TLS: a certificate that is not accepted, a server that does not speak it, a build or process
    /// that lacks it.
    pub fn is_tls(&self) -> bool {
        self.kind == Kind::Tls
    }

    /// The store does not do this: a raw command in process, one that would disturb the shared
    /// connection, or a value that was written with a feature which this build lacks, or by a newer
    /// version.
    pub fn is_unsupported(&self) -> bool {
        self.kind == Kind::Unsupported
    }

    /// The store has no room for more.
    pub fn is_full(&self) -> bool {
        self.kind == Kind::Full
    }

    /// A key, a group or a prefix is empty or too long; nothing was sent.
    pub fn is_invalid_key(&self) -> bool {
        self.kind == Kind::InvalidKey
    }

    /// The time to live is zero; nothing was sent.
    pub fn is_invalid_time_to_live(&self) -> bool {
        self.kind == Kind::InvalidTimeToLive
    }

    /// The value cannot be written as JSON, such as a map whose keys are no strings; nothing was
    /// sent.
    pub fn is_invalid_value(&self) -> bool {
        self.kind == Kind::InvalidValue
    }

    /// The value is larger than the [cap](crate::toolbox::Values::max_size).
    pub fn is_too_large(&self) -> bool {
        self.kind == Kind::TooLarge
    }

    /// What was to be incremented is no integer, or the sum is beyond an `i64`.
    pub fn is_not_a_counter(&self) -> bool {
        self.kind == Kind::NotACounter
    }

    /// A batch over several keys that do not share a [group](crate::toolbox::Values::grouped);
    /// nothing was sent.
    pub fn is_ungrouped(&self) -> bool {
        self.kind == Kind::Ungrouped
    }

    /// Of the errors of two servers, the one that says more: that a server is away may be over soon.
    pub(crate) fn or_telling(self, other: Option<StoreError>) -> StoreError {
        let away = |error: &StoreError| error.is_unavailable() || error.is_timeout();
        match other {
            Some(other) if away(&self) && !away(&other) => other,
            _ => self,
        }
    }

    /// The same error, of a server that is to be told apart from others.
    pub(crate) fn of(self, who: &str) -> StoreError {
        let subject = match &self.subject {
            Some(subject) => format!("{who} {subject}").into(),
            None => who.into(),
        };
        StoreError { kind: self.kind, subject: Some(subject) }
    }

    /// One word for logs.
    pub(crate) fn class(&self) -> &'static str {
        match self.kind {
            Kind::InvalidUrl => "invalid_url",
            Kind::InvalidConfig => "invalid_config",
            Kind::Refused => "refused",
            Kind::Unresolved => "unresolved",
            Kind::Unauthorized => "unauthorized",
            Kind::NotRedis => "not_redis",
            Kind::WrongTopology => "wrong_topology",
            Kind::Tls => "tls",
            Kind::Timeout => "timeout",
            Kind::Unavailable | Kind::Lost => "unavailable",
            Kind::Overloaded => "overloaded",
            Kind::Full => "full",
            Kind::NoPermission => "forbidden",
            Kind::ErrorReply => "error_reply",
            Kind::UnexpectedReply => "unexpected_reply",
            Kind::InvalidKey => "invalid_key",
            Kind::InvalidTimeToLive => "invalid_time_to_live",
            Kind::InvalidValue => "invalid_value",
            Kind::TooLarge => "too_large",
            Kind::NotACounter => "not_a_counter",
            Kind::Ungrouped => "ungrouped",
            Kind::Unsupported => "unsupported",
            Kind::ShutDown => "shut_down",
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.kind {
            Kind::InvalidUrl => "the store's URL cannot be used",
            Kind::InvalidConfig => "the environment's Redis settings cannot be used",
            Kind::Refused => {
                "the connection to Redis was refused: is the server running, and the port right?"
            }
            Kind::Unresolved => "Redis's host name has no address: is it spelled right?",
            Kind::Unauthorized => {
                "Redis did not accept the user name or password: check them in the URL"
            }
            Kind::NotRedis => "the server does not speak Redis's protocol: is the port right?",
            Kind::WrongTopology => "the server is not what the URL says",
            Kind::Tls => "there is no secure connection to Redis",
            Kind::Timeout => "Redis did not answer within the deadline",
            Kind::Unavailable | Kind::Lost => "Redis is not available",
            Kind::Overloaded => "too many calls to Redis are under way",
            Kind::Full => "the store has no room for more: raise its memory limit",
            Kind::NoPermission => "Redis's access list does not allow this command or key",
            Kind::ErrorReply => "Redis answered with an error",
            Kind::UnexpectedReply => "Redis answered with something unexpected",
            Kind::InvalidKey => "the key cannot be used",
            Kind::InvalidTimeToLive => {
                "a time to live of zero keeps nothing: give a longer one, or delete the value"
            }
            Kind::InvalidValue => {
                "the value cannot be written as JSON: are the keys of its maps strings?"
            }
            Kind::TooLarge => "the value is too large: make it smaller, or raise the cap",
            Kind::NotACounter => "what is stored is no integer, or the sum leaves the range of i64",
            Kind::Ungrouped => {
                "the keys of a batch share no cluster slot: make them one group with \
                 `values.grouped(name)`"
            }
            Kind::Unsupported => "the store does not do this",
            Kind::ShutDown => "the store was shut down",
        };
        match &self.subject {
            Some(subject) => write!(f, "{text} ({subject})"),
            None => f.write_str(text),
        }
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreError").field(&self.kind).field(&self.subject.as_deref()).finish()
    }
}

impl std::error::Error for StoreError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_told_apart_by_its_code_and_shows_nothing_more() {
        assert!(StoreError::reply("NOPERM").is_forbidden());
        assert!(StoreError::reply("WRONGPASS").is_unauthorized());
        assert!(StoreError::reply("OOM").is_full());
        assert!(StoreError::reply("LOADING").is_unavailable());
        assert_eq!(
            StoreError::reply("WRONGTYPE").to_string(),
            "Redis answered with an error (WRONGTYPE)"
        );
        assert_eq!(StoreError::reply("secret=1").to_string(), "Redis answered with an error");
    }
}
