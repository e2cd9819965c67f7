package etcd

import (
	"fmt"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
)

// A layout names the keys below one prefix. dir is the prefix without a slash at its end.
type layout struct{ dir string }

func (k layout) config() string { return k.dir + "/config" }
func (k layout) root() string   { return k.dir + "/" }

// folder is where a host's record is; flannel never looks into the second one.
func (k layout) folder(v6only bool) string {
	if v6only {
		return k.dir + "/v6subnets/"
	}
	return k.dir + "/subnets/"
}

func (k layout) lease(s lease.Subnets) string {
	return k.folder(!s.V4.IsValid()) + lease.Key(s)
}

// base is what the keys of all subnets with this first address begin with, whatever their length
// and their other family: if there is no key below it, the subnet is free.
func (k layout) base(s lease.Subnets) string {
	if s.V4.IsValid() {
		return k.folder(false) + s.V4.Addr().String() + "-"
	}
	return k.folder(true) + s.V6.Addr().String() + "-"
}

// record splits a key: the name of a lease below one of the two folders. Keys beside them are
// somebody else's business, unless they begin as flannel's folder does and so break flannel hosts.
func (k layout) record(key string) (name string, v6only, ok bool) {
	if name, ok = strings.CutPrefix(key, k.folder(true)); ok {
		return name, true, true
	}
	if name, ok = strings.CutPrefix(key, k.folder(false)); ok {
		return name, false, true
	}
	name, ok = strings.CutPrefix(key, k.dir+"/")
	return name, false, ok && strings.HasPrefix(name, "subnets")
}

// A token tells which record a lease is: its key, and the etcd lease it hangs on, which is another
// one for each start of an agent. A reservation hangs on none.
type token struct {
	key string
	id  clientv3.LeaseID
}

func (t token) String() string { return strconv.FormatInt(int64(t.id), 16) + " " + t.key }

func parseToken(l lease.Lease) (token, error) {
	id, key, ok := strings.Cut(l.Token, " ")
	n, err := strconv.ParseInt(id, 16, 64)
	if !ok || err != nil {
		return token{}, fmt.Errorf("lease of %s has no token of this store: acquire it, or take it "+
			"from a snapshot", l.Subnets())
	}
	return token{key: key, id: clientv3.LeaseID(n)}, nil
}
