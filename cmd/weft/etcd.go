package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/agent"
	"weft/cmd/internal/flags"
	"weft/lease/embedded"
)

func etcdCommand() *cli.Command {
	options := agent.Defaults().Store.Embedded
	options.DataDir = "/var/lib/weft/etcd"
	logging := logOptions{format: "text"}
	return &cli.Command{
		Name:  "etcd",
		Usage: "run an etcd for the network, where there is none",
		Description: "An ordinary etcd server under etcd's own flag names; etcdctl works with it. Other hosts join with\n" +
			"weft agent --etcd-endpoints, so let it listen on an address that they reach, and on a network you trust:\n" +
			"without --cert-file and --client-cert-auth anyone who reaches it may write. docs/etcd.md tells how to run three.",
		Subcommands: []*cli.Command{snapshotCommand()},
		Flags: concat(
			flags.Group("member",
				flags.Path(&options.DataDir, "data-dir", "data directory, made if missing"),
				flags.URLs(&options.ListenClientURLs, "listen-client-urls", "URLs to serve clients on"),
				flags.URLs(&options.AdvertiseClientURLs, "advertise-client-urls", "URLs that clients are told (default: the listening ones)"),
				flags.URLs(&options.ListenPeerURLs, "listen-peer-urls", "URLs to serve other members on"),
			),
			clusterFlags("cluster", &options),
			flags.Group("upkeep",
				flags.Of((*retention)(&options.Compaction), "auto-compaction-retention", "history that is kept for watchers that were away: a time like 1h, or hours (default: 1h)"),
				flags.Of((*retention)(&options.Defrag.Every), "auto-defrag-interval", "between two looks whether the file is mostly free and worth making smaller (default: 10m)"),
			),
			tlsFlags("client TLS", "", &options.ClientTLS),
			tlsFlags("peer TLS", "peer-", &options.PeerTLS),
			flags.Group("log",
				flags.OneOf(&logging.format, []string{"text", "json"}, "log-format", "text or json, on standard error"),
				flags.Number(&logging.verbosity, flags.Range{Min: 0, Max: 10}, "v", "log verbosity: 0 what changes, 1 and more all that etcd says"),
			),
		),
		Action: func(c *cli.Context) error {
			if err := flags.NoArguments(c); err != nil {
				return err
			}
			options.Log = logging.logger(c.App.ErrWriter)
			server, err := embedded.New(options)
			if err != nil {
				return flags.Usagef(c, "%s", err)
			}
			err = server.Run(c.Context)
			if errors.Is(err, context.Canceled) {
				_, err = fmt.Fprintln(c.App.ErrWriter, "etcd ended")
			}
			return err
		},
	}
}

// clusterFlags are etcd's: who the members are, and which one this is.
func clusterFlags(heading string, o *embedded.Options) []cli.Flag {
	return flags.Group(heading,
		flags.Text(&o.Name, "name", "name of this member of the etcd cluster (default: default)"),
		flags.URLs(&o.AdvertisePeerURLs, "initial-advertise-peer-urls", "URLs that members are told (default: the listening ones)"),
		flags.Text(&o.InitialCluster, "initial-cluster", "all members of an etcd cluster of several: NAME=URL,NAME=URL,…"),
		flags.OneOf(&o.ClusterState, []string{"new", "existing"}, "initial-cluster-state", "new, or existing to join a running cluster (default: new)"),
		flags.Text(&o.ClusterToken, "initial-cluster-token", "what tells this cluster from others (default: etcd-cluster)"),
	)
}

// A retention is a time as etcd writes its own: with a unit, or a number of hours.
type retention time.Duration

// Set reads it.
func (r *retention) Set(text string) error {
	d, err := time.ParseDuration(text)
	if hours, plain := strconv.Atoi(text); plain == nil {
		d, err = time.Duration(hours)*time.Hour, nil
	}
	if err != nil || d < time.Second {
		return errors.New("want a time from 1s on, such as 30m or 1h, or a number of hours")
	}
	*r = retention(d)
	return nil
}

// String writes what Set reads; nothing where nothing was set.
func (r *retention) String() string {
	if r == nil || *r == 0 {
		return ""
	}
	return time.Duration(*r).String()
}

// tlsFlags are etcd's, with the prefix that tells peers' from clients'.
func tlsFlags(heading, prefix string, t *embedded.TLS) []cli.Flag {
	return flags.Group(heading,
		flags.Path(&t.CertFile, prefix+"cert-file", "this server's certificate"),
		flags.Path(&t.KeyFile, prefix+"key-file", "its key"),
		flags.Path(&t.CAFile, prefix+"trusted-ca-file", "authority that signed the other side's certificates"),
		flags.Switch(&t.RequireClientCert, prefix+"client-cert-auth", "let nobody in without a certificate of that authority"),
	)
}
