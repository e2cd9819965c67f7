package agent

import (
	"net/netip"
	"time"

	"weft/kernelmode"
	"weft/lease/embedded"
	"weft/lease/etcd"
	"weft/tunnel"
)

// Options is everything an agent is told from outside. It doesn't change after the start.
type Options struct {
	Store     StoreOptions
	Interface InterfaceOptions

	SubnetFile    string        // subnet.env, for Docker, CNI and the next start
	RenewMargin   time.Duration // renew this long before the lease expires
	ReleaseOnExit bool          // give the lease back when asked to end

	Datapath    string       // auto, userspace, express or kernel
	TUNName     string       // device of the userspace datapath
	IO          string       // auto, fast or portable: which queues and conns of package tunnel
	Modes       tunnel.Modes // the operator's wish for each rung of the offload ladder
	broken      []string     // rungs that probing took off, with the reasons
	RemoteSums  tunnel.Mode  // the rung above them: leaving inner checksums to peers that take that
	Split       bool         // a thread for each direction
	Workers     int          // queues and sockets of the userspace datapath; 0: one for two CPUs, at most 4
	SourcePorts int          // outer source ports that flows are spread over, for each worker and family
	Port        int          // outer UDP port; 0: what the network config says

	HealthzIP   netip.Addr
	HealthzPort int // 0: no health server

	AdminSocket string // unix socket that serves the state
	StateDir    string // what an agent keeps between two runs
}

// StoreOptions says where leases live and how to get in.
type StoreOptions struct {
	Kind string // etcd or embedded

	Endpoints []string // URLs of etcd; unused with embedded
	Prefix    string   // key prefix, flannel's "/coreos.com/network"
	KeyFile   string   // TLS client key, certificate, and the CA that signed the server's
	CertFile  string
	CAFile    string
	Username  string
	Password  string

	TTL time.Duration // of the leases; 0: flannel's, a day

	Embedded embedded.Options // for the etcd inside the agent; DataDir empty: "etcd" in StateDir
}

// InterfaceOptions says how to find the underlay interface and the address peers send to.
type InterfaceOptions struct {
	Names      []string // interface names or addresses, tried in order
	Patterns   []string // regular expressions, matched with addresses first, then names
	CanReach   netip.Addr
	PublicIP   netip.Addr
	PublicIPv6 netip.Addr
}

// Defaults returns what holds where nobody says otherwise: flannel's values where flannel has them.
func Defaults() Options {
	return Options{
		Store: StoreOptions{
			Kind:      "etcd",
			Endpoints: []string{"http://127.0.0.1:4001", "http://127.0.0.1:2379"},
			Prefix:    etcd.DefaultPrefix,
			Embedded: embedded.Options{
				ListenClientURLs: []string{"http://127.0.0.1:2379"},
				ListenPeerURLs:   []string{"http://127.0.0.1:2380"},
			},
		},
		SubnetFile:  "/run/flannel/subnet.env",
		RenewMargin: time.Hour,
		Datapath:    "auto",
		TUNName:     kernelmode.DefaultDevice,
		IO:          "auto",
		SourcePorts: 1,
		HealthzIP:   netip.IPv4Unspecified(),
		AdminSocket: "/run/weft/weft.sock",
		StateDir:    "/var/lib/weft",
	}
}
