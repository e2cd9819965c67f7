package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/agent"
	"weft/cmd/internal/flags"
	"weft/lease"
	"weft/lease/etcd"
)

func leasesReserveCommand() *cli.Command {
	store := agent.Defaults().Store
	var r lease.Reservation
	return &cli.Command{
		Name:      "reserve",
		Usage:     "keep a subnet for one host, for good",
		ArgsUsage: "SUBNET [IPV6-SUBNET]",
		Description: environmentHelp("Writes a record that never expires. The host with that public address takes the subnet when its agent\n" +
			"starts, and nobody else can have it. The lease of a running host can be reserved for it as it stands. In a\n" +
			"dual-stack network give both subnets. It is flannel's kind of reservation, and flannel hosts heed it, but\n" +
			"flanneld turns one that it takes over into a lease of a day."),
		Flags: concat([]cli.Flag{
			flags.Address(&r.Attrs.PublicIP, 4, "public-ip", "the host's address, as its peers see it"),
			flags.Address(&r.Attrs.PublicIPv6, 6, "public-ipv6", "the host's IPv6 address"),
			flags.Switch(&r.Force, "force", "take the subnet from the host that leases it, and move the host from the one it leases"),
		}, etcdFlags(&store)),
		Action: func(c *cli.Context) error {
			return withArguments(c, store.Check, func(words []string) (err error) {
				if r.Subnets, err = subnetWords(words); err != nil {
					return flags.Usagef(c, "%s", err)
				}
				if !r.Attrs.PublicIP.IsValid() && !r.Attrs.PublicIPv6.IsValid() {
					return flags.Usagef(c, "whom is it for? Give the host's --public-ip, or --public-ipv6")
				}
				return withEtcd(c, store, func(ctx context.Context, s *etcd.Store) error {
					done, err := s.Reserve(ctx, r)
					switch {
					case errors.Is(err, lease.ErrNoConfig):
						return noConfig(store)
					case err != nil:
						return withForce(err)
					}
					return reportReserved(c.App.Writer, r, done)
				})
			})
		},
	}
}

// withForce names the flag where the refusal is one that force overrides.
func withForce(err error) error {
	if refusal, ok := errors.AsType[*lease.Fault](err); ok && refusal.Reason == lease.Leased {
		return fmt.Errorf("%w (--force)", err)
	}
	return err
}

func reportReserved(out io.Writer, r lease.Reservation, done etcd.Reserved) error {
	host, subnets := hostOf(r.Attrs), r.Subnets.CIDR()
	var text strings.Builder
	switch {
	case done.Already && len(done.Ended) == 0:
		fmt.Fprintf(&text, "%s is reserved for %s already\n", subnets, host)
	case done.Kept:
		fmt.Fprintf(&text, "%s, which %s leases, is reserved for it: it no longer expires\n", subnets, host)
	default:
		fmt.Fprintf(&text, "%s is reserved for %s\n", subnets, host)
	}
	for _, l := range done.Ended {
		fmt.Fprintf(&text, "%s loses %s. %s\n", hostOf(l.Attrs), l.Subnets().CIDR(), afterLoss)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// afterLoss is what a running host does about a lease that an operator took away.
const afterLoss = "If its agent runs: weft leases a subnet again at once, and rewrites subnet.env; " +
	"flanneld ends, and does so when it is started again. Containers keep addresses of the lost subnet until they are made anew"

// hostOf names a host by its public addresses.
func hostOf(a lease.Attrs) string {
	var parts []string
	for _, text := range []string{addrText(a.PublicIP), addrText(a.PublicIPv6)} {
		if text != "" {
			parts = append(parts, text)
		}
	}
	if len(parts) == 0 {
		return "a host without address"
	}
	return strings.Join(parts, " and ")
}
