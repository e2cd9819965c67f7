package agent

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"

	"weft/tunnel"
)

// Check finds flags that contradict each other or name what isn't there, each with its remedy.
// given maps the flags that somebody set to where: "--name" or the environment variable.
func (o *Options) Check(given map[string]string) []error {
	problems := o.Store.Check(given)
	if o.Store.Kind == "embedded" {
		if from, ok := given["etcd-endpoints"]; ok {
			problems = append(problems, fmt.Errorf(
				"%s contradicts --store embedded, which serves its own etcd: drop one of them", from))
		}
	} else {
		for _, name := range embeddedOnly {
			if from, ok := given[name]; ok {
				problems = append(problems, fmt.Errorf("%s needs --store embedded: add that or drop it", from))
			}
		}
	}
	if o.Datapath == byLane && o.IO == "portable" {
		problems = append(problems, errors.New("--datapath express contradicts --io portable, whose device can't outlive the agent with the lane: drop one of them"))
	}
	problems = append(problems, o.checkIO(given)...)
	if !deviceName.MatchString(o.TUNName) {
		problems = append(problems, fmt.Errorf(
			"--tun-name %q: want 1 to 15 letters, digits, '-', '_' or '.', as Linux names devices", o.TUNName))
	}
	return problems
}

// embeddedOnly is every flag about the etcd inside the agent.
var embeddedOnly = []string{
	"embedded-dir", "embedded-listen-client", "embedded-advertise-client", "embedded-listen-peer",
	"name", "initial-advertise-peer-urls", "initial-cluster", "initial-cluster-state", "initial-cluster-token",
	"cert-file", "key-file", "trusted-ca-file", "client-cert-auth",
	"peer-cert-file", "peer-key-file", "peer-trusted-ca-file", "peer-client-cert-auth",
}

// checkIO finds rungs that the portable queue and conn don't have at all.
func (o *Options) checkIO(given map[string]string) []error {
	if o.IO != "portable" {
		return nil
	}
	var problems []error
	m := o.Modes
	for _, rung := range []struct {
		flag string
		mode tunnel.Mode
	}{
		{"offload-tso", m.TSO}, {"offload-uso", m.USO}, {"offload-gso", m.GSO}, {"offload-gro", m.GRO},
		{"offload-multi-queue", m.MultiQueue}, {"offload-udp-tunnel-gso", m.TunnelGSO}, {"offload-remote-checksum", o.RemoteSums},
	} {
		if rung.mode == tunnel.On {
			problems = append(problems, fmt.Errorf("%s contradicts --io portable, which has none: drop one of them", given[rung.flag]))
		}
	}
	if o.Workers > 1 {
		problems = append(problems, fmt.Errorf("--workers %d contradicts --io portable, which has one queue: drop one of them", o.Workers))
	}
	return problems
}

// deviceName is stricter than the kernel's dev_valid_name, which lets through what no tool shows well.
var deviceName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,14}$`)

// Check finds contradictions among the flags about the store alone.
func (s *StoreOptions) Check(given map[string]string) []error {
	var problems []error
	pair := func(a, b string) {
		from, hasA := given[a]
		if _, hasB := given[b]; hasA && !hasB {
			problems = append(problems, fmt.Errorf("%s needs --%s beside it", from, b))
		}
	}
	pair("etcd-keyfile", "etcd-certfile")
	pair("etcd-certfile", "etcd-keyfile")
	pair("etcd-username", "etcd-password")
	pair("etcd-password", "etcd-username")
	secure, plain := s.schemes()
	if secure && plain {
		problems = append(problems, errors.New("--etcd-endpoints mixes http and https: use one of the two for all"))
	}
	for _, name := range []string{"etcd-keyfile", "etcd-certfile", "etcd-cafile"} {
		if from, ok := given[name]; ok {
			problems = append(problems, readable(from, s.file(name))...)
			if !secure {
				problems = append(problems, fmt.Errorf("%s: no endpoint is https: write https:// in --etcd-endpoints", from))
			}
		}
	}
	if strings.Trim(s.Prefix, "/. ") == "" {
		problems = append(problems, fmt.Errorf(
			"--etcd-prefix %q: want a path like /coreos.com/network", s.Prefix))
	}
	return problems
}

func (s *StoreOptions) file(flag string) string {
	switch flag {
	case "etcd-keyfile":
		return s.KeyFile
	case "etcd-certfile":
		return s.CertFile
	default:
		return s.CAFile
	}
}

// schemes reports which of https and http occur. The client decides by one endpoint for all.
func (s *StoreOptions) schemes() (secure, plain bool) {
	endpoints := s.Endpoints
	if s.Kind == "embedded" {
		endpoints = s.Embedded.ListenClientURLs
	}
	for _, endpoint := range endpoints {
		u, err := url.Parse(endpoint)
		secure = secure || err == nil && u.Scheme == "https"
		plain = plain || err == nil && u.Scheme == "http"
	}
	return secure, plain
}

// readable says why the file can't be read, so that the reason isn't a TLS error much later.
func readable(from, path string) []error {
	f, err := os.Open(path)
	if err != nil {
		return []error{fmt.Errorf("%s: %w", from, err)}
	}
	_ = f.Close()
	return nil
}
