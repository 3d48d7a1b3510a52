//! vApps: from a descriptor of several machines to their one lease, and what becomes of them.

use super::waiting::{changes, collector, filter};
use super::*;
use crate::inventory::NewSnapshot;

/// A descriptor of `shop`: `web` has the first and the third file, `db` the second.
fn descriptor(members: &str) -> String {
    let rasd = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData";
    let ovf = "http://schemas.dmtf.org/ovf/envelope/1";
    let (mut files, mut disks) = (String::new(), String::new());
    for number in 1..4 {
        files += &format!("<File ovf:id='f{number}' ovf:href='{number}.vmdk' ovf:size='10'/>");
        disks += &format!("<Disk ovf:diskId='d{number}' ovf:fileRef='f{number}' ovf:capacity='1048576'/>");
    }
    format!(
        "<Envelope xmlns='{ovf}' xmlns:ovf='{ovf}' xmlns:r='{rasd}'><References>{files}</References><DiskSection><Info/>{disks}</DiskSection>\
         <VirtualSystemCollection ovf:id='shop'><Info/><AnnotationSection><Info/><Annotation>sells</Annotation></AnnotationSection>\
         <StartupSection><Info/><Item ovf:id='db' ovf:order='7'/></StartupSection>{members}</VirtualSystemCollection></Envelope>"
    )
}

fn system(id: &str, disks: &[u32]) -> String {
    let item = |number: u32, kind: u32, more: &str| {
        format!("<Item>{more}<r:InstanceID>{number}</r:InstanceID><r:ResourceType>{kind}</r:ResourceType></Item>")
    };
    let disks: String = disks
        .iter()
        .map(|disk| {
            item(10 + disk, 17, &format!("<r:HostResource>ovf:/disk/d{disk}</r:HostResource><r:Parent>3</r:Parent>"))
        })
        .collect();
    format!(
        "<VirtualSystem ovf:id='{id}'><Info/><OperatingSystemSection ovf:id='96'><Info/></OperatingSystemSection>\
         <VirtualHardwareSection><Info/>{}{disks}</VirtualHardwareSection></VirtualSystem>",
        item(3, 6, "")
    )
}

fn shop() -> String {
    descriptor(&[system("web", &[1, 3]), system("db", &[2])].concat())
}

/// The whole answer of `CreateImportSpec`, as it was written.
async fn spec(client: &Client<'_>, descriptor: &str, name: &str) -> String {
    let text = descriptor.replace('&', "&amp;").replace('<', "&lt;");
    let store = describe::datastore::reference("default").id;
    let arguments = format!(
        "<ovfDescriptor>{text}</ovfDescriptor><resourcePool type='ResourcePool'>resgroup-9</resourcePool>\
         <datastore type='Datastore'>{store}</datastore><cisp><locale></locale><deploymentOption></deploymentOption>\
         <entityName>{name}</entityName></cisp>"
    );
    let (status, _, body) =
        client.stage.post(&client.cookie, &call("CreateImportSpec", "OvfManager", "OvfManager", &arguments)).await;
    assert_eq!(status, 200, "{body}");
    body
}

/// The specification of such an answer, as a client echoes it.
fn echoed(answer: &str) -> String {
    let (start, end) = (answer.find("<importSpec").unwrap(), answer.find("</importSpec>").unwrap());
    let inner = answer[start..end].replacen("<importSpec", "<spec", 1).replace("xsi:type", "x:type");
    // What any-typed values name belongs to the schema's own namespace.
    format!("{inner}</spec>").replace("<spec", "<spec xmlns:xsd='http://www.w3.org/2001/XMLSchema'")
}

async fn import(client: &Client<'_>, answer: &str) -> String {
    let lease = client.ask("ImportVApp", "ResourcePool", "resgroup-9", &echoed(answer)).await;
    lease.text_of("returnval").unwrap().to_owned()
}

async fn text(client: &Client<'_>, kind: &str, id: &str, property: &str) -> String {
    let found = client.ask("Fetch", kind, id, &format!("<prop>{property}</prop>")).await;
    found.text_of("returnval").unwrap_or_default().to_owned()
}

fn errors(answer: &str) -> Vec<(String, String)> {
    let answer = response(answer);
    let errors = answer.child("returnval").unwrap().children_named("error");
    errors
        .map(|error| {
            let kind = error.child("fault").unwrap().xsi_type().unwrap().to_owned();
            (kind, error.text_of("localizedMessage").unwrap().to_owned())
        })
        .collect()
}

