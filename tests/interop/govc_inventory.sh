#!/usr/bin/env bash
# govc finds its way: about, ls, find, vm.info, datastore.info, host.info, pool.info, networks, properties of everything, sessions
# that are kept between runs, and what it is told when it asks for something that is not there.
. "$(dirname "$0")/lib.bash"

mkdir -p "$work/ds/web" "$work/ds/odd" "$work/second"
truncate -s 64M "$work/ds/web/disk-0.raw"
truncate -s 32M "$work/ds/web/disk-1.raw"
for name in db cache odd; do mkdir -p "$work/ds/$name"; truncate -s 16M "$work/ds/$name/disk-0.raw"; done
site "
[datastore.second]
path = \"$work/second\"
[vm.web]
guest = \"debian11_64Guest\"
cpus = 2
memory_mib = 2048
annotation = \"serves <pages> & more\"
disks = [\"[default] web/disk-0.raw\", { path = \"[default] web/disk-1.raw\", controller = \"pvscsi\" }]
[vm.db]
disks = [\"[default] db/disk-0.raw\"]
[vm.cache]
disks = [\"[default] cache/disk-0.raw\"]
[vm.\"Büro & <Lager>\"]
disks = [\"[default] odd/disk-0.raw\"]
[vapp.shop]
vms = [\"db\", \"cache\"]
"
sail

said=$(govc about)
says '^API type: +(VirtualCenter|HostAgent)$' "$said"
says '^API version: +8\.0\.2\.0$' "$said"
says '^Name: +.+' "$said"
govc about -json | jq -e '.About.InstanceUuid | length == 36' >/dev/null || die "about has no UUID"

says '^/ha-datacenter/vm$' "$(govc ls)"
same "$(govc ls | wc -l)" 4 "folders of the datacenter"
says '^/ha-datacenter/vm/$' "$(govc ls -l)"
said=$(govc ls vm)
says '^/ha-datacenter/vm/web$' "$said"
says '^/ha-datacenter/vm/shop$' "$said"
says '^/ha-datacenter/vm/Büro & <Lager>$' "$said"
said=$(govc ls vm/shop)
says '/shop/db$' "$said"
says '/shop/cache$' "$said"
says 'HostSystem' "$(govc ls -l 'host/*')"
says '/Resources \(ResourcePool\)$' "$(govc ls -l 'host/*')"
says '^/ha-datacenter/datastore/second$' "$(govc ls datastore)"
says '^/ha-datacenter/network/VM Network$' "$(govc ls network)"
same "$(govc ls vm/nothing)" "" "ls of what is not there"

same "$(govc find / -type m | sed 's,.*/,,' | sort | paste -sd,)" "Büro & <Lager>,cache,db,web" "machines found"
# Upwards a vApp hangs below its resource pool, as in vSphere.
says '^/ha-datacenter/host/[^/]+/Resources/shop$' "$(govc find / -type a)"
same "$(govc find / -type s | sort | paste -sd,)" "/ha-datacenter/datastore/default,/ha-datacenter/datastore/second" "datastores found"
same "$(govc find / -type n)" "/ha-datacenter/network/VM Network" "networks found"
same "$(govc find / -type h | wc -l)" 1 "hosts found"
same "$(govc find / -type m -name 'w*')" "/ha-datacenter/vm/web" "a machine by pattern"
same "$(govc find / -type m -config.hardware.memoryMB 2048)" "/ha-datacenter/vm/web" "a machine by its memory"
same "$(govc find / -type m -runtime.powerState poweredOff | wc -l)" 4 "machines that are off"
same "$(govc find vm -type m -name web)" "vm/web" "a machine below a folder"
says '^/ha-datacenter/host/' "$(govc find /)"
# A machine's reference leads back to its path, also out of a vApp.
same "$(govc ls -L "$(govc find -i vm -type m -name web)")" /ha-datacenter/vm/web "path of a machine"
says '^/ha-datacenter/host/[^/]+/Resources/shop/db$' "$(govc ls -L "$(govc find -i vm -type m -name db)")"

said=$(govc vm.info web)
says '^Name: +web$' "$said"
says '^ +Memory: +2048MB$' "$said"
says '^ +CPU: +2 vCPU' "$said"
says '^ +Power state: +poweredOff$' "$said"
says '^ +Path: +/ha-datacenter/vm/web$' "$said"
says '^ +Guest name: +.*[Dd]ebian' "$said"
says 'Storage: +default$' "$(govc vm.info -r web)"
says 'Network: +VM Network$' "$(govc vm.info -r web)"
govc vm.info -e -t web >/dev/null
same "$(govc vm.info 'w*' db | grep -c '^Name:')" 2 "machines of vm.info"
same "$(govc vm.info nothing)" "" "vm.info of what is not there"
uuid=$(govc vm.info -json web | jq -r '.VirtualMachines[0].Config.Uuid')
same "${#uuid}" 36 "length of a UUID"
same "$(govc vm.info -vm.uuid "$uuid" | sed -n 's/^Name: *//p')" web "a machine by UUID"
same "$(govc vm.info -vm.ipath /ha-datacenter/vm/shop/db | sed -n 's/^Name: *//p')" db "a machine by path"
govc vm.info -json web | jq -e '.VirtualMachines[0].Config.Annotation == "serves <pages> & more"' >/dev/null || die "annotation"
govc object.collect -json vm/web config.hardware.device |
    jq -e '[.. | objects | select(has("CapacityInKB")) | .CapacityInKB] == [65536, 32768]' >/dev/null || die "capacities"
same "$(govc device.info -vm web -json 'disk-*' | jq '[.Devices[] | .ControllerKey] | unique | length')" 2 "controllers of two kinds"

says '^Name: +second$' "$(govc datastore.info second)"
same "$(govc datastore.info | grep -c '^Name:')" 2 "datastores of datastore.info"
says '^ +Free: +[0-9.]+ GB$' "$(govc datastore.info default)"
says '^ +State: +connected$' "$(govc host.info)"
says '^Name: +Resources$' "$(govc pool.info '*')"

# Everything that exists can be read whole; govc panics on a value of the wrong type.
govc find -i / | while read -r object; do
    govc object.collect "$object" >"$work/collected" || die "object.collect of $object"
    [ -s "$work/collected" ] || die "$object has no properties"
done
for object in ServiceInstance:ServiceInstance "$(govc object.collect -s - content.taskManager)" \
    "$(govc object.collect -s - content.sessionManager)" "$(govc object.collect -s - content.ovfManager)"; do
    govc object.collect "$object" >/dev/null
done
same "$(govc object.collect -s - content.about.apiVersion)" 8.0.2.0 "a nested property of the service"
same "$(govc object.collect -s vm/web config.noSuchThing 2>/dev/null || true)" "" "a property that does not exist"
says 'VirtualMachine:.* name .*string .*web' "$(govc object.collect -type m / name | tr -s ' ' )"

# A kept session: the second run logs in with the cookie of the first; a cookie nobody knows logs in anew.
export GOVC_PERSIST_SESSION=true
govc about >/dev/null
kept=$(find "$GOVMOMI_HOME/sessions" -type f)
before=$(govc session.ls | grep -c captain)
govc about >/dev/null
same "$(govc session.ls | grep -c captain)" "$before" "sessions after another run"
sed -i -E 's/(vmware_soap_session","Value":")[^"]*/\1nobody-knows-this/' "$kept"
govc about >/dev/null
grep -q nobody-knows-this "$kept" && die "the unknown cookie is still used"
export GOVC_PERSIST_SESSION=false

refused 'incorrect user name or password|InvalidLogin' env GOVC_URL="https://captain:wrong@$SDK_HOST:$SDK_PORT/sdk" "$govc_program" about
refused "'nothing' not found" govc export.ovf -vm nothing "$work/nowhere"
refused 'does not exist|ManagedObjectNotFound|not been completely created' govc object.collect -s VirtualMachine:vm-999999 name
refused 'not supported|NotSupported' govc vm.power -on web
stop
