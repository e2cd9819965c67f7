package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// Options says where the server keeps its data and where it listens. URLs are as etcd writes them,
// http://address:port or https://address:port; the first one of a list is the one shown.
type Options struct {
	DataDir string // made if missing; nobody else may use it meanwhile

	// ListenClientURLs defaults to http://127.0.0.1:2379, which no other host can reach: a first
	// host passes its own address as well. ListenPeerURLs defaults to http://127.0.0.1:2380; only a
	// cluster of several needs more.
	ListenClientURLs, ListenPeerURLs []string

	// The addresses that others are told; they default to what is listened on, where that is a
	// definite address.
	AdvertiseClientURLs, AdvertisePeerURLs []string

	// For a cluster of several, named as etcd names them: every member has the same InitialCluster
	// ("a=http://10.0.0.1:2380,b=…"), and ClusterState is "new", or "existing" for one that joins.
	Name, InitialCluster, ClusterState, ClusterToken string

	ClientTLS, PeerTLS TLS

	// Compaction is how much history is kept; 0: an hour. Watchers that were away for longer list
	// again.
	Compaction time.Duration

	Defrag Defrag

	Log *slog.Logger // nil: nothing is logged
}

const (
	defaultClientURL  = "http://127.0.0.1:2379"
	defaultPeerURL    = "http://127.0.0.1:2380"
	defaultName       = "default" // etcd's own; it is stored in the data folder
	defaultToken      = "etcd-cluster"
	defaultCompaction = time.Hour
)

// config turns the options into etcd's own. The error joins everything that is wrong.
func (o Options) config() (*embed.Config, error) {
	var errs []error
	list := func(what string, urls []string, def string) []url.URL {
		if len(urls) == 0 && def != "" {
			urls = []string{def}
		}
		parsed, err := parseURLs(what, urls)
		errs = append(errs, err)
		return parsed
	}
	c := embed.NewConfig()
	c.Dir = o.DataDir
	if c.Dir == "" {
		errs = append(errs, errors.New("embedded etcd: no data folder: name one, such as /var/lib/weft/etcd"))
	}
	c.Name = or(o.Name, defaultName)
	c.ListenClientUrls = list("client address", o.ListenClientURLs, defaultClientURL)
	c.ListenPeerUrls = list("peer address", o.ListenPeerURLs, defaultPeerURL)
	c.AdvertiseClientUrls = list("advertised client address", o.AdvertiseClientURLs, "")
	c.AdvertisePeerUrls = list("advertised peer address", o.AdvertisePeerURLs, "")
	if len(c.AdvertiseClientUrls) == 0 {
		c.AdvertiseClientUrls = reachable(c.ListenClientUrls)
	}
	if len(c.AdvertisePeerUrls) == 0 {
		c.AdvertisePeerUrls = reachable(c.ListenPeerUrls)
	}
	errs = append(errs, o.cluster(c))
	var err error
	c.ClientTLSInfo, err = side{"clients", "", o.ClientTLS, c.ListenClientUrls}.info()
	errs = append(errs, err)
	c.PeerTLSInfo, err = side{"peers", "peer-", o.PeerTLS, c.ListenPeerUrls}.info()
	errs = append(errs, err)
	compaction := o.Compaction
	if compaction == 0 {
		compaction = defaultCompaction
	}
	if compaction < 0 {
		errs = append(errs, fmt.Errorf("embedded etcd: history of %s: use 1h, or another time above zero", compaction))
	}
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModePeriodic, compaction.String()
	return c, errors.Join(errs...)
}

// cluster fills in who the members are. c has this one's name and addresses already.
func (o Options) cluster(c *embed.Config) error {
	var errs []error
	c.InitialClusterToken = or(o.ClusterToken, defaultToken)
	c.ClusterState = or(o.ClusterState, embed.ClusterStateFlagNew)
	if c.ClusterState != embed.ClusterStateFlagNew && c.ClusterState != embed.ClusterStateFlagExisting {
		errs = append(errs, fmt.Errorf("embedded etcd: cluster state %q: use new or existing", c.ClusterState))
	}
	c.InitialCluster = o.InitialCluster
	if c.InitialCluster == "" {
		if c.ClusterState == embed.ClusterStateFlagExisting {
			errs = append(errs, errors.New("embedded etcd: initial-cluster-state existing needs the cluster to join: "+
				"give initial-cluster with all its members, this one among them"))
		}
		c.InitialCluster = c.InitialClusterFromName(c.Name)
		return errors.Join(errs...)
	}
	members, err := parseRoster(o.InitialCluster)
	if err == nil {
		err = members.check(c.Name, c.AdvertisePeerUrls)
	}
	return errors.Join(append(errs, err)...)
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

func parseURLs(what string, urls []string) ([]url.URL, error) {
	var out []url.URL
	var errs []error
	for _, text := range urls {
		u, err := url.Parse(text)
		if err == nil {
			_, _, err = net.SplitHostPort(u.Host)
		}
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Path != "" {
			errs = append(errs, fmt.Errorf("embedded etcd: %s %q: write it as http://10.0.0.1:2379", what, text))
			continue
		}
		out = append(out, *u)
	}
	return out, errors.Join(errs...)
}

// reachable replaces the wildcard address, which one can listen on but not connect to, by loopback.
func reachable(urls []url.URL) []url.URL {
	out := make([]url.URL, len(urls))
	for i, u := range urls {
		host, port, err := net.SplitHostPort(u.Host)
		switch ip := net.ParseIP(host); {
		case err != nil:
		case host == "" || ip.Equal(net.IPv4zero):
			u.Host = net.JoinHostPort("127.0.0.1", port)
		case ip.Equal(net.IPv6unspecified):
			u.Host = net.JoinHostPort("::1", port)
		}
		out[i] = u
	}
	return out
}