#[tokio::test]
async fn the_machines_of_a_vapp_have_one_lease_and_its_keys_are_those_of_the_items() {
    let stage = Stage::new().await;
    let client = stage.client("operator").await;
    let answer = spec(&client, &shop(), "").await;
    assert_eq!(errors(&answer), []);
    let lease = import(&client, &answer).await;
    assert_eq!(text(&client, "HttpNfcLease", &lease, "state").await, "ready");
    let vapp = stage.desk.inventory.vapps().remove(0);
    assert_eq!((vapp.name.as_str(), vapp.annotation.as_str()), ("shop", "sells"));
    assert_eq!(vapp.members.iter().map(|member| member.start_order).collect::<Vec<_>>(), [0, 7]);
    let entity = client.ask("Fetch", "HttpNfcLease", &lease, "<prop>info.entity</prop>").await;
    let entity = entity.child("returnval").unwrap();
    assert_eq!((entity.attribute_in("", "type"), entity.text.as_str()), (Some("VirtualApp"), vapp.id.as_str()));

    let targets: Vec<String> = stage
        .desk
        .leases
        .get(&lease.as_str().into())
        .await
        .unwrap()
        .disks
        .iter()
        .map(|disk| disk.target.to_string())
        .collect();
    assert_eq!(targets, ["[default] web/web-flat.vmdk", "[default] web/web_1-flat.vmdk", "[default] db/db-flat.vmdk"]);
    // The items are in the order of the package, and each leads to the disk it is for.
    let urls = client.ask("Fetch", "HttpNfcLease", &lease, "<prop>info.deviceUrl</prop>").await;
    let urls = &urls.child("returnval").unwrap().children;
    let keys: Vec<&str> = urls.iter().map(|url| url.text_of("importKey").unwrap()).collect();
    let answer = response(&answer);
    let items: Vec<(&str, usize)> = answer
        .child("returnval")
        .unwrap()
        .children_named("fileItem")
        .map(|item| {
            let key = item.text_of("deviceId").unwrap();
            (item.text_of("path").unwrap(), keys.iter().position(|known| *known == key).unwrap())
        })
        .collect();
    assert_eq!(items, [("1.vmdk", 0), ("2.vmdk", 2), ("3.vmdk", 1)]);

    // A vApp is a resource pool too, but not the one that scripts mean by the first.
    let create = "<container type='Folder'>group-d1</container><type>ResourcePool</type><recursive>true</recursive>";
    let view = client.ask("CreateContainerView", "ViewManager", "ViewManager", create).await;
    let view = client.ask("Fetch", "ContainerView", view.text_of("returnval").unwrap(), "<prop>view</prop>").await;
    let pools: Vec<&str> = view.child("returnval").unwrap().children.iter().map(|pool| pool.text.as_str()).collect();
    assert_eq!(pools, ["resgroup-9", vapp.id.as_str()]);

    // While it goes on nothing of it is changed; when it fails, nothing of it stays.
    let id = vapp.id.as_str();
    assert_eq!(client.refused("Destroy_Task", "VirtualApp", id, "").await, "TaskInProgress");
    assert_eq!(client.refused("ExportVApp", "VirtualApp", id, "").await, "TaskInProgress");
    assert_eq!(
        client.refused("Destroy_Task", "VirtualMachine", vapp.members[0].machine.as_str(), "").await,
        "TaskInProgress"
    );
    client.ask("HttpNfcLeaseAbort", "HttpNfcLease", &lease, "").await;
    assert_eq!((stage.desk.inventory.vapps(), stage.desk.inventory.machines().len()), (vec![], 1));
}

#[tokio::test]
async fn taken_names_are_replaced_in_the_specification_and_refused_at_the_import() {
    let stage = Stage::new().await;
    let client = stage.client("operator").await;
    let first = spec(&client, &shop(), "").await;
    import(&client, &first).await;
    let again = echoed(&first);
    assert_eq!(client.refused("ImportVApp", "ResourcePool", "resgroup-9", &again).await, "DuplicateName");
    let renamed = again.replacen("<name>shop</name>", "<name>mall</name>", 1);
    assert_eq!(client.refused("ImportVApp", "ResourcePool", "resgroup-9", &renamed).await, "DuplicateName");
    let answer = spec(&client, &shop(), "web_1").await;
    let warned: Vec<String> = response(&answer)
        .child("returnval")
        .unwrap()
        .children_named("warning")
        .map(|warning| warning.text_of("localizedMessage").unwrap().to_owned())
        .filter(|warning| warning.contains("taken"))
        .collect();
    assert_eq!(
        warned,
        [
            "VirtualSystem \"web\": the name \"web\" is taken; the machine becomes \"web_2\"",
            "VirtualSystem \"db\": the name \"db\" is taken; the machine becomes \"db_1\""
        ]
    );
    import(&client, &answer).await;
    let names: Vec<String> = stage.desk.inventory.machines().into_iter().map(|machine| machine.name).collect();
    assert_eq!(names, ["vm1", "web", "db", "web_2", "db_1"]);
    // A vApp is a resource pool too, but what it holds came with it.
    let id = stage.desk.inventory.vapps().remove(0).id;
    let machine = "<spec x:type='VirtualMachineImportSpec'><configSpec><name>x</name></configSpec></spec>";
    for spec in [renamed.as_str(), machine] {
        assert_eq!(client.refused("ImportVApp", "VirtualApp", &id, spec).await, "NotSupported");
    }
}

