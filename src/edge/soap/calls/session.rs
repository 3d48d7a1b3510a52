//! Logging in and out.

use super::{Answer, Visit, expect};
use crate::edge::soap::describe::service;
use crate::edge::soap::refusal::Refusal;
use crate::wire::soap::{Call, Value};

/// `RetrieveServiceContent` and `CurrentTime`, which need no login.
pub fn about(visit: &Visit, call: &Call) -> Result<Value, Refusal> {
    expect(call, &["ServiceInstance"])?;
    match call.method.as_str() {
        "CurrentTime" => Ok(Value::Time(crate::lease::task::rfc3339((visit.desk.settings.wall_clock_ms)()))),
        _ => Ok(service::content(&visit.world()).into()),
    }
}

/// `Login`. Answers to wrong passwords take the longer the more of them came from that address.
pub async fn login(visit: &Visit, call: &Call) -> Result<Answer, Refusal> {
    expect(call, &["SessionManager"])?;
    let arguments = call.arguments();
    let (name, password) = (arguments.needed_text("userName")?, arguments.needed_text("password")?);
    let desk = &visit.desk;
    let role = desk.authenticate(name, password.to_owned(), visit.address).await?;
    let (session, cookie) = desk.sessions.begin(name, role, visit.address, &visit.agent)?;
    tracing::info!(user = name, address = %visit.address, session = session.key, "logged in");
    Ok(Answer { value: Some(session.info().into()), cookie: Some(cookie) })
}

/// `Logout`. Without a session there is nothing to do, and nothing to complain about.
pub fn logout(visit: &Visit, call: &Call) -> Result<(), Refusal> {
    expect(call, &["SessionManager"])?;
    if let Some(session) = &visit.session {
        visit.desk.sessions.end(session);
        session.close();
        tracing::debug!(user = session.user, session = session.key, "logged out");
    }
    Ok(())
}

/// `SessionIsActive`.
pub fn is_active(visit: &Visit, call: &Call) -> Result<Value, Refusal> {
    expect(call, &["SessionManager"])?;
    let own = visit.session(call)?;
    let arguments = call.arguments();
    let (key, user) = (arguments.needed_text("sessionID")?, arguments.needed_text("userName")?);
    let active = visit
        .desk
        .sessions
        .list()
        .iter()
        .any(|other| other.key == key && other.user == user && own.owns(Some(&other.user)));
    Ok(Value::Bool(active))
}

/// `TerminateSession`.
pub fn terminate(visit: &Visit, call: &Call) -> Result<(), Refusal> {
    expect(call, &["SessionManager"])?;
    for key in call.arguments().texts("sessionId") {
        if !visit.desk.sessions.terminate(&key) {
            return Err(crate::lease::Fault::InvalidArgument {
                invalid_property: "sessionId".to_owned(),
                reason: format!("there is no session {key:?}"),
            }
            .into());
        }
    }
    Ok(())
}
