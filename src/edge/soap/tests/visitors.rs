//! Who is let in to `/folder`.

use axum::http::request::Parts;

use super::*;
use crate::edge::folder::{Gate, Visitor};

fn head(name: header::HeaderName, value: &str) -> Parts {
    let mut head = Request::get("/folder").header(name, value).body(()).unwrap().into_parts().0;
    head.extensions.insert(Peer { address: SocketAddr::from(([127, 0, 0, 1], 1)), tls: true });
    head
}

async fn visitor(stage: &Stage, name: header::HeaderName, value: &str) -> Result<(String, bool), LoginRefused> {
    let visitor = stage.desk.visitor(&head(name, value)).await;
    visitor.map(|Visitor { name, may_write, .. }| (name, may_write))
}

#[tokio::test(start_paused = true)]
async fn a_session_or_a_password_opens_the_folder() {
    let stage = Stage::new().await;
    for (user, may_write) in [("reader", false), ("operator", true), ("admin", true)] {
        let client = stage.client(user).await;
        let expected = Ok((user.to_owned(), may_write));
        assert_eq!(visitor(&stage, header::COOKIE, &client.cookie).await, expected);
        // printf 'reader:reader' | base64
        let coded = match user {
            "reader" => "cmVhZGVyOnJlYWRlcg==",
            "operator" => "b3BlcmF0b3I6b3BlcmF0b3I=",
            _ => "YWRtaW46YWRtaW4=",
        };
        assert_eq!(visitor(&stage, header::AUTHORIZATION, &format!("Basic {coded}")).await, expected);
    }
    assert_eq!(visitor(&stage, header::COOKIE, "vmware_soap_session=stranger").await, Err(LoginRefused::Wrong));
    assert_eq!(visitor(&stage, header::ACCEPT, "*/*").await, Err(LoginRefused::Wrong));
    for _ in 0..20 {
        assert_eq!(visitor(&stage, header::AUTHORIZATION, "Basic cmVhZGVyOndyb25n").await, Err(LoginRefused::Wrong));
    }
    let asked = tokio::time::Instant::now();
    assert!(visitor(&stage, header::AUTHORIZATION, "Basic cmVhZGVyOnJlYWRlcg==").await.is_ok());
    assert!(asked.elapsed() >= Duration::from_secs(1), "guessing is slowed down here too");
}

#[tokio::test]
async fn a_file_on_its_way_keeps_the_session_alive() {
    let mut stage = Stage::new().await;
    Arc::get_mut(&mut stage.desk).unwrap().sessions = Arc::new(Sessions::new(Duration::from_millis(300), || 1_000));
    let client = stage.client("operator").await;
    let (cookie, name) = (client.cookie.clone(), header::COOKIE);
    let here = stage.desk.visitor(&head(name.clone(), &cookie)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(visitor(&stage, name.clone(), &cookie).await.is_ok());
    drop(here);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(visitor(&stage, name, &cookie).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_comes_with_too_many_others_is_told_so_and_not_that_the_password_is_wrong() {
    let stage = Stage::new().await;
    let login = call("Login", "SessionManager", "SessionManager", "<userName>late</userName><password>late</password>");
    for _ in 0..20 {
        let (status, _, body) = stage.post("", &login).await;
        assert_eq!((status, fault(&body).as_str()), (500, "InsufficientResourcesFault"));
        assert!(body.contains("too many logins at once; try again"), "{body}");
    }
    // printf 'late:late' | base64
    assert_eq!(visitor(&stage, header::AUTHORIZATION, "Basic bGF0ZTpsYXRl").await, Err(LoginRefused::Busy));
    assert_eq!(stage.desk.throttle.wait([127, 0, 0, 1].into(), std::time::Instant::now()), Duration::ZERO);
}