#[tokio::test]
async fn a_descriptor_that_cannot_be_a_vapp_is_refused_by_name() {
    let stage = Stage::new().await;
    let client = stage.client("operator").await;
    let db = system("db", &[2]);
    let nested =
        format!("{db}<VirtualSystemCollection ovf:id='back'><Info/>{}</VirtualSystemCollection>", system("x", &[1]));
    let cases = [
        (nested, "OvfUnsupportedElement", "VirtualSystemCollection \"back\" is part of another one"),
        (format!("{db}{}", system("web", &[1, 2])), "OvfUnsupportedElement", "two machines cannot share one"),
        (format!("{db}{}", system("db", &[1])), "OvfDuplicateElement", "VirtualSystem \"db\" for the second time"),
        (format!("{db}{}", system("web", &[9])), "OvfInvalidValueReference", "HostResource is \"ovf:/disk/d9\""),
    ];
    for (members, kind, words) in cases {
        let found = errors(&spec(&client, &descriptor(&members), "").await);
        assert!(found.iter().any(|(fault, said)| fault == kind && said.contains(words)), "{found:?}");
    }
    let empty = descriptor("").replace("<Item ovf:id='db' ovf:order='7'/>", "");
    let found = errors(&spec(&client, &empty, "").await);
    assert_eq!((found.len(), found[0].0.as_str()), (1, "OvfMissingElement"), "{found:?}");
    assert_eq!(stage.desk.inventory.vapps(), []);
}

#[tokio::test]
async fn a_specification_that_was_changed_is_read_with_care() {
    let stage = Stage::new().await;
    let client = stage.client("operator").await;
    let good = echoed(&spec(&client, &shop(), "").await);
    let first = good.find("<child").unwrap();
    let child = &good[first..first + good[first..].find("</child>").unwrap() + "</child>".len()];
    let cases = [
        (good.replace("<name>shop</name>", ""), "InvalidArgument"),
        (good.replacen("VirtualMachineImportSpec", "VirtualAppImportSpec", 1), "InvalidArgument"),
        (good.replacen("<configSpec", "<otherSpec", 1).replacen("</configSpec", "</otherSpec", 1), "InvalidArgument"),
        (good.replacen("<startOrder>7<", "<startOrder>70000<", 1), "InvalidArgument"),
        (good.replacen(child, &child.repeat(129), 1), "OutOfBounds"),
        (good.replacen(child, &child.repeat(2), 1), "DuplicateName"),
        (format!("{}</spec>", &good[..first]), "InvalidArgument"),
        (good.replace("[default] db/db.vmdk", "[default] web/web.vmdk"), "FileLocked"),
        (good.replace("[default] db/db.vmdk", "[default] ../outside.vmdk"), "InvalidArgument"),
    ];
    for (wrong, fault) in cases {
        assert_ne!(wrong, good);
        assert_eq!(client.refused("ImportVApp", "ResourcePool", "resgroup-9", &wrong).await, fault);
    }
    assert_eq!((stage.desk.inventory.vapps(), stage.desk.inventory.machines().len()), (vec![], 1));
    client.ask("ImportVApp", "ResourcePool", "resgroup-9", &good).await;
}

#[tokio::test]
async fn whoever_waits_for_a_vapp_hears_of_its_machines() {
    let stage = Stage::new().await;
    let client = stage.client("operator").await;
    let lease = import(&client, &spec(&client, &shop(), "").await).await;
    let inventory = &stage.desk.inventory;
    inventory.settle(&lease.as_str().into(), crate::inventory::Settled::Kept { capacities: vec![] }).await.unwrap();
    let vapp = inventory.vapps().remove(0);
    let id = collector(&client, &filter("VirtualApp", &vapp.id, &["name", "vAppConfig"])).await;
    let version = changes(&client.ask("WaitForUpdates", "PropertyCollector", &id, "").await).1;
    let wait = async |version: String| {
        let wait = format!("<version>{version}</version><options><maxWaitSeconds>10</maxWaitSeconds></options>");
        let heard = client.ask("WaitForUpdatesEx", "PropertyCollector", &id, &wait).await;
        let (changed, version) = changes(&heard);
        (changed.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), version)
    };
    let soon = tokio::time::sleep(Duration::from_millis(50));
    let ((changed, version), _) = tokio::join!(wait(version), async {
        soon.await;
        inventory.remove(&vapp.members[0].machine).await.unwrap()
    });
    assert_eq!(changed, ["vAppConfig"]);
    let (heard, _) = tokio::join!(wait(version), inventory.rename_vapp(&vapp.id, "mall"));
    assert_eq!(heard.0, ["name"]);
}

