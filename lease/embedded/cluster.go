package embedded

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// A roster is what an initial cluster names: for each URL, in the order given, the member's name.
type roster []seat

type seat struct{ name, url string }

// parseRoster reads NAME=URL,NAME=URL. A member may have several URLs, a URL only one member.
func parseRoster(text string) (roster, error) {
	var r roster
	var errs []error
	taken := map[string]string{}
	for one := range strings.SplitSeq(text, ",") {
		name, address, ok := strings.Cut(strings.TrimSpace(one), "=")
		if !ok || name == "" {
			errs = append(errs, fmt.Errorf("embedded etcd: initial-cluster %q: write each member as NAME=http://10.0.0.1:2380", one))
			continue
		}
		if _, err := parseURLs("initial-cluster, member "+name+":", []string{address}); err != nil {
			errs = append(errs, err)
			continue
		}
		if other, twice := taken[address]; twice {
			errs = append(errs, fmt.Errorf("embedded etcd: initial-cluster gives %s to %s and to %s: every member has a URL of its own",
				address, other, name))
			continue
		}
		taken[address] = name
		r = append(r, seat{name, address})
	}
	return r, errors.Join(errs...)
}

// of returns the URLs of one member.
func (r roster) of(name string) []string {
	var urls []string
	for _, s := range r {
		if s.name == name {
			urls = append(urls, s.url)
		}
	}
	return urls
}

// names returns the members, each once.
func (r roster) names() []string {
	var names []string
	for _, s := range r {
		if !slices.Contains(names, s.name) {
			names = append(names, s.name)
		}
	}
	return names
}

func (r roster) String() string {
	text := make([]string, len(r))
	for i, s := range r {
		text[i] = s.name + "=" + s.url
	}
	return strings.Join(text, ",")
}

// check finds what would keep the member called name, which tells others to reach it at advertised,
// from being one of this cluster.
func (r roster) check(name string, advertised []url.URL) error {
	own := r.of(name)
	if own == nil {
		return fmt.Errorf("embedded etcd: name %q is not in initial-cluster, which has %s: give this member's own name there, or add %s=%s",
			name, strings.Join(r.names(), ", "), name, join(advertised))
	}
	var errs []error
	told := make([]string, len(advertised))
	for i := range advertised {
		told[i] = advertised[i].String()
	}
	if literal(own) && literal(told) && !sameSet(own, told) {
		errs = append(errs, fmt.Errorf("embedded etcd: initial-cluster says %s=%s, but this member tells others %s "+
			"(initial-advertise-peer-urls, else what it listens on): make the two the same",
			name, strings.Join(own, ","), strings.Join(told, ",")))
	}
	for _, s := range r {
		if len(advertised) > 0 && !strings.HasPrefix(s.url, advertised[0].Scheme+"://") {
			errs = append(errs, fmt.Errorf("embedded etcd: initial-cluster mixes http and https: %s=%s beside %s: use one of the two for all members",
				s.name, s.url, advertised[0].String()))
		}
	}
	return errors.Join(errs...)
}

// literal reports whether all hosts are addresses. Names can mean the same in different spellings;
// etcd looks them up when it starts.
func literal(urls []string) bool {
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			return false
		}
		if _, err := netip.ParseAddr(u.Hostname()); err != nil {
			return false
		}
	}
	return true
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// CheckCluster finds what would keep a member called name (empty: etcd's default) that others reach at
// the URLs advertised from being one of the initial cluster, before anything is made for it.
func CheckCluster(name string, advertised []string, initialCluster string) error {
	urls, err := parseURLs("advertised peer address", advertised)
	if err != nil {
		return err
	}
	members, err := parseRoster(initialCluster)
	if err != nil {
		return err
	}
	return members.check(or(name, defaultName), urls)
}
