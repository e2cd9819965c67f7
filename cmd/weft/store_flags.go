package main

import (
	"github.com/urfave/cli/v2"

	"weft/cmd/internal/agent"
	"weft/cmd/internal/flags"
	"weft/lease/embedded"
)

// etcdFlags say how to reach etcd: shared by everything that does.
func etcdFlags(s *agent.StoreOptions) []cli.Flag {
	return flags.Group("etcd",
		flags.URLs(&s.Endpoints, "etcd-endpoints", "etcd's client URLs, with commas between them"),
		flags.Text(&s.Prefix, "etcd-prefix", "key prefix of the network"),
		flags.Path(&s.CAFile, "etcd-cafile", "certificate of the authority that signed etcd's"),
		flags.Path(&s.CertFile, "etcd-certfile", "client certificate for etcd"),
		flags.Path(&s.KeyFile, "etcd-keyfile", "key of the client certificate"),
		flags.Text(&s.Username, "etcd-username", "user name for etcd"),
		flags.Secret(&s.Password, "etcd-password", "password for etcd; better given as WEFT_ETCD_PASSWORD, where ps doesn't show it"),
	)
}

// embeddedFlags are for the etcd inside the agent; those about its cluster and certificates have etcd's names.
func embeddedFlags(e *embedded.Options) []cli.Flag {
	return concat(flags.Group("embedded etcd",
		flags.Path(&e.DataDir, "embedded-dir", "data directory (default: etcd in --state-dir)"),
		flags.URLs(&e.ListenClientURLs, "embedded-listen-client", "URLs to serve etcd clients on, other hosts' agents among them"),
		flags.URLs(&e.AdvertiseClientURLs, "embedded-advertise-client", "URLs that clients are told (default: the listening ones)"),
		flags.URLs(&e.ListenPeerURLs, "embedded-listen-peer", "URL for etcd's own members"),
	),
		clusterFlags("embedded etcd", e),
		tlsFlags("embedded etcd", "", &e.ClientTLS),
		tlsFlags("embedded etcd", "peer-", &e.PeerTLS),
	)
}
