//! Who may log in, and whether a password is right.
//!
//! Built by `app` from the configuration; asked by `edge::soap`. Passwords are kept as argon2id hashes only, also those that stand
//! in the configuration as they are. Checking one costs tens of milliseconds of a core by design, so it happens on a blocking
//! thread, few at a time, and only so many may wait. An unknown user costs as much as a known one with the costliest hash.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use argon2::{Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::limits::{PASSWORD_BYTES, PASSWORD_CHECKS, PASSWORD_CHECKS_WAITING, PASSWORD_MEMORY_KIB, PASSWORD_PASSES};

/// The users of this server. Cheap to clone.
#[derive(Clone)]
pub struct Users(Arc<Known>);

/// Somebody who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// What the user may do.
    pub role: Role,
}

/// What a user may do; each role includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look only.
    Reader,
    /// Leases and transfers of one's own, files, machines.
    Operator,
    /// Everything, also what belongs to others.
    Admin,
}

/// What a password is checked against. Never displayed.
pub enum Secret {
    /// An argon2id hash in PHC form.
    Hash(String),
    /// The password itself.
    Plain(Zeroizing<String>),
}

/// Why a login is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefused {
    /// There is no such user, or the password is not theirs: nobody is told which.
    #[error("unknown user or wrong password")]
    Wrong,
    /// Too many passwords are being checked.
    #[error("too many logins at once; try again")]
    Busy,
}

/// Why a hash cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// It does not have the form of an argon2id hash.
    #[error("it is not an argon2id hash")]
    NotArgon2id,
    /// Checking a password against it would take too much.
    #[error(
        "it asks for {memory_kib} KiB and {passes} passes; at most {} KiB and {} are allowed",
        PASSWORD_MEMORY_KIB,
        PASSWORD_PASSES
    )]
    TooCostly {
        /// Memory it asks for.
        memory_kib: u32,
        /// Passes over it.
        passes: u32,
    },
    /// A new one could not be made.
    #[error("no hash could be made: {0}")]
    NotMade(String),
}

struct Known {
    users: HashMap<String, (User, Arc<PasswordHash>)>,
    /// What the password of nobody is checked against.
    decoy: Arc<PasswordHash>,
    /// Held while waiting and while checking.
    room: Arc<Semaphore>,
    /// Held while checking.
    turns: Arc<Semaphore>,
}

impl Users {
    /// Takes up the users. Blocks for some tens of milliseconds for every plain password.
    ///
    /// # Errors
    /// The first hash that cannot be used.
    pub fn new(users: impl IntoIterator<Item = (User, Secret)>) -> Result<Self, HashError> {
        let mut known = HashMap::new();
        for (user, secret) in users {
            let hash = match &secret {
                Secret::Hash(text) => read_hash(text)?,
                Secret::Plain(password) => make_hash(password)?,
            };
            known.insert(user.name.clone(), (user, Arc::new(hash)));
        }
        let costliest = known.values().map(|(_, hash)| hash).max_by_key(|hash| cost(hash));
        let decoy = match costliest {
            Some(hash) => hash.clone(),
            None => Arc::new(make_hash("")?),
        };
        Ok(Users(Arc::new(Known {
            users: known,
            decoy,
            room: Arc::new(Semaphore::new(PASSWORD_CHECKS + PASSWORD_CHECKS_WAITING)),
            turns: Arc::new(Semaphore::new(PASSWORD_CHECKS)),
        })))
    }

    /// The user of that name, whoever asks.
    pub fn find(&self, name: &str) -> Option<&User> {
        self.0.users.get(name).map(|(user, _)| user)
    }

    /// Whether there is anybody who could log in.
    pub fn is_empty(&self) -> bool {
        self.0.users.is_empty()
    }

    /// The user of that name, if the password is theirs.
    ///
    /// # Errors
    /// See [`LoginRefused`].
    pub async fn verify(&self, name: &str, password: &str) -> Result<User, LoginRefused> {
        let room = self.0.room.clone().try_acquire_owned().map_err(|_| LoginRefused::Busy)?;
        let turn = self.0.turns.clone().acquire_owned().await.map_err(|_| LoginRefused::Busy)?;
        let found = self.0.users.get(name);
        let hash = found.map_or(&self.0.decoy, |(_, hash)| hash).clone();
        let too_long = password.len() > PASSWORD_BYTES;
        // What is hashed need not be text, so it may be cut anywhere.
        let password = Zeroizing::new(password.as_bytes()[..password.len().min(PASSWORD_BYTES)].to_vec());
        let check = move || {
            // Kept to the end even if the caller goes away: the work goes on, and so it counts.
            let _permits = (room, turn);
            Argon2::default().verify_password(&password, &*hash).is_ok()
        };
        let right = tokio::task::spawn_blocking(check).await.unwrap_or(false);
        match found {
            Some((user, _)) if right && !too_long => Ok(user.clone()),
            _ => Err(LoginRefused::Wrong),
        }
    }
}

