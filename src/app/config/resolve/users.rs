//! `[user.<name>]`: who may log in.
//!
//! Called by [`super::resolve`]. Every user has exactly one secret; secrets are better kept in files than in the
//! configuration, so a password written there is accepted with a warning. A secret never appears in a message.

use std::os::unix::fs::MetadataExt;

use super::Checks;
use crate::app::config::mistake::Span;
use crate::app::config::raw::Fields;
use crate::app::config::resolved::{Role, Secret, User};
use crate::edge::users::{HashError, check_hash};
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
            let remedy = "set `password_hash` to what `diskferry hash-password` prints, or `password_file` to a file that holds it";
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
    usable_hash(checks, "`password_hash`", field.value, &field.span)
}

/// A hash that passwords can be checked against. `what` stands for it in messages.
fn usable_hash(checks: &Checks, what: &str, hash: String, span: &Span) -> Option<Secret> {
    let message = match check_hash(&hash) {
        Ok(()) => return Some(Secret::Hash(hash)),
        Err(HashError::NotArgon2id) => format!("{what} is not an argon2id hash"),
        Err(error) => format!("{what} cannot be used: {error}"),
    };
    checks.report.mistake(span, message, "make one with `diskferry hash-password`");
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
    match line.starts_with("$argon2") {
        true => usable_hash(checks, &field.value.display().to_string(), line.to_owned(), &field.span),
        false => Some(Secret::Plain(line.to_owned())),
    }
}
