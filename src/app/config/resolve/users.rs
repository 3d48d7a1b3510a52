//! `[user.<name>]`: who may log in.
//!
//! Called by [`super::resolve`]. Every user has exactly one secret; secrets are better kept in files than in the
//! configuration, so a password written there is accepted with a warning. A secret never appears in a message.

use std::os::unix::fs::MetadataExt;

use super::Checks;
use crate::app::config::raw::Fields;
use crate::app::config::resolved::{Role, Secret, User};
use crate::limits::CONFIG_NAME_BYTES;

/// The users, in the order of their names.
pub(super) fn resolve(checks: &Checks, sections: Vec<(String, Fields)>) -> Vec<User> {
    let mut users: Vec<User> = sections.iter().filter_map(|(name, fields)| user(checks, name, fields)).collect();
    users.sort_by(|one, other| one.name.cmp(&other.name));
    users
}

fn user(checks: &Checks, name: &str, fields: &Fields) -> Option<User> {
    let fits = (1..=CONFIG_NAME_BYTES).contains(&name.len()) && !name.contains(|c: char| c.is_control() || c == ':');
    if !fits {
        checks.report.mistake(
            &fields.span,
            format!("`{}` cannot be the name of a user", name.escape_debug()),
            format!("use 1 to {CONFIG_NAME_BYTES} bytes without colons and control characters"),
        );
    }
    let role = fields.choice("role");
    if role.is_none() && !fields.has("role") {
        let message = format!("[{}] has no role", fields.label);
        checks.report.mistake(&fields.span, message, "set `role` to admin, operator or reader");
    }
    let secret = secret(checks, fields)?;
    Some(User { name: name.to_owned(), role: role.map_or(Role::Reader, |field| field.value), secret })
}

fn secret(checks: &Checks, fields: &Fields) -> Option<Secret> {
    let given: Vec<&str> =
        ["password_hash", "password_file", "password"].into_iter().filter(|key| fields.has(key)).collect();
    match given[..] {
        [] => {
            let message = format!("[{}] has no password", fields.label);
            let remedy = "set `password_hash` to an argon2id hash, or `password_file` to a file that holds one";
            checks.report.mistake(&fields.span, message, remedy);
            None
        }
        ["password_hash"] => hash(checks, fields),
        ["password_file"] => from_file(checks, fields),
        [_] => {
            let password = fields.text("password")?;
            checks.report.warning(
                &fields.span_of("password"),
                format!("the password of [{}] stands in the configuration", fields.label),
                "put it into a file only the server can read and name that with `password_file`",
            );
            Some(Secret::Plain(password.value))
        }
        [_, second, ..] => {
            let message = format!("[{}] has {}", fields.label, given.join(" and "));
            checks.report.mistake(&fields.span_of(second), message, "keep one of them");
            None
        }
    }
}

fn hash(checks: &Checks, fields: &Fields) -> Option<Secret> {
    let field = fields.text("password_hash")?;
    if is_argon2id(&field.value) {
        return Some(Secret::Hash(field.value));
    }
    checks.report.mistake(
        &field.span,
        "`password_hash` is not an argon2id hash",
        "write it as $argon2id$v=19$m=...,t=...,p=...$SALT$HASH, as the `argon2` command prints with -id -e",
    );
    None
}

/// The first line of the file: a hash if it looks like one, else the password.
fn from_file(checks: &Checks, fields: &Fields) -> Option<Secret> {
    let field = checks.existing_file(fields, "password_file")?;
    let text = match std::fs::read_to_string(&field.value) {
        Ok(text) => text,
        Err(error) => {
            checks.unreadable(&field, &error);
            return None;
        }
    };
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        let message = format!("{} is empty", field.value.display());
        checks.report.mistake(&field.span, message, "write the password or its argon2id hash on its first line");
        return None;
    }
    if std::fs::metadata(&field.value).is_ok_and(|metadata| metadata.mode() & 0o007 != 0) {
        let message = format!("{} is open to every user of this machine", field.value.display());
        checks.report.warning(&field.span, message, "chmod 600");
    }
    Some(if is_argon2id(line) { Secret::Hash(line.to_owned()) } else { Secret::Plain(line.to_owned()) })
}

/// Whether `text` has the PHC form of an argon2id hash: `$argon2id$v=19$m=65536,t=3,p=4$SALT$HASH`.
fn is_argon2id(text: &str) -> bool {
    let base64 = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
    };
    let parts: Vec<&str> = text.split('$').collect();
    matches!(parts[..], ["", "argon2id", version, costs, salt, hash]
        if version.starts_with("v=") && costs.starts_with("m=") && base64(salt) && base64(hash))
}