/// Makes the hash of a password, one line in PHC form.
///
/// # Errors
/// When there is no randomness or no memory.
pub fn hash_password(password: &str) -> Result<String, HashError> {
    make_hash(password).map(|hash| hash.to_string())
}

/// Whether passwords can be checked against a hash.
///
/// # Errors
/// Why not. The hash is not part of it.
pub fn check_hash(text: &str) -> Result<(), HashError> {
    read_hash(text).map(drop)
}

fn read_hash(text: &str) -> Result<PasswordHash, HashError> {
    let hash = PasswordHash::new(text).map_err(|_| HashError::NotArgon2id)?;
    let params = Params::try_from(&hash).map_err(|_| HashError::NotArgon2id)?;
    if hash.algorithm.as_str() != "argon2id" || hash.salt.is_none() || hash.hash.is_none() {
        return Err(HashError::NotArgon2id);
    }
    let (memory_kib, passes) = (params.m_cost(), params.t_cost());
    match memory_kib <= PASSWORD_MEMORY_KIB && passes <= PASSWORD_PASSES {
        true => Ok(hash),
        false => Err(HashError::TooCostly { memory_kib, passes }),
    }
}

/// With the costs OWASP recommends, which are the defaults: a client that logs in for each command must not wait long.
fn make_hash(password: &str) -> Result<PasswordHash, HashError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| HashError::NotMade(error.to_string()))?;
    let made = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
    made.map_err(|error| HashError::NotMade(error.to_string()))
}

fn cost(hash: &PasswordHash) -> u64 {
    Params::try_from(hash).map_or(0, |params| u64::from(params.m_cost()) * u64::from(params.t_cost()))
}

/// Names only.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.users.keys()).finish()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of "password", by the reference implementation.
    const HASH: &str = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

    fn user(name: &str, role: Role) -> User {
        User { name: name.into(), role }
    }

    fn users() -> Users {
        let plain = Secret::Plain(Zeroizing::new("pa ss".to_owned()));
        let hashed = Secret::Hash(HASH.to_owned());
        Users::new([(user("lab", Role::Reader), plain), (user("backup", Role::Operator), hashed)]).unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_opens() {
        let users = users();
        assert_eq!(users.verify("backup", "password").await, Ok(user("backup", Role::Operator)));
        assert_eq!(users.verify("lab", "pa ss").await, Ok(user("lab", Role::Reader)));
        let long = "password".repeat(1000);
        for (name, password) in
            [("backup", "Password"), ("backup", ""), ("lab", "password"), ("Lab", "pa ss"), ("", ""), ("backup", &long)]
        {
            assert_eq!(users.verify(name, password).await, Err(LoginRefused::Wrong), "{name}");
        }
        assert_eq!((users.find("lab").map(|user| user.role), users.find("nobody")), (Some(Role::Reader), None));
    }

    #[tokio::test]
    async fn without_users_nobody_gets_in_not_even_with_what_the_decoy_is_made_of() {
        let nobody = Users::new([]).unwrap();
        assert!(nobody.is_empty());
        assert_eq!(nobody.verify("", "").await, Err(LoginRefused::Wrong));
    }

    #[tokio::test]
    async fn a_crowd_is_told_to_come_back_and_those_let_in_are_answered() {
        let users = Users::new([(user("lab", Role::Reader), Secret::Plain(Zeroizing::new("x".to_owned())))]).unwrap();
        let most = PASSWORD_CHECKS + PASSWORD_CHECKS_WAITING;
        let logins = (0..most + 10).map(|_| users.verify("lab", "x"));
        let answers = futures_util::future::join_all(logins).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), most);
        assert_eq!(answers.iter().filter(|answer| **answer == Err(LoginRefused::Busy)).count(), 10);
        assert!(users.verify("lab", "x").await.is_ok(), "afterwards there is room again");
    }

    #[test]
    fn a_made_hash_is_one_that_can_be_used() {
        let made = hash_password("secret").unwrap();
        assert!(made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{made}");
        assert!(check_hash(&made).is_ok());
        assert_ne!(made, hash_password("secret").unwrap(), "every hash has its own salt");
    }

    #[test]
    fn what_is_no_usable_hash_is_refused() {
        assert!(check_hash(HASH).is_ok());
        let no_hash = HASH.rsplit_once('$').unwrap().0;
        for bad in [
            "",
            "password",
            "$argon2id$",
            no_hash,
            &HASH.replace("argon2id", "argon2i"),
            &HASH.replace("m=65536", "m=x"),
        ] {
            assert!(matches!(check_hash(bad), Err(HashError::NotArgon2id)), "{bad}");
        }
        for costly in [HASH.replace("m=65536", "m=4000000"), HASH.replace("t=2", "t=1000")] {
            assert!(matches!(check_hash(&costly), Err(HashError::TooCostly { .. })), "{costly}");
        }
    }

    #[test]
    fn nothing_secret_is_displayed() {
        let shown = format!("{:?} {:?}", users(), Secret::Hash(HASH.to_owned()));
        assert!(shown.contains("backup") && !shown.contains("argon2id") && !shown.contains("pa ss"), "{shown}");
    }
}
