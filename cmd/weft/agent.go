package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/agent"
	"weft/cmd/internal/flags"
	"weft/cmd/internal/footprint"
)

// leaseTTL is for tests, in which leases last seconds. 0: flannel's day.
var leaseTTL time.Duration

func agentCommand() *cli.Command {
	options := agent.Defaults()
	options.Store.TTL = leaseTTL
	logging := logOptions{format: "text"}
	showVersion := false
	return &cli.Command{
		Name:        "agent",
		Usage:       "join the network: lease a subnet and carry this host's packets",
		Description: environmentHelp("Takes flanneld's flags. Needs root (CAP_NET_ADMIN) and /dev/net/tun."),
		Flags: concat(
			flags.Group("agent",
				flags.Path(&options.AdminSocket, "admin-socket", "unix socket that serves the state, for weft status"),
				flags.Path(&options.StateDir, "state-dir", "what the agent keeps between two runs"),
				flags.OneOf(&logging.format, []string{"text", "json"}, "log-format", "text or json, on standard error"),
				flags.Number(&logging.verbosity, flags.Range{Min: 0, Max: 10}, "v", "log verbosity: 0 what changes, 1 and more what is tried"),
				flags.Switch(&showVersion, "version", "print the version and exit"),
				flags.OneOf(&options.Store.Kind, []string{"etcd", "embedded"}, "store", "etcd, or embedded: bring an etcd along"),
			),
			etcdFlags(&options.Store),
			embeddedFlags(&options.Store.Embedded),
			interfaceFlags(&options.Interface),
			flags.Group("subnet",
				flags.Path(&options.SubnetFile, "subnet-file", "where the leased subnet is written for Docker and CNI"),
				flags.Minutes(&options.RenewMargin, flags.Range{Min: 1, Max: 1439}, "subnet-lease-renew-margin", "minutes before its expiry that the lease is renewed"),
				flags.Switch(&options.ReleaseOnExit, "release-on-exit", "give the lease back at the end instead of keeping it for the next start"),
			),
			datapathFlags(&options),
			flags.Group("health",
				flags.Address(&options.HealthzIP, 0, "healthz-ip", "address for /healthz, /readyz and /metrics"),
				flags.Number(&options.HealthzPort, flags.Range{Min: 0, Max: 65535}, "healthz-port", "port for /healthz, /readyz and /metrics; 0: none"),
			),
			flags.Refused(notYet...),
		),
		Action: func(c *cli.Context) error {
			if showVersion {
				return printVersion(c)
			}
			if _, err := gather(c, options.Check); err != nil {
				return err
			}
			footprint.Frugal()
			logger := logging.logger(c.App.ErrWriter)
			return agent.New(options, logger, versionLine()).Run(c.Context)
		},
	}
}

// interfaceFlags choose the underlay interface, as flannel's do.
func interfaceFlags(o *agent.InterfaceOptions) []cli.Flag {
	return flags.Group("interface",
		flags.Repeated(&o.Names, "iface", "underlay interface, by name or address, tried in order"),
		flags.Patterns(&o.Patterns, "iface-regex", "regular expression for its address or name, tried after --iface"),
		flags.Address(&o.CanReach, 0, "iface-can-reach", "use the interface that the route to this address leaves by"),
		flags.Address(&o.PublicIP, 4, "public-ip", "IPv4 address that peers send to"),
		flags.Address(&o.PublicIPv6, 6, "public-ipv6", "IPv6 address that peers send to"),
	)
}

// datapathFlags choose who moves the packets on this host, and how.
func datapathFlags(o *agent.Options) []cli.Flag {
	return flags.Group("datapath",
		flags.OneOf(&o.Datapath, []string{"auto", "userspace", "express", "kernel"}, "datapath", "auto, userspace, express or kernel"),
		flags.Text(&o.TUNName, "tun-name", "device of the userspace datapath"),
		flags.Number(&o.Workers, flags.Range{Min: 0, Max: 64}, "workers", "queues and threads of the userspace datapath; 0: by the number of CPUs"),
		flags.Number(&o.Port, flags.Range{Min: 0, Max: 65535}, "port", "outer UDP port of this host, told to weft peers; 0: the network's"),
		flags.Number(&o.SourcePorts, flags.Range{Min: 1, Max: 16}, "source-ports", "outer source ports that flows are spread over, for receive-side scaling and ECMP"),
		flags.OneOf(&o.IO, []string{"auto", "fast", "portable"}, "io", "how device and sockets are driven: auto, fast, or portable (every kernel, slower)"),
		flags.Switch(&o.Split, "split-directions", "a thread for each direction: for hosts with cores to spare and no segmentation offload"),
		flags.Of(&o.Modes.TSO, "offload-tso", "TCP superpackets on the device: auto, on or off"),
		flags.Of(&o.Modes.USO, "offload-uso", "UDP superpackets on the device: auto, on or off"),
		flags.Of(&o.Modes.GSO, "offload-gso", "one send for a run of datagrams: auto, on or off"),
		flags.Of(&o.Modes.GRO, "offload-gro", "one receive for a train of datagrams: auto, on or off"),
		flags.Of(&o.Modes.TunnelGSO, "offload-udp-tunnel-gso", "TCP superpackets leave whole, outer headers included: auto, on or off"),
		flags.Of(&o.Modes.MultiQueue, "offload-multi-queue", "a queue of the device for each worker: auto, on or off"),
		flags.Of(&o.RemoteSums, "offload-remote-checksum", "inner checksums left to the outer one, between weft hosts that both say so in their leases: auto, on or off"),
		flags.Of(&o.Modes.Batch, "offload-batch", "several datagrams in one system call: auto, on or off"),
	)
}

// notYet is what flannel does and weft refuses rather than ignores.
var notYet = []flags.Refusal{
	{Name: "kube-subnet-mgr", Accepted: "false", Bool: true,
		Why: "weft keeps leases in etcd only so far: use --store etcd or --store embedded"},
	{Name: "kube-api-url", Why: "weft doesn't talk to Kubernetes yet: remove it"},
	{Name: "kubeconfig-file", Why: "weft doesn't talk to Kubernetes yet: remove it"},
	{Name: "kube-annotation-prefix", Accepted: "flannel.alpha.coreos.com", Why: "weft doesn't talk to Kubernetes yet: remove it"},
	{Name: "net-config-path", Accepted: "/etc/kube-flannel/net-conf.json",
		Why: "only read with Kubernetes, which weft doesn't talk to yet: write the config with `weft config set FILE`"},
	{Name: "set-node-network-unavailable", Accepted: "true", Bool: true, Why: "weft doesn't talk to Kubernetes yet: remove it"},
	{Name: "ip-masq", Accepted: "false", Bool: true,
		Why: "weft writes no masquerading rules yet: use --ip-masq=false and let Docker masquerade (its --ip-masq)"},
	{Name: "ip-masq-fully-random-disable", Accepted: "false", Bool: true, Why: "weft writes no masquerading rules yet: remove it"},
	{Name: "iptables-resync", Accepted: "5", Why: "weft writes no iptables rules yet: remove it"},
	{Name: "iptables-forward-rules", Accepted: "false", Bool: true,
		Why: "weft writes no iptables rules yet: use --iptables-forward-rules=false, and accept the network in FORWARD where its policy is DROP"},
	{Name: "ip-blackhole-route", Accepted: "false", Bool: true, Why: "weft sets no blackhole route yet: remove it"},
}
