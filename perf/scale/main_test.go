package scale

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"weft/lease/embedded"
)

// TestMain lets this program be what a run starts: a probe, and the etcd that `weft etcd` is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == ProbeCommand || os.Args[1] == "etcd") {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		var err error
		if os.Args[1] == "etcd" {
			err = serveEtcd(ctx, os.Args[2:])
		} else {
			var job Job
			if err = json.Unmarshal([]byte(os.Args[2]), &job); err == nil {
				err = Probe(ctx, job, os.Stdin, os.Stdout, func(int) {})
			}
		}
		if err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveEtcd takes the flags that a run gives.
func serveEtcd(ctx context.Context, args []string) error {
	var o embedded.Options
	flags := flag.NewFlagSet("etcd", flag.ContinueOnError)
	flags.StringVar(&o.DataDir, "data-dir", "", "")
	list := func(name string, into *[]string) {
		flags.Func(name, "", func(v string) error { *into = strings.Split(v, ","); return nil })
	}
	list("listen-client-urls", &o.ListenClientURLs)
	list("advertise-client-urls", new([]string))
	list("listen-peer-urls", &o.ListenPeerURLs)
	list("initial-advertise-peer-urls", new([]string))
	list("initial-cluster", new([]string))
	if err := flags.Parse(args); err != nil {
		return err
	}
	s, err := embedded.New(o)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}
