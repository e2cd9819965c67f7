package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"weft/perf/netlab"
)

// A hint is a command line to paste, and the Debian package to install where its tool is missing.
type hint struct {
	about, command string
	tool, inPack   string
}

// hints are what can be done with a demo that was kept, as root. nsenter is on every Debian.
func hints(site *Site) []hint {
	one, two := site.Hosts[0], site.Hosts[1]
	named := func(name string) string { return site.Lab + "-" + name }
	inside := func(name string) string { return "nsenter --net=/run/netns/" + named(name) + " " }
	return []hint{
		{about: "all pairs again", command: site.Program + " demo --try " + site.Lab},
		{about: "one host's agent", command: site.Program + " status --admin-socket " + one.Socket},
		{about: "what an agent says", command: "cat " + filepath.Join(site.Dir, one.Name+".log")},
		{about: "from container to container", command: fmt.Sprintf("ip netns exec %s ping -c 3 %s", named(one.Container), two.ContainerAddr),
			tool: "ping", inPack: "iputils-ping iproute2"},
		{about: "the same without ip", command: inside(one.Container) + "ping -c 3 " + two.ContainerAddr.String(),
			tool: "ping", inPack: "iputils-ping"},
		{about: "what the underlay carries meanwhile", command: inside(one.Name) + "tcpdump -c 10 -ni eth0 udp port 8285",
			tool: "tcpdump", inPack: "tcpdump"},
		{about: "what etcd holds", command: "ETCDCTL_API=3 " + inside("underlay") + "etcdctl --endpoints " + site.Endpoint + " get --prefix /coreos.com/network",
			tool: "etcdctl", inPack: "etcd-client"},
		{about: "the end of it", command: site.Program + " demo --end " + site.Lab},
	}
}

// printHints prints them, with how to get a tool that this machine lacks.
func printHints(out io.Writer, site *Site) {
	fmt.Fprintf(out, "\nThe demo stays. What to try, as root:\n\n")
	for _, h := range hints(site) {
		// The line is printed all the same: it says what there is to see.
		missing := ""
		if _, err := exec.LookPath(h.tool); h.tool != "" && err != nil {
			missing = " (first: apt-get install " + h.inPack + ")"
		}
		fmt.Fprintf(out, "  # %s%s\n  %s\n", h.about, missing, h.command)
	}
}

// Try tries every pair of each demo that was kept; of those with the given lab IDs only, if any is given.
func Try(ctx context.Context, out io.Writer, ids ...string) error {
	labs, err := kept(ids)
	if err != nil {
		return err
	}
	var failed error
	for _, lab := range labs {
		site, err := loadSite(lab.Dir)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\n", site.Lab)
		drawTopology(out, site)
		failed = errors.Join(failed, tryPairs(ctx, out, site))
	}
	return failed
}

// End removes each demo that was kept, or those with the given lab IDs only, and says which.
func End(out io.Writer, ids ...string) error {
	labs, err := kept(ids)
	if err != nil {
		return err
	}
	release := holdSignals()
	defer release()
	// One that can't be removed doesn't save the others.
	var failed error
	for _, lab := range labs {
		if err := netlab.Remove(lab.ID); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		fmt.Fprintf(out, "%s is gone, with its %d hosts\n", lab.ID, lab.Hosts)
	}
	return failed
}

// kept lists the demos that were kept, all or those asked for; an error if there is none.
func kept(ids []string) ([]netlab.Record, error) {
	if err := netlab.Check(); err != nil {
		return nil, fmt.Errorf("a demo that was kept can't be reached from here: %w", err)
	}
	labs, err := netlab.Labs()
	if err != nil {
		return nil, err
	}
	// Labs of tests and benchmarks can be kept, too: those aren't the demo's to end.
	found := map[string]netlab.Record{}
	for _, l := range labs {
		if l.Kept && strings.HasPrefix(l.ID, "weft-"+labName+"-") {
			found[l.ID] = l
		}
	}
	if len(ids) == 0 {
		ids = slices.Sorted(maps.Keys(found))
	}
	var demos []netlab.Record
	for _, id := range ids {
		l, ok := found[id]
		if !ok {
			return nil, fmt.Errorf("no kept demo is called %q: there is %q", id, slices.Sorted(maps.Keys(found)))
		}
		demos = append(demos, l)
	}
	if len(demos) == 0 {
		return nil, errors.New("no demo that was kept is running: start one with: weft demo --keep")
	}
	return demos, nil
}