#[tokio::test]
async fn a_vapp_is_renamed_described_and_destroyed_with_its_machines() {
    let stage = Stage::new().await;
    let client = stage.client("operator").await;
    // Without files nothing has to be sent.
    let empty =
        shop().replace(" ovf:fileRef='f1'", "").replace(" ovf:fileRef='f2'", "").replace(" ovf:fileRef='f3'", "");
    let lease = import(&client, &spec(&client, &empty, "").await).await;
    client.ask("HttpNfcLeaseComplete", "HttpNfcLease", &lease, "").await;
    let vapp = stage.desk.inventory.vapps().remove(0);
    assert_eq!(vapp.importing, None);
    let id = vapp.id.as_str();
    assert_eq!(text(&client, "VirtualApp", id, "summary.vAppState").await, "stopped");
    assert_eq!(text(&client, "VirtualApp", id, "vAppConfig.annotation").await, "sells");
    let done = async |method: &str, arguments: &str| {
        let task = client.ask(method, "VirtualApp", id, arguments).await.text_of("returnval").unwrap().to_owned();
        loop {
            match text(&client, "Task", &task, "info.state").await.as_str() {
                "running" | "queued" => tokio::task::yield_now().await,
                state => return state.to_owned(),
            }
        }
    };
    assert_eq!(done("Rename_Task", "<newName>mall</newName>").await, "success");
    assert_eq!(done("Rename_Task", "<newName>vm1</newName>").await, "error");
    assert_eq!(text(&client, "VirtualApp", id, "name").await, "mall");
    let arguments = format!("<obj type='VirtualApp'>{id}</obj><cdp></cdp>");
    let written = client.ask("CreateDescriptor", "OvfManager", "OvfManager", &arguments).await;
    let written = written.child("returnval").unwrap().text_of("ovfDescriptor").unwrap().to_owned();
    for part in ["<VirtualSystemCollection ovf:id=\"mall\"", "<Annotation>sells<", "ovf:id=\"db\" ovf:order=\"7\""] {
        assert!(written.contains(part), "{part} is not in {written}");
    }

    let export = client.ask("ExportVApp", "VirtualApp", id, "").await.text_of("returnval").unwrap().to_owned();
    assert_eq!(client.refused("Destroy_Task", "VirtualApp", id, "").await, "TaskInProgress");
    client.ask("HttpNfcLeaseAbort", "HttpNfcLease", &export, "").await;
    // A snapshot that is exported needs its machine.
    let new = NewSnapshot { name: "one".into(), description: String::new(), quiesced: false };
    let (inventory, member) = (&stage.desk.inventory, &vapp.members[0].machine);
    let snapshot = inventory.begin_snapshot(member, new).await.unwrap();
    inventory.publish_snapshot(member, snapshot.number).await.unwrap();
    let snapshot = snapshot.id().to_string();
    let export = client.ask("ExportSnapshot", "VirtualMachineSnapshot", &snapshot, "").await;
    for method in ["Destroy_Task", "unregisterVApp_Task"] {
        assert_eq!(client.refused(method, "VirtualApp", id, "").await, "TaskInProgress");
    }
    client.ask("HttpNfcLeaseAbort", "HttpNfcLease", export.text_of("returnval").unwrap(), "").await;
    assert_eq!(done("PowerOffVApp_Task", "<force>false</force>").await, "success");
    assert_eq!(done("PowerOnVApp_Task", "").await, "error");
    let reader = stage.client("reader").await;
    assert_eq!(reader.refused("Destroy_Task", "VirtualApp", id, "").await, "NoPermission");
    assert_eq!(done("Destroy_Task", "").await, "success");
    assert_eq!((stage.desk.inventory.vapps(), stage.desk.inventory.machines().len()), (vec![], 1));
    assert_eq!(client.refused("Destroy_Task", "VirtualApp", id, "").await, "ManagedObjectNotFound");
    assert_eq!(client.refused("unregisterVApp_Task", "VirtualMachine", "vm-1", "").await, "MethodNotFound");
}
