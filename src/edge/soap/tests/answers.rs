//! What is answered, to whom.

use super::*;

#[tokio::test]
async fn before_login_only_what_a_login_needs_is_answered() {
    let stage = Stage::new().await;
    let stranger = Client { stage: &stage, cookie: "vmware_soap_session=stale".to_owned() };
    let content = stranger.ask("RetrieveServiceContent", "ServiceInstance", "ServiceInstance", "").await;
    let content = content.child("returnval").unwrap();
    for needed in
        ["rootFolder", "propertyCollector", "sessionManager", "searchIndex", "viewManager", "ovfManager", "fileManager"]
    {
        assert!(content.child(needed).is_some(), "{needed}");
    }
    let spec = |kind, id, path| {
        format!(
            "<specSet><propSet><type>{kind}</type><pathSet>{path}</pathSet></propSet><objectSet><obj type='{kind}'>{id}</obj></objectSet></specSet>"
        )
    };
    let current = spec("SessionManager", "SessionManager", "currentSession");
    let answer = stranger.ask("RetrieveProperties", "PropertyCollector", "propertyCollector", &current).await;
    assert!(answer.child("returnval").is_none_or(|content| content.child("propSet").is_none()), "no session is shown");
    let machines = spec("Folder", "group-v3", "childEntity");
    let refused = stranger.refused("RetrieveProperties", "PropertyCollector", "propertyCollector", &machines).await;
    assert_eq!(refused, "NotAuthenticated");
    assert_eq!(stranger.refused("Fetch", "VirtualMachine", "vm-1", "<prop>name</prop>").await, "NotAuthenticated");
    assert_eq!(stranger.refused("Destroy_Task", "VirtualMachine", "vm-1", "").await, "NotAuthenticated");
    stranger.ask("Logout", "SessionManager", "SessionManager", "").await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_a_right_one_sets_a_cookie() {
    let stage = Stage::new().await;
    let wrong = "<userName>admin</userName><password>nimda</password>";
    let (status, cookie, body) = stage.post("", &call("Login", "SessionManager", "SessionManager", wrong)).await;
    assert_eq!((status, cookie, fault(&body).as_str()), (500, None, "InvalidLogin"));
    let client = stage.client("admin").await;
    assert!(
        client.cookie.starts_with("vmware_soap_session=\"") && client.cookie.ends_with("; Path=/; HttpOnly; Secure")
    );
    client.ask("Fetch", "VirtualMachine", "vm-1", "<prop>name</prop>").await;
    client.ask("Logout", "SessionManager", "SessionManager", "").await;
    assert_eq!(client.refused("Fetch", "VirtualMachine", "vm-1", "<prop>name</prop>").await, "NotAuthenticated");
}

#[tokio::test]
async fn a_role_may_what_it_may() {
    let stage = Stage::new().await;
    let reader = stage.client("reader").await;
    assert_eq!(reader.refused("ExportVm", "VirtualMachine", "vm-1", "").await, "NoPermission");
    assert_eq!(reader.refused("Destroy_Task", "VirtualMachine", "vm-1", "").await, "NoPermission");
    reader.ask("Fetch", "VirtualMachine", "vm-1", "<prop>summary</prop>").await;
    let operator = stage.client("operator").await;
    assert_eq!(operator.refused("TerminateSession", "SessionManager", "SessionManager", "").await, "NoPermission");
}

#[tokio::test]
async fn a_lease_is_its_owners() {
    let stage = Stage::new().await;
    let lease = stage.lease("operator").await;
    let other = stage.client("other").await;
    let kind = "HttpNfcLease";
    assert_eq!(other.refused("Fetch", kind, lease.id.as_str(), "<prop>state</prop>").await, "ManagedObjectNotFound");
    assert_eq!(other.refused("HttpNfcLeaseAbort", kind, lease.id.as_str(), "").await, "ManagedObjectNotFound");
    for user in ["operator", "admin"] {
        let client = stage.client(user).await;
        let state = client.ask("Fetch", kind, lease.id.as_str(), "<prop>state</prop>").await;
        let state = state.child("returnval").unwrap();
        assert_eq!((state.xsi_type(), state.text.as_str()), (Some("HttpNfcLeaseState"), "ready"));
    }
    let owner = stage.client("operator").await;
    let info = owner.ask("Fetch", kind, lease.id.as_str(), "<prop>info.deviceUrl</prop>").await;
    let url = info.child("returnval").unwrap().child("HttpNfcLeaseDeviceUrl").unwrap();
    assert!(
        url.text_of("url").unwrap().starts_with("http://ferry.example:80/nfc/"),
        "the host the client reached us by"
    );
}

#[tokio::test]
async fn what_does_not_exist_gets_its_fault() {
    let stage = Stage::new().await;
    let client = stage.client("admin").await;
    assert_eq!(client.refused("Frobnicate", "VirtualMachine", "vm-1", "").await, "MethodNotFound");
    let (_, _, body) = stage.post(&client.cookie, &call("CloneVM_Task", "VirtualMachine", "vm-1", "")).await;
    assert!(body.contains("this server does not offer CloneVM_Task of VirtualMachine"), "{body}");
    assert_eq!(client.refused("ExportVm", "Folder", "group-v3", "").await, "MethodNotFound");
    assert_eq!(client.refused("ExportVm", "VirtualMachine", "vm-99", "").await, "ManagedObjectNotFound");
    assert_eq!(client.refused("HttpNfcLeaseComplete", "HttpNfcLease", "lease-0", "").await, "ManagedObjectNotFound");
    assert_eq!(client.refused("CancelTask", "Task", "task-0", "").await, "ManagedObjectNotFound");
    assert_eq!(client.refused("DestroyView", "ContainerView", "v", "").await, "ManagedObjectNotFound");
    let unset = client.ask("Fetch", "VirtualMachine", "vm-1", "<prop>snapshot</prop>").await;
    assert_eq!(unset.children, [], "a property that is not set answers nothing");
}

#[tokio::test]
async fn the_tasks_of_a_machine_are_shown_in_whatever_way_they_are_asked_for() {
    let stage = Stage::new().await;
    let client = stage.client("admin").await;
    let began = client.ask("Rename_Task", "VirtualMachine", "vm-1", "<newName>other</newName>").await;
    let task = began.text_of("returnval").unwrap().to_owned();
    let fetched = client.ask("Fetch", "VirtualMachine", "vm-1", "<prop>recentTask</prop>").await;
    assert_eq!(fetched.child("returnval").unwrap().children[0].text, task);
    let start = "<obj type='VirtualMachine'>vm-1</obj>";
    let follow = format!(
        "{start}<selectSet x:type='TraversalSpec'><type>VirtualMachine</type><path>recentTask</path></selectSet>"
    );
    for (kind, wanted, start) in [
        ("VirtualMachine", "<pathSet>recentTask</pathSet>", start),
        ("ManagedEntity", "<pathSet>name</pathSet><pathSet>recentTask</pathSet>", start),
        ("VirtualMachine", "<all>true</all>", start),
        ("Task", "<pathSet>info.key</pathSet>", &follow),
    ] {
        // What was described before for another filter does not count.
        let spec = format!(
            "<specSet><propSet><type>VirtualMachine</type><pathSet>name</pathSet></propSet><objectSet>{start}</objectSet></specSet>\
             <specSet><propSet><type>{kind}</type>{wanted}</propSet><objectSet>{start}</objectSet></specSet>"
        );
        let (_, _, body) = stage
            .post(&client.cookie, &call("RetrieveProperties", "PropertyCollector", "propertyCollector", &spec))
            .await;
        assert!(body.contains(&format!(">{task}</")), "{kind} {wanted}: {body}");
    }
}

#[tokio::test]
async fn what_a_client_gives_as_reason_is_shown_as_it_said_it() {
    let stage = Stage::new().await;
    let client = stage.client("admin").await;
    let fault = |kind: &str, fields: &str, message: &str| {
        format!("<fault><fault x:type='{kind}'>{fields}</fault><localizedMessage>{message}</localizedMessage></fault>")
    };
    let file = "<file>a.vmdk</file>";
    for (given, kind, shown) in [
        (fault("FileFault", file, "the tape is full"), "FileFault", "a.vmdk: the tape is full"),
        (fault("FileFault", file, "a.vmdk: the tape is full"), "FileFault", "a.vmdk: the tape is full"),
        (fault("FileFault", file, ""), "FileFault", "a.vmdk: the client gave up"),
        (fault("FileNotFound", file, ""), "FileFault", "a.vmdk: the client says that it does not exist"),
        (fault("FileFault", "<file/>", "the tape is full"), "SystemError", "the tape is full"),
        (
            fault("InvalidState", "", "not allowed in the present state: too late"),
            "InvalidState",
            "not allowed in the present state: too late",
        ),
        (fault("HttpFault", "<statusCode>503</statusCode>", "busy"), "HttpFault", "HTTP status 503: busy"),
        (fault("SystemError", "<reason>why</reason>", ""), "SystemError", "why"),
        (fault("MethodFault", "", "no more tape"), "SystemError", "no more tape"),
        (fault("ConcurrentAccess", "", ""), "SystemError", "the client gave up (ConcurrentAccess)"),
        (fault("ConcurrentAccess", "", "twice"), "SystemError", "twice (ConcurrentAccess)"),
    ] {
        let lease = stage.lease("admin").await;
        client.ask("HttpNfcLeaseAbort", "HttpNfcLease", lease.id.as_str(), &given).await;
        let error = client.ask("Fetch", "HttpNfcLease", lease.id.as_str(), "<prop>error</prop>").await;
        let error = error.child("returnval").unwrap();
        assert_eq!(error.text_of("localizedMessage"), Some(shown), "{given}");
        assert_eq!(error.child("fault").unwrap().xsi_type(), Some(kind), "{given}");
    }
}

#[tokio::test]
async fn an_argument_of_the_wrong_type_is_named() {
    let stage = Stage::new().await;
    let lease = stage.lease("admin").await;
    let client = stage.client("admin").await;
    let wrong = call("HttpNfcLeaseProgress", "HttpNfcLease", lease.id.as_str(), "<percent>half</percent>");
    let (_, _, body) = stage.post(&client.cookie, &wrong).await;
    assert_eq!(fault(&body), "InvalidArgument");
    assert!(body.contains("<invalidProperty>percent</invalidProperty>"), "{body}");
    for percent in ["0", "-2147483648", "150"] {
        client
            .ask("HttpNfcLeaseProgress", "HttpNfcLease", lease.id.as_str(), &format!("<percent>{percent}</percent>"))
            .await;
    }
}

#[tokio::test]
async fn what_is_no_call_gets_a_fault_and_not_a_closed_door() {
    let stage = Stage::new().await;
    let laughs = "<!DOCTYPE l [<!ENTITY a 'ha'><!ENTITY b '&a;&a;'>]><l>&b;</l>".to_owned();
    let long =
        call("Login", "SessionManager", "SessionManager", &format!("<userName>{}</userName>", "x".repeat(9 << 20)));
    let longish =
        call("Login", "SessionManager", "SessionManager", &format!("<userName>{}</userName>", "x".repeat(2 << 20)));
    for body in [String::new(), "hello".to_owned(), "<x/>".to_owned(), laughs, long, longish] {
        let (status, _, answer) = stage.post("", &body).await;
        assert_eq!((status, fault(&answer).as_str()), (500, "InvalidRequest"));
        assert!(answer.len() < 2000);
    }
}

#[tokio::test]
async fn the_way_up_from_a_machine_is_one_chain() {
    let stage = Stage::new().await;
    let client = stage.client("reader").await;
    let spec = "<specSet><propSet><type>ManagedEntity</type><pathSet>name</pathSet><pathSet>parent</pathSet></propSet>\
                <propSet><type>VirtualMachine</type><pathSet>parentVApp</pathSet></propSet>\
                <objectSet><obj type='VirtualMachine'>vm-1</obj><skip>false</skip>\
                <selectSet x:type='TraversalSpec'><name>traverseParent</name><type>ManagedEntity</type><path>parent</path><skip>false</skip>\
                <selectSet><name>traverseParent</name></selectSet></selectSet>\
                <selectSet x:type='TraversalSpec'><type>VirtualMachine</type><path>parentVApp</path><selectSet><name>traverseParent</name></selectSet></selectSet>\
                </objectSet></specSet>";
    let answer = client.ask("RetrieveProperties", "PropertyCollector", "propertyCollector", spec).await;
    let names: Vec<&str> = answer
        .children_named("returnval")
        .map(|content| {
            let name = content.children_named("propSet").find(|set| set.text_of("name") == Some("name")).unwrap();
            name.text_of("val").unwrap()
        })
        .collect();
    assert_eq!(names, ["vm1", "vm", "ha-datacenter", "Datacenters"]);
    let root = answer.children_named("returnval").last().unwrap();
    assert!(root.children_named("propSet").all(|set| set.text_of("name") != Some("parent")));
}

#[tokio::test]
async fn a_view_follows_the_inventory_and_its_types() {
    let stage = Stage::new().await;
    let client = stage.client("reader").await;
    let create = "<container type='Folder'>group-d1</container><type>VirtualMachine</type><recursive>true</recursive>";
    let view = client.ask("CreateContainerView", "ViewManager", "ViewManager", create).await;
    let id = view.text_of("returnval").unwrap().to_owned();
    let shown = async || {
        let view = client.ask("Fetch", "ContainerView", &id, "<prop>view</prop>").await;
        view.child("returnval").unwrap().children.iter().map(|object| object.text.clone()).collect::<Vec<_>>()
    };
    assert_eq!(shown().await, ["vm-1"]);
    stage.desk.inventory.add(NewMachine::named("vm2")).await.unwrap();
    assert_eq!(shown().await, ["vm-1", "vm-2"]);
    client.ask("DestroyView", "ContainerView", &id, "").await;
}
